"""References become one: added up, without those that are spoiled, and bin by bin without those that most others
disagree with. A fault that some references share must not hide the same fault in what is observed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from opintel.dqm.comparing.bin_tables import Bools, Side, usable
from opintel.stats.counts import Floats

OUTLYING = 6.0
"""A reference's bin that stands so many standard deviations off the median of all is left out; a reference whose bins
are so by a fifth is left out as a whole."""
WHOLE = 0.2
SUSPECT = 1e-9
"""P-value below which references differ so much in a bin that each is looked at."""
SUSPECT_SPREAD = 7.0
"""The same for the sum over all bins, in standard deviations."""
LEAST = 20.0
"""Counts in a bin, all references together, below which it is not looked at: nothing stands out there."""


class Combined(NamedTuple):
    """What the references of H histograms add up to. Where they have weights, each was divided by its mean weight
    before."""

    contents: Floats
    """(H, B)"""
    variance: Floats | None
    """(H, B); None for counts"""
    total: Floats
    """(H, 1)"""
    mixed: NDArray[np.int64]
    """(h,) rows in which a reference is left out of a bin, or in which references contradict one another."""
    mixed_total: Floats
    """(h, B): in those rows the totals of the references that are used in each bin."""

    def plain_side(self, rows: NDArray[np.int64] | slice) -> Side:
        """Of some rows that are not mixed."""
        return Side(self.contents[rows], None if self.variance is None else self.variance[rows], self.total[rows])

    def side(self, rows: NDArray[np.int64]) -> Side:
        """Of some rows that are."""
        return self.plain_side(rows)._replace(total=self.mixed_total[np.searchsorted(self.mixed, rows)])


def combine(references: Floats, variance: Floats | None) -> Combined:
    """Adds up the references (R, H, B) of each histogram; those with bad content or none count as not given."""
    good, total = usable(references, variance)
    if not good.all():
        references = np.where(good[..., None], references, 0.0)
        total = np.where(good, total, 0.0)
    if variance is not None:
        variance = np.where(good[..., None], variance, 0.0)
        weight = variance.sum(axis=-1) / np.where(good, total, 1.0)
        weight = np.where(good, weight, 1.0)
        references, total = references / weight[..., None], total / weight
        variance = variance / np.square(weight)[..., None]
    contents = references.sum(axis=0)
    spread = None if variance is None else variance.sum(axis=0)
    whole = total.sum(axis=0)
    scale = np.ones(1) if spread is None else spread / np.where(contents > 0.0, contents, 1.0)
    scale = np.where(scale > 0.0, scale, 1.0)
    mixed = np.flatnonzero(_suspect(references, total, contents, scale, good.sum(axis=0)))
    mixed_total = np.zeros((0, contents.shape[1]))
    if len(mixed):
        scale = np.broadcast_to(scale, contents.shape)[mixed]
        using, exposure, by = _agreeing(references[:, mixed], total[:, mixed], scale, good[:, mixed])
        contents[mixed] = (references[:, mixed] * using).sum(axis=0) / by
        if spread is not None and variance is not None:
            spread[mixed] = (variance[:, mixed] * using).sum(axis=0) / by
        mixed_total = (exposure * using).sum(axis=0) / by
        share = contents[mixed] / np.where(mixed_total > 0.0, mixed_total, 1.0)
        mixed_total *= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    return Combined(contents, spread, whole[:, None], mixed, mixed_total)


def _suspect(references: Floats, total: Floats, contents: Floats, scale: Floats, given: NDArray[np.int64]) -> Bools:
    """Rows (H,) whose references are not of one shape: χ² of as many degrees as there are references less one."""
    if len(references) < 2:
        return np.zeros(len(contents), dtype=np.bool_)
    share = total / np.maximum(total.sum(axis=0), 1e-300)
    inverse = 1.0 / np.where(share > 0.0, share, np.inf)
    squares = references[0] * references[0]
    squares *= inverse[0][:, None]
    part = np.empty_like(squares)
    for reference, one in zip(references[1:], inverse[1:], strict=True):
        np.multiply(reference, reference, out=part)
        part *= one[:, None]
        squares += part
    rich = contents.size > 0 and contents.min() >= LEAST
    looked = contents >= LEAST
    squares /= np.maximum(contents, LEAST, out=part)
    squares -= contents
    if scale.size > 1:
        squares /= scale
    if not rich:
        squares *= looked
    degrees = np.maximum(given - 1, 1)
    far = squares.max(axis=1) > _limits(len(references))[degrees]
    bins = (contents.shape[1] if rich else looked.view(np.uint8).sum(axis=1, dtype=np.int32)) * degrees
    far |= squares.sum(axis=1) > bins + SUSPECT_SPREAD * np.sqrt(2.0 * bins + 1.0)
    return np.asarray(far & (given > 1))


@lru_cache(maxsize=32)
def _limits(most: int) -> Floats:
    return np.asarray(chdtri(np.maximum(np.arange(most + 1), 1), SUSPECT), dtype=np.float64)


def _agreeing(references: Floats, total: Floats, scale: Floats, good: Bools) -> tuple[Bools, Floats, Floats]:
    """(which references are used in which bin (R, h, B), how much each was exposed (R, h, 1), by what to divide
    (h, B)).

    In a bin those are used that agree with the median of all, where they are most; else all are, and what they add up
    to is divided by how many times too far they scatter: nobody knows which of two is right.
    """
    given = good.sum(axis=0)
    present = good[..., None]
    exposure = np.where(present, total[..., None], 0.0)
    using = np.broadcast_to(present, references.shape)
    for _ in range(3):
        shares = references / np.where(exposure > 0.0, exposure, np.inf)
        centre = np.nan_to_num(np.nanmedian(np.where(using, shares, np.nan), axis=0))
        expected = centre * exposure
        off = np.abs(references - expected) / np.sqrt((expected * (1.0 + 2.0 / given[:, None]) + 1.0) * scale)
        agreeing = present & (off <= OUTLYING)
        wide = (present & ~agreeing).sum(axis=2) > np.maximum(2.0, WHOLE * (centre > 0.0).sum(axis=1))
        most = (good & ~wide).sum(axis=0) > given / 2
        agreeing &= ~(wide & most)[..., None]
        majority = agreeing.sum(axis=0) > given[:, None] / 2
        using = np.where(majority, agreeing, present)
        # The bins that agree say how much a reference was exposed: a fault is in its total too.
        held, due = (references * agreeing).sum(axis=2), (centre * agreeing).sum(axis=2)
        exposure = np.where((held > 0.0) & (due > 0.0), held / np.where(due > 0.0, due, 1.0), exposure[..., 0])[
            ..., None
        ]
    expected = exposure * ((references * using).sum(axis=0) / np.maximum((exposure * using).sum(axis=0), 1e-300))
    squares = np.where(using, (references - expected) ** 2 / (np.maximum(expected, 1.0) * scale), 0.0).sum(axis=0)
    scatter = squares / np.maximum(using.sum(axis=0) - 1, 1)
    return using, exposure, np.where(majority, 1.0, np.maximum(scatter, 1.0))
