"""Messages of samples as tests write them, byte by byte what the wire's page says and no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from opintel.detector import Decoded, Message
from opintel.gw.samples import PieceRow
from opintel.gw.wire import GwWire

GPS = 1_126_259_446
UTC = 1_442_224_229
"""The same second."""
NS = 10**9


def entry(number: int, name: str, rate: float, **about: Any) -> dict[str, Any]:
    """A channel of the table."""
    return {"id": number, "name": name, "rate": rate} | about


def message(
    table: Any, rows: Sequence[tuple[Any, Any, Any]], kind: Any = None, *, key: str = "opintel.gw", **columns: Any
) -> bytes:
    """An Arrow stream of (time, id, samples) rows; `columns` stand in place of the three."""
    every = {
        "time": pa.array([time for time, _, _ in rows], pa.int64()),
        "id": pa.array([number for _, number, _ in rows], pa.uint32()),
        "data": pa.array([samples for _, _, samples in rows], pa.list_(kind or pa.float32())),
    } | columns
    said = table if isinstance(table, bytes) else json.dumps(table).encode()
    batch = pa.RecordBatch.from_pydict(every, metadata={key: said})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def decoded(*bodies: bytes, wire: GwWire | None = None) -> Decoded[PieceRow]:
    """What the wire makes of messages."""
    return (wire or GwWire()).decode([Message(body) for body in bodies])


def pieces(found: Decoded[PieceRow], key: str) -> list[tuple[int, np.ndarray[Any, Any]]]:
    """(ns UTC, samples) of each piece of a key, in their order."""
    rows = found.rows
    codes = [n for n, value in enumerate(rows.key.values) if value == key]
    return [(int(rows.time[n]), rows.payload.values.at(n)) for n in np.flatnonzero(np.isin(rows.key.code, codes))]


def reasons(found: Decoded[PieceRow]) -> list[str]:
    """What was refused."""
    return [reject.reason for reject in found.rejects]
