"""How runs differ from one another, apart from how lumisections of one run do: for many references from few runs.

The lumisections of a run share its gains and its beam; thousands of them say of the next run no more than one does. So
the patterns in which runs differ are learned from the means of runs, each of the same weight. How many of them carry
over, and what a run leaves that was not among the references, is measured on runs that are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from opintel.dqm.comparing.bin_tables import Bools
from opintel.stats.counts import Floats

PATTERNS = 8
"""At most so many in which runs differ are kept."""
RUNS_EACH = 3
"""Runs that a pattern takes beyond the first, which takes two."""
FOLDS = 5
"""Parts of the runs of which each is described by the others; each run by itself where there are no more."""
FAR = 0.005
"""Tail beyond which the variance along a pattern, known from few runs, holds as for many."""
Labels = NDArray[np.int64]


class RunMeans(NamedTuple):
    """The shares of H histograms of B bins in G runs."""

    shares: Floats
    """(G, H, B) mean over references of a run; 0 where it has none."""
    there: Bools
    """(G, H) which have any."""

    @property
    def mean(self) -> Floats:
        """(H, B) over runs."""
        return np.asarray(self.shares.sum(axis=0) / np.maximum(self.there.sum(axis=0), 1)[:, None])


class BetweenRuns(NamedTuple):
    """How run means vary around the mean of all."""

    patterns: Floats
    """(H, `PATTERNS`, B) orthonormal in the unit given; 0 where there are fewer."""
    strength: Floats
    """(H, `PATTERNS`) variance along each, such that the tails hold that so few runs give."""
    left: Floats
    """(H, B) mean square, in that unit, of what a run leaves that was left out."""
    runs: Floats
    """(H,) how many there are."""


def run_means(shares: Floats, good: Bools, run: Labels) -> RunMeans:
    """Of shares (R, H, B), 0 where not `good` (R, H), of references that belong to runs 0 to G − 1 (R,)."""
    belongs = (run == np.arange(run.max() + 1)[:, None]).astype(np.float64)
    count = belongs @ good
    sums = np.tensordot(belongs, shares, axes=1)
    return RunMeans(sums / np.maximum(count, 1.0)[..., None], count > 0.0)


def folds_of(runs: int) -> Labels:
    """(G,) which part each run is left out with."""
    return np.arange(runs) * min(FOLDS, runs) // runs


def between(means: RunMeans, unit: Floats) -> BetweenRuns:
    """The variation of run means, in units (H, B) of what varies within a run.

    The number of patterns is that with which the others describe left-out runs best (cross-validation: Stone 1974, J.
    R. Stat. Soc. B 36, 111); fewer win where it makes no difference.
    """
    there, fold = means.there, folds_of(len(means.there))
    parts = [_left(means, there & (fold == part)[:, None], unit) for part in range(fold.max() + 1)]
    squares = np.sum([part[0] for part in parts], axis=0)
    judged = np.maximum(np.sum([part[1] for part in parts], axis=0), 1.0)
    best = squares.sum(axis=2).argmin(axis=1)  # the first of equals
    left = np.take_along_axis(squares, best[:, None, None], axis=1)[:, 0] / judged[:, None]
    patterns, variance, _ = _patterns(means, there, unit)
    kept = np.arange(PATTERNS) < best[:, None]
    runs = there.sum(axis=0).astype(np.float64)
    tail = np.square(t.isf(FAR, np.maximum(runs - 1.0, 1.0)) / norm.isf(FAR)) * (1.0 + 1.0 / np.maximum(runs, 1.0))
    return BetweenRuns(patterns * kept[..., None], variance * kept * tail[:, None], left, runs)


def _left(means: RunMeans, out: Bools, unit: Floats) -> tuple[Floats, Floats]:
    """(squares (H, 1 + `PATTERNS`, B) that runs `out` (G, H) leave with each number of patterns of the others, how many
    runs (H,) these are)."""
    others = means.there & ~out
    patterns, _, mean = _patterns(means, others, unit)
    out = out & (others.sum(axis=0) > 0)
    off = np.moveaxis((means.shares - mean) / unit * out[..., None], 0, 1)
    squares = np.zeros((len(unit), 1 + PATTERNS, unit.shape[1]))
    squares[:, 0] = np.square(off).sum(axis=1)
    for k in range(PATTERNS):
        one = patterns[:, k : k + 1]
        off = off - (off @ one.swapaxes(1, 2)) @ one
        squares[:, k + 1] = np.square(off).sum(axis=1)
    return squares, out.sum(axis=0).astype(np.float64)


def _patterns(means: RunMeans, there: Bools, unit: Floats) -> tuple[Floats, Floats, Floats]:
    """(patterns (H, `PATTERNS`, B), variance along each, mean (H, B)) of those runs."""
    runs = there.sum(axis=0).astype(np.float64)
    mean = (means.shares * there[..., None]).sum(axis=0) / np.maximum(runs, 1.0)[:, None]
    off = np.moveaxis((means.shares - mean) / unit * there[..., None], 0, 1)
    values, vectors = np.linalg.eigh(off @ off.swapaxes(1, 2))
    count = min(PATTERNS, len(there))
    values, vectors = values[:, ::-1][:, :count], vectors[:, :, ::-1][:, :, :count].swapaxes(1, 2)
    kept = (
        (np.arange(count) < np.maximum((runs[:, None] - 1.0) // RUNS_EACH, runs[:, None] > 1))
        & (values > 1e-9 * values[:, :1])
        & (values > 0.0)
    )
    patterns, variance = np.zeros((len(unit), PATTERNS, unit.shape[1])), np.zeros((len(unit), PATTERNS))
    patterns[:, :count] = vectors @ off / np.sqrt(np.where(kept, values, 1.0))[..., None] * kept[..., None]
    variance[:, :count] = values / np.maximum(runs - 1.0, 1.0)[:, None] * kept
    return patterns, variance, mean
