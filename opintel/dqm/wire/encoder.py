"""Monitor elements as messages of the wire: what simulators and readers of files send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from opintel.dqm.elements import BinAxis, MonitorElement, axes_text
from opintel.dqm.histograms import Listing
from opintel.dqm.wire.arrow_parts import KEY, MAX_HEAD
from opintel.dqm.wire.assembly import pieces
from opintel.dqm.wire.heads import Head

PART = 1 << 20
"""Bytes of a message, but for one that holds a single larger histogram."""
_OVERHEAD = 8 << 10
"""Bytes of a message besides its head and its rows, at most."""


def parts_of(head: Head, elements: Iterable[MonitorElement], listing: Listing | None = None) -> Iterator[bytes]:
    """The histograms of a lumisection, or references of a set, as Arrow messages; each says which part it is.

    Contents are written in single precision. `listing` goes with the first part, or, where it is too long or there is
    no histogram, before it as messages of its own (`manifests_of`).
    """
    if listing is not None:
        head = head._replace(run_type=listing.run_type, menu=listing.menu)
        head = head._replace(stable_beams=listing.stable_beams, pileup=listing.pileup)
    groups = list(_groups(elements, PART - _OVERHEAD))
    beside = {} if listing is None else {"manifest": listing}
    if listing is not None and (not groups or len(msgspec.json.encode(listing)) > MAX_HEAD // 2):
        yield from manifests_of(head, listing)
        beside = {}
    for k, group in enumerate(groups, 1):
        yield _message(head.plain((k, len(groups))) | (beside if k == 1 else {}), group)


def manifests_of(head: Head, listing: Listing) -> Iterator[bytes]:
    """A manifest as messages in JSON, each of some of its paths where there are many."""
    for piece in pieces(listing, PART - _OVERHEAD):
        yield msgspec.json.encode(head.plain() | {"manifest": msgspec.Raw(piece.encode())})


@lru_cache(maxsize=4096)
def _axes_text(axes: tuple[BinAxis, ...], flow: bool) -> str:
    """Remembered: a histogram has the same axes in every lumisection."""
    return axes_text(axes, flow)


def _groups(elements: Iterable[MonitorElement], most: int) -> Iterator[list[tuple[MonitorElement, str]]]:
    group: list[tuple[MonitorElement, str]] = []
    room = most
    for element in elements:
        axes = _axes_text(element.axes, element.flow)
        values = element.values.size * (1 if element.variances is None else 2)
        size = 4 * values + len(element.path.encode()) + len(axes.encode()) + 64
        if group and size > room:
            yield group
            group, room = [], most
        group.append((element, axes))
        room -= size
    if group:
        yield group


def _message(head: dict[str, Any], group: Sequence[tuple[MonitorElement, str]]) -> bytes:
    elements = [element for element, _ in group]
    columns: dict[str, Any] = {
        "path": pa.array([element.path for element in elements], pa.string()),
        "axes": pa.array([axes for _, axes in group], pa.string()).dictionary_encode(),
        "values": _lists([element.values for element in elements]),
    }
    if any(element.storage != "count" for element in elements):
        columns["storage"] = pa.array([element.storage for element in elements], pa.string()).dictionary_encode()
        columns["variances"] = _lists([element.variances for element in elements])
    if any(element.entries is not None for element in elements):
        columns["entries"] = pa.array([element.entries for element in elements], pa.float64())
    batch = pa.RecordBatch.from_pydict(columns, metadata={KEY: msgspec.json.encode(head)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _lists(arrays: Sequence[Any]) -> Any:
    """Lists of numbers in single precision; none is an empty one."""
    with np.errstate(over="ignore"):
        flat = [np.empty(0, "<f4") if one is None else np.asarray(one, dtype="<f4").reshape(-1) for one in arrays]
    start = np.zeros(len(flat) + 1, dtype=np.int32)
    np.cumsum([len(one) for one in flat], out=start[1:])
    return pa.ListArray.from_arrays(pa.array(start), pa.array(np.concatenate(flat)))
