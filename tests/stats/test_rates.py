"""The rates of healthy cases, from counts with broken cases among them, of either family."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from opintel.stats.counts import log_mid_p, shape
from opintel.stats.rates import LOGIT, RATE, Rates, fit_rates, log_broken

FAMILIES = [("logit-normal", -3.4, 1.0), ("logit-normal", -2.5, 1.3), ("beta", 0.05, 0.1), ("beta", 0.1, 0.3)]


def cases(seed: int, family: str, one: float, other: float, broken: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(failures, files) of 5000 cases, the first of them broken."""
    rng = np.random.default_rng(seed)
    n = np.clip(np.rint(5 * np.exp(1.3 * rng.standard_normal(5000))), 1, 5000).astype(np.int64)
    p = expit(rng.normal(one, other, 5000)) if family == "logit-normal" else rng.beta(*shape(one, other), 5000)
    p[:broken] = rng.uniform(0.8, 1.0, broken)
    return rng.binomial(n, p), n


@pytest.mark.parametrize(("family", "one", "other"), FAMILIES)
def test_p_values_hold_whatever_family_the_rates_are_of(family: str, one: float, other: float) -> None:
    """8 windows, fixed seeds, files >= 20 (some 700 a window): .8 to 1.25 of nominal, within 3 standard errors."""
    p = []
    for seed in range(8):
        k, n = cases(seed, family, one, other)
        rates = fit_rates(k, n)
        assert rates.broken < 1e-3
        p.append(rates.mid_p(k, n)[n >= 20])
    every = np.concatenate(p)
    for level in (0.1, 0.01):
        error = 3.0 * np.sqrt(level / len(every))
        assert 0.8 * level - error <= np.mean(every <= level) <= 1.25 * level + error


@pytest.mark.parametrize(("family", "one", "other"), [FAMILIES[0], FAMILIES[2]])
def test_broken_cases_are_no_part_of_the_healthy_ones(family: str, one: float, other: float) -> None:
    k, n = cases(1, family, one, other, broken=60)
    rates = fit_rates(k, n)
    clean = fit_rates(k[60:], n[60:])
    assert 0.4 * 60 <= rates.broken * 5000 <= 1.8 * 60
    assert rates.weight @ RATE == pytest.approx(float(clean.weight @ RATE), rel=0.1)
    healthy = rates.healthy(k, n)
    assert np.mean(healthy[:60][n[:60] >= 8] < 0.1) > 0.8
    assert np.mean(healthy[60:] < 0.1) < 0.003


def test_tails_are_those_of_a_beta_binomial_where_the_rates_are_beta() -> None:
    """Recomputed with exact tails; the grid costs at most a few per cent."""
    a, b = 2.0, 30.0
    density = a * np.log(RATE) + b * np.log1p(-RATE)
    rates = Rates(np.exp(density) / np.exp(density).sum(), 0.0)
    k, n = np.array([0, 1, 5, 20, 40]), np.array([10, 10, 20, 100, 80])
    assert rates.mid_p(k, n) == pytest.approx(np.exp(log_mid_p(k, n, a, b)), rel=0.05)
    assert rates.mid_p(np.array([0]), np.array([0])).tolist() == [0.5]


def test_scores_have_the_null_distribution_of_their_counts() -> None:
    rates = fit_rates(*cases(3, *FAMILIES[0]))
    n = np.full(11, 10)
    found = rates.scores(np.arange(11), n)
    assert (np.diff(found.level) >= 0).all()
    assert found.level[0] < found.level[10]
    p = np.exp(rates.log_pmf(np.arange(11), n))
    for level in set(found.level.tolist()):
        assert found.pmf[0][level] == pytest.approx(p[found.level == level].sum(), rel=1e-9)


@pytest.mark.parametrize(("k", "n"), [([], []), ([0], [0]), ([3], [3]), ([0] * 50, [100] * 50), ([10**9], [10**9])])
def test_any_counts_give_rates(k: list[int], n: list[int]) -> None:
    k_, n_ = np.array(k, dtype=np.int64), np.array(n, dtype=np.int64)
    rates = fit_rates(k_, n_)
    assert rates.weight.shape == LOGIT.shape
    assert rates.weight.sum() == pytest.approx(1.0)
    for found in (rates.mid_p(k_, n_), rates.healthy(k_, n_), log_broken(k_, n_), rates.log_pmf(k_, n_)):
        assert np.isfinite(found).all()
