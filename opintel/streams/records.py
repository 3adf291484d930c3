"""The records of the log and their encoding: raw (rows, ticks, controls) and derived (records, forwarded
controls, closed).

Each value is one format byte and msgpack. Readers treat every value as untrusted: a value that does not decode
becomes a dead letter with its position. Findings have their own two records, in `opintel.streams.findings`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

from opintel.detector import Record
from opintel.finding import Label, Time, Window
from opintel.rows import Batch, Columns, Packed, Row
from opintel.streams.log import REFUSED

P = TypeVar("P")

FORMAT = 1
MAX_RECORD = 1 << 19
"""Bytes above which rows, or stage 1's records, are put into several records; Kafka takes 1 MB of one unasked."""
NEVER = -(1 << 62)
"""A watermark before all times."""


class SourcePosition(msgspec.Struct, array_like=True):
    """Where in its source an ingester stood after a chunk: what it needs to go on after a crash."""

    name: str
    chunk: int
    """Running number of the chunk."""
    before: Any
    """Connector's position before the chunk, plain data: a chunk that reached only some partitions is read again."""
    after: Any
    """Connector's position after it."""
    seen_before: Time
    """Largest event time before the chunk, ns."""
    seen: Time
    """Largest event time up to and with the chunk, ns."""
    count_before: int
    """Messages taken before the chunk."""
    count: int
    """Messages taken up to and with it."""


class Rows(NamedTuple):
    """Rows of one partition from one chunk. `wm`: the largest event time seen before the chunk, minus the
    lateness, ns.
    """

    wm: int
    arrival: int
    source: SourcePosition
    batch: Batch[Any]
    part: int = 0
    """Rows of a chunk that are too large for one record are in several: this is number `part`, from 0 …"""
    parts: int = 1
    """… of so many."""


class _Columns(msgspec.Struct, Generic[P], array_like=True, tag="columns"):
    """`Rows` as they are kept."""

    wm: Time
    arrival: Time
    source: SourcePosition
    part: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
    parts: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    batch: Packed[P]


class _Rows(msgspec.Struct, Generic[P], array_like=True, tag="rows"):
    """`Rows` as they were kept before they were columns."""

    wm: Time
    arrival: Time
    source: SourcePosition
    rows: list[Row[P]]


class Tick(msgspec.Struct, array_like=True, tag="tick"):
    """'The sources were listened to until `listened`'; at the end of a file, `wm` closes the last window."""

    wm: Time
    arrival: Time
    source: SourcePosition
    listened: Time


class Control(msgspec.Struct, array_like=True, tag="control"):
    """A setting, hold, feedback … in force from a window on. `seen` is the sequencer's largest event time (NEVER
    if unknown).
    """

    id: Label
    kind: Label
    subject: Label
    version: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
    effective: Time
    value: Any
    seen: Time = NEVER


class Derived(msgspec.Struct, Generic[P], array_like=True, tag="records"):
    """Stage-1 records, many in one: to carry each by itself costs more than to judge it."""

    records: list[Record[P]]


class _One(msgspec.Struct, Generic[P], array_like=True, tag="derived"):
    """A stage-1 record as it was kept before they were together."""

    record: Record[P]


class Forwarded(msgspec.Struct, array_like=True, tag="forwarded"):
    """A control as one stage-1 partition has it: in force there for windows that start at or after `start`."""

    partition: int
    of: Annotated[int, msgspec.Meta(ge=1, le=1 << 13)]
    start: Time
    control: Control


class Closed(msgspec.Struct, array_like=True, tag="closed"):
    """All windows of a stage-1 partition with end <= `through` are closed and their records acknowledged.
    Cumulative.
    """

    partition: int
    of: Annotated[int, msgspec.Meta(ge=1, le=1 << 13)]
    epoch: Label
    through: Time
    incomplete: Annotated[list[Time], msgspec.Meta(max_length=1000)] = []
    """Ends of windows that the end of the input cut short: nothing may be declared missing in them."""


_Counts = Annotated[dict[Label, Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]], msgspec.Meta(max_length=1000)]


class Tested(msgspec.Struct, array_like=True, tag="tested"):
    """How many hypotheses a stage-1 partition tested for its records of a window, by scope and finding kind."""

    window: Window
    partition: int
    of: Annotated[int, msgspec.Meta(ge=1, le=1 << 13)]
    counts: Annotated[dict[Label, _Counts], msgspec.Meta(max_length=10_000)]


