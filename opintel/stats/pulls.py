"""How many standard deviations a bin stands off: two Poisson counts compared given their sum, as a standard normal
value.

A bin of two histograms is a 2×2 table: what is in the bin (a, b) and what is elsewhere (A − a, B − b). If both
follow one
shape, a is hypergeometric given the margins, whatever the shape and the totals: Fisher's exact test. Its mid-p as a
standard normal value is the pull. For few counts it is looked up (exact up to how the table is interpolated), else
it is
the modified signed root of the deviance, right to about .01 in the tails wherever no count is below 3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, log_ndtr, ndtri, ndtri_exp

from opintel.stats.counts import Floats

EXACT = 64
"""Up to so many counts in a bin of both samples together its pull is looked up."""
LOGIT = np.linspace(-9.25, 9.25, 149)
"""The shares A / (A + B), as log-odds, for which pulls and their moments are tabulated."""
_STEP = float(LOGIT[1] - LOGIT[0])
_TINY = 1e-300


class Tables(NamedTuple):
    """The 2×2 tables of bins, (H, B) or (H, Y, X) each; the totals may be (H, 1) where all bins of a row share them."""

    a: Floats
    """Counts observed in the bin; effective counts where entries have weights."""
    b: Floats
    """Counts of the reference in the bin."""
    total_a: Floats
    """Counts in the whole histogram, in the unit of `a`."""
    total_b: Floats

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Tables:
        """Those of some histograms."""
        return Tables(*(part[chosen] for part in self))


def pulls(tables: Tables) -> Floats:
    """The pulls (H, B): + where the observed has more than the reference lets expect; 0 where both bins are empty.

    >>> one = Tables(*(np.array([[x]]) for x in (5.0, 20.0, 30.0, 40.0)))
    >>> float(pulls(one)[0, 0].round(1))  # hypergeometric mid-p: -2.854
    -2.9
    """
    a, b, total_a, total_b = tables
    share = total_a / (total_a + total_b)
    found = signed_roots(tables)
    both = a + b
    few = (both <= EXACT) & (both > 0.0) & (share > _share(0)) & (share < _share(-1))
    few &= (np.abs(a - np.rint(a)) < 1e-6) & (np.abs(b - np.rint(b)) < 1e-6)
    if few.any():
        k, n = np.rint(a[few]).astype(np.int64), np.rint(both[few]).astype(np.int64)
        at = np.broadcast_to(share, a.shape)[few]
        elsewhere = 1.0 - both[few] / np.broadcast_to(total_a + total_b, a.shape)[few]
        # The table is binomial; what the margins take away is put back as it is for large counts.
        exact = small_pulls(k, n, at) / np.sqrt(np.maximum(elsewhere, 1e-12))
        found[few] = np.where(elsewhere > 0.75, exact, found[few])
    return found


def signed_roots(tables: Tables) -> Floats:
    """The modified signed root r + ln(u / r) / r of the tables' deviances (H, B), which takes no table.

    r is the signed root of the deviance and u as of Barndorff-Nielsen (1986, Biometrika 73, 307) for the conditional
    log-odds ratio ψ, with 2 tanh(ψ/2) for ψ, by which a tail of a lattice is the mid-p (Daniels 1987, Int. Stat. Rev.
    55, 37, eq. 5.7, less half an atom), and x + 1/6 for the counts x in u (Gosper's form of Stirling's formula).
    Within one standard deviation of the mean, where u / r has its pole, it is the Cornish–Fisher expansion.
    """
    a, b, total_a, total_b = tables
    total = total_a + total_b
    share = total_a / total
    both = a + b
    c, d = total_a - a, total_b - b
    np.maximum(c, 0.0, out=c)
    np.maximum(d, 0.0, out=d)
    e = both * share
    off = a - e
    f = np.maximum(both - e, _TINY)
    g = np.maximum(total_a - e, _TINY)
    h = np.maximum(total_b - f, _TINY)
    e = np.maximum(e, _TINY)
    root = a * np.log(np.maximum(a, _TINY) / e)
    root += b * np.log(np.maximum(b, _TINY) / f)
    root += c * np.log(np.maximum(c, _TINY) / g)
    root += d * np.log(np.maximum(d, _TINY) / h)
    root += root
    np.maximum(root, 1e-12, out=root)
    np.sqrt(root, out=root)
    spread = total_a * (total_b / total) * (both / total) * (1.0 - both / total)  # the variance of a given the margins
    np.maximum(spread, 1e-9, out=spread)
    cross, other = a * d, b * c
    u = np.abs(cross - other) / np.maximum(cross + other, _TINY)
    # (a+1/6)(b+1/6)(c+1/6)(d+1/6) n / (n1 n2 m1 m2), in an order that does not overflow
    u *= 2.0 * np.sqrt(
        (a + 1 / 6)
        * (b + 1 / 6)
        / (both + 1 / 6)
        * (c + 1 / 6)
        / total_a
        * (d + 1 / 6)
        / total_b
        * (total / np.maximum(c + d, 1 / 6))
    )
    shifted = root + np.log(np.maximum(u, 1e-12) / root) / root
    deviate = off / np.sqrt(spread)
    skew = (1.0 - 2.0 * share) * (1.0 - 2.0 * both / total) / np.sqrt(spread)
    centre = deviate - skew * (deviate * deviate - 1.0) / 6.0
    outside = (np.abs(deviate) > 1.0) & (spread > 1e-9)
    found = np.copysign(shifted, off)
    found -= centre
    found *= outside
    found += centre
    found *= both > 0.0
    return np.asarray(found, dtype=np.float64)


def small_pulls(k: NDArray[np.int64], n: NDArray[np.int64], share: Floats) -> Floats:
    """Normal values (N,) of the exact binomial mid-p of k of n <= EXACT at probability `share`, interpolated.

    >>> float(small_pulls(np.array([0]), np.array([1]), np.array([0.5]))[0].round(3))
    -0.674
    """
    table = small_table().reshape(-1)
    column, part = column_of(share)
    at = (n * (n + 1) // 2 + k) * len(LOGIT) + column
    low = table[at]
    return np.asarray(low + part * (table[at + 1] - low), dtype=np.float64)


def column_of(share: Floats) -> tuple[NDArray[np.int64], Floats]:
    """(the column of `LOGIT` below, how far on to the next one) for shares within the table."""
    x = (np.log(share / (1.0 - share)) - LOGIT[0]) / _STEP
    column = np.clip(x.astype(np.int64), 0, len(LOGIT) - 2)
    return column, np.clip(x - column, 0.0, 1.0)


@lru_cache(maxsize=1)
def small_table() -> Floats:
    """Normal values of the mid-p of k of n at the shares of `LOGIT`: row n (n + 1) / 2 + k, (rows, len(LOGIT))."""
    p = 1.0 / (1.0 + np.exp(-LOGIT))
    rows = []
    for n in range(EXACT + 1):
        k = np.arange(n + 1)[:, None]
        pmf = np.exp(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + k * np.log(p) + (n - k) * np.log1p(-p))
        lower = np.cumsum(pmf, axis=0) - pmf / 2
        upper = np.cumsum(pmf[::-1], axis=0)[::-1] - pmf / 2
        rows.append(np.where(lower < upper, ndtri(lower), -ndtri(upper)))
    return np.ascontiguousarray(np.concatenate(rows))


def _share(column: int) -> float:
    return float(1.0 / (1.0 + np.exp(-LOGIT[column])))


def two_sided_log_p(z: Floats) -> Floats:
    """ln of the two-sided p of a standard normal value, finite however large it is."""
    return np.asarray(np.minimum(np.log(2.0) + log_ndtr(-np.abs(z)), 0.0), dtype=np.float64)


def normal_value(log_p: Floats) -> Floats:
    """The standard normal value whose upper tail has this log probability."""
    return np.asarray(-ndtri_exp(log_p), dtype=np.float64)
