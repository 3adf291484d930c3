"""Arrow IPC messages from elsewhere, looked over before Arrow reads them: what a domain's wire needs to take them.

Arrow inflates compressed buffers unasked and unbounded, joins the pieces of a dictionary again with every piece, and
validates a dictionary again with every batch. So the first two are refused and the last is bounded. The columns'
types and values are the wire's business.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds
from numpy.typing import NDArray

from opintel.tables import ColumnsRead

MAX_BATCHES = 1000
"""Record batches of a message."""
MAX_WORK = 1 << 30
"""Bytes of dictionaries that are validated, summed over a message's batches."""
FAULTS = (ValueError, OSError, LookupError, TypeError, pa.ArrowException, struct.error)
"""What reading a broken message raises."""
START = b"\xff\xff\xff\xff"
"""How an IPC stream begins; no JSON does."""
FILE = b"ARROW1\x00\x00"
"""What stands before the stream in an IPC file; its footer comes after the stream and is not read."""
SCHEMA, DICTIONARY, RECORD_BATCH = 1, 2, 3
"""In Arrow's Message.fbs: the header's types."""
_BODY_LENGTH = 3
"""There: the place of `bodyLength` in a Message, …"""
_LENGTH, _ID, _DATA, _IS_DELTA, _COMPRESSION = 0, 0, 1, 2, 3
"""… of `length` and `compression` in a RecordBatch, of `id`, `data` and `isDelta` in a DictionaryBatch."""


class ArrowMessage(NamedTuple):
    """A message that was looked over; its columns are not validated yet."""

    schema: pa.Schema
    stream: Any

    def batches(self, used: Sequence[int], most: int) -> tuple[list[pa.RecordBatch], ColumnsRead]:
        """The record batches with rows, of the columns at the places `used`, validated; one ends where `most` rows are
        reached. All are read before the first is given out: a message is taken as a whole or not at all. Raises what
        is in FAULTS.
        """
        found = []
        rows = 0
        for batch in pa.ipc.open_stream(self.stream, options=pa.ipc.IpcReadOptions(included_fields=list(used))):
            batch.validate(full=True)
            room = most - rows
            found += [batch.slice(0, room), batch.slice(room)] if 0 < room < batch.num_rows else [batch]
            rows += batch.num_rows
        read = frozenset(self.schema.names[n] for n in used)
        columns = ColumnsRead(read, frozenset(self.schema.names) - read)
        return [batch for batch in found if batch.num_rows], columns


def opened(body: bytes, most_bytes: int) -> ArrowMessage:
    """A message of at most so many bytes, whose dictionaries are bounded. Raises what is in FAULTS."""
    if len(body) > most_bytes:
        raise ValueError(f"expected at most {most_bytes} bytes, got {len(body)}")
    stream = checked(body, dictionaries=True)
    return ArrowMessage(pa.ipc.open_stream(stream).schema, stream)


def is_arrow(body: bytes) -> bool:
    """Whether a message is an Arrow stream or file."""
    return body.startswith((START, FILE))


def checked(body: bytes, *, dictionaries: bool = False) -> pa.Buffer:
    """The stream in a message, fit for `pa.ipc.open_stream`: its buffers are plain, its batches bounded.

    Not yet validated: `validate(full=True)` each batch. Raises one of FAULTS; ValueError says what was expected.
    """
    buffer = pa.py_buffer(body)
    stream = buffer.slice(len(FILE)) if body.startswith(FILE) else buffer
    messages = pa.ipc.MessageReader.open_stream(stream)
    batches = held = work = 0
    while (message := _next(messages)) is not None:
        metadata = memoryview(message.metadata)
        if message.type == "dictionary":
            if not dictionaries:
                raise ValueError("expected plain columns, got dictionary-encoded ones")
            header = _header(metadata, DICTIONARY)
            if (delta := _field(metadata, header, _IS_DELTA)) is not None and metadata[delta]:
                raise ValueError("expected whole dictionaries, got one in pieces")
            data = _field(metadata, header, _DATA)
            if data is None:
                raise ValueError("expected a dictionary with its values, got one without")
            _require_plain(metadata, _target(metadata, data))
            held += message.body.size
        elif message.type == "record batch":
            _require_plain(metadata, _header(metadata, RECORD_BATCH))
            batches, work = batches + 1, work + held
            if batches > MAX_BATCHES or work > MAX_WORK:
                raise ValueError(f"expected at most {MAX_BATCHES} batches, and few beside large dictionaries, got more")
    return stream


