"""Checkpoints: immutable objects `<structure>/<topic>-<partition>/<position>` with a checksum, on any fsspec
URL.

Because state is a function of the log's prefix, whoever writes a checkpoint of a position writes the same
bytes: no fencing is needed. A torn or foreign object is skipped with a warning, and the one before it serves.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any
from urllib.parse import urlsplit

import msgspec

FORMAT = 1
KEPT = 3
MAGIC = b"opintel-checkpoint"
log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one worker: a structure hash, a topic and a partition below `url` (a folder or fsspec URL)."""

    def __init__(self, url: str, structure: str, topic: str, partition: int) -> None:
        import fsspec

        self._fs, root = fsspec.core.url_to_fs(url)
        self._folder = f"{root.rstrip('/')}/{structure}/{topic}-{partition}"
        self._local = urlsplit(url).scheme in ("", "file")

    def put(self, position: int, state: dict[str, Any]) -> None:
        """Writes the checkpoint of `position` and drops all but the newest three. Raises OSError where it cannot."""
        body = msgspec.msgpack.encode(state, order="deterministic")
        value = MAGIC + bytes((FORMAT,)) + hashlib.blake2b(body, digest_size=16).digest() + body
        path = f"{self._folder}/{position:016d}"
        self._fs.makedirs(self._folder, exist_ok=True)
        if self._local:  # other file systems make an object visible whole; here a rename does
            self._fs.pipe_file(f"{path}.part", value)
            self._fs.mv(f"{path}.part", path)
        else:
            self._fs.pipe_file(path, value)
        for old in self._positions()[:-KEPT]:
            self._remove(old)

    def newest(self, end: int) -> tuple[int, dict[str, Any]] | None:
        """(position, state) of the newest sound checkpoint not beyond `end`, if any."""
        for position in reversed(self._positions()):
            state = self._read(position) if position <= end else None
            if state is not None:
                return position, state
        return None

    def _read(self, position: int) -> dict[str, Any] | None:
        path = f"{self._folder}/{position:016d}"
        try:
            value = self._fs.cat_file(path)
        except (FileNotFoundError, IsADirectoryError):  # another owner has just dropped it; or it is none
            return None
        head = len(MAGIC)
        digest, body = value[head + 1 : head + 17], value[head + 17 :]
        if value[:head] != MAGIC or value[head : head + 1] != bytes((FORMAT,)):
            log.warning("checkpoint %s: not of format %d, passed over", path, FORMAT)
        elif hashlib.blake2b(body, digest_size=16).digest() != digest:
            log.warning("checkpoint %s: checksum differs, passed over", path)
        else:
            state: dict[str, Any] = msgspec.msgpack.decode(body, strict=False)
            return state
        return None

    def _positions(self) -> list[int]:
        try:
            names = [str(n).rsplit("/", 1)[-1] for n in self._fs.ls(self._folder, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(int(n) for n in names if n.isdigit() and n.isascii())

    def _remove(self, position: int) -> None:
        try:
            self._fs.rm_file(f"{self._folder}/{position:016d}")
        except FileNotFoundError:
            log.debug("checkpoint %d of %s was dropped by another owner", position, self._folder)
