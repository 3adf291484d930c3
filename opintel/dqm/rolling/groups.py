"""The histograms of a closed window by what they have in common, as arrays that can be added up and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import WindowRows
from opintel.dqm.elements import STORAGES, Storage
from opintel.dqm.histograms import Histograms
from opintel.dqm.rolling.histories import Floats, Ints

LARGEST = 1e30
"""Contents from here on are no contents: sums of them would leave single precision."""


class HistogramGroup(NamedTuple):
    """Histograms of one window with equal axes and storage, at most one of a key."""

    turn: int
    """Which of the runs of a key in this window it is, from 0: lower runs first."""
    keys: list[str]
    run: Ints
    lumisection: Ints
    superseded: Ints
    axes: str
    storage: Storage
    x: int
    cumulative: bool
    category: list[str]
    """Of each histogram, as in `HistogramRow`."""
    pileup: NDArray[np.float64]
    entries: NDArray[np.float64]
    """As the source says."""
    sums: Floats
    """(planes, histograms, size)."""
    sound: NDArray[np.bool_]


def groups_of(closing: WindowRows[Histograms], places: Ints, superseded: Ints) -> Iterator[HistogramGroup]:
    """The histograms at these places (sorted by key and run), by what they have in common; a key once in each, in
    order of the turns.
    """
    rows, payload = closing.rows, closing.rows.payload
    code = rows.key.code[places]
    begins = np.ones(len(code), dtype=bool)
    begins[1:] = code[1:] != code[:-1]
    turn = np.arange(len(code)) - np.maximum.accumulate(np.where(begins, np.arange(len(code)), 0))
    common = np.zeros(len(code), dtype=np.int64)
    for column in (turn, payload.axes.code[places], payload.storage[places], payload.cumulative[places]):
        common = common * (int(column.max(initial=0)) + 1) + column
    order = np.argsort(common, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(common[order])) + 1) if len(order) else ():
        at = places[here]
        storage = STORAGES[int(payload.storage[at[0]])]
        values, variances = payload.values.take(at).table(), payload.variances.take(at).table()
        if values is None or variances is None:
            raise ValueError("expected histograms with equal axes to have as many values each")
        sums, sound = planes(storage, values, variances)
        yield HistogramGroup(
            int(turn[here[0]]),
            [rows.key.values[c] for c in rows.key.code[at].tolist()],
            payload.run[at].astype(np.int64),
            payload.lumisection[at].astype(np.int64),
            superseded[here],
            payload.axes.values[payload.axes.code[at[0]]],
            storage,
            int(payload.x[at[0]]),
            bool(payload.cumulative[at[0]]),
            [payload.category.values[c] for c in payload.category.code[at].tolist()],
            payload.pileup[at].astype(np.float64),
            payload.entries[at],
            sums,
            sound,
        )


def planes(storage: Storage, values: Floats, variances: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """((planes, histograms, size) what can be added up, (histograms,) whether the contents can be judged).

    Means become weighted means and weights: 1 / variance, 0 in bins that say nothing.
    """
    if storage == "count":
        return values[None], np.asarray(((values >= 0) & (values < LARGEST)).all(axis=-1))
    if storage == "weighted":
        sound = (np.abs(values) < LARGEST) & (variances >= 0) & (variances < LARGEST)
        return np.stack([values, variances]), np.asarray(sound.all(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where((np.abs(values) < LARGEST) & (variances > 0), 1.0 / variances, 0.0)
        weight = np.where(weight * np.maximum(np.abs(values), 1.0) < LARGEST, weight, 0.0)
    sums = np.stack([np.where(weight > 0, weight * np.nan_to_num(values), 0.0), weight]).astype("<f4")
    return sums, np.asarray((weight > 0).any(axis=-1))


def entries_of(group: HistogramGroup, sums: Floats) -> NDArray[np.float64]:
    """(histograms,) entries; of weights, how many of one weight would say as much; of means, what the source says."""
    if group.storage == "mean":
        return np.where(group.entries >= 0, group.entries, np.nan)
    total: NDArray[np.float64] = sums[0].sum(axis=-1, dtype=np.float64)
    if group.storage == "count":
        return total
    variance = sums[1].sum(axis=-1, dtype=np.float64)
    return np.where(variance > 0, total**2 / np.maximum(variance, 1e-300), 0.0)
