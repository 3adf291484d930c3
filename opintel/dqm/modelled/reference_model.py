"""A model of good runs: references whose natural variation is learned, so that only what good runs do not do stands
out.

`natural_variation` learns how the references differ beyond statistics, `conditional_pulls` asks each bin, window and
shape against what all others let expect. How far those answers scatter in good runs is measured on references that
the model has not seen, and the answers become one calibrated p. Where statistics dominate, that is what `compare` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opintel.dqm.comparing.bin_tables import LEAST_ENTRIES, Bools, usable
from opintel.dqm.comparing.comparison import TESTS, Comparison
from opintel.dqm.comparing.verdicts import Verdicts
from opintel.dqm.modelled.between_runs import Labels, folds_of
from opintel.dqm.modelled.conditional_pulls import Standouts, standouts
from opintel.dqm.modelled.natural_variation import Variation, learn, lone, recentred
from opintel.stats.combined_p import log_cauchy, log_sidak
from opintel.stats.counts import Floats
from opintel.stats.student_tail import upper_log_p

NEEDED = 8
"""References of a histogram that can be learned from."""
FOLDS = 5
"""Parts of the references of which each is judged by a model of the others."""
PRIOR = 5.0
"""References that the theory is worth: as many say how far answers scatter as if they had scattered so."""
PRIOR_OF_RUNS = 1.0
"""The same where references are lumisections of few runs: theory says little of the next run."""
STRANGE = 1e-4
"""A reference counts as not given where its p, in a model of the others, is below this over their number."""
STRANGE_SHARE = 1.0 / 3.0
"""At most so many of them."""
ROUNDS = 3
"""Times that odd references are looked for, one after the other is gone."""
TAIL = float(np.log(5.0))
"""−ln p from which on it is measured how p falls off: a fifth of the references."""
CLIPPED = 6.0
"""Answers above this count as this when their scatter is measured."""
BLOCK = 1 << 19
"""Values that are worked on together."""


class Scatter(NamedTuple):
    """How far answers scatter on H good histograms that the model has not seen."""

    pull: Floats
    """(H,) standard deviation of the pulls of bins; at least 1, as of the next three."""
    windows: NDArray[np.float32]
    """(H, W, B) of each window."""
    shape: Floats
    """(H, 2)"""
    deviance: Floats
    """(H, 2) mean and standard deviation."""
    degrees: Floats
    """(H,) of freedom of these."""
    stretch: Floats
    """(H,) by which ln p of all answers together is divided."""

    def rows(self, chosen: NDArray[np.int64] | slice) -> Scatter:
        """That of some histograms."""
        return Scatter._make(part[chosen] for part in self)


class ReferenceModel:
    """Good runs of H histograms of B bins each, and judgements of others by them.

    Assumes that good runs vary alike: a reference that was taken under other conditions widens what counts as good. A
    fault that most references share is not seen; one of a third of them at most is, where it stands out of the others.

    >>> rng = np.random.default_rng(5)
    >>> shares = np.full((30, 1, 40), 1 / 40) * (1 + 0.2 * rng.normal(size=(30, 1, 1)) * np.linspace(-1, 1, 40))
    >>> model = ReferenceModel().fit(rng.poisson(20_000 * shares))
    >>> tilted, dead = rng.poisson(20_000 * shares[:1]), rng.poisson(20_000 * shares[:1])
    >>> dead[..., 7] = 0
    >>> [bool(p > 0.01) for p in model.judge(np.concatenate([tilted, dead])).p_value[:, 0]]
    [True, False]
    """

    def __init__(self) -> None:
        self._known: Variation | None = None
        self._scatter: Scatter
        self._given: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def fit(self, references: ArrayLike, runs: ArrayLike | None = None) -> ReferenceModel:
        """Learns from `references` (R, H, B), counts of good runs; totals may differ.

        Where many references are lumisections of few runs, `runs` (R,), numbers or names, says of which: then what is
        judged by is how *runs* differ. A reference with bad content (not finite, negative, or less than 20 entries)
        counts as not given. Raises ValueError for fewer than `NEEDED` references, or for another shape of either; a
        histogram that has fewer good ones is insufficient.
        """
        contents = np.asarray(references)
        if contents.ndim != 3 or contents.shape[2] < 2:
            raise ValueError(f"expected references (R, H, B) of at least two bins, got {contents.shape}")
        if len(contents) < NEEDED:
            raise ValueError(f"expected at least {NEEDED} references, got {len(contents)}")
        run = None if runs is None else _labels(runs, len(contents))
        rows, bins = contents.shape[1:]
        step = max(1, BLOCK // (len(contents) * bins))
        with np.errstate(all="ignore"):  # of bad content, which is left out
            parts = [
                _fitted(np.ascontiguousarray(contents[:, at : at + step], dtype=np.float64), run)
                for at in range(0, max(rows, 1), step)
            ]
        self._known = Variation._make(np.concatenate(part) for part in zip(*(p[0] for p in parts), strict=True))
        self._scatter = Scatter._make(np.concatenate(part) for part in zip(*(p[1] for p in parts), strict=True))
        self._given = np.concatenate([p[2] for p in parts])
        return self

    @property
    def given(self) -> NDArray[np.int64]:
        """(H,) how many references of each histogram were learned from."""
        return self._given

    def judge(self, observed: ArrayLike) -> Comparison:
        """Judges counts `observed` (H, B), or N of each (N, H, B): then all arrays of the answer begin with N.

        p is NaN where a histogram has less than 20 entries, bad content, or too few good references. Raises ValueError
        for another shape than the references had, or before `fit`.
        """
        contents = np.asarray(observed)
        shape = self._fitted_variation().share.shape
        if contents.ndim not in (2, 3) or contents.shape[-2:] != shape:
            raise ValueError(f"expected observed {shape} or (N, {shape[0]}, {shape[1]}), got {contents.shape}")
        flat = contents.reshape(-1, shape[1])
        found = Verdicts.room(len(flat), shape[1:])
        found.mark(np.ones(len(flat), dtype=np.bool_))
        step = max(1, BLOCK // (16 * shape[1]))
        with np.errstate(all="ignore"):
            for start in range(0, len(flat), step):
                block = np.ascontiguousarray(flat[start : start + step], dtype=np.float64)
                row = np.arange(start, start + len(block)) % shape[0]
                good, total = usable(block, None)
                at = np.flatnonzero(good & (total >= LEAST_ENTRIES) & (self._given[row] >= NEEDED))
                self._judge(found.rows(slice(start, start + step)), at, block[at], row[at])
        answer = found.comparison(flat)
        if contents.ndim == 2:
            return answer
        arrays = {name: part for name, part in vars(answer).items() if isinstance(part, np.ndarray)}
        changes: dict[str, Any] = {n: part.reshape(-1, shape[0], *part.shape[1:]) for n, part in arrays.items()}
        return replace(answer, **changes)

    def _judge(self, found: Verdicts, at: NDArray[np.int64], contents: Floats, row: NDArray[np.int64]) -> None:
        known, scatter = self._fitted_variation().rows(row), self._scatter.rows(row)
        answers = standouts(known, contents)
        found.log_p[at], found.spoke[at] = _log_p(answers, scatter, known.degrees, contents.shape[1])
        scale = scatter.pull[:, None]
        filled = (contents > 0.0) | (known.share * contents.sum(axis=1, keepdims=True) >= 0.5)
        pull = np.where(filled, answers.pull / scale, 0.0)
        found.pull[at] = pull
        found.effect[at] = np.take_along_axis(pull, np.abs(pull).argmax(axis=1)[:, None], axis=1)[:, 0]
        found.expected[at], found.error[at] = answers.expected, answers.error * scale
        off = contents / contents.sum(axis=1, keepdims=True) - known.share
        found.shift[at] = (off @ np.arange(contents.shape[1]))[:, None]

    def around(self, references: ArrayLike) -> ReferenceModel:
        """A model of the same natural variation around the mean of other `references` (R, H, B), one or more, such as
        the last good ones after conditions changed. Patterns and spread keep their relative size.

        Raises ValueError for another shape than the model's, or before `fit`.
        """
        known = self._fitted_variation()
        contents = np.asarray(references, dtype=np.float64)
        if contents.ndim != 3 or contents.shape[1:] != known.share.shape or not len(contents):
            raise ValueError(f"expected references (R, *{known.share.shape}), got {contents.shape}")
        found = ReferenceModel()
        with np.errstate(all="ignore"):
            good, total = usable(contents, None)
            good &= total >= LEAST_ENTRIES
            found._known = recentred(known, np.where(good[..., None], contents, 0.0), good)
        found._scatter, found._given = self._scatter, np.where(good.any(axis=0), self._given, 0)
        return found

    def _fitted_variation(self) -> Variation:
        if self._known is None:
            raise ValueError("expected a fitted model: call fit(references) first")
        return self._known

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A snapshot as plain arrays, for `restore`."""
        variation = self._fitted_variation()
        known = {f"known_{name}": part.copy() for name, part in variation._asdict().items()}
        scatter = {f"scatter_{name}": part.copy() for name, part in self._scatter._asdict().items()}
        return {**known, **scatter, "given": self._given.copy()}

    def restore(self, state: Mapping[str, ArrayLike]) -> ReferenceModel:
        """The inverse of `state`."""
        self._known = Variation._make(np.array(state[f"known_{name}"]) for name in Variation._fields)
        self._scatter = Scatter._make(np.array(state[f"scatter_{name}"]) for name in Scatter._fields)
        self._given = np.array(state["given"])
        return self


