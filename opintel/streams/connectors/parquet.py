"""Parquet files, row group by row group; as a program, the process that `columnar` starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from opintel.streams.connectors.child import said, serve
from opintel.streams.connectors.columnar import SLICE, MessageOutput, RowSpan

_MAGIC = b"PAR1"


def is_unfinished(file: BinaryIO) -> bool:
    """Whether a file begins as Parquet does and has not got its end yet: it is being written."""
    file.seek(0)
    begin = file.read(len(_MAGIC))
    size = file.seek(0, os.SEEK_END)
    file.seek(max(len(_MAGIC), size - len(_MAGIC)))
    return _MAGIC.startswith(begin) and file.read() != _MAGIC


def read(file: BinaryIO, size: int, sink: MessageOutput) -> None:
    """Row groups share the file's bytes by their rows, so that where a message ends is known from the footer alone."""
    from pyarrow.parquet import ParquetFile

    parquet = ParquetFile(file, memory_map=False, pre_buffer=False)
    groups = [parquet.metadata.row_group(n) for n in range(parquet.metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    unit = max(1, -(-sum(rows) // size))
    while unit < SLICE and sum(-(-count // unit) for count in rows) > size:
        unit = min(2 * unit, SLICE)
    total = sum(-(-count // unit) for count in rows)
    if min(rows, default=0) < 0 or unit > SLICE or not 0 < total <= size:
        raise ValueError(f"{sum(rows)} rows in {size} bytes; expected 1 row to {SLICE} a byte")
    if not RowSpan("", 0, unit, 0, total, size).begins(sink.offset):
        sink.offset = 0  # it is in place of another file
    done = 0
    for n, (group, count) in enumerate(zip(groups, rows, strict=True), 1):
        span = RowSpan(f"row group {n}", count, unit, done, total, size)
        done += -(-count // unit)
        if not count or span.after(count) <= sink.offset or span.after(0) >= sink.end:
            continue
        row = 0
        try:
            for table in _tables(parquet, n - 1, count, span.step(group.total_byte_size)):
                sink.take(span, row, table)
                row += table.num_rows
        except Exception as problem:  # whatever a damaged page makes it raise
            sink.refuse(f"{span.name} was not read on from its row {row + 1}: {said(problem)}", span.after(count))


def _tables(parquet: Any, group: int, rows: int, step: int) -> Iterator[Any]:
    """A row group in tables of `step` rows, the last one smaller; ValueError if it has other than `rows` of them."""
    import pyarrow as pa

    held: list[Any] = []
    room, left = step, rows
    for batch in parquet.iter_batches(step, [group], use_threads=False):
        while batch.num_rows and left:
            held.append(batch.slice(0, room))
            batch, taken = batch.slice(room), held[-1].num_rows
            room, left = room - taken, left - taken
            if not (room and left):
                yield pa.Table.from_batches(held)
                held, room = [], step
        if batch.num_rows:
            raise ValueError(f"expected the {rows} rows of its footer, got more")
    if left:
        raise ValueError(f"expected the {rows} rows of its footer, got {rows - left}")


if __name__ == "__main__":
    serve(read, "Parquet file", MessageOutput)
