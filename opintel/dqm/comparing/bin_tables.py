"""From contents to 2×2 tables: histograms of counts or weights, and what their references add up to, as the effective
counts on which `opintel.stats.pulls` stands; and histograms that hold too little or nothing to compare.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.stats.counts import Floats
from opintel.stats.pulls import Tables

LEAST_ENTRIES = 20.0 - 1e-6
"""Fewer (effective) entries on either side are not compared."""
MOST = 1e15
"""Contents above this add up to what a double cannot count."""

Bools = NDArray[np.bool_]


class Side(NamedTuple):
    """One of the two samples that are compared."""

    contents: Floats
    """(H, B)"""
    variance: Floats | None
    """(H, B); None for counts"""
    total: Floats
    """(H, 1), or (H, B) where references are left out of some bins"""

    @property
    def spread(self) -> Floats:
        """The variances of the contents."""
        return self.contents if self.variance is None else self.variance


def usable(contents: Floats, variance: Floats | None) -> tuple[Bools, Floats]:
    """(which histograms (..., H) hold good content, their totals (..., H)) of contents (..., H, B): all finite, their
    sum above zero, and none negative unless they have variances, which must be finite and not negative."""
    total = contents.sum(axis=-1)
    good = np.isfinite(total) & (total > 0.0) & (total < MOST)
    if variance is None:
        if not (contents.size == 0 or contents.min() >= 0.0):  # also where some are not numbers
            good &= contents.min(axis=-1) >= 0.0
    else:
        spread = variance.sum(axis=-1)
        good &= np.isfinite(spread) & (spread > 0.0) & (variance.min(axis=-1) >= 0.0)
    return good, total


def entry_weights(contents: Floats, variance: Floats) -> Floats:
    """The weight of an entry in each bin (H, B): variance ÷ content, drawn towards that of the whole histogram as if
    one such entry more had been filled into the bin. With one weight for all it is that weight, also in empty bins.
    A bin with content and no variance has the histogram's.
    """
    whole = variance.sum(axis=1, keepdims=True) / contents.sum(axis=1, keepdims=True)
    spread = np.where((variance == 0.0) & (contents != 0.0), np.abs(contents) * whole, variance)
    return np.asarray((spread + whole * whole) / (np.abs(contents) + whole), dtype=np.float64)


def side_by_side(a: Side, b: Side) -> Tables:
    """The 2×2 tables of two sides without negative contents, in effective counts."""
    (counts_a, total_a), (counts_b, total_b) = _effective(a), _effective(b)
    return Tables(counts_a, counts_b, total_a, total_b)


def _effective(side: Side) -> tuple[Floats, Floats]:
    if side.variance is None:
        return side.contents, side.total
    weight = entry_weights(side.contents, side.variance)
    return _whole(side.contents / weight), _whole(side.total / weight)


def _whole(counts: Floats) -> Floats:
    """Counts that are whole but for rounding: entries of one weight are judged as entries."""
    nearest = np.rint(counts)
    return np.where(np.abs(counts - nearest) < 1e-9 * (1.0 + nearest), nearest, counts)


def enlarged(tables: Tables, floor: Floats | float) -> Tables:
    """The tables with a relative systematic error of what is expected in each bin, a scalar, (H, 1) or (H, B): counts
    are divided by what the error enlarges the variance of the difference by."""
    a, b, total_a, total_b = tables
    expected = (a + b) * total_a / (total_a + total_b)
    by = 1.0 + np.square(floor) * expected / (1.0 + total_a / total_b)
    return Tables(a / by, b / by, total_a / by, total_b / by)
