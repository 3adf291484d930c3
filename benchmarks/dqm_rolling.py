"""Runs that drift and jump, as in section 4 of arXiv 2501.19237 (re-written), and `ReferenceModel` used along them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm import ReferenceModel

Floats = NDArray[np.float64]
EDGES = np.linspace(-5.0, 5.0, 101)
LEAST, MOST = 10, 30
"""Good runs that the variation is learned from, again after each ten."""
CENTRE = 6
"""Good runs that the mean is taken of."""
JUMPED = -3.0
"""log10 p of a run that turns out to be good, from which the mean is that run's."""


class Runs(NamedTuple):
    """Runs in order."""

    contents: Floats
    """(n, 100)"""
    bad: NDArray[np.bool_]
    changes: NDArray[np.int64]
    """Where mean or width of good runs jumped."""


def drifting_runs(rng: np.random.Generator, runs: int) -> Runs:
    """2,000 to 20,000 values of a normal law a run; its mean drifts as a sine of amplitude .5 and period 1,000, and
    jumps by ± .5 to 1.5, its width by ± .1 to .4, each in one of 200 runs. In the right half 40 % of the entries are
    doubled or lost, by run. A tenth of the runs is bad: nine in ten have the mean moved by ± .25 to .75, nine in ten
    the width by ± .05 to .2, and all have 1 to 19 dead bins, wherever they are."""
    bad = np.zeros(runs, dtype=bool)
    bad[rng.choice(runs, runs // 10, replace=False)] = True
    mean, width = 0.5 * np.sin(np.arange(runs) * np.pi / 500.0), np.ones(runs)
    changes = []
    for values, low, high in ((mean, 0.5, 1.5), (width, 0.1, 0.4)):
        starts = np.flatnonzero(rng.random(runs) < 0.005)
        for start, end in zip(starts, [*starts[1:], runs], strict=True):
            values[start:end] += rng.choice((-1.0, 1.0)) * rng.uniform(low, high)
        changes.append(starts)
    for values, low, high in ((mean, 0.25, 0.75), (width, 0.05, 0.2)):
        moved = rng.choice(np.flatnonzero(bad), int(0.9 * bad.sum()), replace=False)
        values[moved] += rng.choice((-1.0, 1.0), len(moved)) * rng.uniform(low, high, len(moved))
    contents = np.empty((runs, 100))
    for run, entries in enumerate(rng.integers(2000, 20000, runs)):
        one = np.histogram(rng.normal(mean[run], width[run], entries), EDGES)[0]
        one[50:] += rng.choice((-1, 1)) * rng.binomial(one[50:], 0.4)
        if bad[run]:
            one[rng.choice(100, rng.integers(1, 20), replace=False)] = 0
        contents[run] = one
    return Runs(contents, bad, np.union1d(*changes))


def rolling_model(contents: Floats, bad: NDArray[np.bool_]) -> Floats:
    """Scores (n,) of runs (n, B) in order, −log10 p; as with the templates, each run's label is known afterwards."""
    found, epoch, centre = np.zeros(len(contents)), [], []
    model: ReferenceModel | None = None
    learned = 0
    for n, one in enumerate(contents):
        log_p = 0.0
        if model is not None:
            log_p = float(model.around(np.stack(centre)[:, None]).judge(one[None]).log10_p[0])
        found[n] = -log_p
        if bad[n]:
            continue
        if log_p < JUMPED:
            centre = []
            if len(epoch) >= LEAST:
                epoch, learned = [], 0
        epoch, centre, learned = [*epoch, one][-MOST:], [*centre, one][-CENTRE:], learned + 1
        if len(epoch) >= LEAST and learned >= LEAST:
            model, learned = ReferenceModel().fit(np.stack(epoch)[:, None]), 0
    return found


def steps_to_adapt(flagged: NDArray[np.bool_], bad: NDArray[np.bool_], changes: NDArray[np.int64]) -> float:
    """Mean number of good runs, from a jump on, that are flagged before the first that is not."""
    steps = []
    for change, following in zip(changes, [*changes[1:], len(bad)], strict=True):
        good = flagged[change:following][~bad[change:following]]
        if len(good):
            steps.append(int(np.argmin(good)) if not good.all() else len(good))
    return float(np.mean(steps))
