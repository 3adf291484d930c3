"""Files and folders as a source of messages, for ingest, replay and the simulator's output.

A position holds how far *every* file was read, so a file that grows, or appears late under an earlier name, is still
read to its end: nothing is lost. Files are taken in the order given, those of a folder by name; which messages come
next is a function of the files' content and the position alone. `identity` says which file is which.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from opintel.detector import Message
from opintel.streams.connectors.framing import ANY_DOMAIN, FileForms, frames, past
from opintel.streams.connectors.identity import File, Place, listed, recognised, shown, suffix_of

MAX_FILES = 1000
"""A position grows by about 40 bytes a file, and every chunk in the log carries it."""
MAX_CHUNK = 64 << 20
"""Bytes of message bodies after which a read ends before its limit."""
NAMED = 10
"""Empty files that are named."""

log = logging.getLogger(__name__)


class FilePosition(msgspec.Struct, frozen=True, array_like=True):
    """How far a source was read: `offset` bytes and `row` messages of `file`, read last, and of all `others`."""

    file: str = ""
    offset: int = 0
    row: int = 0
    index: int = 0
    """Messages of the whole source so far."""
    others: dict[str, tuple[int, ...]] = {}
    """File → its `Place`; of an earlier build (offset, row)."""
    identity: tuple[int, ...] = ()
    """What `Place` says of `file` beside its offset and row."""


def position_of(plain: Any) -> FilePosition | None:
    """The position that the log kept as plain data; None for None. Raises ValueError for anything else."""
    return None if plain is None else msgspec.convert(plain, FilePosition)


def is_further(position: FilePosition | None, after: FilePosition) -> bool:
    """Whether something was read, if only the rest of a line that was cut."""
    known = places_of(position or FilePosition())
    return any(place.offset > known.get(file, Place()).offset for file, place in places_of(after).items())


class FileSource:
    """Messages of files and folders. A folder with a folder `messages` in it (the simulator's) means that one.

    Taken from a folder: *.jsonl, *.json, *.csv, *.txt, *.parquet, *.arrow and what the domain has parsers for, hidden
    ones left out; subfolders are not entered, links out of it are not followed. Files are named relative to the folder,
    or as given where that is not unique. `forms`: how the domain takes them.
    Raises FileNotFoundError, or ValueError for another suffix, what is no file, or more than MAX_FILES files.
    """

    complete = False
    """Whether no file grows. Then gzipped ones are read too, subfolders are entered, …"""
    most = MAX_FILES
    """… and there may be so many."""

    def __init__(self, paths: Sequence[Path], forms: FileForms = ANY_DOMAIN) -> None:
        self._forms = forms
        self._paths = [_place(path) for path in paths]
        self._noted = set[str]()
        self.files()

    def read(
        self, position: FilePosition | None, limit: int, *, final: bool = False
    ) -> tuple[list[Message], FilePosition]:
        """At most `limit` messages after `position` (None: from the start) and the position after them.

        None are left where it gives []. Only whole lines are taken, since the file may be growing; with `final` a
        last line without a newline counts too. Raises OSError that names the file.
        """
        position = position or FilePosition()
        table: dict[str, Place] = {}
        out: list[Message] = []
        room, last = MAX_CHUNK, ""
        for file, place in self.known(position):
            offset, row = place.offset, place.row
            with file.open() as opened:
                size = file.size(opened)
                at_line = False
                if len(out) < limit and room > 0:
                    offset, at_line = past(opened, file.suffix, self._forms, offset, size)
                if at_line:
                    with closing(frames(opened, file.suffix, self._forms, offset, size, final)) as found:
                        for frame in found:
                            index = position.index + len(out)
                            out.append(Message(frame.body, file.name, row, index, frame.form, frame.table))
                            offset, row, last = frame.after, row + 1, file.name
                            room -= len(frame.body)
                            if len(out) >= limit or room <= 0:
                                break
                if row or offset:
                    table[file.name] = place.moved(opened, offset, row)
        return out, position_at(table, last or position.file, position.index + len(out))

    def between(self, before: FilePosition | None, after: FilePosition) -> list[Message]:
        """The messages of one earlier `read` again, exactly, though files may have grown, moved or appeared since."""
        before = before or FilePosition()
        begins = {file.path: place for file, place in self.known(before)}
        out: list[Message] = []
        for file, end in self.known(after):
            begin = begins.get(file.path, Place())
            row = begin.row
            if end.row > row:
                with file.open() as opened:
                    offset, _ = past(opened, file.suffix, self._forms, min(begin.offset, end.offset), end.offset)
                    for frame in frames(opened, file.suffix, self._forms, offset, end.offset, True):
                        if frame.after > end.offset:
                            break
                        index = before.index + len(out)
                        out.append(Message(frame.body, file.name, row, index, frame.form, frame.table))
                        row += 1
        return out

    def at_end(self, position: FilePosition | None, *, final: bool = False) -> bool:
        """Whether nothing is left to read after `position` at present."""
        return not self.read(position, 1, final=final)[0]

    def progress(self, position: FilePosition | None) -> tuple[int, int]:
        """Bytes read up to `position`, and bytes present."""
        done = sum(place.offset for place in places_of(position or FilePosition()).values())
        return done, sum(file.path.stat().st_size for file in self.files())

    def require_content(self) -> None:
        """Raises ValueError that names a folder without messages, or one of its files where all are empty; OSError
        names an unreadable one. Where only some are empty the log names them.
        """
        files, empty = self.files(), list[Path]()
        if not files:
            raise ValueError(f"{self._paths[0]}: no file with messages in it ({', '.join(self.suffixes)})")
        for file in files:
            with file.open() as opened:
                if not opened.read(1):
                    empty.append(file.path)
        if len(empty) == len(files):
            raise ValueError(f"{empty[0]}: the file is empty")
        for path in empty[:NAMED]:
            log.warning("%s: the file is empty", path)
        if len(empty) > NAMED:
            log.warning("%d more files are empty", len(empty) - NAMED)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that it reads."""
        return (*self._forms.suffixes, *(self._forms.packed if self.complete else ()))

    def known(self, position: FilePosition) -> list[tuple[File, Place]]:
        """Every file that is there, and how far it was read."""
        folders = [path if path.is_dir() else path.parent for path in self._paths]
        return recognised(self.files(), places_of(position), folders, self.suffixes)

    def files(self) -> list[File]:
        """The files that are there now, each once."""
        files: list[File] = []
        suffixes = self.suffixes
        for path in self._paths:
            if path.is_dir():
                inside, passed_over = listed(path, suffixes, deep=self.complete)
                files += inside
                for name, reason in passed_over:
                    if name not in self._noted:
                        self._noted.add(name)
                        log.warning("%s is not read: %s", path / name, reason)
            elif not path.exists():
                raise FileNotFoundError(f"{path}: no such file or folder")
            elif suffix_of(path.name) not in suffixes:
                raise ValueError(f"{path}: {self._forms.not_read(suffix_of(path.name), suffixes)}")
            elif not path.is_file():
                raise ValueError(f"{path}: expected a file, got a pipe, socket or device")
            else:
                files.append(File(shown(path.name), path.resolve(), suffix_of(path.name)))
        if len(files) > self.most:
            raise ValueError(f"{len(files)} files; a source has at most {self.most}: join them, or split the folder")
        # a file that is given twice, or with its folder, is one file
        files = list({file.path.resolve(): file for file in reversed(files)}.values())[::-1]
        if len({file.name for file in files}) < len(files):
            files = [file._replace(name=shown(file.path.as_posix())) for file in files]
        return files


def places_of(position: FilePosition) -> dict[str, Place]:
    """File → how far it was read, of all files of a position."""
    here = {position.file: (position.offset, position.row, *position.identity)} if position.file else {}
    return {name: Place(*place[:4]) for name, place in {**position.others, **here}.items()}


def position_at(places: dict[str, Place], file: str, index: int) -> FilePosition:
    """The position of these places, `file` having been read last."""
    offset, row, *identity = places.get(file, Place())
    others = {name: tuple(place) for name, place in sorted(places.items()) if name != file}
    return FilePosition(file, offset, row, index, others, tuple(identity))


def _place(path: Path) -> Path:
    messages = path / "messages"
    return messages if messages.is_dir() and not messages.is_symlink() else path
