"""Files and folders as a source of messages, for ingest, replay and the simulator's output.

A position holds how far *every* file was read, so a file that grows, or appears late under an earlier name, is still
read to its end: nothing is lost. Files are taken in the order given, those of a folder by name; which messages come
next is a function of the files' content and the position alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from opintel.detector import Message
from opintel.streams.connectors.framing import SUFFIXES, frames, past
from opintel.tables import CsvForm

MAX_FILES = 1000
"""A position grows by about 40 bytes a file, and every chunk in the log carries it."""
MAX_CHUNK = 64 << 20
"""Bytes of message bodies after which a read ends before its limit."""

log = logging.getLogger(__name__)


class FilePosition(msgspec.Struct, frozen=True, array_like=True):
    """How far a source was read: `offset` bytes and `row` messages of `file`, read last, and of all `others`."""

    file: str = ""
    offset: int = 0
    row: int = 0
    index: int = 0
    """Messages of the whole source so far."""
    others: dict[str, tuple[int, int]] = {}
    """File → (offset, row)."""


def position_of(plain: Any) -> FilePosition | None:
    """The position that the log kept as plain data; None for None. Raises ValueError for anything else."""
    return None if plain is None else msgspec.convert(plain, FilePosition)


def is_further(position: FilePosition | None, after: FilePosition) -> bool:
    """Whether something was read, if only the rest of a line that was cut."""
    known = _table(position or FilePosition())
    return any(offset > known.get(file, (0, 0))[0] for file, (offset, _) in _table(after).items())


class FileSource:
    """Messages of files and folders. A folder with a folder `messages` in it (the simulator's) means that one.

    Taken from a folder: *.jsonl, *.json, *.csv, *.txt, *.parquet, *.arrow, hidden ones left out; subfolders are not
    entered.
    Files are named relative to the folder, or as given where that is not unique. `csv` is the form in which the rows
    of CSV files come: what the domain's wire takes (`Pipeline.csv`). Raises FileNotFoundError, or ValueError for
    another suffix or more than MAX_FILES files.
    """

    def __init__(self, paths: Sequence[Path], *, csv: CsvForm = "text") -> None:
        self._csv = csv
        self._paths = [_place(path) for path in paths]
        self._files()

    def read(
        self, position: FilePosition | None, limit: int, *, final: bool = False
    ) -> tuple[list[Message], FilePosition]:
        """At most `limit` messages after `position` (None: from the start) and the position after them.

        None are left where it gives []. Only whole lines are taken, since the file may be growing; with `final` a
        last line without a newline counts too. Raises OSError that names the file.
        """
        position = position or FilePosition()
        known = _table(position)
        table = {}
        out: list[Message] = []
        room, last = MAX_CHUNK, ""
        for file in self._files():
            offset, row = known.get(file.name, (0, 0))
            with file.path.open("rb") as opened:
                size = os.fstat(opened.fileno()).st_size
                if size < offset:
                    log.warning("%s became shorter; it is read again from its start", file.path)
                    offset = 0
                at_line = False
                if len(out) < limit and room > 0:
                    offset, at_line = past(opened, file.path.suffix, offset, size)
                if at_line:
                    with closing(frames(opened, file.path.suffix, self._csv, offset, size, final)) as found:
                        for frame in found:
                            index = position.index + len(out)
                            out.append(Message(frame.body, file.name, row, index, frame.form, frame.table))
                            offset, row, last = frame.after, row + 1, file.name
                            room -= len(frame.body)
                            if len(out) >= limit or room <= 0:
                                break
            if row or offset:
                table[file.name] = (offset, row)
        return out, _position(table, last or position.file, position.index + len(out))

    def between(self, before: FilePosition | None, after: FilePosition) -> list[Message]:
        """The messages of one earlier `read` again, exactly, though files may have grown or appeared since."""
        before = before or FilePosition()
        known, wanted = _table(before), _table(after)
        out: list[Message] = []
        for file in self._files():
            offset, row = known.get(file.name, (0, 0))
            end, rows = wanted.get(file.name, (0, 0))
            if rows > row:
                with file.path.open("rb") as opened:
                    offset, _ = past(opened, file.path.suffix, min(offset, end), end)
                    for frame in frames(opened, file.path.suffix, self._csv, offset, end, True):
                        index = before.index + len(out)
                        out.append(Message(frame.body, file.name, row, index, frame.form, frame.table))
                        row += 1
        return out

    def at_end(self, position: FilePosition | None, *, final: bool = False) -> bool:
        """Whether nothing is left to read after `position` at present."""
        return not self.read(position, 1, final=final)[0]

    def progress(self, position: FilePosition | None) -> tuple[int, int]:
        """Bytes read up to `position`, and bytes present."""
        done = sum(offset for offset, _ in _table(position or FilePosition()).values())
        return done, sum(file.path.stat().st_size for file in self._files())

    def require_content(self) -> None:
        """Raises ValueError that names a folder without messages or an empty file, OSError an unreadable one."""
        files = self._files()
        if not files:
            raise ValueError(f"{self._paths[0]}: no file with messages in it ({', '.join(SUFFIXES)})")
        for file in files:
            with file.path.open("rb") as opened:
                if not opened.read(1):
                    raise ValueError(f"{file.path}: the file is empty")

    def _files(self) -> list[_File]:
        files: list[_File] = []
        for path in self._paths:
            if path.is_dir():
                inside = (p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
                files += [_File(_shown(p.name), p) for p in sorted(inside) if p.is_file()]
            elif not path.exists():
                raise FileNotFoundError(f"{path}: no such file or folder")
            elif path.suffix in SUFFIXES:
                files.append(_File(_shown(path.name), path))
            else:
                raise ValueError(f"{path}: expected one of {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'!r}")
        if len(files) > MAX_FILES:
            raise ValueError(f"{len(files)} files; a source has at most {MAX_FILES}: join them, or split the folder")
        # a file that is given twice, or with its folder, is one file
        files = list({file.path.resolve(): file for file in reversed(files)}.values())[::-1]
        if len({file.name for file in files}) < len(files):
            files = [file._replace(name=_shown(file.path.as_posix())) for file in files]
        return files


class _File(NamedTuple):
    name: str
    path: Path


def _shown(name: str) -> str:
    """A file's name as text that can be stored, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _place(path: Path) -> Path:
    messages = path / "messages"
    return messages if messages.is_dir() else path


def _table(position: FilePosition) -> dict[str, tuple[int, int]]:
    """All files of a position; those that vanished drop out at the next read."""
    here = {position.file: (position.offset, position.row)} if position.file else {}
    return {**position.others, **here}


def _position(table: dict[str, tuple[int, int]], file: str, index: int) -> FilePosition:
    offset, row = table.pop(file, (0, 0))
    return FilePosition(file, offset, row, index, dict(sorted(table.items())))
