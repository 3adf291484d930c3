"""The first three cumulants of a sum of squared pulls, for bins of few counts as of many.

For large counts a squared pull is chi-squared of one degree: 1, 2, 8. For few it is not, and a sum of a hundred of them
is far off: the squared mid-p pull of a single count at even odds is always 0.45. What it is follows from the binomial;
that all observed counts add up to a known total is then taken into account by the joint cumulants with the counts.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from opintel.stats.counts import Floats
from opintel.stats.pulls import EXACT, LARGE, LOGIT, Tables, column_of, signed_roots, small_table

TERMS = (0.13, 0.53, 3.2)
"""The three are 1, 2, 8 and these ÷ the variance of the count, for the pulls of large counts (measured)."""
_RATIO = 1.05
_BEYOND = 226
"""Sums of counts above EXACT are tabulated in steps of five per cent, so many of them: up to 6e6."""
_WHOLE = 1e9


def square_cumulants(tables: Tables) -> tuple[Floats, Floats, Floats]:
    """The first three cumulants (H,) of the sum over bins of squared pulls, each times the share of counts that lies in
    other bins, given the totals of both samples."""
    share, total = tables.share, tables.total_a + tables.total_b
    odds = share * (1.0 - share)
    both = tables.a + tables.b
    weight = both / total
    np.subtract(1.0, weight, out=weight)
    small = both < LARGE / odds
    weight *= both > 0.5 if small.any() else 1.0
    large = weight * ~small if small.any() else weight
    whole = large.sum(axis=1)
    inverse = np.einsum("ij,ij->i", large, 1.0 / np.maximum(both * odds, LARGE))
    first, second, third = (n * whole + term * inverse for n, term in zip((1.0, 2.0, 8.0), TERMS, strict=True))
    rows = np.flatnonzero(small.any(axis=1))
    if len(rows) == 0:
        return first, second, third
    small, weight, both = small[rows], weight[rows], both[rows]
    odds, share = odds[rows], share[rows]
    sums = _small_sums(both, share, weight, small)
    spread = both * odds
    skew = (spread * (1.0 - 2.0 * share)).sum(axis=1)
    # What large bins have in common with their counts is that of a normal law with the binomial's skewness.
    rest = weight * ~small
    tilt = (rest * (1.0 - 2.0 * share)).sum(axis=1)
    with_count = sums[3] + tilt / 3.0
    with_square = sums[4] + 4.0 / 3.0 * tilt
    with_variance = sums[5] + 2.0 * (rest * spread).sum(axis=1)
    slope = with_count / spread.sum(axis=1)
    first[rows] += sums[0]
    second[rows] += sums[1] - slope * with_count
    third[rows] += sums[2] - 3.0 * slope * with_square + 3.0 * slope**2 * with_variance - slope**3 * skew
    return first, np.maximum(second, 0.0), np.maximum(third, 0.0)


def _small_sums(both: Floats, share: Floats, weight: Floats, small: NDArray[np.bool_]) -> Floats:
    """The joint cumulants (6, H) of `moment_table`, summed over `small` bins with their weights."""
    bins = both.shape[1]
    places = np.flatnonzero(small)
    row, counts = places // bins, both.reshape(-1)[places]
    at = np.rint(counts)
    above = counts > EXACT
    if above.any():
        at[above] = EXACT + np.rint(np.log(counts[above] / EXACT) / np.log(_RATIO))
    column, part = column_of(share.reshape(-1))
    if share.shape[1] > 1:
        column, part = column[places], part[places]
    else:
        column = column[row]
    at = np.minimum(at, EXACT + _BEYOND).astype(np.int64) * len(LOGIT) + column
    values = _neighbours()[at]
    values *= weight.reshape(-1)[places][:, None]
    starts = np.searchsorted(row, np.arange(len(both)))
    if share.shape[1] > 1:
        values[:, :6] *= 1.0 - part[:, None]
        values[:, 6:] *= part[:, None]
        sums = np.add.reduceat(values, starts, axis=0)
        return np.asarray((sums[:, :6] + sums[:, 6:]).T)
    sums = np.add.reduceat(values, starts, axis=0)
    return np.asarray((sums[:, :6] + part[:, None] * (sums[:, 6:] - sums[:, :6])).T)


@lru_cache(maxsize=1)
def _neighbours() -> Floats:
    """(rows · len(LOGIT), 12): what `moment_table` has in a place and in the next column."""
    table = moment_table()
    following = np.concatenate([table[:, 1:], table[:, -1:]], axis=1)
    return np.ascontiguousarray(np.concatenate([table, following], axis=2).reshape(-1, 12))


@lru_cache(maxsize=1)
def moment_table() -> Floats:
    """(rows, len(LOGIT), 6): joint cumulants of squared pull z² and count k for so many counts in both samples
    (`row_of`):
    (z²), (z², z²), (z², z², z²), (z², k), (z², z², k), (z², k, k)."""
    share = 1.0 / (1.0 + np.exp(-LOGIT))
    found = np.zeros((EXACT + 1 + _BEYOND, len(LOGIT), 6))
    exact = small_table()
    for n in range(1, EXACT + 1):
        start, k = n * (n + 1) // 2, np.arange(n + 1.0)[:, None]
        found[n] = _cumulants(exact[start : start + n + 1], k, n, share)
    for row in range(EXACT + 1, len(found)):
        n = round(EXACT * _RATIO ** (row - EXACT))
        near = np.flatnonzero(n * share * (1.0 - share) < 1.6 * LARGE)
        if len(near) == 0:
            break
        p = np.minimum(share[near], 1.0 - share[near])
        k = np.arange(min(n, int(4.0 * LARGE + 10.0 * np.sqrt(2.0 * LARGE))) + 1.0)[:, None] + 0.0 * p
        values = _cumulants(signed_roots(Tables(k, n - k, _WHOLE * p, _WHOLE * (1.0 - p))), k, n, p)
        values[:, 3:5] *= np.where(share[near] > 0.5, -1.0, 1.0)[:, None]
        found[row, near] = values
    return found


def _cumulants(z: Floats, k: Floats, n: int, p: Floats) -> Floats:
    choose = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    pmf = np.exp(choose + k * np.log(p) + (n - k) * np.log1p(-p))
    square = np.where(pmf > 0.0, z * z, 0.0)
    mean = (pmf * square).sum(axis=0)
    x, y = square - mean, k - n * p
    of = [(pmf * part).sum(axis=0) for part in (x**2, x**3, x * y, x * x * y, x * y * y)]
    return np.stack([mean, *of], axis=-1)
