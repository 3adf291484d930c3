"""Mean, variance and third cumulant of the squared pull of a bin of few counts, given its sum in both samples.

For large counts a squared pull is chi-squared of one degree: 1, 2, 8. For few it is not, and a sum of a hundred of
them is
far off: the squared mid-p pull of a single count at even odds is always 0.45. What it is follows from the binomial.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from opintel.stats.counts import Floats
from opintel.stats.pulls import EXACT, LOGIT, Tables, column_of, signed_roots, small_table

LARGE = 25.0
"""Variances of the binomial above which the moments are `CHI_SQUARED` + `TERMS` / variance, to 1e-3."""
CHI_SQUARED = (1.0, 2.0, 8.0)
TERMS = (-0.075, -0.6, -4.0)
"""Of the modified signed root, read off the tables."""
_RATIO = 1.1
_WHOLE = 1e9
_BEYOND = 120
"""Sums of counts above EXACT are tabulated in steps of ten per cent, so many of them: up to 64 · 1.1^120 = 6e6."""


def square_cumulants(both: Floats, share: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """The first three cumulants (H,) of the weighted sum over bins of their squared pulls, for `both` counts (H,
    B) in the
    two samples together, of which the observed has `share` (H, 1) or (H, B) under the null. Empty bins have none.
    """
    variance = both * (share * (1.0 - share))
    inverse = 1.0 / np.maximum(variance, LARGE / 2)
    weight = weight * (both > 0.5)
    small = (both > 0.5) & (variance < LARGE)
    large = weight * ~small
    whole, parts = large.sum(axis=1), np.einsum("ij,ij->i", large, inverse)
    sums = [limit * whole + term * parts for limit, term in zip(CHI_SQUARED, TERMS, strict=True)]
    if small.any():
        row, of, along, column, part = _places(both, share, small)
        for k, table in enumerate(moment_tables()):
            flat = table.reshape(-1)
            at = of * len(LOGIT) + column
            low = flat[at] + along * (flat[at + len(LOGIT)] - flat[at])
            high = flat[at + 1] + along * (flat[at + 1 + len(LOGIT)] - flat[at + 1])
            sums[k] = sums[k] + np.bincount(row, (low + part * (high - low)) * weight[small], len(both))
    return sums[0], sums[1], sums[2]


def _places(
    both: Floats, share: Floats, small: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, NDArray[np.int64], Floats]:
    column, part = column_of(np.broadcast_to(share, both.shape)[small])
    of, along = _row_of(both[small])
    return np.nonzero(small)[0], of, along, column, part


def _row_of(both: Floats) -> tuple[NDArray[np.int64], Floats]:
    x = np.where(both <= EXACT, both, EXACT + 1 + np.log(np.maximum(both, EXACT) / EXACT) / np.log(_RATIO))
    row = np.minimum(x.astype(np.int64), EXACT + _BEYOND - 2)
    return row, np.minimum(x - row, 1.0)


@lru_cache(maxsize=1)
def moment_tables() -> tuple[Floats, Floats, Floats]:
    """(mean, variance, third cumulant) of squared pulls: rows as of `_row_of`, a column for each share of `LOGIT`."""
    share = 1.0 / (1.0 + np.exp(-LOGIT))
    found = np.zeros((3, EXACT + _BEYOND, len(LOGIT)))
    exact = small_table()
    for n in range(1, EXACT + 1):
        start = n * (n + 1) // 2
        found[:, n] = _cumulants(exact[start : start + n + 1], _pmf(np.arange(n + 1)[:, None], n, share))
    last = np.arange(int(2 * LARGE * 1.5 + 8 * np.sqrt(2 * LARGE)))[:, None]
    for row in range(EXACT + 1, EXACT + _BEYOND):
        n = round(EXACT * _RATIO ** (row - EXACT - 1))
        variance = n * share * (1.0 - share)
        for moment, limit, term in zip(found, CHI_SQUARED, TERMS, strict=True):
            moment[row] = limit + term / np.maximum(variance, LARGE)
        near = np.flatnonzero(variance < 2 * LARGE)
        if len(near):
            p = np.minimum(share[near], 1.0 - share[near])
            k = last[: n + 1] + 0.0 * p
            table = Tables(k, n - k, _WHOLE * p, _WHOLE * (1.0 - p))
            found[:, row, near] = _cumulants(signed_roots(table), _pmf(k, n, p))
    return found[0], found[1], found[2]


def _pmf(k: Floats | NDArray[np.int64], n: int, p: Floats) -> Floats:
    choose = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return np.asarray(np.exp(choose + k * np.log(p) + (n - k) * np.log1p(-p)), dtype=np.float64)


def _cumulants(z: Floats, pmf: Floats) -> Floats:
    square = z * z
    square = np.where(pmf > 0.0, square, 0.0)
    mean = (pmf * square).sum(axis=0)
    off = square - mean
    return np.stack([mean, (pmf * off**2).sum(axis=0), (pmf * off**3).sum(axis=0)])
