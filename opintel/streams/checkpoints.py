"""Checkpoints: immutable objects `<structure>/<topic>-<partition>/<position>` with a checksum, on any fsspec
URL (a folder, also a shared one; S3).

Because state is a function of the log's prefix, every writer of a position's checkpoint writes the same
bytes: no fencing is needed. What is torn, foreign or no file at all is passed over with a warning, and the one before
it serves.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
import uuid
from collections.abc import Sequence
from struct import pack
from typing import Any

import msgspec

from opintel.streams.log import LogUnavailable
from opintel.streams.urls import Location

FORMAT = 1
READABLE = (FORMAT, FORMAT - 1)
"""The previous format is read too, so that an upgrade does not begin with a replay."""
KEPT = 3
MAGIC = b"opintel-checkpoint"
LARGE = 1 << 16
"""Bytes in a state of this length are written as they stand, not copied first."""
FEW = 1024
"""Such bytes are looked for in lists and dicts of at most so many entries."""
AT_ONCE = 8 << 20
"""Bytes written at a time: a file system may keep a copy of them."""
NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Of a link that leads nowhere; any other error is the store's."""
_NAME = re.compile(r"[0-9]{16}")
log = logging.getLogger(__name__)


class CheckpointError(OSError):
    """A checkpoint could not be written: disk full, no such bucket, no server."""


