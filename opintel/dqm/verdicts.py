"""The verdicts on a block of histograms: which can be judged, as what, and what is written of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.bin_tables import LEAST_ENTRIES, Side, enlarged, side_by_side, usable
from opintel.dqm.combined_references import Combined
from opintel.dqm.comparison import TESTS, Comparison
from opintel.dqm.judged import Judged, Shape, judge_counts, judge_differences
from opintel.dqm.windows import summed
from opintel.stats.counts import Floats
from opintel.stats.pulls import Tables, pulls

DEVIATES = float(np.log(1e-3))
"""ln p below which bins that deviate are left out of the totals to which pulls and expected contents refer: a hot bin
must not make all others look dead."""
APART = 4.0
"""Pulls from which a bin is left out of them, as long as half of the bins stay."""


class Found(NamedTuple):
    """Where verdicts on H histograms are written."""

    log_p: Floats
    """(H,)"""
    spoke: NDArray[np.int8]
    """(H,)"""
    shift: Floats
    """(H, axes)"""
    pull: Floats
    """(H, B), as the two that follow."""
    expected: Floats
    error: Floats

    @classmethod
    def nothing(cls, rows: int, shape: Shape) -> Found:
        """Verdicts that say of each histogram that it is insufficient."""
        bins = int(np.prod(shape))
        return cls(
            np.full(rows, np.nan),
            np.full(rows, TESTS.index(""), dtype=np.int8),
            np.full((rows, len(shape)), np.nan),
            np.zeros((rows, bins)),
            np.full((rows, bins), np.nan),
            np.full((rows, bins), np.nan),
        )

    def rows(self, at: slice) -> Found:
        """A part, written through to the whole."""
        return Found(self.log_p[at], self.spoke[at], self.shift[at], self.pull[at], self.expected[at], self.error[at])

    def comparison(self, observed: NDArray[np.generic], *, means: bool = False) -> Comparison:
        """What is written here, of what was observed."""
        every = np.arange(len(self.pull))
        largest = np.abs(self.pull).argmax(axis=1) if self.pull.shape[1] else every * 0
        return Comparison(
            p_value=np.exp(self.log_p),
            log10_p=self.log_p / np.log(10.0),
            pull=self.pull.reshape(observed.shape),
            effect=self.pull[every, largest] if self.pull.shape[1] else np.zeros(len(every)),
            shift=self.shift,
            spoke=self.spoke,
            observed=observed,
            expected=self.expected.reshape(observed.shape),
            error=self.error.reshape(observed.shape),
            means=means,
        )


def judge_block(
    found: Found, observed: Floats, combined: Combined, variance: Floats | None, floor: Floats | None, shape: Shape
) -> None:
    """Writes into `found` what there is to say of histograms `observed` (H, B)."""
    good, total = usable(observed, variance)
    good &= _entries(total, variance) >= LEAST_ENTRIES
    good &= _entries(combined.total[:, 0], combined.variance) >= LEAST_ENTRIES
    good &= ((observed != 0.0) | (combined.contents != 0.0)).sum(axis=1) > 1
    mixed = np.isin(np.arange(len(good)), combined.mixed)
    signed = (observed.min(axis=1) < 0.0) | (combined.contents.min(axis=1) < 0.0)
    for rows in (good & ~mixed & ~signed, good & mixed & ~signed, good & ~mixed & signed, good & mixed & signed):
        chosen = np.flatnonzero(rows)
        if len(chosen) == 0:
            continue
        a = Side(observed[chosen], None if variance is None else variance[chosen], total[chosen, None])
        b = combined.side(chosen, bool(mixed[chosen[0]]))
        wider = None if floor is None else floor[chosen]
        judge_side_by_side = _judge_signed if signed[chosen[0]] else _judge_counts
        judged, share, error = judge_side_by_side(a, b, wider, shape)
        found.log_p[chosen] = judged.combined
        found.spoke[chosen] = judged.spoke
        found.pull[chosen] = judged.pull
        found.expected[chosen] = a.total * share
        found.error[chosen] = a.total * error
        found.shift[chosen] = _shift(a.contents / a.total - share, shape)


def _entries(total: Floats, variance: Floats | None) -> Floats:
    return total if variance is None else total**2 / variance.sum(axis=1)


def _judge_counts(a: Side, b: Side, floor: Floats | None, shape: Shape) -> tuple[Judged, Floats, Floats]:
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
    return judged, share, np.sqrt((tables.a + tables.b) / (tables.total_a * tables.total_b))


def _apart(tables: Tables, pull: Floats) -> tuple[Floats, Floats]:
    """(by what expected contents change (h, 1), pulls (h, B)) with totals of those bins alone that do not deviate."""
    filled = tables.a + tables.b > 0.0
    found, by = pull, np.ones((len(pull), 1))
    for _ in range(3):
        kept = filled & (np.abs(found) < APART)
        enough = (2 * kept.sum(axis=1) >= filled.sum(axis=1))[:, None]
        share_a = (tables.a / tables.total_a * kept).sum(axis=1, keepdims=True)
        share_b = (tables.b / tables.total_b * kept).sum(axis=1, keepdims=True)
        enough &= (share_a > 0.0) & (share_b > 0.0)
        rest = Tables(
            tables.a,
            tables.b,
            tables.total_a * share_a + ~kept * tables.a,
            tables.total_b * share_b + ~kept * tables.b,
        )
        found = np.where(enough, pulls(rest), found)
        by = np.where(enough, share_a / np.where(enough, share_b, 1.0), by)
    return by, found


def _judge_signed(a: Side, b: Side, floor: Floats | None, shape: Shape) -> tuple[Judged, Floats, Floats]:
    """Where contents are negative nothing is counted: sums of many weights are normal, with their variances."""
    share = b.contents / b.total
    variance = a.spread / np.square(a.total) + b.spread / np.square(b.total)
    if floor is not None:
        variance = variance + np.square(floor * share)
    judged = judge_differences(a.contents / a.total - share, variance, shape, bound=True)
    return judged, share, np.sqrt(variance)


def _shift(difference: Floats, shape: Shape) -> Floats:
    """Differences of means (h, axes), in bins."""
    along = []
    for axis, bins in enumerate(shape):
        onto = summed(difference, shape, tuple(1 if i == axis else n for i, n in enumerate(shape)))
        along.append(np.einsum("ij,j->i", onto, np.arange(bins, dtype=np.float64)))
    return np.stack(along, axis=1)