_Column = memoryview | list[memoryview | list[str]]
"""A column as it is kept; bytes are not copied out of the record."""
Value = Rows | Tick | Control | Derived[Any] | Forwarded | Closed | Tested


class Codec(Generic[P]):
    """Encodes records; decodes those of one topic, with typed payloads. Raises ValueError for anything else."""

    def __init__(self, allowed: Any) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(allowed)

    def encode(self, value: Value) -> bytes:
        return bytes((FORMAT,)) + self._encoder.encode(_kept(value) if isinstance(value, Rows) else value)

    def decode(self, value: bytes) -> Any:
        if value[:1] == REFUSED:
            raise ValueError(value[1:500].decode("utf-8", "replace"))
        if not value or value[0] != FORMAT:
            raise ValueError(f"record format {value[:1].hex() or 'missing'}, this reader knows {FORMAT:02x}")
        try:
            return self._decoder.decode(memoryview(value)[1:])
        except RecursionError as error:
            raise ValueError("record nested too deeply") from error
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a record of this topic: {error}") from error


def _kept(rows: Rows) -> _Columns[Any]:
    return _Columns(rows.wm, rows.arrival, rows.source, rows.part, rows.parts, rows.batch.packed())


class RawCodec(Codec[Any]):
    """The codec of a raw topic whose batches carry `payload`: a struct, or a `Columns`."""

    def __init__(self, payload: Any) -> None:
        columnar = isinstance(payload, type) and issubclass(payload, Columns)
        kept, one = (_Column, payload.ROW) if columnar else (payload, payload)
        self._payload = payload
        super().__init__(_Columns[kept] | _Rows[one] | Tick | Control)  # type: ignore[valid-type]

    def decode(self, value: bytes) -> Rows | Tick | Control:
        found = super().decode(value)
        if isinstance(found, _Columns):
            batch = Batch.unpacked(found.batch, self._payload)
            return Rows(found.wm, found.arrival, found.source, batch, found.part, found.parts)
        if isinstance(found, _Rows):
            return Rows(found.wm, found.arrival, found.source, self._batch(found.rows))
        record: Tick | Control = found
        return record

    def _batch(self, rows: list[Row[Any]]) -> Batch[Any]:
        try:
            batch = Batch.of(rows, self._payload)
        except OverflowError as error:
            raise ValueError(f"not a record of this topic: {error}") from error
        return Batch.unpacked(batch.packed(), self._payload)  # held to what columns must be


def raw_codec(payload: Any) -> RawCodec:
    """The codec of a raw topic whose batches carry `payload`."""
    return RawCodec(payload)


class Stamp(NamedTuple):
    """What every raw record but a control says besides its rows."""

    wm: int
    arrival: int
    source: SourcePosition
    part: int = 0
    parts: int = 1
    listened: int | None = None
    """Of a tick."""


def stamp_of(value: bytes) -> Stamp | None:
    """The stamp of any stream's raw record, its rows not looked at; None of a control. ValueError of anything else."""
    found = _stamped.decode(value)
    if isinstance(found, _Columns):
        return Stamp(found.wm, found.arrival, found.source, found.part, found.parts)
    if isinstance(found, Control):
        return None
    return Stamp(found.wm, found.arrival, found.source, listened=found.listened if isinstance(found, Tick) else None)


_stamped: Codec[Any] = Codec(_Columns[Any] | _Rows[Any] | Tick | Control)


class DerivedCodec(Codec[Any]):
    """The codec of a derived topic whose records carry `payload`."""

    def __init__(self, payload: Any) -> None:
        super().__init__(Derived[payload | int] | _One[payload | int] | Forwarded | Closed | Tested)

    def decode(self, value: bytes) -> Derived[Any] | Forwarded | Closed | Tested:
        found = super().decode(value)
        if isinstance(found, _One):
            return Derived([found.record])
        record: Derived[Any] | Forwarded | Closed | Tested = found
        return record

    def together(self, records: Sequence[Record[Any]]) -> list[bytes]:
        """The encoded records, in order, in values of about MAX_RECORD at most; one alone may be larger."""
        if not records:
            return []
        whole = self.encode(Derived(list(records)))
        if len(whole) <= MAX_RECORD or len(records) == 1:
            return [whole]
        half = len(records) // 2
        return [*self.together(records[:half]), *self.together(records[half:])]


def derived_codec(payload: Any) -> DerivedCodec:
    """The codec of a derived topic whose records carry `payload`."""
    return DerivedCodec(payload)


def shard_of(key: str, shards: int) -> int:
    """A key's shard: fixed for ever, the same in every process and in Spark."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % shards
