"""Parquet files as messages: slices of their row groups, each an Arrow IPC stream.

A page of Parquet inflates to whatever it likes, so another process reads the file, with a limit to its memory and CPU
time, and writes the messages to a pipe one by one: this process holds one of them at a time, and no file can end it.
`opintel.streams.connectors.framing` asks for them; run as a program, this module is that other process.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

SLICE = 10_000
"""Rows of a message at most: a smaller row group is one, a larger one several."""
MAX_SLICE = 16 << 20
"""Bytes of a message."""
MAX_MEMORY = 1 << 30
"""Bytes that reading may take."""
MAX_SECONDS = 300
"""Of CPU time, for what is read at once."""
_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment of the reader: threads and pools reserve memory that counts, on large machines more than the limit."""
_MAGIC = b"PAR1"
_HEAD = struct.Struct("<QQ?")
"""Offset after a message, its length, whether it says what is damaged."""


def is_unfinished(file: BinaryIO) -> bool:
    """Whether a file begins as Parquet does and has not got its end yet: it is being written."""
    file.seek(0)
    begin = file.read(len(_MAGIC))
    size = file.seek(0, os.SEEK_END)
    file.seek(max(len(_MAGIC), size - len(_MAGIC)))
    return _MAGIC.startswith(begin) and file.read() != _MAGIC


def slices(file: BinaryIO, offset: int, end: int) -> Iterator[tuple[bytes, int, bool]]:
    """(body, offset after it, whether it says what is damaged instead) of each message between two offsets.

    Message k of n ends at the k-th n-th of the file's bytes. After a damaged row group comes the next one; where the
    reader itself came to its end, the rest of the file is one damage. OSError if there is no reader.
    """
    numbers = (os.fstat(file.fileno()).st_size, offset, end, MAX_MEMORY, MAX_SECONDS)
    reader = subprocess.Popen(
        [sys.executable, "-m", __name__, *map(str, numbers)],
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
            raise OSError(f"Parquet files cannot be read: the process for it ended with {code}")
        if code < 0:
            limits = f"at most {MAX_MEMORY >> 20} MiB and {MAX_SECONDS} s of CPU time are right"
            yield f"reading it ended with signal {-code}, the rest was not read: {limits}".encode(), end, True
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def _serve(size: int, offset: int, end: int) -> None:
    """Writes the messages of the Parquet file that is standard input; of what it raises, whatever that is, it tells."""
    from pyarrow.parquet import ParquetFile

    def write(body: bytes, after: int, damaged: bool = False) -> None:
        sys.stdout.buffer.write(_HEAD.pack(after, len(body), damaged))
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()

    try:
        with open(0, "rb", closefd=False) as file:
            parquet = ParquetFile(file, memory_map=False, pre_buffer=False)
            rows = [parquet.metadata.row_group(n).num_rows for n in range(parquet.metadata.num_row_groups)]
            counts = [-(-n // SLICE) for n in rows]
            total = sum(counts)
            if min(counts, default=0) < 0 or not 0 < total <= size:
                raise ValueError(f"{sum(rows)} rows in {size} bytes; 1 row to {SLICE} a byte are right")
            first, last = (_message_at(place, total, size) for place in (offset, end))
            begin = 0
            for group, count in enumerate(counts):
                skipped, begin = max(0, first - begin), begin + count
                if skipped >= count or begin - count >= last:
                    continue
                ends = [size * (begin - count + n + 1) // total for n in range(count)]
                try:
                    for n, table in enumerate(_tables(parquet, group, rows[group])):
                        if skipped <= n < last - begin + count:
                            write(_stream(table), ends[n])
                except Exception as problem:
                    write(f"row group {group + 1} was not read on: {_said(problem)}".encode(), ends[-1], True)
    except Exception as problem:
        write(f"no Parquet file that can be read: {_said(problem)}".encode(), end, True)


def _message_at(place: int, total: int, size: int) -> int:
    """The number of the message that begins at an offset; 0 where none does, as in a file that was replaced."""
    number = -(-place * total // size)
    return number if size * number // total == place else 0


def _tables(parquet: Any, group: int, rows: int) -> Iterator[Any]:
    """A row group in tables of SLICE rows, the last one smaller; ValueError if it has other than `rows` of them."""
    import pyarrow as pa

    held: list[Any] = []
    room, left = SLICE, rows
    for batch in parquet.iter_batches(SLICE, [group], use_threads=False):
        while batch.num_rows and left:
            held.append(batch.slice(0, room))
            batch, taken = batch.slice(room), held[-1].num_rows
            room, left = room - taken, left - taken
            if not (room and left):
                yield pa.Table.from_batches(held)
                held, room = [], SLICE
        if batch.num_rows:
            raise ValueError(f"more than the {rows} rows that its footer tells of")
    if left:
        raise ValueError(f"{rows - left} rows; its footer tells of {rows}")


def _stream(table: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None))
    body = sink.getvalue()
    if len(body) > MAX_SLICE:
        raise ValueError(f"{table.num_rows} rows of {len(body)} bytes; at most {MAX_SLICE} are right")
    return bytes(body)


def _said(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:300] or type(problem).__name__


if __name__ == "__main__":
    import resource

    _size, _offset, _end, _memory, _seconds = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_DATA, (_memory, _memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_seconds, _seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve(_size, _offset, _end)
