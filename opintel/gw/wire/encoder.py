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

KEY = b"opintel.gw"
"""Of the schema's metadata that holds the channel table."""
DATA = pa.list_(pa.field("item", pa.float32()))


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
    schema = _schema(table)
    start = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(samples) for _, samples in rows], out=start[1:])
    values = pa.array(np.concatenate([np.empty(0, np.float32), *(samples for _, samples in rows)]))
    columns = [
        pa.array(np.full(len(rows), gps * NS, dtype=np.int64)),
        pa.array(np.array([number for number, _ in rows], dtype=np.uint32)),
        pa.ListArray.from_arrays(pa.array(start), values, type=DATA),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    found: bytes = sink.getvalue().to_pybytes()
    return found


@lru_cache(maxsize=64)
def _schema(table: tuple[TableEntry, ...]) -> Any:
    """Remembered: an interferometer has the same channels for hours."""
    fields = [("time", pa.int64()), ("id", pa.uint32()), ("data", DATA)]
    return pa.schema(fields, metadata={KEY: msgspec.json.encode([entry.plain() for entry in table])})
