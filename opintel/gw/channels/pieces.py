"""Rows of samples to arrays: the channels of one rate side by side, a window and what lies beside it.

What a channel says its rate is decides how much room it takes, and each rate takes an engine of its own. Both come from
outside: a channel with hardly a sample in the window is not laid out, and neither are channels of ever further rates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import WindowRows
from opintel.finding import NS
from opintel.gw.samples import SAMPLES, Pieces

SLOWEST = 16.0
"""Hz: channels that are sampled more rarely have no spectrum."""
LEAST, LEAST_PART = 0.5, 1 / 16
"""s of samples, and part of a window, without which nothing of a channel in it can be judged."""
MAX_RATES = 128
"""Of the channels of a window."""


class ChannelRows(NamedTuple):
    """Rows of a channel that have the rate of its last one in the window."""

    key: str
    unit: str
    rate: float
    """Hz."""
    own: Sequence[int]
    """Places among the window's rows and …"""
    beside: Sequence[int]
    """… among those of its context."""


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


def channels_of(closing: WindowRows[Pieces], usual: Collection[float]) -> tuple[list[ChannelRows], list[ChannelRows]]:
    """The channels with samples in the window, and those that are not laid out: with fewer samples than `LEAST`, or of
    rates beyond `MAX_RATES`, of which the `usual` ones come first.

    A channel whose rate changes inside the window has that of its last row; samples of another rate are left out.
    """
    rows, context = closing.rows, closing.context
    least = max(LEAST, LEAST_PART * (closing.window.end - closing.window.start) / NS)
    beside = {key: range(first, end) for key, first, end in context.spans()}
    sizes = rows.payload.values.sizes
    found, left_out = list[ChannelRows](), list[ChannelRows]()
    for key, first, end in rows.spans():
        last = end - 1
        if rows.payload.kind[last] != SAMPLES:
            continue
        unit, rate = rows.payload.unit.values[rows.payload.unit.code[last]], float(rows.payload.rate[last])
        own = _of_rate(rows.payload, range(first, end), rate)
        one = ChannelRows(key, unit, rate, own, _of_rate(context.payload, beside.get(key, range(0)), rate))
        (left_out if rate >= SLOWEST and sizes[own].sum() < least * rate else found).append(one)
    rates = {one.rate for one in found}
    if len(rates) > MAX_RATES:
        kept = set(sorted(rates, key=lambda rate: (rate not in usual, not rate.is_integer(), rate))[:MAX_RATES])
        left_out += [one for one in found if one.rate not in kept]
        found = [one for one in found if one.rate in kept]
    return found, left_out


def groups_of(
    closing: WindowRows[Pieces], channels: Sequence[ChannelRows], before: int, after: int
) -> Iterator[RateGroup]:
    """Channels by rate; `before` and `after`: ns of the context."""
    start = closing.window.start - before
    seconds = (closing.window.end - closing.window.start + before + after) / NS
    by_rate: dict[float, list[ChannelRows]] = {}
    for one in channels:
        by_rate.setdefault(one.rate, []).append(one)
    for rate in sorted(by_rate):
        its = by_rate[rate]
        data = np.full((len(its), max(1, round(seconds * rate))), np.nan, dtype=np.float32)
        offset = np.zeros(len(its), dtype=np.int64)
        for n, one in enumerate(its):
            for of, places in ((closing.context, one.beside), (closing.rows, one.own)):
                for place in places:
                    offset[n] = _put(data[n], of.payload.values.at(place), int(of.time[place]) - start, rate)
        yield RateGroup(rate, start, [one.key for one in its], [one.unit for one in its], data, offset)


def _of_rate(payload: Any, places: range, rate: float) -> list[int]:
    return [at for at in places if payload.rate[at] == rate and payload.kind[at] == SAMPLES]


def _put(into: NDArray[np.float32], values: NDArray[np.float32], after: int, rate: float) -> int:
    """Writes samples of which the first lies so many ns after the first place; ns from its place to it."""
    at = round(after * rate / NS)
    low, high = max(at, 0), min(at + len(values), len(into))
    if low < high:
        into[low:high] = values[low - at : high - at]
    return after - round(at * NS / rate)
