"""Profiles: means with the variances of the means, bin by bin. Here the height counts and not only the shape, and the
number of entries does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from opintel.dqm.comparing.comparison import Comparison
from opintel.dqm.comparing.judged import judge_differences
from opintel.dqm.comparing.statistics import largest
from opintel.dqm.comparing.verdicts import Verdicts
from opintel.stats.counts import Floats

OUTLYING = 6.0
"""Standard deviations off the median of all references from which one is left out of a bin, if most others are
nearer."""


def compare_means(
    observed: ArrayLike,
    observed_variance: ArrayLike,
    references: ArrayLike,
    reference_variance: ArrayLike,
    *,
    floor: ArrayLike = 0.0,
) -> Comparison:
    """Compares profiles `observed` (H, B), or (H, Y, X), with `references` (R, H, …), means both, with variances of the
    means in the same shapes. `floor` is a systematic error in the unit of the means: a scalar, (H,) or as `observed`.

    A bin whose mean or variance is not finite, or whose variance is not above 0 (one entry says nothing of its error),
    is not compared; p is NaN where no bin is left. Means are taken as normal, which those of less than some ten entries
    are not. Raises ValueError for shapes that do not fit.

    >>> one = compare_means([[5.0, 5.1, 9.0]], [[0.01, 0.01, 0.01]], [[[5.0, 5.0, 5.0]]], [[[0.01, 0.01, 0.01]]])
    >>> one.regions
    [[(2, 2, 'high')]]
    """
    value, variance = (np.asarray(part, dtype=np.float64) for part in (observed, observed_variance))
    others, other_variance = (np.asarray(part, dtype=np.float64) for part in (references, reference_variance))
    if value.ndim not in (2, 3) or others.shape[1:] != value.shape or others.ndim != value.ndim + 1:
        raise ValueError(
            f"expected means (H, B) or (H, Y, X) and references (R, …) of them, got {value.shape} and {others.shape}"
        )
    if variance.shape != value.shape or other_variance.shape != others.shape:
        raise ValueError(
            f"expected variances of shapes {value.shape} and {others.shape}, "
            f"got {variance.shape} and {other_variance.shape}"
        )
    wider = np.asarray(floor, dtype=np.float64)
    wider = np.square(wider.reshape(-1, *(1,) * (value.ndim - 1)) if wider.ndim == 1 else wider)
    found = Verdicts.room(len(value), value.shape[1:])
    found.mark(np.ones(len(value), dtype=np.bool_))
    with np.errstate(all="ignore"):  # of bins that are not compared
        expected, error = _combined(others, other_variance)
        spread = variance + error + wider
        known = _known(value, variance) & np.isfinite(expected)
        rows = np.flatnonzero(known.reshape(len(value), -1).any(axis=1)) if value.size else np.zeros(0, dtype=np.int64)
        if len(rows):
            # Each bin counts by its precision, in windows and in the shape.
            precision = np.where(known, 1.0 / spread, 0.0)[rows].reshape(len(rows), -1)
            weighed = np.where(known, (value - expected) / spread, 0.0)[rows].reshape(len(rows), -1)
            judged = judge_differences(weighed, precision, value.shape[1:], bound=False)
            found.log_p[rows] = judged.combined
            found.spoke[rows] = judged.spoke
            found.effect[rows] = largest(judged.pull)
            found.pull[rows] = judged.pull
            found.expected[rows] = np.where(known, expected, np.nan)[rows].reshape(len(rows), -1)
            found.error[rows] = np.where(known, np.sqrt(spread), np.nan)[rows].reshape(len(rows), -1)
    return found.comparison(value, means=True)


def _known(value: Floats, variance: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.isfinite(value) & np.isfinite(variance) & (variance > 0.0)


def _combined(references: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """(mean, variance) of the references in each bin, weighed by precision; NaN where none is known."""
    known = _known(references, variance)
    some = known.any(axis=0)
    middle = np.full(some.shape, np.nan)
    middle[some] = np.nanmedian(np.where(known, references, np.nan)[:, some], axis=0)
    typical = np.where(known, variance, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    near = known & (np.abs(references - middle) <= OUTLYING * np.sqrt(variance + typical))
    using = np.where(near.sum(axis=0) > known.sum(axis=0) / 2, near, known)
    precision = np.where(using, 1.0 / np.where(using, variance, 1.0), 0.0)
    whole = precision.sum(axis=0)
    mean = (precision * np.where(using, references, 0.0)).sum(axis=0) / np.where(whole > 0.0, whole, np.nan)
    # Where no majority agrees, they scatter more than their variances say.
    scatter = (precision * np.where(using, np.square(references - mean), 0.0)).sum(axis=0)
    scatter /= np.maximum(using.sum(axis=0) - 1, 1)
    disputed = near.sum(axis=0) <= known.sum(axis=0) / 2
    return mean, np.where(disputed, np.maximum(scatter, 1.0), 1.0) / np.where(whole > 0.0, whole, np.nan)
