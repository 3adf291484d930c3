"""What a comparison asks of the bins' pulls, each question with its own log p: are they too large as a whole
(deviance), is
one too large (pull), does the distribution lie elsewhere (shape). The same of neighbours taken together is `windows`.
"""

from __future__ import annotations

import numpy as np

from opintel.stats.combined_p import log_sidak
from opintel.stats.counts import Floats
from opintel.stats.gamma_tail import log_tail_of_shape, log_tail_of_sum
from opintel.stats.pulls import Tables, two_sided_log_p
from opintel.stats.square_moments import square_cumulants


def deviance_log_p(pull: Floats, elsewhere: Floats, cumulants: tuple[Floats, Floats, Floats]) -> Floats:
    """ln p (H,) of the sum of squared pulls (H, B), each weighed with the share of variance that is `elsewhere`.

    For large counts that is Pearson's χ², of one degree less than there are filled bins; `cumulants` are its first
    three.
    """
    return log_tail_of_sum(np.einsum("ij,ij,ij->i", pull, pull, elsewhere), *cumulants)


def normal_cumulants(elsewhere: Floats) -> tuple[Floats, Floats, Floats]:
    """The first three cumulants (H,) of that sum for normal values: shares of χ² of one degree each."""
    degrees = elsewhere.sum(axis=1)
    return degrees, 2.0 * degrees, 8.0 * degrees


def count_cumulants(tables: Tables, elsewhere: Floats) -> tuple[Floats, Floats, Floats]:
    """The same for counts."""
    return square_cumulants(tables.a + tables.b, tables.total_a / (tables.total_a + tables.total_b), elsewhere)


def greatest_log_p(pull: Floats, able: Floats) -> Floats:
    """ln p (H,) of the greatest of the pulls (H, B), of which `able` (H,) could have been so great (Šidák 1967)."""
    return log_sidak(two_sided_log_p(np.abs(pull).max(axis=1)), np.maximum(able, 1.0))


def able_bins(pull: Floats, tables: Tables) -> Floats:
    """How many bins (H,) could have a pull as great as the greatest: half a bin a side.

    A bin reaches it where all its counts, or none, are observed, of which the mid-p is half the probability t.
    """
    both = tables.a + tables.b
    share = tables.total_a / (tables.total_a + tables.total_b)
    reach = -two_sided_log_p(np.abs(pull).max(axis=1))[:, None]
    all_observed, none_observed = both * -np.log(share), both * -np.log1p(-share)
    return np.asarray(((all_observed >= reach).sum(axis=1) + (none_observed >= reach).sum(axis=1)) / 2.0)


def shape_log_p(difference: Floats, variance: Floats, bound: bool) -> Floats:
    """ln p (H,) that shares differ smoothly over the histogram, from the differences of shares and their variances
    (H, B).

    The components of Neyman's smooth test (1937, Skand. Aktuarietidskr. 20, 149) of first to third degree: orthonormal
    polynomials over the ranks of the pooled entries, so that no far bin carries more than its rank. The first is
    Wilcoxon's test of a shift, the second of the width; they are added as Z1² + (Z2² + Z3²) / 4, as the terms of
    Anderson's and Darling's statistic fall off. Differences that are not `bound` to add up to nothing have a component
    of degree 0, their height, and it takes the first place.
    """
    total = variance.sum(axis=1, keepdims=True)
    mass = variance / total
    rank = np.cumsum(mass, axis=1)
    rank -= 0.5 * mass
    before, now = np.zeros_like(mass), np.ones_like(mass)
    norm, fall = np.ones((len(mass), 1)), np.zeros((len(mass), 1))
    found = np.zeros(len(mass)) if bound else difference.sum(axis=1) ** 2 / total[:, 0]
    for weight in (1.0, 4.0, 4.0) if bound else (4.0, 4.0):
        middle = np.einsum("ij,ij,ij,ij->i", mass, now, now, rank)[:, None] / norm
        before, now = now, (rank - middle) * now - fall * before
        square = np.einsum("ij,ij,ij->i", mass, now, now)[:, None]
        known = square > 1e-6 * norm
        square = np.where(known, square, norm)
        component = np.einsum("ij,ij->i", now, difference)
        found = found + np.where(known, component[:, None] ** 2 / (square * total), 0.0)[:, 0] / weight
        norm, fall = square, np.where(known, square / norm, 0.0)
    return log_tail_of_shape(found)
