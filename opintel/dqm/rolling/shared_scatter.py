"""Scatter that the bins of a histogram share: within a run a gain or the beam moves the whole distribution, to and fro.

A floor takes bins to scatter each by itself, so a distribution that moves as a whole would be found again and again.
How far it moves is learned from the histogram's calm lumisections: the variance 1 + λ of each of the smooth components
of its shape along each axis (`shape_components`), in units of counting and floor. Under a covariance 1 + λ q qᵀ, q of
length 1, bins are independent again when the component Z along q becomes Z / √(1 + λ); so the references are carried
towards what is observed by (1 − 1 / √(1 + λ)) Z along q. What moves further than it used to still stands out, and
what no smooth component describes (a dead bin) is judged as before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing.statistics import shape_components, smooth_patterns
from opintel.dqm.comparing.windows import onto_axis
from opintel.dqm.rolling.histories import SHARED, Floats

FARTHEST = 10.0
"""Times that a bin's expected contents become more or less at most."""
Shape = tuple[int, ...]


class Carried(NamedTuple):
    """References of n histograms, carried to where they are expected."""

    references: Floats
    """(R, planes, n, B)"""
    shared: NDArray[np.float64]
    """(n, `SHARED`) estimates of λ from this lumisection alone."""


def carried(
    sums: Floats, references: Floats, floor: NDArray[np.float64], shared: NDArray[np.float64], shape: Shape
) -> Carried:
    """References (R, planes, n, B) of counts or sums of weights `sums` (planes, n, B) in the light of `shared`
    (n, `SHARED`), the λ of each component; `floor` (n,) as in `quick_look`, `shape` that of a histogram.

    >>> observed, reference = np.array([[[900.0, 1000.0, 1100.0]]]), np.array([[[[1e5, 1e5, 1e5]]]])
    >>> moved = carried(observed, reference, np.zeros(1), np.full((1, SHARED), 100.0), (3,)).references
    >>> (moved / 1e5).round(2).tolist()
    [[[[0.91, 1.0, 1.09]]]]
    """
    with np.errstate(all="ignore"):  # references that are not finite count as not given, and are not carried
        whole = references.sum(axis=0, dtype=np.float64)
        a, b = (part.sum(axis=1, keepdims=True, dtype=np.float64) for part in (sums[0], whole[0]))
        share, pooled = whole[0] / b, (sums[0] + whole[0]) / (a + b)
        plain = pooled * (1.0 / a + 1.0 / b) if len(sums) == 1 else sums[1] / a**2 + whole[1] / b**2
        variance = plain + np.square(floor[:, None] * pooled)
        found, moved = np.full((len(share), SHARED), np.nan), share.copy()
        keep = 1.0 - 1.0 / np.sqrt(1.0 + np.maximum(shared, 0.0))
        for axis in range(len(shape)):
            along = onto_axis(variance, shape, axis)
            components = shape_components(onto_axis(sums[0] / a - share, shape, axis), along, bound=True)
            at = slice(3 * axis, 3 * axis + 3)
            found[:, at] = np.square(components) - 1.0
            by = np.einsum("nk,knb->nb", keep[:, at] * components, smooth_patterns(along))
            by /= np.sqrt(along.sum(axis=1, keepdims=True))
            moved += variance * _over_bins(by, shape, axis)
        factor = np.clip(moved / share, 1.0 / FARTHEST, FARTHEST)
        factor = np.where(np.isfinite(factor), factor, 1.0).astype(references.dtype)
    # a plane of variances goes with the square
    return Carried(references * np.stack([factor, factor * factor])[: len(sums)], found)


def _over_bins(by: NDArray[np.float64], shape: Shape, axis: int) -> NDArray[Any]:
    """(n, B) what is said of places along an axis (n, places), in each bin."""
    placed = by.reshape(len(by), *(bins if n == axis else 1 for n, bins in enumerate(shape)))
    return np.broadcast_to(placed, (len(by), *shape)).reshape(len(by), -1)
