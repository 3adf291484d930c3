"""Which groups explain their failing members: a group test that one bad member cannot carry, and greedy blame.

An endpoint and its links, a machine and its sensors are a group and its members. Each member's count scores ln of
(failing at any rate) over (healthy), capped; the sum's exact null distribution gives the group's p-value. Members of a
blamed group are explained and count against no other group. `fts.links` is its user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.stats.counts import Floats, Ints, log_pmf, ragged

STEP, LOWEST, HIGHEST = 0.5, -6, 12
"""Scores in steps of half a nat between -3 and 6: one member adds at most what has odds of e^6 in the null."""

LEVELS = HIGHEST - LOWEST + 1
FULL = 1000
"""Larger counts are scaled down to this for the score: it is capped, more would change nothing."""

REST = 0.01
"""Without its most surprising member a blamed group must still be at least this surprising."""

ODDS_GROUP, ODDS_MEMBER = 0.02, 0.01
"""How often, roughly, a group fails as a whole and a member by itself: which of the two is the better story."""

SMALLEST = 1e-12
"""Groups of many members are convolved by FFT, whose error is absolute; below this their p-values tie."""

Bools = NDArray[np.bool_]


class MemberScores(NamedTuple):
    """A score for each of N members: its level (N,), 0 … LEVELS − 1, and its null distribution (N, LEVELS).

    >>> found = scores(np.array([0, 5]), np.array([10, 10]), np.full(2, 1.0), np.full(2, 19.0))
    >>> (found.level[1] > found.level[0]).item(), found.pmf.shape == (2, LEVELS)
    (True, True)
    """

    level: Ints
    pmf: Floats


class Blame(NamedTuple):
    """The verdict on G groups and their N members.

    >>> failed, files = np.array([9, 8, 9, 0, 1]), np.full(5, 10)
    >>> found = scores(failed, files, np.full(5, 1.0), np.full(5, 19.0))
    >>> blame([np.array([0, 1, 2]), np.array([3, 4])], found, lambda p, free: p < 1e-3).blamed.tolist()
    [True, False]
    """

    p: Floats
    """(G,) mid-p of all members that no other group explains; 1 where none is left."""
    rest_p: Floats
    """(G,) the same without the most surprising member."""
    blamed: Bools
    """(G,) groups that fail as a whole."""
    by: Ints
    """(N,) the blamed group that explains a member, −1 where none does."""


def scores(k: Ints, n: Ints, a: Floats, b: Floats) -> MemberScores:
    """Scores of counts k of n against beta-binomial(a, b), shapes (N,): ln[1/(n+1) / BB(k | n, a, b)], in steps."""
    share = k / np.maximum(n, 1)
    k = np.where(n > FULL, np.rint(share * FULL).astype(np.int64), k)
    cases = np.stack([np.minimum(n, FULL).astype(np.float64), a, b], axis=1)
    distinct, of = np.unique(cases, axis=0, return_inverse=True)
    of = of.reshape(-1)
    size = distinct[:, 0].astype(np.int64)
    if len(size) == 0:
        return MemberScores(np.zeros(0, dtype=np.int64), np.zeros((0, LEVELS)))
    row, j = ragged(np.zeros(len(size), dtype=np.int64), size + 1)
    log_p = log_pmf(j, size[row], distinct[row, 1], distinct[row, 2])
    level = np.clip(np.rint((-np.log(size[row] + 1.0) - log_p) / STEP), LOWEST, HIGHEST).astype(np.int64) - LOWEST
    start = np.cumsum(size + 1) - (size + 1)
    # One-sided: fewer failures than usual never score, more never score less.
    mean = size * distinct[:, 1] / (distinct[:, 1] + distinct[:, 2])
    level = np.where(j < mean[row], np.minimum.reduceat(level, start)[row], level)
    level = np.maximum.accumulate(level + row * LEVELS) - row * LEVELS
    pmf = np.bincount(row * LEVELS + level, np.exp(log_p), minlength=len(size) * LEVELS).reshape(-1, LEVELS)
    return MemberScores(level[start[of] + k], (pmf / pmf.sum(axis=1, keepdims=True))[of])


def blame(
    groups: Sequence[Ints], found: MemberScores, significant: Callable[[Floats, Bools], Bools], least: int = 2
) -> Blame:
    """Blames groups, the one that fails most uniformly first; its members then count against no other group.

    `groups` holds each group's members; a member may be in several groups (as a link has a source and a destination).
    `significant(p (G,), free (N,))` says which p-values are small enough. A blamed group also has `least` members left,
    is a better story than as many bad members by themselves (`ODDS_GROUP`, `ODDS_MEMBER`), and stays surprising without
    its worst member: under "at most one member is bad" that is an intersection-union test (Berger 1982, Technometrics
    24, 295). At the end a group that stands only on members which another blamed group explains is cleared again.
    """
    count = len(groups)
    p, rest_p = np.ones(count), np.ones(count)
    odds, evenness = np.zeros(count), np.zeros(count)
    size = np.zeros(count, dtype=np.int64)
    blamed = np.zeros(count, dtype=np.bool_)
    by = np.full(len(found.level), -1, dtype=np.int64)
    member_of: list[list[int]] = [[] for _ in found.level]
    for g, members in enumerate(groups):
        for member in members.tolist():
            member_of[member].append(g)
    score = STEP * (found.level + LOWEST)
    most = STEP * (LEVELS - 1 - np.argmax(found.pmf[:, ::-1] > 0, axis=1) + LOWEST)
    story = score - np.log1p(ODDS_MEMBER * np.expm1(score))

    def weigh(g: int, left: Ints) -> None:
        p[g], rest_p[g] = group_p(found.level[left], found.pmf[left])
        odds[g] = np.sum(story[left]) + np.log(ODDS_GROUP)
        # Evenness, not strength: a hub to which some dead endpoints send has the strength and is less even than they.
        evenness[g] = np.sum(score[left]) / (np.sum(most[left]) + 2 * STEP * HIGHEST)
        size[g] = len(left)

    def guilty(free: Bools) -> Bools:
        return significant(p, free) & (rest_p <= REST) & (odds > 0) & (size >= least)

    stale = set(range(count))
    while stale:
        for g in sorted(stale):
            weigh(g, groups[g][by[groups[g]] < 0])
        stale = set()
        for g in sorted(np.flatnonzero(guilty(by < 0) & ~blamed).tolist(), key=lambda g: (-evenness[g], g)):
            if g not in stale:
                blamed[g] = True
                mine = groups[g][by[groups[g]] < 0]
                by[mine] = g
                stale.update(other for member in mine.tolist() for other in member_of[member] if not blamed[other])
        stale = {g for g in stale if not blamed[g]}
    for g in sorted(np.flatnonzero(blamed).tolist(), key=lambda g: (evenness[g], g)):
        others = {int(member): h for member in groups[g] for h in member_of[member] if h != g and blamed[h]}
        free = by < 0
        free[groups[g]] = True
        free[list(others)] = False
        before = p[g], rest_p[g], odds[g], evenness[g], size[g]
        weigh(g, groups[g][free[groups[g]]])
        if guilty(free)[g]:
            p[g], rest_p[g], odds[g], evenness[g], size[g] = before
        else:
            blamed[g] = False
            by[groups[g]] = [others.get(member, -1) for member in groups[g].tolist()]
    return Blame(p, rest_p, blamed, by)


def group_p(level: Ints, pmf: Floats) -> tuple[float, float]:
    """(mid-p of the sum of scores, the same without the most surprising member) for members (M,), (M, LEVELS)."""
    if len(level) == 0:
        return 1.0, 1.0
    tail = np.cumsum(pmf[:, ::-1], axis=1)[:, ::-1][np.arange(len(level)), level]
    worst = int(np.lexsort((tail, -level))[0])
    others = np.delete(np.arange(len(level)), worst)
    rest = _convolved([pmf[i] for i in others])
    at = int(level[others].sum())
    return _mid_tail(_convolve(rest, pmf[worst]), at + int(level[worst])), _mid_tail(rest, at)


def _mid_tail(pmf: Floats, at: int) -> float:
    return float(np.clip(pmf[at + 1 :].sum() + 0.5 * pmf[at], SMALLEST, 1.0))


def _convolved(parts: list[Floats]) -> Floats:
    """The distribution of the sum of independent scores, pairwise, so that the work is balanced."""
    if not parts:
        return np.ones(1)
    while len(parts) > 1:
        paired = [_convolve(one, other) for one, other in zip(parts[::2], parts[1::2], strict=False)]
        parts = paired + parts[len(paired) * 2 :]
    return parts[0]


def _convolve(one: Floats, other: Floats) -> Floats:
    if len(one) * len(other) < 250_000:
        return np.convolve(one, other)
    from scipy.signal import fftconvolve  # half a second, which few processes ever need

    return np.maximum(np.asarray(fftconvolve(one, other), dtype=np.float64), 0.0)
