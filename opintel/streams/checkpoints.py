"""Checkpoints: immutable objects `<structure>/<topic>-<partition>/<position>` with a checksum, on any fsspec
URL (a folder, also a shared one; S3).

Because state is a function of the log's prefix, whoever writes a checkpoint of a position writes the same
bytes: no fencing is needed. A torn or foreign object is skipped with a warning, and the one before it serves.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from typing import Any
from urllib.parse import urlsplit

import msgspec

from opintel.streams.log import LogUnavailable

FORMAT = 1
READABLE = (FORMAT, FORMAT - 1)
"""The previous format is read too, so that an upgrade does not begin with a replay."""
KEPT = 3
MAGIC = b"opintel-checkpoint"
S3_PATIENCE = {"connect_timeout": 3, "read_timeout": 10, "retries": {"max_attempts": 2}}
"""botocore's own takes half a minute to say that nobody is there; the stream waits for it."""
log = logging.getLogger(__name__)


class CheckpointError(OSError):
    """A checkpoint could not be written: disk full, no such bucket, nobody there."""


class Checkpoints:
    """The checkpoints of one worker: a structure hash, a topic and a partition below `url` (a folder or fsspec URL)."""

    def __init__(self, url: str, structure: str, topic: str, partition: int) -> None:
        import fsspec

        scheme = urlsplit(url).scheme
        self._local, self._s3 = scheme in ("", "file"), scheme in ("s3", "s3a")
        self._fs, root = fsspec.core.url_to_fs(url, **({"config_kwargs": S3_PATIENCE} if self._s3 else {}))
        self._folder = f"{root.rstrip('/')}/{structure}/{topic}-{partition}"

    def put(self, position: int, state: dict[str, Any]) -> None:
        """Writes the checkpoint of `position` and drops all but the newest three. CheckpointError where it cannot."""
        body = msgspec.msgpack.encode(state, order="deterministic")
        value = MAGIC + bytes((FORMAT,)) + hashlib.blake2b(body, digest_size=16).digest() + body
        try:
            self._write(f"{self._folder}/{position:016d}", value)
            kept = [f"{p:016d}" for p in self._positions()[-KEPT:]]
            for name in self._names():
                if name < kept[0]:  # also what a crash left half written
                    self._remove(name)
        except Exception as error:  # each file system has errors of its own
            raise CheckpointError(f"checkpoint {self._folder}/{position} could not be written: {error}") from error

    def _write(self, path: str, value: bytes) -> None:
        if not self._s3:  # it has no folders
            self._fs.makedirs(self._folder, exist_ok=True)
        if self._local:  # other file systems make an object visible whole; here a rename does
            part = f"{path}.{uuid.uuid4().hex}.part"
            try:
                self._fs.pipe_file(part, value)
                self._fs.mv(part, path)
            except FileNotFoundError:
                log.debug("%s: an owner that is ahead has swept it away", path)
            except OSError:
                self._remove(part.rsplit("/", 1)[-1])  # or tries on a full disk would fill it
                raise
        else:
            self._fs.pipe_file(path, value)

    def newest(self, end: int) -> tuple[int, dict[str, Any]] | None:
        """(position, state) of the newest sound checkpoint not beyond `end`, if any.

        Those beyond are of a log that has lost its tail since (restored from a backup): they are dropped, or they would
        be taken for this log's once it has grown. LogUnavailable where nobody can say: to begin without it would be
        right, but a replay of everything.
        """
        try:
            for position in (p for p in self._positions() if p > end):
                log.warning("checkpoint %s/%d is beyond the log's end %d: dropped", self._folder, position, end)
                self._remove(f"{position:016d}")
            seen: list[int] = []
            while (there := self._positions()) != seen:  # another owner may drop those listed while we read
                for position in reversed(there):
                    state = self._read(position)
                    if state is not None:
                        return position, state
                seen = there
        except Exception as error:
            raise LogUnavailable(f"checkpoints below {self._folder} cannot be read: {error}") from error
        return None

    def _read(self, position: int) -> dict[str, Any] | None:
        path = f"{self._folder}/{position:016d}"
        try:
            value = self._fs.cat_file(path)
        except (FileNotFoundError, IsADirectoryError):  # another owner has just dropped it; or it is none
            return None
        head = len(MAGIC)
        digest, body = value[head + 1 : head + 17], value[head + 17 :]
        if len(value) < head + 17 or value[:head] != MAGIC or value[head] not in READABLE:
            log.warning("checkpoint %s: not of format %d or %d, passed over", path, *READABLE)
        elif hashlib.blake2b(body, digest_size=16).digest() != digest:
            log.warning("checkpoint %s: checksum differs, passed over", path)
        else:
            state: dict[str, Any] = msgspec.msgpack.decode(body, strict=False)
            return state
        return None

    def _positions(self) -> list[int]:
        return sorted(int(n) for n in self._names() if n.isdigit() and n.isascii())

    def _names(self) -> list[str]:
        self._fs.invalidate_cache()  # other owners write there too
        try:
            return [str(n).rsplit("/", 1)[-1] for n in self._fs.ls(self._folder, detail=False)]
        except FileNotFoundError:
            return []

    def _remove(self, name: str) -> None:
        try:
            self._fs.rm_file(f"{self._folder}/{name}")
        except FileNotFoundError:
            log.debug("%s of %s was dropped by another owner", name, self._folder)
