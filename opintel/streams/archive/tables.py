"""The content of an archive's file: three columns (position, when it was appended in ns UTC, value), and in the
schema's metadata what the file is of.

The same records give the same bytes, whoever writes them: groups of rows are cut by the weight of the values.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from opintel.streams.archive.layout import ArchivedFile
from opintel.streams.log import Stored

FORMAT = 1
READABLE = (FORMAT,)
GROUP_BYTES = 8 << 20
"""Bytes of values in a group of rows; the record that crosses them is the last. A reader holds one group."""
COMPRESSION_LEVEL = 3
KEY = b"opintel.archive"
"""Of the schema's metadata."""


class FileHead(msgspec.Struct, frozen=True):
    """What a file says of itself."""

    format: int
    topic: str
    epoch: str
    partition: int
    partitions: int
    """Of the topic."""
    first: int
    following: int


def encode(file: ArchivedFile, partitions: int, records: Iterable[Stored]) -> bytes:
    """The file of these records, which are in order. `partitions`: of the topic."""
    said = FileHead(FORMAT, file.topic, file.epoch, file.partition, partitions, file.first, file.following)
    fields = [pa.field("position", pa.int64(), False), pa.field("at", pa.int64(), False)]
    schema = pa.schema([*fields, pa.field("value", pa.binary(), False)], {KEY: msgspec.json.encode(said)})
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=False,
        write_statistics=["position", "at"],
    ) as writer:
        for group in _groups(records):
            position, value, at = zip(*group, strict=True)
            writer.write_table(pa.table({"position": position, "at": at, "value": value}, schema))
    return sink.getvalue()


def _groups(records: Iterable[Stored]) -> Iterator[list[Stored]]:
    group: list[Stored] = []
    size = 0
    for record in records:
        group.append(record)
        size += len(record[1])
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def decode(source: Any, file: ArchivedFile) -> tuple[FileHead, Iterator[list[Stored]]]:
    """What an open file says of itself, and its records, a group at a time. Raises ValueError where it is not the file
    that its name says.
    """
    try:
        table = pq.ParquetFile(source)
        said = msgspec.json.decode((table.schema_arrow.metadata or {})[KEY], type=FileHead)
    except (pa.ArrowException, KeyError, msgspec.MsgspecError) as error:
        raise ValueError(f"{file.name}: no file of an archive ({type(error).__name__}: {error})") from error
    if said.format not in READABLE:
        raise ValueError(f"{file.name}: written by a newer version (format {said.format}, this one reads {FORMAT})")
    if (said.topic, said.epoch, said.partition, said.first, said.following) != file[:5]:
        raise ValueError(f"{file.name}: it is of {said.topic}-{said.partition} [{said.first}, {said.following})")
    return said, _records(table, file)


def _records(table: pq.ParquetFile, file: ArchivedFile) -> Iterator[list[Stored]]:
    last = file.first - 1
    for n in range(table.num_row_groups):
        try:
            # no threads: Arrow's may outlive the interpreter, which then aborts
            group = table.read_row_group(n, columns=["position", "at", "value"], use_threads=False)
            columns = [group[name].to_pylist() for name in ("position", "value", "at")]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ValueError(f"{file.name}: damaged ({type(error).__name__}: {error})") from error
        for position in columns[0]:
            if not last < position < file.following:
                raise ValueError(f"{file.name}: expected a position of {last + 1} to {file.following}, got {position}")
            last = position
        yield list(zip(*columns, strict=True))
