"""A folder of `.arrow` files as a live source: a writer lays the next one beside the last, and each is read once.

Files are taken in order of name, so a writer counts up or names them by time; a file that appears under a name before
one that was read is not read. Only complete files are: an IPC file ends with its magic, an IPC stream with its
end-of-stream mark. What comes behind one that is being written waits for it; it is best written under another ending
and renamed.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from opintel.arrow_ipc import FAULTS, checked, is_arrow
from opintel.detector import Message
from opintel.durations import Duration
from opintel.paths import FilePath
from opintel.streams.connectors import MAX_BODY, Listened
from opintel.streams.connectors.identity import File
from opintel.streams.log import LogUnavailable
from opintel.streams.stream import Stream

MAX_FILE = 256 << 20
"""Bytes of a file, which is read as a whole."""
MAX_MESSAGE = 8 << 20
"""Bytes of a record batch that is one message; a larger one is several. One of more than twice as many, because of a
dictionary or a row, is refused."""
MAX_READ = 64 << 20
"""Bytes of messages after which a read ends before its limit."""
_MAGIC, _END_OF_STREAM = b"ARROW1", b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What an IPC file begins and ends with; what an IPC stream ends with."""
_HEAD = 8
"""Bytes of either end of a file that say what it is, and whether all of it is there."""
log = logging.getLogger(__name__)


class ArrowDirSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the files are laid."""

    path: FilePath
    delay: Duration = Duration(0)
    """How long after their time rows may still come in a file: about as long as one is written."""

    def open(self, secrets: Mapping[str, str], stream: Stream) -> ArrowDir:
        """The source; ValueError where there is no such folder."""
        if not os.path.isdir(self.path):
            raise ValueError(f"path: there is no folder {self.path}")
        return ArrowDir(Path(self.path), delay=self.delay)


class DirectoryPosition(msgspec.Struct, frozen=True):
    """A position: the file that was read last, and how many of its messages were."""

    file: str = ""
    messages: int = 0


class ArrowDir:
    """The record batches of the files of a folder, each an Arrow IPC stream. A file that is no Arrow is one message of
    form `refused`. `read` and `between` raise LogUnavailable where the folder cannot be read.
    """

    def __init__(self, path: Path, *, delay: int = 0) -> None:
        self._path, self.delay = path, delay
        self._waited_for = ""
        self._all_shown, self._until = False, 0
        self._kept: tuple[str, list[DirPart]] = ("", [])
        """The file that was opened last, and its messages."""

    def read(self, position: Any, limit: int, first: int = 0) -> tuple[list[Message], Any]:
        """At most `limit` messages behind `position` (plain data; None: from the first file) and the position then."""
        place = msgspec.convert(position, DirectoryPosition) if position is not None else DirectoryPosition()
        out: list[Message] = []
        room = MAX_READ
        for name, messages in self._files(place.file):
            begin = place.messages if name == place.file else 0
            for n, part in enumerate(messages[begin:], begin):
                if len(out) == limit or room <= 0:
                    return out, msgspec.to_builtins(place)
                body, form = part.packed()
                out.append(Message(body, name, n, first + len(out), form))
                room -= len(body)
                place = DirectoryPosition(name, n + 1)
            place = DirectoryPosition(name, len(messages))
        return out, position if position is None and not place.file else msgspec.to_builtins(place)

    def listened(self, position: Any, now: int) -> Listened:
        """All that is there is shown, unless a file is waited for: what it holds, and those behind it, has not been."""
        if self._all_shown:
            self._until = now
        name = self._waited_for
        return Listened(self._until, name and f"{self._path / name}, which is not complete, and what follows")

    def between(self, before: Any, after: Any, first: int = 0) -> list[Message]:
        """The messages between two positions once more; those of a file that is gone are missing."""
        begin = msgspec.convert(before, DirectoryPosition) if before is not None else DirectoryPosition()
        end = msgspec.convert(after, DirectoryPosition)
        out: list[Message] = []
        for name, messages in self._files(begin.file):
            if name > end.file:
                break
            start = begin.messages if name == begin.file else 0
            stop = end.messages if name == end.file else len(messages)
            for n, part in enumerate(messages[start:stop], start):
                body, form = part.packed()
                out.append(Message(body, name, n, first + len(out), form))
        return out

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self, begin: str) -> Iterator[tuple[str, list[DirPart]]]:
        """The complete files from `begin` on, as far as all before them are complete."""
        waited_for, self._all_shown = "", False
        try:
            names = sorted(entry.name for entry in os.scandir(self._path) if _is_ours(entry))
            for name in names:
                if name < begin:
                    continue
                if self._kept[0] != name:
                    body = self._whole(self._path / name)
                    if body is None:
                        waited_for = name
                        break
                    self._kept = (name, list(_messages(body)))
                yield self._kept
            self._wait(waited_for)
            self._all_shown = not waited_for
        except OSError as error:
            raise LogUnavailable(f"{self._path}: {error.strerror or error}") from error

    def _whole(self, path: Path) -> bytes | None:
        """A file's bytes, at most one more than MAX_FILE; None while it is being written."""
        with File(path.name, path, path.suffix).open() as file:
            head = file.read(_HEAD)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _HEAD))
            begun = is_arrow(head) or len(head) < _HEAD
            ended = size > _HEAD and file.read().endswith(_MAGIC if head.startswith(_MAGIC) else _END_OF_STREAM)
            if begun and not ended and size <= MAX_FILE:
                return None
            file.seek(0)
            return file.read(min(size, MAX_FILE + 1))

    def _wait(self, name: str) -> None:
        if name and self._waited_for != name:
            log.warning("%s is not complete; it and what comes behind it are read when it is", self._path / name)
        self._waited_for = name


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether it is read: a regular file, as links may lead out of the folder."""
    return entry.name.endswith(".arrow") and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)


class DirPart(NamedTuple):
    """A message of a file."""

    batch: Any
    """A view of its rows; packed only when it is asked for, as a dictionary is packed with each message."""
    refusal: str = ""
    """What is damaged, instead of rows."""

    def packed(self) -> tuple[bytes, str]:
        """Its body and form."""
        if self.refusal:
            return self.refusal.encode()[:MAX_BODY], "refused"
        return _packed(self.batch), "json"


def _messages(body: bytes) -> Iterator[DirPart]:
    """The messages of a file."""
    if len(body) > MAX_FILE:
        yield DirPart(None, f"a file of more than {MAX_FILE >> 20} MiB; expected several")
        return
    if not is_arrow(body):
        yield DirPart(None, "expected an Arrow IPC file or stream")
        return
    try:
        for batch in pa.ipc.open_stream(checked(body, dictionaries=True)):
            batch.validate(full=True)
            rows = max(1, batch.num_rows // max(1, math.ceil(batch.nbytes / MAX_MESSAGE)))
            for at in range(0, batch.num_rows, rows):
                part = batch.slice(at, rows)
                large = part.nbytes > 2 * MAX_MESSAGE
                reason = f"expected at most {2 * MAX_MESSAGE} bytes a message, got {part.nbytes}" if large else ""
                yield DirPart(part, reason)
    except FAULTS as error:
        yield DirPart(None, f"damaged: {type(error).__name__}: {error}")


def _packed(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed
