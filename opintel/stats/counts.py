"""Failures among trials when cases differ: exact tails of the beta-binomial, and the negative binomial's zero.

A count k of n whose rate varies from case to case as Beta(a, b) is beta-binomial; a plain binomial would call half of a
grid surprising. Everything here works on arrays, in log space, and takes its parameters from `dispersion` and `habits`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST = 20_000
"""Counts above this are scaled down to it, share kept: conservative, and the work for one count stays bounded."""

_CHUNK = 1 << 20


def shape(mean: ArrayLike, rho: ArrayLike) -> tuple[Floats, Floats]:
    """(a, b) of the Beta with this mean and this intra-class correlation rho = 1 / (a + b + 1).

    >>> [float(round(x, 9)) for x in shape(0.25, 0.2)]
    [1.0, 3.0]
    """
    m, r = np.asarray(mean, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    size = (1.0 - r) / r
    return m * size, (1.0 - m) * size


def log_pmf(k: ArrayLike, n: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """ln P(K = k) of the beta-binomial (Skellam 1948, J. R. Stat. Soc. B 10, 257); arrays broadcast.

    >>> float(np.exp(log_pmf(1, 1, 1.0, 3.0)).round(9))
    0.25
    """
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.asarray(log_choose(n, k) + betaln(k + a, n - k + b) - betaln(a, b), dtype=np.float64)


def log_choose(n: Floats, k: Floats) -> Floats:
    """ln of the binomial coefficient: what does not change while a and b are fitted."""
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), dtype=np.float64)


def log_mid_p(k: ArrayLike, n: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """ln of the upper mid-p value P(K > k) + P(K = k) / 2 (Lancaster 1961, JASA 56, 223), shape (N,).

    Its mean under the null is exactly 1/2 whatever n; n = 0 gives 1/2. Tails are summed term by term on the side away
    from the mean, so that they are right to about 1e-9 (relative) far below the smallest double.
    """
    k, n, a, b = (np.atleast_1d(x) for x in np.broadcast_arrays(*_scaled(k, n), a, b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    at = log_pmf(k, n, a, b)
    upward = k * (a + b) > n * a
    first = np.where(upward, k + 1, 0)
    length = np.where(upward, n - k, k)
    tail = _log_sums(first, length, n, a, b)
    with np.errstate(divide="ignore"):
        below_or_at = np.logaddexp(tail, at - np.log(2.0))
        complement = np.log1p(-np.minimum(np.exp(below_or_at), 1.0))
    return np.asarray(np.where(upward, below_or_at, complement), dtype=np.float64)


def log_zero(mean: ArrayLike, dispersion: ArrayLike) -> Floats:
    """ln P(0) of the negative binomial with variance mean + dispersion · mean²; dispersion > 0.

    >>> float(log_zero(3.0, 1.0).round(6)), float(log_zero(3.0, 1e-9).round(6))
    (-1.386294, -3.0)
    """
    m, d = np.asarray(mean, dtype=np.float64), np.asarray(dispersion, dtype=np.float64)
    return np.asarray(-np.log1p(d * m) / d, dtype=np.float64)


def ragged(first: Ints, length: Ints) -> tuple[Ints, Ints]:
    """All values first, first+1, … (`length` of them) row after row: (row of each value, the value)."""
    row = np.repeat(np.arange(len(length)), length)
    start = np.cumsum(length) - length
    return row, np.arange(len(row)) - start[row] + first[row]


def _scaled(k: ArrayLike, n: ArrayLike) -> tuple[Ints, Ints]:
    k, n = np.broadcast_arrays(np.asarray(k, dtype=np.int64), np.asarray(n, dtype=np.int64))
    large = n > MOST
    share = k / np.maximum(n, 1)
    return np.where(large, np.floor(share * MOST), k).astype(np.int64), np.where(large, MOST, n)


def _log_sums(first: Ints, length: Ints, n: Ints, a: Floats, b: Floats) -> Floats:
    """ln Σ pmf(j) over j = first … first + length − 1, row by row; −inf for an empty row."""
    out = np.full(len(n), -np.inf)
    ends = np.cumsum(length)
    begin = 0
    while begin < len(n):
        done = ends[begin] - length[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        part = begin + np.flatnonzero(length[begin:stop] > 0)
        if len(part):
            row, j = ragged(first[part], length[part])
            terms = log_pmf(j, n[part][row], a[part][row], b[part][row])
            starts = np.cumsum(length[part]) - length[part]
            top = np.maximum.reduceat(terms, starts)
            out[part] = top + np.log(np.add.reduceat(np.exp(terms - top[row]), starts))
        begin = stop
    return out
