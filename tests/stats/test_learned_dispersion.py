from __future__ import annotations

import numpy as np
import pytest

from opintel.stats.counts import shape
from opintel.stats.learned_dispersion import Dispersion


@pytest.mark.parametrize("rho", [0.0005, 0.01, 0.05, 0.2])
def test_dispersion_is_learned_in_spite_of_broken_cases(rho: float) -> None:
    """Seed fixed; limits about four standard errors."""
    rng = np.random.default_rng(2)
    learned = Dispersion()
    for _ in range(20):
        mean = rng.uniform(0.02, 0.3, 200)
        n = rng.integers(1, 30, 200) * (20 if rho < 0.001 else 1)
        p = rng.beta(*shape(mean, rho))
        p[:4] = 0.95
        learned.learn(rng.binomial(n, p), n, mean, keep=0.99)
    assert learned.rho(np.array([0.16])).item() == pytest.approx(rho, rel=0.35)
    again = Dispersion()
    again.restore(learned.state())
    assert again.rho(mean).tolist() == learned.rho(mean).tolist()


def test_where_logits_vary_alike_what_fails_seldom_varies_little() -> None:
    """A standard deviation of .4 of the logit is rho = .16 m (1 - m); seed fixed, limits about four standard errors."""
    rng = np.random.default_rng(3)
    learned = Dispersion()
    for _ in range(20):
        logit = rng.choice([-4.0, -1.0], 200)
        mean = 1.0 / (1.0 + np.exp(-logit))
        n = rng.integers(50, 200, 200)
        k = rng.binomial(n, 1.0 / (1.0 + np.exp(-logit - rng.normal(0.0, 0.4, 200))))
        learned.learn(k, n, mean, keep=0.99)
    few, many = learned.rho(np.array([0.018, 0.27])).tolist()
    assert many == pytest.approx(0.16 * 0.27 * 0.73, rel=0.3)
    assert few < 0.15 * many


def test_what_comes_of_not_knowing_the_mean_is_not_learned() -> None:
    rng = np.random.default_rng(4)
    mean, n = np.full(2000, 0.1), np.full(2000, 60)
    k = rng.binomial(n, rng.beta(*shape(mean, 0.03)))
    naive, aware = Dispersion(), Dispersion()
    naive.learn(k, n, mean, keep=1.0)
    aware.learn(k, n, mean, keep=1.0, unsure=np.full(2000, 0.03))
    assert naive.rho(mean[:1]).item() == pytest.approx(0.03, rel=0.35)
    assert aware.rho(mean[:1]).item() < 0.003
