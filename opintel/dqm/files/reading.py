"""A file of any of the formats, known by how it begins, in the process that reads it for others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

import msgspec
import numpy as np

from opintel.dqm.elements import MonitorElement, Storage, axes_of, axes_text
from opintel.dqm.files.found import FileElement, Unread

AIM = 1 << 20
"""Bytes of contents that are sent at once."""
MAX_UNREAD = 10_000
"""Objects that are named as unread."""
_written = lru_cache(1024)(axes_text)
_read = lru_cache(1024)(axes_of)


class SentElement(msgspec.Struct, array_like=True):
    """A `FileElement` on its way from the process that read it."""

    path: str
    axes: str
    storage: Storage
    values: bytes
    variances: bytes | None
    entries: float | None
    title: str
    run: int | None
    lumisection: int | None

    @classmethod
    def of(cls, one: FileElement) -> SentElement:
        """To be sent."""
        element = one.element
        values, variances = (
            None if column is None else np.ascontiguousarray(column, "<f8").tobytes()
            for column in (element.values, element.variances)
        )
        assert values is not None
        axes = _written(element.axes, element.flow)
        about = (element.entries, element.title, one.run, one.lumisection)
        return cls(element.path, axes, element.storage, values, variances, *about)

    @property
    def element(self) -> FileElement:
        """As it was."""
        axes, flow = _read(self.axes)
        shape = tuple(axis.bins + 2 * flow for axis in reversed(axes))
        values, variances = (
            None if column is None else np.frombuffer(column, "<f8").reshape(shape)
            for column in (self.values, self.variances)
        )
        assert values is not None
        element = MonitorElement(self.path, axes, self.storage, values, variances, flow, self.entries, self.title)
        return FileElement(element, self.run, self.lumisection)


class SentElements(msgspec.Struct, array_like=True):
    """Some of a file."""

    elements: list[SentElement] = []
    unread: list[Unread] = []


def read(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """What a file holds, by run, lumisection and path. Raises ValueError where nothing of it can be read."""
    file.seek(0)
    begin = file.read(512)
    if not begin:
        raise ValueError("the file is empty")
    if begin.startswith(b"root"):
        from opintel.dqm.files import root

        found = root.read(file)
    elif begin.startswith(b"PAR1"):
        from opintel.dqm.files import nanodqmio

        found = nanodqmio.read(file)
    else:
        from opintel.dqm.files import uhi_containers

        if begin.startswith(b"\x89HDF\r\n"):
            found = uhi_containers.read_hdf5(file)
        elif begin.startswith(b"PK"):
            found = uhi_containers.read_zip(file)
        elif begin.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
            found = uhi_containers.read_json(file)
        else:
            raise ValueError(f"expected ROOT, UHI in JSON, ZIP or HDF5, or Parquet; it begins with {begin[:8]!r}")
    number, first = 0, None
    for one in found:
        number += isinstance(one, FileElement)
        first = first or (one if isinstance(one, Unread) else None)
        yield one
    if not number:
        why = f" can be read; {first.name[:80]}: {first.reason}" if first else ""
        raise ValueError(f"no histogram in it{why}")


def sent(file: BinaryIO, parsing: None) -> Iterator[bytes]:
    """What a file holds as `SentElements` in msgpack, in pieces of about AIM bytes."""
    piece, size = SentElements(), 0
    for one in read(file):
        if isinstance(one, Unread):
            piece.unread.append(one)
        else:
            piece.elements.append(SentElement.of(one))
            size += len(piece.elements[-1].values) + len(piece.elements[-1].variances or b"")
        if size >= AIM or len(piece.elements) + len(piece.unread) >= MAX_UNREAD:
            yield msgspec.msgpack.encode(piece)
            piece, size = SentElements(), 0
    yield msgspec.msgpack.encode(piece)
