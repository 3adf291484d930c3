from __future__ import annotations

import numpy as np
import pytest

from opintel.stats.counts import shape
from opintel.stats.dispersion import PRIOR_MEAN, fit_healthy


def drawn(seed: int, mean: float, rho: float, broken: float, cases: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = np.minimum(rng.zipf(1.4, cases), 3000)
    p = rng.beta(*shape(mean, rho), cases)
    bad = rng.random(cases) < broken
    p[bad] = rng.uniform(0.6, 1.0, bad.sum())
    return rng.binomial(n, p), n


@pytest.mark.parametrize(("mean", "rho"), [(0.01, 0.05), (0.05, 0.1), (0.1, 0.3), (0.05, 0.01)])
def test_healthy_cases_are_recovered(mean: float, rho: float) -> None:
    """Seed fixed; the limits are about four standard errors."""
    found = fit_healthy(*drawn(3, mean, rho, 0.0))
    assert found.mean == pytest.approx(mean, rel=0.25)
    assert found.rho == pytest.approx(rho, rel=0.4)
    assert found.broken < 0.01


@pytest.mark.parametrize("broken", [0.05, 0.2])
def test_broken_cases_hardly_move_it(broken: float) -> None:
    found = fit_healthy(*drawn(4, 0.05, 0.1, broken))
    assert found.mean == pytest.approx(0.05, rel=0.35)
    assert found.rho == pytest.approx(0.1, rel=0.5)
    assert found.broken == pytest.approx(broken, rel=0.5)


def test_order_does_not_matter() -> None:
    k, n = drawn(5, 0.05, 0.1, 0.1)
    assert fit_healthy(k[::-1], n[::-1]) == fit_healthy(k, n)


def test_nothing_to_learn_from_gives_the_prior() -> None:
    assert fit_healthy([0, 0], [0, 0]).mean == PRIOR_MEAN
    few = fit_healthy([0, 0, 0], [5, 1, 2])
    assert 0.005 < few.mean < PRIOR_MEAN
