"""Are these histograms of the shape of their references? One calibrated p for each, and where they deviate.

References are added up (`combined_references`), each bin is a 2×2 table of counts (`bin_tables`), its deviation a pull
(`opintel.stats.pulls`), and the tests of all pulls (`statistics`, `windows`) become one p (`judged`). Histograms are
taken in blocks that fit into a processor's cache; what is said of one does not depend on the others, to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opintel.dqm.comparing.combined_references import combine
from opintel.dqm.comparing.comparison import Comparison
from opintel.dqm.comparing.verdicts import Verdicts, judge_block
from opintel.stats.counts import Floats

BLOCK = 40_000
"""Bins that are judged together."""


def compare(
    observed: ArrayLike,
    references: ArrayLike,
    *,
    observed_variance: ArrayLike | None = None,
    reference_variance: ArrayLike | None = None,
) -> Comparison:
    """Compares histograms `observed` (H, B) with `references` (R, H, B), contents of one shape under the null whatever
    their totals. Variances, in the shapes of the contents, are those of sums of weights; without them contents are
    counts.

    p is NaN below 20 (effective) entries on either side, with less than two filled bins, or where content is not
    finite, or negative without variances; a reference like that counts as not given. Raises ValueError for shapes that
    do not fit.

    >>> reference = np.array([[[40, 80, 120, 80, 40]]])
    >>> compare([[20, 40, 0, 40, 20]], reference).regions
    [[(2, 2, 'dead')]]
    """
    return compare_with_floor(
        observed, references, 0.0, observed_variance=observed_variance, reference_variance=reference_variance
    )


def compare_2d(
    observed: ArrayLike,
    references: ArrayLike,
    *,
    observed_variance: ArrayLike | None = None,
    reference_variance: ArrayLike | None = None,
) -> Comparison:
    """The same for maps: `observed` (H, Y, X), `references` (R, H, Y, X); regions are (y0, x0, y1, x1, kind)."""
    return compare_with_floor(
        observed, references, 0.0, observed_variance=observed_variance, reference_variance=reference_variance, axes=2
    )


def compare_with_floor(
    observed: ArrayLike,
    references: ArrayLike,
    floor: ArrayLike,
    *,
    observed_variance: ArrayLike | None = None,
    reference_variance: ArrayLike | None = None,
    axes: int = 1,
) -> Comparison:
    """`compare` (axes = 1) or `compare_2d` (axes = 2) under a wider null: `floor`, a scalar, (H,) or in the shape of
    `observed`, is the relative systematic error of what is expected in a bin. References are compared with one another
    without it."""
    observed, references = np.asarray(observed), np.asarray(references)
    if observed.ndim != axes + 1 or references.shape[1:] != observed.shape or references.ndim != axes + 2:
        raise ValueError(
            f"expected observed (H, {'B' if axes == 1 else 'Y, X'}) and references (R, …) of the same histograms, "
            f"got {observed.shape} and {references.shape}"
        )
    return _compared(
        observed,
        references,
        _like("observed_variance", observed_variance, observed.shape),
        _like("reference_variance", reference_variance, references.shape),
        _floor(floor, observed.shape),
    )


def _compared(
    observed: NDArray[np.generic],
    references: NDArray[np.generic],
    variance: NDArray[np.generic] | None,
    reference_variance: NDArray[np.generic] | None,
    floor: Floats | None,
) -> Comparison:
    rows, shape = len(observed), observed.shape[1:]
    bins = int(np.prod(shape))
    found = Verdicts.room(rows, shape)
    step = max(1, BLOCK // max(1, bins))
    with np.errstate(all="ignore"):  # of bad content, which is left out
        if bins < 2 or len(references) == 0:
            found.mark(np.ones(rows, dtype=np.bool_))
            return found.comparison(observed)
        for start in range(0, rows, step):
            at = slice(start, start + step)
            judge_block(
                found.rows(at),
                _bins(observed[at], shape),
                combine(_bins(references[:, at], shape), _some(reference_variance, (slice(None), at), shape)),
                _some(variance, (at,), shape),
                _some(floor, (at,), shape),
                shape,
            )
    return found.comparison(observed)


def _bins(contents: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    """A contiguous copy (…, H, bins) in doubles, whatever the type, byte order and strides."""
    lead = contents.shape[: contents.ndim - len(shape)]
    return np.ascontiguousarray(contents.reshape(*lead, int(np.prod(shape))), dtype=np.float64)


def _some(part: NDArray[np.generic] | None, at: tuple[slice, ...], shape: tuple[int, ...]) -> Floats | None:
    return None if part is None else _bins(part[at], shape)


def _like(name: str, given: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.generic] | None:
    if given is None:
        return None
    found = np.asarray(given)
    if found.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {found.shape}")
    return found


def _floor(floor: ArrayLike, shape: tuple[int, ...]) -> Floats | None:
    given = np.asarray(floor, dtype=np.float64)
    if given.ndim == 0 and not given:
        return None
    if given.ndim == 1:
        given = given.reshape(-1, *(1,) * (len(shape) - 1))
    return np.broadcast_to(given, shape)  # where it is 0 too: what is said of one does not depend on the others
