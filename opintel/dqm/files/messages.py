"""Whole files as messages of the stream: the parser that `Pipeline.files` names for `.root`, `.h5`, `.zip` and others.

These formats know runs and lumisections and no times. Run R begins at 2000-01-01T00:00:00Z + R × 600 s, its lumisection
n (n − 1) lengths later; a file that names no lumisection is one, the first of its run (run 0 where it names none). What
is in the wire's own form already, JSON or Parquet, goes on as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, BinaryIO

from opintel.dqm.files.found import FileElement, Unread
from opintel.dqm.files.nanodqmio import is_nanodqmio
from opintel.dqm.files.reading import read
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import EARLIEST, MAX_NAME, Head, wrong_name
from opintel.finding import NS

RUN = 600 * NS
"""Between the beginnings of two runs, ns."""
MAX_DOCUMENT = 8 << 20
"""Bytes of a document in JSON that may be a message."""
ROWS, AIM = 10_000, 4 << 20
"""Rows, and bytes about, of a message that is a slice of Parquet."""


def messages(file: BinaryIO, parsing: dict[str, float]) -> Iterator[bytes | str]:
    """A file's messages by time, run and subsystem, with what is not read; `parsing["lumisection"]` is a length in s.
    Raises ValueError where nothing can be read.
    """
    if (own := _own(file)) is not None:
        yield from own
        return
    length = round(parsing["lumisection"] * NS)
    found: list[tuple[int, int, bytes]] = []
    elements: list[FileElement] = []
    for one in read(file):
        if isinstance(one, Unread):
            yield f"{one.name}: {one.reason}"
        elif wrong := wrong_name(subsystem_of(one.element.path), MAX_NAME, "|"):
            yield f"{one.element.path!r:.300}: subsystem: {wrong}"
        else:
            if elements and _place(elements[0]) != _place(one):
                found += _encoded(elements, length)
                elements = []
            elements.append(one)
    found += _encoded(elements, length)
    found.sort(key=lambda message: message[:2])
    yield from (body for _, _, body in found)


def subsystem_of(path: str) -> str:
    """The subsystem of a path: its first folder, or what stands before the first `_` where it has none.

    >>> subsystem_of("Pixel/Digi/good"), subsystem_of("PixelPhase1_Tracks_phi")
    ('Pixel', 'PixelPhase1')
    """
    return path.split("/", 1)[0] if "/" in path else path.split("_", 1)[0] or path


def _place(one: FileElement) -> tuple[int, int]:
    return one.run or 0, 1 if one.lumisection is None else one.lumisection


def _encoded(elements: list[FileElement], length: int) -> Iterator[tuple[int, int, bytes]]:
    """(start, run, message) of the elements of one lumisection."""
    if not elements:
        return
    run, lumisection = _place(elements[0])
    start = EARLIEST + run * RUN + (lumisection - 1) * length
    listed = sorted((one.element for one in elements), key=lambda element: (subsystem_of(element.path), element.path))
    for subsystem, group in groupby(listed, lambda element: subsystem_of(element.path)):
        head = Head(run, lumisection, start, start + length, subsystem)
        yield from ((start, run, body) for body in parts_of(head, group))


def _own(file: BinaryIO) -> Iterator[bytes] | None:
    """The messages of a file in the wire's own form; None for another."""
    file.seek(0)
    begin = file.read(4)
    if begin == b"PAR1":
        from pyarrow.parquet import ParquetFile

        parquet = ParquetFile(file, memory_map=False, pre_buffer=False)
        return None if is_nanodqmio(parquet.schema_arrow.names) else _slices(parquet)
    if not begin.lstrip().startswith(b"{"):
        return None
    body = begin + file.read(MAX_DOCUMENT)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return iter([body]) if "subsystem" in document else None


def _slices(parquet: Any) -> Iterator[bytes]:
    import pyarrow as pa

    footer = parquet.metadata
    size = sum(footer.row_group(n).total_byte_size for n in range(footer.num_row_groups))
    rows = max(1, min(ROWS, AIM * footer.num_rows // max(size, 1)))
    for batch in parquet.iter_batches(rows, use_threads=False):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield sink.getvalue().to_pybytes()