def _labels(runs: ArrayLike, references: int) -> Labels | None:
    """Runs counted from 0; None where all references are of one run, or each of another."""
    labels = np.asarray(runs)
    if labels.shape != (references,):
        raise ValueError(f"expected the runs of {references} references, got shape {labels.shape}")
    names, run = np.unique(labels, return_inverse=True)
    return run.astype(np.int64) if 1 < len(names) < references else None


def _fitted(contents: Floats, run: Labels | None) -> tuple[Variation, Scatter, NDArray[np.int64]]:
    """What references (R, H, B) of a block of histograms say, and how many of each were learned from."""
    good, total = usable(contents, None)
    good &= total >= LEAST_ENTRIES
    enough = good.sum(axis=0) >= NEEDED
    if run is not None:
        fold = folds_of(run.max() + 1)[run]
        enough &= np.sum([good[fold == part].any(axis=0) for part in range(fold.max() + 1)], axis=0) > 1
    contents = np.where(good[..., None] & enough[:, None], contents, 1.0)  # of the others nothing is said
    good |= ~enough
    if run is not None:
        scatter, _ = _validated(contents, good, run)
        return learn(contents, good, run), scatter, np.where(enough, good.sum(axis=0), 0)
    for _ in range(ROUNDS):
        left = good & ~lone(contents, good)
        left = np.where(left.sum(axis=0) >= NEEDED, left, good)
        if np.array_equal(left, good):
            break
        good = left
    scatter, log_p = _validated(contents, good)
    strange = good & (log_p < np.log(STRANGE / good.sum(axis=0)))
    odd = np.flatnonzero(strange.any(axis=0) & (strange.sum(axis=0) <= STRANGE_SHARE * good.sum(axis=0)))
    odd = odd[(good & ~strange)[:, odd].sum(axis=0) >= NEEDED]
    if len(odd):
        good[:, odd] &= ~strange[:, odd]
        again, _ = _validated(contents[:, odd], good[:, odd])
        for whole, part in zip(scatter, again, strict=True):
            np.asarray(whole)[odd] = part
    return learn(contents, good), scatter, np.where(enough, good.sum(axis=0), 0)


