from __future__ import annotations

import itertools

import numpy as np
import pytest

from opintel.stats.counts import shape
from opintel.stats.groups import MemberScores, blame, group_p, scores

A, B = (float(x) for x in shape(0.05, 0.1))


def scored(k: list[int], n: list[int]) -> MemberScores:
    size = len(k)
    return scores(np.array(k), np.array(n), np.full(size, A), np.full(size, B))


def test_group_p_is_the_exact_mid_p_of_the_sum() -> None:
    found = scored([1, 2, 0], [2, 4, 3])
    sums = {}
    for levels in itertools.product(range(found.pmf.shape[1]), repeat=3):
        p = found.pmf[0, levels[0]] * found.pmf[1, levels[1]] * found.pmf[2, levels[2]]
        sums[sum(levels)] = sums.get(sum(levels), 0.0) + p
    at = int(found.level.sum())
    exact = sum(p for s, p in sums.items() if s > at) + 0.5 * sums[at]
    assert group_p(found.level, found.pmf)[0] == pytest.approx(exact)


def test_a_score_never_falls_with_more_failures() -> None:
    for a, b in ((A, B), (0.3, 0.2), (8.0, 4.0)):
        levels = scores(np.arange(41), np.full(41, 40), np.full(41, a), np.full(41, b)).level
        assert (np.diff(levels) >= 0).all()


def test_one_dead_member_does_not_blame_its_group() -> None:
    found = scored([50, 0, 1, 0, 0], [50, 20, 20, 3, 8])
    verdict = blame([np.arange(5)], found, lambda p, _: p < 0.05)
    assert not verdict.blamed[0]
    assert verdict.rest_p[0] > 0.05


def test_a_hub_is_not_blamed_for_the_dead_endpoints_that_use_it() -> None:
    """Sources 0-3 are dead, 4-9 healthy; every destination sees four dead links of ten."""
    sources, destinations = np.divmod(np.arange(100), 10)
    k = [10 if s < 4 else 0 for s in sources]
    groups = [np.flatnonzero(sources == s) for s in range(10)] + [np.flatnonzero(destinations == d) for d in range(10)]
    verdict = blame(groups, scored(k, [10] * 100), lambda p, _: p < 0.01)
    assert np.flatnonzero(verdict.blamed).tolist() == [0, 1, 2, 3]
    assert verdict.by[:40].tolist() == [s for s in range(4) for _ in range(10)]
    assert (verdict.by[40:] == -1).all()


def test_group_p_is_calibrated_for_healthy_members() -> None:
    """4000 groups of five; the limits are four standard errors."""
    rng = np.random.default_rng(1)
    n = np.minimum(rng.zipf(1.4, (4000, 5)), 200)
    k = rng.binomial(n, rng.beta(A, B, n.shape))
    found = scored(k.ravel().tolist(), n.ravel().tolist())
    p = np.array([group_p(found.level[i : i + 5], found.pmf[i : i + 5])[0] for i in range(0, 20_000, 5)])
    assert p.mean() == pytest.approx(0.5, abs=0.02)
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.02)
    assert (p <= 0.01).mean() == pytest.approx(0.01, abs=0.0065)


def test_no_groups() -> None:
    assert blame([], scored([], []), lambda p, _: p < 0.05).blamed.shape == (0,)
