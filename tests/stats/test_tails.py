"""Tail p-values: uniform where the law is known, heavier tails distinguished from lighter ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto, norm, t

from opintel.stats.tails import BOUND, KEPT, SHARE, fit_tail, keep, tail_z


def exceedances(law: object, series: int, seed: int) -> tuple[np.ndarray, float]:
    """(series, KEPT) values above the law's bound, and the bound."""
    rng = np.random.default_rng(seed)
    return law.isf(SHARE * rng.uniform(size=(series, KEPT))).astype(np.float32), float(law.isf(SHARE))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("law", "shape"), [(norm(), -0.1), (t(3), 0.27), (genpareto(0.0, scale=1.0, loc=1.0), -0.03)])
def test_shapes_are_found(law: object, shape: float) -> None:
    ring, bound = exceedances(law, 300, 1)
    shapes, scales = fit_tail(ring, np.full(300, float(KEPT)), np.full(300, bound))
    assert np.median(shapes) == pytest.approx(shape, abs=0.08)
    assert (scales > 0.0).all()


@pytest.mark.parametrize("law", [norm(), t(3)])
def test_rare_values_are_as_rare_as_said(law: object) -> None:
    series = 4000
    ring, bound = exceedances(law, series, 2)
    count, bounds = np.full(series, float(KEPT)), np.full(series, bound)
    shape, scale = fit_tail(ring, count, bounds)
    rng = np.random.default_rng(3)
    x = law.isf(SHARE * rng.uniform(size=series))  # type: ignore[attr-defined]
    z = tail_z(x, ring, count, bounds, shape, scale)
    for level in (1e-2, 1e-3):
        # x exceeds its bound, which is a chance of SHARE already
        share = np.mean(z > norm.isf(level)) * SHARE / level
        assert 0.6 < share < 1.6


def test_the_order_of_values_is_kept() -> None:
    ring, bound = exceedances(norm(), 1, 4)
    shape, scale = fit_tail(ring, np.array([128.0]), np.array([bound]))
    x = np.linspace(BOUND + 0.01, 9.0, 400)
    repeat = lambda a: np.repeat(a, len(x), axis=0)  # noqa: E731
    z = tail_z(x, repeat(ring), np.full(400, 128.0), np.full(400, bound), repeat(shape), repeat(scale))
    assert (np.diff(z) >= -0.35).all()
    assert z[-1] > 6.0 > z[0]


def test_the_oldest_exceedance_is_forgotten() -> None:
    ring = np.full((2, KEPT), -np.inf, dtype=np.float32)
    for i in range(KEPT + 1):
        keep(ring, np.array([1]), np.array([float(i)]), np.array([float(i)]))
    assert ring[1].min() == 1.0
    assert ring[1].max() == KEPT
    assert (ring[0] == -np.inf).all()