class Checkpoints:
    """The checkpoints of one worker: a structure hash, a topic and a partition below `url` (a folder or fsspec URL)."""

    def __init__(self, url: str, structure: str, topic: str, partition: int) -> None:
        self._place = Location.of(url)
        self._fs, self._local = self._place.fs, self._place.local
        self._folder = f"{self._place.root}/{structure}/{topic}-{partition}"
        self._shown = self._place.hidden(self._folder)
        self.size = 0
        """Bytes of the state that was written or read last."""

    def put(self, position: int, state: dict[str, Any]) -> None:
        """Writes the checkpoint of `position` and drops all but the newest three. CheckpointError where it cannot."""
        body: list[bytes] = []
        _pack(state, body)
        checksum = hashlib.blake2b(digest_size=16)
        for piece in body:
            checksum.update(piece)
        try:
            self._write(f"{self._folder}/{position:016d}", [MAGIC, bytes((FORMAT,)), checksum.digest(), *body])
            self.size = sum(map(len, body))
            files = [name for name, is_file in self._names().items() if is_file]
            kept = sorted(filter(_NAME.fullmatch, files))[-KEPT:]
            for name in files:
                if kept and name < kept[0]:  # also what a crash left half written
                    self._remove(name)
        except Exception as error:  # each file system has errors of its own
            text = f"checkpoint {self._shown}/{position} could not be written: {self._place.hidden(error)}"
            raise CheckpointError(text) from (None if self._place.secret else error)

    def _write(self, path: str, pieces: Sequence[bytes]) -> None:
        if self._place.folders:
            self._fs.makedirs(self._folder, exist_ok=True)
        if self._local:  # other file systems make an object visible whole; here a rename does
            part = f"{path}.{uuid.uuid4().hex}.part"
            try:
                self._write_to(part, pieces)
                os.replace(part, path)
            except FileNotFoundError:
                log.debug("%s: an owner that is ahead has swept it away", path)
            except OSError:
                self._remove(part.rsplit("/", 1)[-1])  # or tries on a full disk would fill it
                raise
        else:
            self._write_to(path, pieces)

    def _write_to(self, path: str, pieces: Sequence[bytes]) -> None:
        with self._fs.open(path, "wb") as file:
            for piece in pieces:
                view = memoryview(piece)
                for at in range(0, len(view), AT_ONCE):
                    file.write(view[at : at + AT_ONCE])

    def newest(self, end: int) -> tuple[int, dict[str, Any]] | None:
        """(position, state) of the newest sound checkpoint not beyond `end`, if any.

        Those beyond are of a log that has lost its tail since (restored from a backup): they are dropped, or they would
        be taken for this log's once it has grown. LogUnavailable where that cannot be found out: to begin without it
        would be right, but a replay of everything.
        """
        try:
            for position, is_file in self._positions():
                if not is_file:
                    log.warning("checkpoint %s/%016d: no file, passed over", self._shown, position)
                elif position > end:
                    log.warning("checkpoint %s/%d is beyond the log's end %d: dropped", self._shown, position, end)
                    self._remove(f"{position:016d}")
            seen: list[int] = []
            # another owner may drop those listed while we read
            while (there := [p for p, is_file in self._positions() if is_file and p <= end]) != seen:
                for position in reversed(there):
                    state = self._read(position)
                    if state is not None:
                        return position, state
                seen = there
        except Exception as error:
            text = f"checkpoints below {self._shown} cannot be read: {self._place.hidden(error)}"
            raise LogUnavailable(text) from (None if self._place.secret else error)
        return None

    def _read(self, position: int) -> dict[str, Any] | None:
        name = f"{position:016d}"
        try:
            value = memoryview(self._fs.cat_file(f"{self._folder}/{name}"))
        except (FileNotFoundError, IsADirectoryError):  # another owner has just dropped it; or it is none
            return None
        head = len(MAGIC)
        digest, body = value[head + 1 : head + 17], value[head + 17 :]
        if len(value) < head + 17 or value[:head] != MAGIC or value[head] not in READABLE:
            log.warning("checkpoint %s/%s: not of format %d or %d, passed over", self._shown, name, *READABLE)
        elif hashlib.blake2b(body, digest_size=16).digest() != digest:
            log.warning("checkpoint %s/%s: checksum differs, passed over", self._shown, name)
        else:
            try:
                state = msgspec.msgpack.decode(body, type=dict[str, Any])
                self.size = len(body)
                return state
            except (ValueError, RecursionError) as error:  # anybody can write a right checksum over anything
                log.warning("checkpoint %s/%s: no state (%s), passed over", self._shown, name, error)
        return None

    def _positions(self) -> list[tuple[int, bool]]:
        return sorted((int(name), is_file) for name, is_file in self._names().items() if _NAME.fullmatch(name))

    def _names(self) -> dict[str, bool]:
        """What is in the folder, and whether it is a file: not a folder, a pipe, a loop of links."""
        seen: set[str] = set()
        while True:
            self._fs.invalidate_cache()  # other owners write there too
            try:  # a local listing with details fails when a file is swept meanwhile
                there = self._fs.ls(self._folder, detail=not self._local)
            except FileNotFoundError:
                return {}
            if not self._local:
                return {str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]: entry["type"] == "file" for entry in there}
            kinds = {path.rsplit("/", 1)[-1]: _is_file(path) for path in there}
            known = {name: is_file for name, is_file in kinds.items() if is_file is not None}
            if len(known) == len(kinds) or set(kinds) == seen:  # a link to nowhere stays
                return known
            seen = set(kinds)  # swept meanwhile: what came in its place may not be in this list

    def _remove(self, name: str) -> None:
        try:
            self._fs.rm_file(f"{self._folder}/{name}")
        except FileNotFoundError:
            log.debug("%s of %s was dropped by another owner", name, self._shown)


def _pack(value: Any, out: list[bytes]) -> None:
    """Appends the msgpack of plain data in pieces: together `encode(value, order="deterministic")`."""
    if type(value) is bytes and len(value) >= LARGE:
        out += (pack(">BI", 0xC6, len(value)), value)
    elif type(value) is dict and len(value) <= FEW and all(type(key) is str for key in value):
        out.append(pack(">BH", 0xDE, len(value)) if len(value) > 15 else pack(">B", 0x80 | len(value)))
        for key in sorted(value):
            out.append(msgspec.msgpack.encode(key))
            _pack(value[key], out)
    elif type(value) in (list, tuple) and len(value) <= FEW:
        out.append(pack(">BH", 0xDC, len(value)) if len(value) > 15 else pack(">B", 0x90 | len(value)))
        for one in value:
            _pack(one, out)
    else:
        out.append(msgspec.msgpack.encode(value, order="deterministic"))


def _is_file(path: str) -> bool | None:
    """Of a local path; None where nothing is there."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in NO_FILE:
            return False
        raise
