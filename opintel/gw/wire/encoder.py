"""A second of an interferometer's channels as a message: what simulators and gateways send (docs/wire-formats.md)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opintel.finding import NS
from opintel.gw.wire.channels import KEY


class TableEntry(NamedTuple):
    """A channel of the table; `id` is that of its rows."""

    id: int
    name: str
    rate: int
    """Samples a second."""
    unit: str
    dtype: str = "float32"
    """Of the numbers before they became float32."""
    bits: tuple[str, ...] = ()
    """Of a state vector: what its bits mean, the lowest first."""

    def plain(self) -> dict[str, Any]:
        """As it stands in the metadata."""
        found = self._asdict()
        return found if self.bits else {name: value for name, value in found.items() if name != "bits"}


def message_of(table: tuple[TableEntry, ...], gps: int, rows: Sequence[tuple[int, NDArray[np.float32]]]) -> bytes:
    """The message of the second that begins at GPS `gps` s, of (id, samples) rows."""
    return message_in(_schema(table), [(gps * NS, number, samples) for number, samples in rows])


def message_in(schema: pa.Schema, rows: Sequence[tuple[int, int, NDArray[Any]]]) -> bytes:
    """The message of (time of the first sample in ns GPS, id, samples) rows in a schema of `schema_of`."""
    start = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(samples) for _, _, samples in rows], out=start[1:])
    kind = schema.field("data").type
    values = np.concatenate([np.empty(0, np.int8), *(samples for _, _, samples in rows)])
    columns = [
        pa.array(np.array([time for time, _, _ in rows], dtype=np.int64)),
        pa.array(np.array([number for _, number, _ in rows], dtype=np.uint32)),
        pa.ListArray.from_arrays(
            pa.array(start), pa.array(values.astype(kind.value_type.to_pandas_dtype(), copy=False)), type=kind
        ),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    found: bytes = sink.getvalue().to_pybytes()
    return found


def schema_of(table: bytes, kind: Any = None) -> pa.Schema:
    """The schema with a channel table (JSON) in its metadata; `kind`: Arrow type of the samples, float32 where None."""
    data = pa.list_(pa.field("item", kind or pa.float32()))
    return pa.schema([("time", pa.int64()), ("id", pa.uint32()), ("data", data)], metadata={KEY: table})


@lru_cache(maxsize=64)
def _schema(table: tuple[TableEntry, ...]) -> pa.Schema:
    """Remembered: an interferometer has the same channels for hours."""
    return schema_of(msgspec.json.encode([entry.plain() for entry in table]))
