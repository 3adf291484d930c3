"""What stands out of the natural variation: each bin, window and shape against what all the other bins let expect.

With C the covariance of a histogram's shares (statistics at its own total, `spread`, components) and d their
difference from the mean, a fault of form b is best seen as bᵀ C⁻¹ d / √(bᵀ C⁻¹ b) (the matched filter, or generalised
least squares: Aitken 1935). For one bin that is its content less what the others let expect, over the standard
deviation of that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from opintel.dqm.modelled.natural_variation import Variation
from opintel.stats.counts import Floats

WINDOWS = (2, 3, 4, 6, 9, 13)
"""Bins side by side that are asked for as one."""
LEAST = 1.0
"""Counts expected in a window, below which its bins are asked one by one only."""
RARE = 0.1
"""A bin is taken to expect so many counts at least."""
_HALF = 0.5
"""Variance, in counts, that keeps the weight of bins without entries finite."""


class Standouts(NamedTuple):
    """The answers on n histograms, of unit normal law in good runs."""

    pull: Floats
    """(n, B)"""
    expected: Floats
    """(n, B) contents that the other bins let expect."""
    error: Floats
    """(n, B) its standard deviation, statistics included."""
    windows: Floats
    """(n, W, B) of the windows of each of `sizes`, at their first bin; 0 where none begins."""
    shape: Floats
    """(n, 2) moved along the axis; wider or narrower."""
    deviance: Floats
    """(n,) all together."""


def standouts(known: Variation, contents: Floats) -> Standouts:
    """Of histograms `contents` (n, B), each with what is known of it."""
    share, total = known.share, contents.sum(axis=1, keepdims=True)
    off = contents / total - share
    # The first pattern is the histogram itself, as its total is free; it has no prior.
    patterns = np.concatenate([share[:, None, :], known.components], axis=1)
    prior = np.zeros((len(share), 1 + known.strength.shape[1]))
    prior[:, 1:] = np.where(known.strength > 0.0, 1.0 / np.maximum(known.strength, 1e-300), 1.0)
    own = share / total + _HALF / np.square(total) + known.spread + known.unsure
    weighed = patterns / own[:, None, :]
    matrix = weighed @ patterns.swapaxes(1, 2)
    diagonal = np.arange(prior.shape[1])
    matrix[:, diagonal, diagonal] += prior
    half = np.linalg.solve(np.linalg.cholesky(matrix), weighed)  # C⁻¹ = 1/own − halfᵀ half (Woodbury)
    filtered = off / own - np.einsum("nkb,nk->nb", half, np.einsum("nkb,nb->nk", half, off))
    precision = np.maximum(1.0 / own - np.einsum("nkb,nkb->nb", half, half), 1e-12 / own)

    usual = total * share
    expected = np.maximum(contents - total * filtered / precision, 0.1 * usual)
    variance = np.maximum(np.square(total) / precision - _HALF, expected)
    pull = _normal_of_counts(contents, expected, variance)
    return Standouts(
        pull,
        expected,
        np.sqrt(variance),
        _windows(share, usual, filtered, own, half),
        _shapes(share, filtered, own, half),
        _deviance(off, filtered, usual, own, total),
    )


def sizes(bins: int) -> tuple[int, ...]:
    """The `WINDOWS` of which two fit."""
    return tuple(size for size in WINDOWS if 2 * size <= bins)


def _windows(share: Floats, usual: Floats, filtered: Floats, own: Floats, half: Floats) -> Floats:
    """(n, W, B): all bins of a window changed by one factor."""
    signal, weight = _running(filtered * share), _running(np.square(share) / own)
    shared, third = _running(half * share[:, None, :]), _running((share / own) ** 3 * share)
    due, entries = _running(usual), usual[:, :1] / share[:, :1]
    found = np.zeros((len(share), len(sizes(share.shape[1])), share.shape[1]))
    for n, size in enumerate(sizes(share.shape[1])):
        alone = weight[:, size:] - weight[:, :-size]
        common = np.square(shared[..., size:] - shared[..., :-size]).sum(axis=1)
        precision = np.maximum(alone - common, 1e-9 * alone)
        skew = (third[:, size:] - third[:, :-size]) / np.square(entries) / precision**1.5
        value = (signal[:, size:] - signal[:, :-size]) / np.sqrt(precision)
        enough = due[:, size:] - due[:, :-size] >= LEAST
        found[:, n, : value.shape[1]] = np.where(enough, _normal(value, skew), 0.0)
    return found


def _shapes(share: Floats, filtered: Floats, own: Floats, half: Floats) -> Floats:
    """(n, 2): along the first and the second difference of the mean."""
    padded = np.pad(share, ((0, 0), (1, 1)), mode="edge")
    moved, wider = (padded[:, 2:] - padded[:, :-2]) / 2.0, padded[:, 2:] - 2.0 * share + padded[:, :-2]
    found = []
    for form in (moved, wider):
        alone = np.einsum("nb,nb->n", form / own, form)
        precision = alone - np.square(np.einsum("nkb,nb->nk", half, form)).sum(axis=1)
        precision = np.maximum(precision, 1e-9 * alone)
        signal = np.einsum("nb,nb->n", filtered, form)
        found.append(np.where(alone > 0.0, signal / np.sqrt(np.maximum(precision, 1e-300)), 0.0))
    return np.stack(found, axis=1)


def _deviance(off: Floats, filtered: Floats, usual: Floats, own: Floats, total: Floats) -> Floats:
    """The normal value (n,) of dᵀ C⁻¹ d, from its first two moments: χ² where counts are large."""
    sure = 1.0 - _HALF / np.square(total) / own
    poisson = usual / np.square(total) / own
    mean = sure.sum(axis=1) - 1.0
    variance = 2.0 * np.square(sure).sum(axis=1) - 2.0 + (np.square(poisson) / usual).sum(axis=1)
    variance = np.maximum(variance, 1e-3)
    value = np.einsum("nb,nb->n", off, filtered)
    return _normal((value - mean) / np.sqrt(variance), 2.0 * np.sqrt(variance) / np.maximum(mean, 0.5))


def _normal_of_counts(counts: Floats, expected: Floats, variance: Floats) -> Floats:
    """Counts of which the Poisson part of the variance alone is skewed."""
    expected = np.maximum(expected, RARE)
    variance = np.maximum(variance, expected)
    return _normal((counts - expected) / np.sqrt(variance), expected / variance**1.5)


def _normal(deviate: Floats, skew: Floats) -> Floats:
    """The normal value of a deviate of this skewness, a gamma law (Wilson & Hilferty 1931, PNAS 17, 684)."""
    skew = np.maximum(skew, 1e-6)
    root = np.cbrt(1.0 + np.maximum(skew * deviate / 2.0, -0.999))
    return np.asarray(6.0 / skew * (root - 1.0) + skew / 6.0, dtype=np.float64)


def _running(values: Floats) -> Floats:
    """Sums (…, B + 1) of all bins before."""
    found = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=found[..., 1:])
    return found