def distinct(column: Any) -> tuple[Callable[[int], Any], NDArray[np.int64]]:
    """(code → plain value, (rows,) codes) of a plain column: equal values have one code, nulls another."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary
    code = np.asarray(encoded.indices.cast(pa.int64()).fill_null(len(values)), dtype=np.int64)
    return lambda c: values[c].as_py() if c < len(values) else None, code


def is_text(kind: Any) -> bool:
    """Whether a column is of texts, or of nulls as one without any text comes."""
    plain = kind.value_type if kinds.is_dictionary(kind) else kind
    return bool(kinds.is_string(plain) or kinds.is_large_string(plain) or kinds.is_null(plain))


def texts(column: Any, longest: int) -> tuple[list[str | None], NDArray[np.int64]]:
    """(values, (rows,) codes) of a column of texts, dictionary-coded or not; None is the last value.

    A longer text than `longest` characters is cut just behind it: too long still, and as cheap as one that fits.
    """
    if kinds.is_null(column.type):
        return [None], np.zeros(len(column), dtype=np.int64)
    encoded = column if kinds.is_dictionary(column.type) else column.dictionary_encode()
    values = pc.utf8_slice_codeunits(encoded.dictionary, 0, longest + 1).to_pylist()
    return [*values, None], np.asarray(encoded.indices.cast(pa.int64()).fill_null(len(values)), dtype=np.int64)


class Described(NamedTuple):
    """What the metadata of a message says."""

    kind: int
    """SCHEMA, DICTIONARY, RECORD_BATCH or another."""
    body: int
    """Bytes that follow the metadata."""
    rows: int = 0
    """Of a record batch."""
    dictionary: int = 0
    delta: bool = False
    """Of a dictionary: which one it is, and whether it is a further piece of it."""


def described(metadata: memoryview) -> Described:
    """Raises one of FAULTS."""
    table = _target(metadata, 0)
    at = _field(metadata, table, 1)
    kind, body = 0 if at is None else metadata[at], _long(metadata, table, _BODY_LENGTH)
    if body < 0:
        raise ValueError(f"expected a length, got {body}")
    if kind == RECORD_BATCH:
        return Described(kind, body, rows=_long(metadata, _header(metadata, kind), _LENGTH))
    if kind == DICTIONARY:
        header = _header(metadata, kind)
        delta = _field(metadata, header, _IS_DELTA)
        return Described(kind, body, 0, _long(metadata, header, _ID), delta is not None and metadata[delta] != 0)
    return Described(kind, body)


def _long(metadata: memoryview, table: int, n: int) -> int:
    at = _field(metadata, table, n)
    return 0 if at is None else int(struct.unpack_from("<q", metadata, at)[0])


def _next(messages: Any) -> Any:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _require_plain(metadata: memoryview, batch: int) -> None:
    """Raises ValueError if a record batch's buffers are compressed, as its flatbuffer says."""
    if _field(metadata, batch, _COMPRESSION) is not None:
        raise ValueError("expected plain buffers (the transport compresses), got compressed ones")


def _header(metadata: memoryview, kind: int) -> int:
    """Where the header of a message lies, which is of this kind."""
    table = _target(metadata, 0)
    header_type, header = _field(metadata, table, 1), _field(metadata, table, 2)
    if header is None or header_type is None or metadata[header_type] != kind:
        raise ValueError("expected a message with its header, got one without")
    return _target(metadata, header)


def _target(metadata: memoryview, place: int) -> int:
    """Where the offset that stands at a place leads to."""
    return int(place + struct.unpack_from("<I", metadata, place)[0])


def _field(metadata: memoryview, table: int, n: int) -> int | None:
    """Where field n of a flatbuffer's table lies; None where it is left out."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if vtable < 0 or 4 + 2 * n >= struct.unpack_from("<H", metadata, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", metadata, vtable + 4 + 2 * n)[0]
    return table + offset if offset else None