def _validated(contents: Floats, good: Bools, run: Labels | None = None) -> tuple[Scatter, Floats]:
    """(how far answers of models of four fifths of the references scatter on the last, ln p (R, H) of each
    reference); of runs, where `run` (R,) says which belong together, each of the same weight."""
    references, rows, bins = contents.shape
    fold = np.arange(references) * FOLDS // references if run is None else folds_of(run.max() + 1)[run]
    parts, degrees = [], np.zeros((references, rows))
    parts_of = range(fold.max() + 1)
    for part in parts_of:
        known = learn(contents, good & (fold != part)[:, None], run)
        mine = np.flatnonzero(fold == part)
        parts.append(standouts(known.rows(np.tile(np.arange(rows), len(mine))), contents[mine].reshape(-1, bins)))
        degrees[mine] = known.degrees
    order = np.argsort(np.concatenate([np.flatnonzero(fold == part) for part in parts_of]))
    answers = Standouts._make(
        np.concatenate(part).reshape(references, rows, *part[0].shape[1:])[order] for part in zip(*parts, strict=True)
    )
    if run is None:
        given, each, worth = good.sum(axis=0), good.astype(np.float64), PRIOR
    else:
        size = (run == np.arange(run.max() + 1)[:, None]) @ good.astype(np.float64)
        given, each, worth = (size > 0).sum(axis=0), good / np.maximum(size, 1.0)[run], PRIOR_OF_RUNS
    weight, prior = each / (given + worth), worth / (given + worth)
    pull, windows, shape = (
        np.einsum("rh...,rh->h...", np.minimum(np.square(part), CLIPPED**2), weight)
        for part in (answers.pull, answers.windows, answers.shape)
    )
    deviance = np.clip(answers.deviance, -10.0, 10.0)
    mean = (deviance * weight).sum(axis=0)
    spread = np.sqrt(np.maximum((np.square(deviance - mean) * weight).sum(axis=0) + prior, 1.0))
    level = np.maximum(windows.mean(axis=2, keepdims=True) / (1.0 - prior)[:, None, None], 1.0)
    scatter = Scatter(
        np.sqrt(np.maximum(pull.mean(axis=1) + prior, 1.0)),
        np.sqrt(np.maximum(windows + prior[:, None, None] * level, 1.0)).astype(np.float32),
        np.sqrt(np.maximum(shape + prior[:, None], 1.0)),
        np.stack([mean, spread], axis=1),
        given + worth if run is None else given,
        np.ones(rows),
    )
    log_p = np.stack([_log_p(Standouts(*one), scatter, d, bins)[0] for *one, d in zip(*answers, degrees, strict=True)])
    beyond = -log_p - TAIL
    excess = (np.clip(beyond, 0.0, 10.0) * each).sum(axis=0) + worth
    stretch = np.maximum(excess / ((each * (beyond > 0.0)).sum(axis=0) + worth), 1.0)
    return scatter._replace(stretch=stretch), log_p / stretch


def _log_p(found: Standouts, scatter: Scatter, degrees: Floats, bins: int) -> tuple[Floats, NDArray[np.int8]]:
    """(ln p (n,) of all answers, the test that spoke (n,))."""
    both = np.log(2.0)
    one = log_sidak(both + upper_log_p(np.abs(found.pull).max(axis=1) / scatter.pull, degrees), bins)
    widest = np.abs(found.windows / scatter.windows).max(axis=(1, 2), initial=0.0)
    wide = log_sidak(both + upper_log_p(widest, scatter.degrees), 2 * bins)
    shape = both + upper_log_p(np.abs(found.shape) / scatter.shape, scatter.degrees[:, None])
    mean, spread = scatter.deviance.T
    deviance = upper_log_p((found.deviance - mean) / spread, scatter.degrees)
    every = np.minimum(np.stack([deviance, one, wide, *shape.T]), 0.0)
    spoke = np.minimum(every.argmin(axis=0), TESTS.index("shape")).astype(np.int8)
    return log_cauchy(every) / scatter.stretch, spoke
