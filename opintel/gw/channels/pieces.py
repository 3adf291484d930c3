"""Rows of samples to arrays: the channels of one rate side by side, a window and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import WindowRows
from opintel.finding import NS
from opintel.gw.samples import SAMPLES, Pieces


class RateGroup(NamedTuple):
    """C channels of one rate, in order of their names."""

    rate: float
    """Hz."""
    start: int
    """ns UTC of the first sample's place."""
    keys: list[str]
    units: list[str]
    data: NDArray[np.float32]
    """(C, n) samples; NaN where there is none."""
    offset: NDArray[np.int64]
    """(C,) ns from a sample's place to its time: at most half a step."""

    def sample(self, time: int) -> int:
        """The number of the sample at a time, ns."""
        return round((time - self.start) * self.rate / NS)


def groups_of(closing: WindowRows[Pieces], before: int, after: int) -> Iterator[RateGroup]:
    """The channels with samples in the window, by rate; `before` and `after`: ns of the context.

    A channel whose rate changes inside the window has that of its last row; samples of another rate are left out.
    """
    rows, context = closing.rows, closing.context
    start = closing.window.start - before
    seconds = (closing.window.end - closing.window.start + before + after) / NS
    beside = {key: range(first, end) for key, first, end in context.spans()}
    by_rate: dict[float, list[tuple[str, str, Sequence[int], Sequence[int]]]] = {}
    for key, first, end in rows.spans():
        last = end - 1
        if rows.payload.kind[last] == SAMPLES:
            unit = rows.payload.unit.values[rows.payload.unit.code[last]]
            rate = float(rows.payload.rate[last])
            by_rate.setdefault(rate, []).append((key, unit, range(first, end), beside.get(key, range(0))))
    for rate in sorted(by_rate):
        channels = by_rate[rate]
        data = np.full((len(channels), max(1, round(seconds * rate))), np.nan, dtype=np.float32)
        offset = np.zeros(len(channels), dtype=np.int64)
        for n, (_, _, own, others) in enumerate(channels):
            for of, places in ((context, others), (rows, own)):
                for place in places:
                    if of.payload.rate[place] == rate and of.payload.kind[place] == SAMPLES:
                        offset[n] = _put(data[n], of.payload.values.at(place), int(of.time[place]) - start, rate)
        yield RateGroup(rate, start, [c[0] for c in channels], [c[1] for c in channels], data, offset)


def _put(into: NDArray[np.float32], values: NDArray[np.float32], after: int, rate: float) -> int:
    """Writes samples of which the first lies so many ns after the first place; ns from its place to it."""
    at = round(after * rate / NS)
    low, high = max(at, 0), min(at + len(values), len(into))
    if low < high:
        into[low:high] = values[low - at : high - at]
    return after - round(at * NS / rate)
