"""The few numbers of a histogram whose trend stage 2 follows: its mean and width along x, and how many bins are empty.

They are moments of the contents, which a shift or a loss of gain moves long before any lumisection stands out. Mean and
second moment of a mixture are linear in its shares, so what follows the pile-up does so nearly in a straight line.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.elements import axes_of
from opintel.dqm.rolling.groups import HistogramGroup
from opintel.dqm.rolling.histories import Floats

FEW, SINGLE = 0.01, 1.5
"""Share of bins that may hold a single entry, up to so many effective ones, where the share of empty bins is
followed."""
TOGETHER = 65_536
"""Contents that are looked at together: what fits into a cache."""


class _Weights(NamedTuple):
    """What the contents of a histogram of these axes are multiplied by."""

    inside: Floats
    """(size,) 1 in bins, 0 in under- and overflow."""
    powers: Floats | None
    """(3, size): 1, z and z² of the middle of each bin along x, z being −1 and 1 at the ends of the axis; None for
    labels."""
    middle: float
    half: float


def tracked(
    group: HistogramGroup, sums: Floats, there: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, width and share of empty bins, (histograms,) each, of `sums` (planes, histograms, size); NaN where there is
    none, and in histograms that are not `there`. Under- and overflow do not count.

    Bins are empty for want of entries too: with ln of the entries their number falls by as many as hold a single one
    (Good 1953, Biometrika 40, 237). So it says something of a detector only where few do.
    """
    weights = _weights(group.axes, sums.shape[2], group.x)
    found = np.full((3, len(there)), np.nan)
    step = max(1, TOGETHER // sums.shape[2])
    for begin in range(0, len(there), step):
        some = slice(begin, begin + step)
        found[:, some] = _numbers(weights, sums[:, some], profiles=group.storage == "mean")
    found[:, ~there] = np.nan
    return found[0], found[1], found[2]


def _numbers(weights: _Weights, sums: Floats, *, profiles: bool) -> NDArray[np.float64]:
    """(3, histograms)"""
    found = np.full((3, sums.shape[1]), np.nan)
    filled = np.minimum(np.abs(sums[-1]), weights.inside) > 0
    with np.errstate(all="ignore"):
        if profiles:
            found[0] = _total(sums[0], weights.inside) / _total(sums[1], weights.inside)
            return found
        single = filled & (sums[0] * sums[0] <= SINGLE * sums[-1])
        bins = max(1.0, float(weights.inside.sum()))
        found[2] = np.where(single.sum(axis=1) <= FEW * bins, 1.0 - filled.sum(axis=1) / bins, np.nan)
        if weights.powers is not None:
            whole, first, second = (_total(sums[0], power) for power in weights.powers)
            z = first / whole
            variance = second / whole - z**2
            good = (whole > 0) & (np.abs(z) <= 1.0) & (variance >= 0)
            found[0] = np.where(good, weights.middle + weights.half * z, np.nan)
            found[1] = np.where(good, weights.half * np.sqrt(np.maximum(variance, 0.0)), np.nan)
    return found


def _total(contents: Floats, weights: Floats) -> NDArray[np.float64]:
    """(histograms,) summed row by row: a product of matrices would depend on how many rows there are."""
    return np.asarray(np.multiply(contents, weights, order="C").sum(axis=1), dtype=np.float64)


@lru_cache(maxsize=4096)
def _weights(axes: str, size: int, x: int) -> _Weights:
    found, flow = axes_of(axes)
    inside = np.ones((size // x, x), dtype="<f4")
    if flow:
        inside[:, [0, -1]] = 0
        if len(found) == 2:
            inside[[0, -1]] = 0
    if found[0].labels:
        return _Weights(inside.reshape(-1), None, 0.0, 1.0)
    edges = np.asarray(found[0].edges)
    middle, half = float(edges[0] + edges[-1]) / 2.0, float(edges[-1] - edges[0]) / 2.0
    z = np.zeros(x)
    z[1 if flow else 0 : len(z) - 1 if flow else None] = (0.5 * (edges[1:] + edges[:-1]) - middle) / half
    powers = np.stack([inside, inside * z, inside * z**2]).reshape(3, size)
    return _Weights(inside.reshape(-1), powers.astype("<f4"), middle, half)
