"""One judgement from tables of counts, or from differences with their variances where nothing is counted: pulls, and
the log p of each test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing.statistics import deviance_log_p, greatest_log_p, largest, normal_deviance_log_p, shape_log_p
from opintel.dqm.comparing.windows import onto_axis, summed, window_sizes, window_tables
from opintel.stats.combined_p import log_cauchy
from opintel.stats.counts import Floats
from opintel.stats.pulls import Tables, pulls, two_sided_log_p

Shape = tuple[int, ...]


class PullTests(NamedTuple):
    """What is said of H histograms of B bins each, maps row after row."""

    pull: Floats
    """(H, B)"""
    difference: Floats
    """(H, B) observed less expected: of shares, or as given."""
    log_p: Floats
    """(T, H) natural logarithms: deviance, pull, window, and one shape an axis."""

    @property
    def combined(self) -> Floats:
        """(H,) ln p of all of them."""
        return log_cauchy(self.log_p)

    @property
    def spoke(self) -> NDArray[np.int8]:
        """(H,) which test has the least p: 0 deviance, 1 pull, 2 window, 3 shape."""
        return np.asarray(np.minimum(self.log_p.argmin(axis=0), 3), dtype=np.int8)


def judge_counts(tables: Tables, shape: Shape) -> PullTests:
    """Two samples of counts, whatever their totals; `shape` is that of one histogram."""
    a, b, total_a, total_b = tables
    pull, both = pulls(tables), a + b
    difference = a / total_a
    difference -= b / total_b
    variance = both / (total_a * total_b)
    wide = [_window(pulls(window), window) for window in window_tables(tables, shape)]
    log_p = np.stack(
        [
            deviance_log_p(pull, tables),
            greatest_log_p(largest(pull), tables),
            _least(wide, len(pull)),
            *_shapes(difference, variance, shape),
        ]
    )
    _unify(log_p, pull, both)
    return PullTests(pull, difference, log_p)


def judge_differences(difference: Floats, variance: Floats, shape: Shape, *, bound: bool) -> PullTests:
    """Differences (H, B), normal with these variances; a variance of 0 is no bin.

    `bound` says that the differences of a histogram add up to nothing, as those of shares do.
    """
    total = variance.sum(axis=1, keepdims=True)
    pull, elsewhere = _normal(difference, variance, total, bound)
    wide = []
    for size in window_sizes(shape):
        at, rest = _normal(summed(difference, shape, size), summed(variance, shape, size), total, bound)
        filled = (rest > 0.0).sum(axis=1)
        wide.append(np.where(filled > 1, greatest_log_p(largest(at), filled), np.inf))
    log_p = np.stack(
        [
            normal_deviance_log_p(pull, elsewhere),
            greatest_log_p(largest(pull), (variance > 0.0).sum(axis=1)),
            _least(wide, len(pull)),
            *_shapes(difference, variance, shape, bound),
        ]
    )
    if bound:
        _unify(log_p, pull, variance)
    return PullTests(pull, difference, log_p)


def _normal(difference: Floats, variance: Floats, total: Floats, bound: bool) -> tuple[Floats, Floats]:
    filled = variance > 0.0
    elsewhere = filled * (1.0 - variance / total) if bound else filled.astype(np.float64)
    spread = np.sqrt(np.where(filled, variance * np.maximum(elsewhere, 1e-12), 1.0))
    return difference * filled / spread, elsewhere


def _window(pull: Floats, tables: Tables) -> Floats:
    """The greatest pull of windows of one size; infinite where only one of them is filled."""
    both = tables.a + tables.b
    few = (both > 0.0).sum(axis=1) < 2 if both.shape[1] < 2 or both[:, :2].min() <= 0.0 else np.zeros(1, dtype=np.bool_)
    return np.where(few, np.inf, greatest_log_p(largest(pull), tables))


def _least(log_p: list[Floats], rows: int) -> Floats:
    """Bonferroni over the sizes of windows that a histogram has."""
    if not log_p:
        return np.zeros(rows)
    sizes = np.maximum(np.isfinite(log_p).sum(axis=0), 1)
    return np.asarray(np.minimum(np.min(log_p, axis=0) + np.log(sizes), 0.0), dtype=np.float64)


def _shapes(difference: Floats, variance: Floats, shape: Shape, bound: bool = True) -> list[Floats]:
    axes = range(len(shape))
    return [shape_log_p(onto_axis(difference, shape, i), onto_axis(variance, shape, i), bound) for i in axes]


def _unify(log_p: Floats, pull: Floats, variance: Floats) -> None:
    """Of two filled bins there is one thing to say, and all tests are that one."""
    if variance.shape[1] > 2 and variance.min() > 0.0:
        return
    one_holds_half = np.flatnonzero(2.0 * variance.max(axis=1) >= variance.sum(axis=1))
    two = one_holds_half[(variance[one_holds_half] > 0.0).sum(axis=1) == 2]
    if len(two):
        log_p[:, two] = two_sided_log_p(np.abs(pull[two]).max(axis=1))
