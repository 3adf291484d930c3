"""Parquet and Arrow files as messages: slices of their row groups and record batches, each an Arrow IPC stream.

A page of Parquet and a compressed buffer inflate to whatever they like, so another process reads the file, with a limit
to its memory and CPU time, and writes the messages to a pipe one by one: this process holds one of them at a time, and
no file can end it. `opintel.streams.connectors.framing` asks for them; `parquet` and `arrow`, run as programs, are that
other process.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

SLICE = 10_000
"""Rows of a message at most: a smaller row group or batch is one, a larger one several."""
MAX_SLICE = 16 << 20
"""Bytes of a message; a larger one is halved until its parts are below that, or one row …"""
AIM = 4 << 20
"""… so messages are cut where a file's own figures promise so many bytes."""
MAX_MEMORY = 1 << 30
"""Bytes that reading may take."""
MAX_SECONDS = 300
"""Of CPU time, for what is read at once."""
OURS = b"opintel."
"""How the keys of a schema's metadata begin that go with each message; others (pandas') do not, …"""
MAX_METADATA = 1 << 17
"""… nor do more than so many bytes."""
_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment of the reader: threads and pools reserve memory that counts, on large machines more than the limit."""
_HEAD = struct.Struct("<QQ?")
"""Offset after a message, its length, whether it says what is damaged."""


def slices(form: str, file: BinaryIO, offset: int, end: int) -> Iterator[tuple[bytes, int, bool]]:
    """(body, offset after it, whether it says what is damaged instead) of each message between two offsets.

    `form`: parquet or arrow. After a damaged row group or batch comes the next one; where the reader itself came to its
    end, the rest of the file is one damage. OSError if there is no reader.
    """
    numbers = (os.fstat(file.fileno()).st_size, offset, end, MAX_MEMORY, MAX_SECONDS)
    reader = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.{form}", *map(str, numbers)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_FRUGAL},
    )
    assert reader.stdout is not None
    try:
        while len(head := reader.stdout.read(_HEAD.size)) == _HEAD.size:
            after, length, damaged = _HEAD.unpack(head)
            body = reader.stdout.read(length)
            if len(body) < length:
                break
            yield body, after, damaged
        code = reader.wait()
        if code > 0:
            raise OSError(f"{form} files cannot be read: the process for it ended with {code}")
        if code < 0:
            limits = f"expected at most {MAX_MEMORY >> 20} MiB and {MAX_SECONDS} s of CPU time"
            yield f"reading it ended with signal {-code}, the rest was not read: {limits}".encode(), end, True
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


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


class MessageOutput:
    """Where the reader writes what lies between two offsets: messages, and what is damaged."""

    def __init__(self, offset: int, end: int) -> None:
        self.offset, self.end = offset, end

    def take(self, span: RowSpan, row: int, table: Any) -> None:
        """The messages of a table that begins with this row of a span."""
        if span.after(row + table.num_rows) <= self.offset or span.after(row) >= self.end:
            return
        body = _stream(table)
        if body is not None:
            self._write(body, span.after(row + table.num_rows), False)
        elif table.num_rows <= span.unit:
            reason = f"{span.name}, row {row + 1}: expected at most {MAX_SLICE} bytes a message, got {table.nbytes}"
            self.refuse(reason, span.after(row + table.num_rows))
        else:
            half = max(1, table.num_rows // 2 // span.unit) * span.unit
            self.take(span, row, table.slice(0, half))
            self.take(span, row + half, table.slice(half))

    def refuse(self, reason: str, after: int) -> None:
        """Says why nothing is read up to an offset."""
        if after > self.offset:
            self._write(reason.encode(), after, True)

    def _write(self, body: bytes, after: int, damaged: bool) -> None:
        sys.stdout.buffer.write(_HEAD.pack(after, len(body), damaged))
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()


def serve(read: Callable[[BinaryIO, int, MessageOutput], None], form: str) -> None:
    """The reader's process: `read` takes the file that is standard input, its size and where its messages go."""
    import resource

    size, offset, end, memory, seconds = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sink = MessageOutput(offset, end)
    with open(0, "rb", closefd=False) as file:
        try:
            read(file, size, sink)
        except Exception as problem:  # whatever a file makes its reader raise
            sink.refuse(f"no {form} file that can be read: {said(problem)}", end)


def said(problem: BaseException) -> str:
    """An exception in one line."""
    return " ".join(str(problem).split())[:300] or type(problem).__name__


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
