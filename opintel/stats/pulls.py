"""How many standard deviations a bin stands off: two Poisson counts compared given their sum, as a standard normal
value.

A bin of two histograms is a 2×2 table: what is in the bin (a, b) and what is elsewhere (A − a, B − b). If both follow
one shape, a is hypergeometric given the margins, whatever the shape and the totals: Fisher's exact test. Its mid-p as
a standard normal value is the pull. For few counts it is looked up, for many it is the signed root of the deviance with
its first correction, and between them, or where one bin holds much of the whole, the modified signed root.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, log_ndtr, ndtri

from opintel.stats.counts import Floats, Ints

EXACT = 96
"""Up to so many counts in a bin of both samples together its pull is looked up."""
NEAR = 0.01
"""Share by which a systematic error lessens effective counts that are still taken for the counts that they were: the
continuous form is wrong for few counts, which adds up in a sparse map."""
LARGE = 16.0
"""Variances of a given a + b from which the signed root with its first correction is right to .01."""
MUCH, MANY = 0.1, 400.0
"""Share of all counts in a bin from which its margins are no small corrections, unless its variance is above `MANY`."""
LOGIT = np.linspace(-9.25, 9.25, 75)
"""The shares A / (A + B), as log-odds, for which pulls and their moments are tabulated."""
_STEP = float(LOGIT[1] - LOGIT[0])
_TINY = 1e-300
CHUNK = 16_384
"""Bins whose pulls are computed together: what is needed for them stays in a core's nearest cache."""


class Tables(NamedTuple):
    """The 2×2 tables of the bins of H histograms; the totals may be (H, 1) where all bins of a row share them."""

    a: Floats
    """(H, B) counts observed in the bin; effective counts where entries have weights."""
    b: Floats
    """(H, B) counts of the reference in the bin."""
    total_a: Floats
    """Counts in the whole histogram, in the unit of `a`."""
    total_b: Floats

    @property
    def share(self) -> Floats:
        """The share of the counts of both that is observed under the null."""
        return self.total_a / (self.total_a + self.total_b)

    def rows(self, chosen: Ints | slice) -> Tables:
        """Those of some histograms."""
        return Tables(self.a[chosen], self.b[chosen], self.total_a[chosen], self.total_b[chosen])


