"""What a comparison asks of the bins' pulls, each question with its own log p: are they too large as a whole
(deviance), is one too large (pull), does the distribution lie elsewhere (shape). The same of neighbours taken together
is `windows`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opintel.stats.combined_p import log_sidak
from opintel.stats.counts import Floats, Ints
from opintel.stats.gamma_tail import log_tail_of_shape, log_tail_of_sum
from opintel.stats.pulls import Tables, two_sided_log_p
from opintel.stats.square_moments import square_cumulants

FINE = 0.08
"""Share of all variance in a bin up to which sums over ranks are integrals, to a per cent."""


def deviance_log_p(pull: Floats, tables: Tables) -> Floats:
    """ln p (H,) of the sum of squared pulls (H, B), each times the share of counts that lies in other bins: for large
    counts that is Pearson's χ², of one degree less than there are filled bins."""
    squares = pull * pull
    found = squares.sum(axis=1)
    squares *= (tables.a + tables.b) / (tables.total_a + tables.total_b)
    return log_tail_of_sum(found - squares.sum(axis=1), *square_cumulants(tables))


def normal_deviance_log_p(pull: Floats, elsewhere: Floats) -> Floats:
    """The same of normal pulls, `elsewhere` being the share of variance in other bins; 1 where nothing is bound, and 0
    for what is no bin."""
    degrees = elsewhere.sum(axis=1)
    found = np.einsum("ij,ij->i", pull * pull, elsewhere)
    return log_tail_of_sum(found, degrees, 2.0 * degrees, 8.0 * degrees)


def largest(pull: Floats) -> Floats:
    """The largest of pulls (H, B), with its sign (H,)."""
    most, least = pull.max(axis=1, initial=0.0), pull.min(axis=1, initial=0.0)
    return np.asarray(np.where(most >= -least, most, least), dtype=np.float64)


def greatest_log_p(pull: Floats, of: Tables | Ints) -> Floats:
    """ln p (H,) of the largest `pull` (H,), one of as many that could have been so great (Šidák 1967, JASA 62,
    626): `of` which counts they are, or how many (H,)."""
    log_p = two_sided_log_p(pull)
    return log_sidak(log_p, np.maximum(_able(log_p, of) if isinstance(of, Tables) else of, 1.0))


def _able(log_p: Floats, tables: Tables) -> Floats:
    """How many bins (H,) can have so small a p, half a bin a side: the mid-p where all n counts are observed is share^n
    / 2."""
    share, both = tables.share, tables.a + tables.b
    able = np.zeros(len(both))
    fewest = both.min()
    for logarithm in (-np.log(share), -np.log1p(-share)):
        least = -log_p[:, None] / logarithm
        able += both.shape[1] if fewest >= least.max() else (both >= least).view(np.uint8).sum(axis=1, dtype=np.int32)
    return able / 2.0


def shape_log_p(difference: Floats, variance: Floats, bound: bool) -> Floats:
    """ln p (H,) that shares differ smoothly over the histogram, from the differences of shares and their variances
    (H, B): its `shape_components` are added as Z1² + (Z2² + Z3²) / 4, as the terms of Anderson's and Darling's
    statistic fall off.
    """
    return shape_tail(shape_components(difference, variance, bound))


def shape_tail(components: Floats) -> Floats:
    """ln p (H,) of the three components (H, 3)."""
    square = np.square(components, dtype=np.float64)
    return log_tail_of_shape(square[:, 0] + (square[:, 1] + square[:, 2]) / 4.0)


def shape_components(difference: Floats, variance: Floats, bound: bool) -> Floats:
    """(H, 3) standard normal components of differences (H, B) of these variances.

    Those of Neyman's smooth test (1937, Skand. Aktuarietidskr. 20, 149) of first to third degree: orthonormal
    polynomials over the ranks of the pooled entries, so that no far bin carries more than its rank. The first is
    Wilcoxon's test of a shift, the second of the width. Differences that are not `bound` to add up to nothing have a
    component of degree 0, their height, and it takes the first place.
    """
    mass, total = _mass(variance)
    rank = _rank(mass)
    if not bound:
        return _orthogonal(difference, mass, rank, total, bound)
    coarse = mass.max(axis=1) > FINE
    found = np.empty((len(mass), 3))
    some = coarse.any()
    fine = ~coarse if some else slice(None)
    found[fine] = _legendre(difference[fine], rank[fine], total[fine])
    if some:
        found[coarse] = _orthogonal(difference[coarse], mass[coarse], rank[coarse], total[coarse], bound)
    return found


def smooth_patterns(variance: Floats) -> Floats:
    """(3, H, B) what each of the bound components is of: the bins' standard deviations (H, B) times the pattern is the
    direction, of length 1, in which that component lies."""
    mass, _ = _mass(variance)
    return np.stack(list(_polynomials(mass, _rank(mass))))


def _mass(variance: Floats) -> tuple[Floats, Floats]:
    """(the share (H, B) that each bin has of the variance, the whole (H, 1))."""
    total = variance.sum(axis=1, keepdims=True)
    return variance / total, total


def _rank(mass: Floats) -> Floats:
    rank = np.cumsum(mass, axis=1)
    rank -= 0.5 * mass
    return rank


def _legendre(difference: Floats, rank: Floats, total: Floats) -> Floats:
    """Where no bin holds much, sums over ranks are integrals, and the orthonormal polynomials Legendre's."""
    x = 2.0 * rank
    x -= 1.0
    power = x * difference
    first = power.sum(axis=1)
    power *= x
    second = power.sum(axis=1)
    power *= x
    third = power.sum(axis=1)
    found = np.stack([3.0**0.5 * first, 5.0**0.5 * 1.5 * second, 7.0**0.5 * (2.5 * third - 1.5 * first)], axis=1)
    return np.asarray(found / np.sqrt(total), dtype=np.float64)


def _orthogonal(difference: Floats, mass: Floats, rank: Floats, total: Floats, bound: bool) -> Floats:
    """The same with polynomials that are orthonormal over the ranks of these bins."""
    found = [np.einsum("ij,ij->i", one, difference) for one in _polynomials(mass, rank)]
    if not bound:
        found = [difference.sum(axis=1), *found[:2]]
    return np.asarray(np.stack(found, axis=1) / np.sqrt(total), dtype=np.float64)


def _polynomials(mass: Floats, rank: Floats) -> Iterator[Floats]:
    """(H, B) each, of first to third degree, by their three-term recurrence; 0 where bins are too few for one."""
    before, now = np.zeros_like(mass), np.ones_like(mass)
    norm, fall = np.ones((len(mass), 1)), np.zeros((len(mass), 1))
    for _ in range(3):
        weighted = mass * now
        weighted *= now
        middle = np.einsum("ij,ij->i", weighted, rank)[:, None] / norm
        before, now = now, (rank - middle) * now - fall * before
        square = np.einsum("ij,ij->i", mass * now, now)[:, None]
        known = square > 1e-6 * norm
        square = np.where(known, square, norm)
        yield np.where(known, now / np.sqrt(square), 0.0)
        norm, fall = square, np.where(known, square / norm, 0.0)
