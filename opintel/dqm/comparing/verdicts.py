"""The verdicts on a block of histograms: which can be judged, as what, and what is written of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing.bin_tables import LEAST_ENTRIES, Side, enlarged, side_by_side, usable
from opintel.dqm.comparing.combined_references import Combined
from opintel.dqm.comparing.comparison import TESTS, Comparison
from opintel.dqm.comparing.judged import PullTests, Shape, judge_counts, judge_differences
from opintel.dqm.comparing.statistics import largest
from opintel.dqm.comparing.windows import onto_axis
from opintel.stats.counts import Floats
from opintel.stats.pulls import Tables, pulls

DEVIATES = float(np.log(1e-3))
"""ln p below which bins that deviate are left out of the totals to which pulls and expected contents refer: a hot bin
must not make all others look dead."""
APART = 4.0
"""Pulls from which a bin is left out of them, as long as half of the bins stay."""


class Verdicts(NamedTuple):
    """Where verdicts on H histograms are written."""

    log_p: Floats
    """(H,)"""
    spoke: NDArray[np.int8]
    """(H,)"""
    effect: Floats
    """(H,)"""
    shift: Floats
    """(H, axes)"""
    pull: Floats
    """(H, B), as the two that follow."""
    expected: Floats
    error: Floats

    @classmethod
    def room(cls, rows: int, shape: Shape) -> Verdicts:
        """Room for the verdicts on so many histograms."""
        bins = int(np.prod(shape))
        return cls(
            np.empty(rows),
            np.empty(rows, dtype=np.int8),
            np.empty(rows),
            np.empty((rows, len(shape))),
            np.empty((rows, bins)),
            np.empty((rows, bins)),
            np.empty((rows, bins)),
        )

    def mark(self, insufficient: NDArray[np.bool_]) -> None:
        """Says of some histograms (H,) that there is nothing to compare."""
        if insufficient.any():
            self.log_p[insufficient] = np.nan
            self.spoke[insufficient] = TESTS.index("")
            self.effect[insufficient] = 0.0
            self.shift[insufficient] = np.nan
            self.pull[insufficient] = 0.0
            self.expected[insufficient] = np.nan
            self.error[insufficient] = np.nan

    def rows(self, at: slice) -> Verdicts:
        """A part, written through to the whole."""
        return Verdicts(
            self.log_p[at],
            self.spoke[at],
            self.effect[at],
            self.shift[at],
            self.pull[at],
            self.expected[at],
            self.error[at],
        )

    def comparison(self, observed: NDArray[np.generic], *, means: bool = False) -> Comparison:
        """What is written here, of what was observed."""
        return Comparison(
            p_value=np.exp(self.log_p),
            log10_p=self.log_p / np.log(10.0),
            pull=self.pull.reshape(observed.shape),
            effect=self.effect,
            shift=self.shift,
            spoke=self.spoke,
            observed=observed,
            expected=self.expected.reshape(observed.shape),
            error=self.error.reshape(observed.shape),
            means=means,
        )


def judge_block(
    found: Verdicts, observed: Floats, combined: Combined, variance: Floats | None, floor: Floats | None, shape: Shape
) -> None:
    """Writes into `found` what there is to say of histograms `observed` (H, B)."""
    good, total = usable(observed, variance)
    good &= _entries(total, variance) >= LEAST_ENTRIES
    good &= _entries(combined.total[:, 0], combined.variance) >= LEAST_ENTRIES
    unsigned = variance is None and combined.variance is None
    both = observed + combined.contents if unsigned else np.abs(observed) + np.abs(combined.contents)
    if not both.min() > 0.0:
        good &= (both != 0.0).sum(axis=1) > 1
    mixed = np.isin(np.arange(len(good)), combined.mixed)
    signed = np.zeros(len(good), dtype=np.bool_)
    if not unsigned:
        signed = (observed.min(axis=1) < 0.0) | (combined.contents.min(axis=1) < 0.0)
    for rows in (good & ~mixed & ~signed, good & mixed & ~signed, good & ~mixed & signed, good & mixed & signed):
        if not rows.any():
            continue
        whole = bool(rows.all())
        first = int(rows.argmax())
        chosen = slice(None) if whole else np.flatnonzero(rows)
        a = Side(observed[chosen], None if variance is None else variance[chosen], total[chosen, None])
        b = combined.side(np.flatnonzero(rows)) if mixed[first] else combined.plain_side(chosen)
        wider = None if floor is None else floor[chosen]
        judge_side_by_side = _judge_signed if signed[first] else _judge_counts
        judged, share, error = judge_side_by_side(a, b, wider, shape)
        found.log_p[chosen] = judged.combined
        found.spoke[chosen] = judged.spoke
        found.effect[chosen] = largest(judged.pull)
        found.pull[chosen] = judged.pull
        share *= a.total
        error *= a.total
        found.expected[chosen] = share
        found.error[chosen] = error
        for axis, bins in enumerate(shape):
            along = np.arange(bins, dtype=np.float64)
            found.shift[chosen, axis] = np.einsum("ij,j->i", onto_axis(judged.difference, shape, axis), along)
    found.mark(~good)


def _entries(total: Floats, variance: Floats | None) -> Floats:
    return total if variance is None else total**2 / variance.sum(axis=1)


def _judge_counts(a: Side, b: Side, floor: Floats | None, shape: Shape) -> tuple[PullTests, Floats, Floats]:
    tables = side_by_side(a, b)
    if floor is not None:
        tables = enlarged(tables, floor)
    judged = judge_counts(tables, shape)
    deviating = np.flatnonzero(judged.combined < DEVIATES)
    if len(deviating):
        apart, judged.pull[deviating] = _apart(tables.rows(deviating), judged.pull[deviating])
    share = tables.b / tables.total_b
    if len(deviating):
        share[deviating] *= apart
    error = tables.a + tables.b
    error /= tables.total_a * tables.total_b
    return judged, share, np.sqrt(error, out=error)


def _apart(tables: Tables, pull: Floats) -> tuple[Floats, Floats]:
    """(by what expected contents change (h, 1), pulls (h, B)) with totals of those bins alone that do not deviate."""
    filled = tables.a + tables.b > 0.0
    share_a, share_b = tables.a / tables.total_a, tables.b / tables.total_b
    ratio = _middle_ratio(share_a, share_b)
    found, by = pull, np.ones((len(pull), 1))
    for _ in range(3):
        trial = pulls(tables._replace(total_a=tables.total_a * ratio))
        kept = filled & (np.abs(trial) < APART)
        in_a, in_b = ((share * kept).sum(axis=1, keepdims=True) for share in (share_a, share_b))
        enough = (2 * kept.sum(axis=1) >= filled.sum(axis=1))[:, None] & (in_a > 0.0) & (in_b > 0.0)
        rest = Tables(
            tables.a,
            tables.b,
            tables.total_a * in_a + ~kept * tables.a,
            tables.total_b * in_b + ~kept * tables.b,
        )
        ratio = np.where(enough, in_a / np.where(enough, in_b, 1.0), ratio)
        found, by = np.where(enough, pulls(rest), found), np.where(enough, ratio, by)
    return by, found


def _middle_ratio(share_a: Floats, share_b: Floats) -> Floats:
    """The median (h, 1) over the reference's entries of observed ÷ expected in their bins: what a fault does not
    move."""
    each = share_a / np.where(share_b > 0.0, share_b, 1.0)
    order = np.argsort(each, axis=1, kind="stable")
    reached = np.cumsum(np.take_along_axis(share_b, order, axis=1), axis=1)
    at = (reached >= 0.5 * reached[:, -1:]).argmax(axis=1)[:, None]
    middle = np.take_along_axis(np.take_along_axis(each, order, axis=1), at, axis=1)
    return np.where(middle > 0.0, middle, 1.0)


def _judge_signed(a: Side, b: Side, floor: Floats | None, shape: Shape) -> tuple[PullTests, Floats, Floats]:
    """Where contents are negative nothing is counted: sums of many weights are normal, with their variances."""
    share = b.contents / b.total
    variance = a.spread / np.square(a.total) + b.spread / np.square(b.total)
    if floor is not None:
        variance = variance + np.square(floor * share)
    judged = judge_differences(a.contents / a.total - share, variance, shape, bound=True)
    return judged, share, np.sqrt(variance)