def pulls(tables: Tables) -> Floats:
    """The pulls (H, B): + where the observed has more than the reference lets expect; 0 where both bins are empty.

    >>> one = Tables(*(np.array([[x]]) for x in (5.0, 20.0, 30.0, 40.0)))
    >>> float(pulls(one)[0, 0].round(1))  # hypergeometric mid-p: -2.854
    -2.9
    """
    a, b, total_a, total_b = tables
    total, share = total_a + total_b, tables.share
    both = a + b
    found = np.empty_like(both)
    step = max(1, CHUNK // max(1, both.shape[1]))
    for start in range(0, len(both), step):
        part = slice(start, start + step)
        found[part] = _large(a[part], b[part], both[part], share[part], total[part])
    odds = share * (1.0 - share)
    special = both < LARGE / odds
    special |= both > total * np.where(total * odds * MUCH < MANY, MUCH, 0.5)
    at = np.flatnonzero(special)
    if len(at):
        found.reshape(-1)[at] = _small(tables, both, at)
    return found


def _large(a: Floats, b: Floats, both: Floats, share: Floats, total: Floats) -> Floats:
    """r + skewness / 6 (McCullagh 1986, JASA 81, 104), for the binomial, stretched by what the margins take away."""
    whole = np.maximum(both, 1.0)
    expected = whole * share
    other = whole - expected
    np.sqrt(whole, out=whole)
    root = a + _TINY
    root /= expected
    np.log(root, out=root)
    root *= a
    part = b + _TINY
    part /= other
    np.log(part, out=part)
    part *= b
    root += part
    np.maximum(root, 0.0, out=root)
    np.multiply(both, -0.5 / total, out=part)
    part += 0.5
    root /= part
    np.sqrt(root, out=root)
    np.copysign(root, np.subtract(a, expected, out=expected), out=root)
    root += np.divide((1.0 - 2.0 * share) / (6.0 * np.sqrt(share * (1.0 - share))), whole, out=whole)
    return root


def _small(tables: Tables, both: Floats, at: Ints) -> Floats:
    """The pulls (N,) of bins `at` of few counts, or of much of the whole."""
    bins = both.shape[1]
    n, k = both.reshape(-1)[at], tables.a.reshape(-1)[at]
    total = tables.total_a + tables.total_b
    places = (at // bins) if total.shape[1] == 1 else at
    column, part = column_of(tables.share.reshape(-1))
    whole, known = total.reshape(-1)[places], (tables.share > _share(0)) & (tables.share < _share(-1))
    integer, sums = np.rint(k).astype(np.int64), np.rint(n).astype(np.int64)
    looked_up = known.reshape(-1)[places] & (n <= EXACT + 0.5) & (n < MUCH * whole)
    looked_up &= (np.abs(k - integer) <= _near(k)) & (np.abs(n - sums) <= _near(n))
    sums *= looked_up
    integer *= looked_up
    # The table is binomial; what the margins take away is put back as it is for large counts.
    found = _interpolated(integer, sums, column[places], part[places])
    found /= np.sqrt(np.maximum(1.0 - n / whole, 0.5))
    rest = at[~looked_up & (n > 0.0)]
    if len(rest):
        sides = (np.broadcast_to(side, both.shape).reshape(-1)[rest] for side in tables)
        found[~looked_up & (n > 0.0)] = signed_roots(Tables(*sides))
    return found


def _near(counts: Floats) -> Floats:
    """How far effective counts may be from whole ones to be looked up as these: a small systematic error."""
    return np.minimum(NEAR * counts, 0.1) + 1e-6


def signed_roots(tables: Tables) -> Floats:
    """The modified signed root r + ln(u / r) / r of the tables' deviances, in their shape, which takes no table.

    r is the signed root of the deviance and u as of Barndorff-Nielsen (1986, Biometrika 73, 307) for the conditional
    log-odds ratio ψ, with 2 tanh(ψ/2) for ψ, by which a tail of a lattice is the mid-p (Daniels 1987, Int. Stat. Rev.
    55, 37, eq. 5.7, less half an atom), and x + 1/6 for the counts x in u (Gosper's form of Stirling's formula).
    Within one standard deviation of the mean, where u / r has its pole, it is the Cornish–Fisher expansion. In the
    tails it is right to .01 where no count is below 3, and to .1 anywhere.
    """
    a, b, total_a, total_b = tables
    total, share, both = total_a + total_b, tables.share, a + b
    c, d = np.maximum(total_a - a, 0.0), np.maximum(total_b - b, 0.0)
    expected = both * share
    root = np.zeros_like(both)
    for seen, due in ((a, expected), (b, both - expected), (c, total_a - expected), (d, total_b - both + expected)):
        root += seen * np.log(np.maximum(seen, _TINY) / np.maximum(due, _TINY))
    root = np.sqrt(np.maximum(2.0 * root, 1e-12))
    spread = np.maximum(total_a / total * total_b * (both / total) * (1.0 - both / total), 1e-9)
    cross, other = a * d, b * c
    u = 2.0 * np.abs(cross - other) / np.maximum(cross + other, _TINY)
    # (a+1/6)(b+1/6)(c+1/6)(d+1/6) n / (n1 n2 m1 m2), in an order that does not overflow
    u *= np.sqrt((a + 1 / 6) * (b + 1 / 6) / (both + 1 / 6) * ((c + 1 / 6) / total_a) * ((d + 1 / 6) / total_b))
    u *= np.sqrt(total / np.maximum(c + d, 1 / 6))
    outer = np.copysign(root + np.log(np.maximum(u, 1e-12) / root) / root, a - expected)
    deviate = (a - expected) / np.sqrt(spread)
    skew = (1.0 - 2.0 * share) * (1.0 - 2.0 * both / total) / np.sqrt(spread)
    centre = deviate - skew * (deviate * deviate - 1.0) / 6.0
    return np.where((np.abs(deviate) > 1.0) & (spread > 1e-9), outer, centre)


def _interpolated(k: Ints, n: Ints, column: Ints, part: Floats) -> Floats:
    """Normal values (N,) of the exact binomial mid-p of k of n <= EXACT at the shares in these places, to .003."""
    table = small_table().reshape(-1)
    at = (n * (n + 1) // 2 + k) * len(LOGIT) + column
    found = table[at + 1]
    low = table[at]
    found -= low
    found *= part
    found += low
    return np.asarray(found, dtype=np.float64)


def column_of(share: Floats) -> tuple[Ints, Floats]:
    """(the column of `LOGIT` below, how far on to the next one) for shares; those beyond the table are its ends."""
    x = np.clip((np.log(share / (1.0 - share)) - LOGIT[0]) / _STEP, 0.0, len(LOGIT) - 1.0)
    column = np.minimum(x.astype(np.int64), len(LOGIT) - 2)
    return column, x - column


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
