"""One judgement from tables of counts, or from differences with their variances where nothing is counted: pulls,
and the log
p of each test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.statistics import (
    able_bins,
    count_cumulants,
    deviance_log_p,
    greatest_log_p,
    normal_cumulants,
    shape_log_p,
)
from opintel.dqm.windows import summed, window_sizes, window_tables
from opintel.stats.combined_p import log_cauchy
from opintel.stats.counts import Floats
from opintel.stats.pulls import Tables, pulls, two_sided_log_p

Shape = tuple[int, ...]
DEVIANCE, PULL, WINDOW, SHAPE = range(4)


class Judged(NamedTuple):
    """What is said of H histograms of B bins each, maps row after row."""

    pull: Floats
    """(H, B)"""
    log_p: Floats
    """(T, H) natural logarithms: deviance, pull, window, and one shape an axis."""

    @property
    def combined(self) -> Floats:
        """(H,) ln p of all of them."""
        return log_cauchy(self.log_p)

    @property
    def spoke(self) -> NDArray[np.int64]:
        """(H,) which test has the least p: 0 deviance, 1 pull, 2 window, 3 shape."""
        return np.minimum(self.log_p.argmin(axis=0), 3)


def judge_counts(tables: Tables, shape: Shape) -> Judged:
    """Two samples of counts, whatever their totals; `shape` is that of one histogram."""
    pull = pulls(tables)
    both = tables.a + tables.b
    elsewhere = 1.0 - both / (tables.total_a + tables.total_b)
    windows = window_tables(tables, shape)
    wide = [greatest_log_p(at, able_bins(at, of)) for of in windows for at in (pulls(of),)]
    log_p = [
        deviance_log_p(pull, elsewhere, count_cumulants(tables, elsewhere)),
        greatest_log_p(pull, able_bins(pull, tables)),
        _least(wide, len(pull)),
        *_shapes(
            tables.a / tables.total_a - tables.b / tables.total_b, both / (tables.total_a * tables.total_b), shape
        ),
    ]
    return Judged(pull, _of_two_bins(pull, both > 0.0, np.stack(log_p)))


def judge_differences(difference: Floats, variance: Floats, shape: Shape, *, bound: bool) -> Judged:
    """Differences (H, B) of unit normal law once divided by their standard deviations; a variance of 0 is no bin.

    `bound` says that the differences of a histogram add up to nothing, as those of shares do.
    """
    total = variance.sum(axis=1, keepdims=True)
    pull, elsewhere = _normal(difference, variance, total, bound)
    wide = []
    for size in window_sizes(shape):
        at, rest = _normal(summed(difference, shape, size), summed(variance, shape, size), total, bound)
        wide.append(greatest_log_p(at, (rest > 0.0).sum(axis=1)))
    log_p = [
        deviance_log_p(pull, elsewhere, normal_cumulants(elsewhere)),
        greatest_log_p(pull, (variance > 0.0).sum(axis=1)),
        _least(wide, len(pull)),
        *_shapes(difference, variance, shape, bound),
    ]
    return Judged(pull, np.stack(log_p) if not bound else _of_two_bins(pull, variance > 0.0, np.stack(log_p)))


def _of_two_bins(pull: Floats, filled: NDArray[np.bool_], log_p: Floats) -> Floats:
    """Of two bins there is one thing to say, and all tests are that one."""
    two = np.flatnonzero(filled.sum(axis=1) == 2)
    if len(two):
        log_p[:, two] = two_sided_log_p(np.abs(pull[two]).max(axis=1))
    return log_p


def _normal(difference: Floats, variance: Floats, total: Floats, bound: bool) -> tuple[Floats, Floats]:
    filled = variance > 0.0
    elsewhere = filled * (1.0 - variance / total) if bound else filled.astype(np.float64)
    spread = np.sqrt(np.where(filled, variance * np.maximum(elsewhere, 1e-12), 1.0))
    return difference * filled / spread, elsewhere


def _least(log_p: list[Floats], rows: int) -> Floats:
    """Bonferroni over the sizes of windows."""
    if not log_p:
        return np.zeros(rows)
    return np.asarray(np.minimum(np.min(log_p, axis=0) + np.log(len(log_p)), 0.0), dtype=np.float64)


def _shapes(difference: Floats, variance: Floats, shape: Shape, bound: bool = True) -> list[Floats]:
    if len(shape) == 1:
        return [shape_log_p(difference, variance, bound)]
    along = [tuple(1 if i == axis else n for i, n in enumerate(shape)) for axis in range(len(shape))]
    return [shape_log_p(summed(difference, shape, size), summed(variance, shape, size), bound) for size in along]
