"""Which histograms of counts are so plainly like their references that comparing them in full would say nothing.

The tests are those of `judged` with approximations that cost a tenth: bins and windows against Cornish and Fisher's
expansion of the Poisson quantile (1938, Rev. Inst. Int. Stat. 5, 307) in place of exact tails, Pearson's sum in place
of the deviance, the shape as it is. Each limit is laxer than `LIMIT`, so that what is below it in full is hardly ever
called calm (docs/dqm-statistics.md has the figures). All is in single precision and along rows: what is said of a
histogram does not depend on the others, to the last bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from opintel.dqm.comparing.statistics import shape_components, shape_tail
from opintel.dqm.comparing.windows import aligned, onto_axis, summed, window_sizes
from opintel.dqm.rolling.histories import SHARED
from opintel.stats.gamma_tail import log_tail_of_sum

Floats = NDArray[Any]
"""Of single precision; rows, and what follows from them, of double."""
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64] | NDArray[np.float64]
Shape = tuple[int, ...]

LIMIT = 1e-3
"""Of p in full: what is calm is above it."""
BIN, WINDOW, SUM, FORM = 4e-3, 4e-3, 1e-2, 1.05e-3
"""P-values above which a histogram is calm in its bins, windows, the sum of all, and its shape."""
DISAGREE = 1e-6
"""P-value of a bin below which references may contradict each other: not for a quick look."""
LEAST = 20.0
"""Entries on either side, and contents of a bin in which references are held against each other."""
COUNTED = 5.0
"""Entries expected in a bin from which on its scatter says something of the systematic error."""
CONTINUITY = np.float32(0.4)
"""Counts by which the largest that is calm is lessened: p in full is a mid-p."""
_HALF = np.float32(0.5)
_TINY = np.float32(1e-30)


class QuickLook(NamedTuple):
    """What is said of n histograms."""

    calm: Bools
    """(n,) whether p is above `LIMIT`, as far as a quick look can say."""
    excess: Floats
    """(n,) an estimate of the squared relative error of a bin beyond statistics; NaN where there is none."""
    shared: NDArray[np.float64]
    """(n, SHARED) as `shared_scatter` has it: of the smooth components, squared and less 1."""


class _Bins(NamedTuple):
    """Bins, or windows of them, given the contents of both sides together: (n, …)."""

    off: Floats
    """Observed less expected."""
    plain: Floats
    """The binomial variance of that."""
    spread: Floats
    """The same with the systematic error."""


def quick_look(observed: Floats, references: Floats, floor: NDArray[np.float64], shape: Shape) -> QuickLook:
    """Looks at histograms `observed` (n, B) and their references (R, n, B), counts both, of `shape` each; `floor` (n,)
    is the relative systematic error of what is expected in a bin.
    """
    with np.errstate(all="ignore"):  # what is no number is not calm
        total = observed.sum(axis=1)
        contents, agree, whole = _together(references)
        share = (total / (total + whole))[:, None]
        calm = agree & (total >= LEAST) & (whole >= LEAST) & (share[:, 0] <= _HALF)
        calm &= (observed.min(axis=1) >= 0.0) & (contents.min(axis=1) >= 0.0)
        both = observed + contents
        expected = both * share
        off = observed - expected
        plain = expected
        plain *= 1.0 - share
        factor = plain * np.square(floor).astype(np.float32)[:, None]
        factor += 1.0
        bins = _Bins(off, plain, plain * factor)
        room = (1.0 / ((total + whole)[:, None] * share * (1.0 - share))).astype(np.float32)
        # a bin that cannot reach p = 1e-5 with all its entries on one side is none
        able = np.count_nonzero(both >= (11.5 / -np.log(share)) * factor, axis=1)
        calm &= able > 2
        calm &= _within(bins, factor, room, share, _normal(BIN, able), axis=1)
        calm &= _scatters(bins, factor, share)
        calm &= _windows_within(bins, both, room, share, able, shape)
        shared = np.full((len(observed), SHARED), np.nan)
        for axis in range(len(shape)):
            off, spread = onto_axis(bins.off, shape, axis), onto_axis(bins.spread, shape, axis)
            components = shape_components(off, spread, bound=True)
            calm &= shape_tail(components) > np.log(FORM)
            shared[:, 3 * axis : 3 * axis + 3] = np.square(components) - 1.0
        return QuickLook(calm, _excess(contents, bins.off, share, (total / whole)[:, None]), shared)


def _together(references: Floats) -> tuple[Floats, Bools, Floats]:
    """(the references' sums (n, B), whether they agree (n,), the totals of all (n,))."""
    totals = references.sum(axis=2)
    whole, given = totals.sum(axis=0), (totals > 0.0).sum(axis=0)
    contents = references[0].copy()
    for one in references[1:]:
        contents += one
    squares, square = np.zeros_like(contents), np.empty_like(contents)
    for one, part in zip(references, totals, strict=True):
        np.multiply(one, one, out=square)
        square *= np.where(part > 0.0, whole / np.where(part > 0.0, part, 1.0), 0.0)[:, None]
        squares += square
    # χ² of a bin: Σ reference² / (its share of all · contents) − contents
    squares /= np.maximum(contents, np.float32(LEAST), out=square)
    squares -= contents
    squares *= contents >= LEAST
    return contents, squares.max(axis=1) <= _furthest(len(references))[np.maximum(given, 1)], whole


@lru_cache(maxsize=32)
def _furthest(most: int) -> Floats:
    return np.asarray(chdtri(np.maximum(np.arange(most + 1) - 1, 1), DISAGREE), dtype=np.float32)


def _normal(p: float, many: Counts) -> Floats:
    """(n,) normal values beyond which the largest of so many is with probability `p`."""
    return np.asarray(-ndtri(p / 2.0 / np.maximum(many, 1)), dtype=np.float32)


def _within(bins: _Bins, factor: Floats, room: Floats, share: Floats, limit: Floats, axis: int) -> Bools:
    """(n,) whether all bins, along `axis`, are within `limit` (n,) standard deviations. `factor`: spread ÷ plain."""
    room, share, limit = (np.expand_dims(part.reshape(-1), axis) for part in (room, share, limit))
    sigma = bins.plain * room
    np.subtract(1.0, sigma, out=sigma)  # the share of all that lies elsewhere
    np.maximum(sigma, 0.0, out=sigma)
    sigma *= bins.spread
    np.sqrt(sigma, out=sigma)
    sigma *= limit
    skewness = (1.0 - 2.0 * share) * (limit * limit - 1.0) / 6.0
    high = factor * (CONTINUITY - skewness)
    high += bins.off
    high -= sigma
    calm = high.max(axis=axis) <= 0.0
    skew = factor * skewness
    sigma -= skew
    # below this the expansion turns round: nothing that is expected there can be missed
    low = np.subtract(factor * (limit * limit / 2.0), skew, out=skew)
    np.maximum(low, sigma, out=low)
    low += bins.off
    return np.asarray(calm & (low.min(axis=axis) >= 0.0))


def _scatters(bins: _Bins, factor: Floats, share: Floats) -> Bools:
    """(n,) whether Σ off² / (variance + ½), in effective counts, is as chance has it: by the cumulants of squares of
    Poisson counts of mean v, which are v, v + 2 v² and v + 22 v² + 8 v³.
    """
    weight = factor * _HALF
    weight += bins.plain
    part = bins.plain / weight
    weight *= factor
    found = bins.off * bins.off
    found /= weight
    first, power = part.sum(axis=1), part * part
    second = power.sum(axis=1)
    power *= part
    third = power.sum(axis=1)
    variance = 2.0 * second + (1.0 - 6.0 * share * (1.0 - share))[:, 0] * (first - second) / _HALF
    skew = 8.0 * third + 22.0 * (second - third) / _HALF + (first - 2.0 * second + third) / _HALF**2
    # one degree is the total's
    cumulants = (x.astype(np.float64) for x in (found.sum(axis=1), first - 1.0, variance, skew))
    return np.asarray(log_tail_of_sum(*cumulants) > np.log(SUM))


def _windows_within(bins: _Bins, filled: Floats, room: Floats, share: Floats, able: Counts, shape: Shape) -> Bools:
    """(n,) whether windows of all sizes are within limits."""
    calm, sizes = np.ones(len(able), dtype=np.bool_), window_sizes(shape)
    bins = _Bins(*aligned(filled, bins, shape))
    if len(shape) == 1:  # bins first: windows are few a row
        bins = _Bins(*(np.ascontiguousarray(part.T) for part in bins))
    gathered, form, have = bins, shape, tuple(1 for _ in shape)
    for size in sizes:
        if any(n % m for n, m in zip(size, have, strict=True)):  # rows and columns of a map
            wide = _Bins(*(summed(part, shape, size) for part in bins))
        else:  # the wider ones of the less wide
            step = tuple(n // m for n, m in zip(size, have, strict=True))
            sums = _stacked if len(shape) == 1 else summed
            gathered = wide = _Bins(*(sums(part, form, step) for part in gathered))
            form, have = tuple(-(-bins_there // n) for bins_there, n in zip(form, step, strict=True)), size
        many = np.maximum(np.ceil(able / np.prod(size)), 2.0) * len(sizes)
        factor = wide.spread / np.maximum(wide.plain, _TINY)
        calm &= _within(wide, factor, room, share, _normal(WINDOW, many), axis=len(shape) - 1)
    return calm


def _stacked(x: Floats, shape: Shape, size: Shape) -> Floats:
    """As `summed`, of x (bins, n): bins first."""
    return summed(x[None], (*shape, x.shape[1]), (*size, 1)).reshape(-1, x.shape[1])


def _excess(contents: Floats, off: Floats, share: Floats, ratio: Floats) -> Floats:
    """As `against_references` has it of those that are compared in full."""
    expected = contents * ratio
    enough = expected >= COUNTED
    square = off / (1.0 - share)
    square *= square
    square -= expected * (1.0 + ratio)
    square *= enough
    expected *= expected
    expected *= enough
    weight = expected.sum(axis=1)
    found: Floats = square.sum(axis=1) / np.where(weight > 0.0, weight, np.float32(np.nan))
    return found
