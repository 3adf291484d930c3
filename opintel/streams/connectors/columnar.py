"""Parquet and Arrow files as messages: slices of their row groups and record batches, each an Arrow IPC stream.

A page of Parquet and a compressed buffer inflate to whatever they like, so another process reads the file (`child`).
`opintel.streams.connectors.framing` asks for them; `parquet` and `arrow`, run as programs, are that other process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from opintel.streams.connectors.child import ChildOutput, pieces

SLICE = 10_000
"""Rows of a message at most: a smaller row group or batch is one, a larger one several."""
MAX_SLICE = 16 << 20
"""Bytes of a message; a larger one is halved until its parts are below that, or one row …"""
AIM = 4 << 20
"""… so messages are cut where a file's own figures promise so many bytes."""
OURS = b"opintel."
"""How the keys of a schema's metadata begin that go with each message; others (pandas') do not, …"""
MAX_METADATA = 1 << 17
"""… nor do more than so many bytes."""


def slices(form: str, file: BinaryIO, offset: int, end: int) -> Iterator[tuple[bytes, int, bool]]:
    """(body, offset after it, whether it says what is damaged instead) of each message between two offsets.

    `form`: parquet or arrow. After a damaged row group or batch comes the next one; where the reader itself came to its
    end, the rest of the file is one damage. OSError if there is no reader.
    """
    return pieces(f"{__package__}.{form}", form, file, offset, end)


class RowSpan(NamedTuple):
    """The rows of a row group or record batch, and the bytes of the file that stand for them, so that an offset tells
    how many were read: `unit` rows are one of `total` equal parts of `size` bytes from `base` on, the first is part
    `first`. No more parts than bytes.
    """

    name: str
    rows: int
    unit: int
    first: int
    total: int
    size: int
    base: int = 0

    def after(self, row: int) -> int:
        """The offset after so many of its rows."""
        return self.base + self.size * (self.first + -(-row // self.unit)) // self.total

    def begins(self, offset: int) -> bool:
        """Whether a part of any span of these parts begins at an offset."""
        part = -(-(offset - self.base) * self.total // self.size)
        return self.base + self.size * part // self.total == offset

    def step(self, weight: int) -> int:
        """Rows of a message, where the file says that all rows have `weight` bytes."""
        rows = min(SLICE, AIM * self.rows // max(weight, 1))
        return max(1, rows // self.unit) * self.unit


class MessageOutput(ChildOutput):
    """Where the reader writes what lies between two offsets: messages, and what is damaged."""

    def take(self, span: RowSpan, row: int, table: Any) -> None:
        """The messages of a table that begins with this row of a span."""
        if span.after(row + table.num_rows) <= self.offset or span.after(row) >= self.end:
            return
        body = _stream(table)
        if body is not None:
            self.write(body, span.after(row + table.num_rows), False)
        elif table.num_rows <= span.unit:
            reason = f"{span.name}, row {row + 1}: expected at most {MAX_SLICE} bytes a message, got {table.nbytes}"
            self.refuse(reason, span.after(row + table.num_rows))
        else:
            half = max(1, table.num_rows // 2 // span.unit) * span.unit
            self.take(span, row, table.slice(0, half))
            self.take(span, row + half, table.slice(half))


def _stream(table: Any) -> bytes | None:
    """None where it is too large."""
    import pyarrow as pa

    if table.nbytes > MAX_SLICE:
        return None
    sink = pa.BufferOutputStream()
    ours = {key: text for key, text in (table.schema.metadata or {}).items() if key.startswith(OURS)}
    table = table.replace_schema_metadata(ours if sum(map(len, ours.values())) <= MAX_METADATA else None)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue()
    return None if len(body) > MAX_SLICE else bytes(body)
