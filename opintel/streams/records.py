"""The records of the log and their encoding: raw (rows, ticks, controls) and derived (records, forwarded
controls, closed).

Each value is one format byte and msgpack. Readers treat every value as untrusted: a value that does not decode
becomes a dead letter with its position. Findings have their own two records, in `opintel.streams.findings`.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from opintel.detector import Record, Row
from opintel.finding import Label, Time
from opintel.streams.log import REFUSED

P = TypeVar("P")

FORMAT = 1
NEVER = -(1 << 62)
"""A watermark before all times."""


class Source(msgspec.Struct, array_like=True):
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


class Rows(msgspec.Struct, Generic[P], array_like=True, tag="rows"):
    """Rows of one partition from one chunk. `wm`: the largest event time seen before the chunk, minus the
    lateness, ns.
    """

    wm: Time
    arrival: Time
    source: Source
    rows: list[Row[P]]


class Tick(msgspec.Struct, array_like=True, tag="tick"):
    """'The sources were listened to until `listened`'; at the end of a file, `wm` closes the last window."""

    wm: Time
    arrival: Time
    source: Source
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


class Derived(msgspec.Struct, Generic[P], array_like=True, tag="derived"):
    """One stage-1 record."""

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


Value = Rows[Any] | Tick | Control | Derived[Any] | Forwarded | Closed


class Codec(Generic[P]):
    """Encodes records; decodes those of one topic, with typed payloads. Raises ValueError for anything else."""

    def __init__(self, allowed: Any) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(allowed)

    def encode(self, value: Value) -> bytes:
        return bytes((FORMAT,)) + self._encoder.encode(value)

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


def raw_codec(payload: type) -> Codec[Any]:
    """The codec of a raw topic whose rows carry `payload`."""
    return Codec(Rows[payload] | Tick | Control)  # type: ignore[valid-type]


def derived_codec(payload: Any) -> Codec[Any]:
    """The codec of a derived topic whose records carry `payload`."""
    return Codec(Derived[payload | int] | Forwarded | Closed)


@lru_cache(1 << 16)
def shard_of(key: str, shards: int) -> int:
    """A key's shard: fixed for ever, the same in every process and in Spark."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % shards
