"""P-values of clean Poisson histograms are what they say, from sparse to rich, whatever the shape and the references.

Shares of p below .1 and .01 are held against the goals (.8 to 1.25; .3 to 1.25 below two counts a bin), with four
standard
deviations of chance added, so that a calibrated test fails in less than one of 1000 seeds. 1e-3 and more cases:
benchmarks/dqm_compare.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from opintel.dqm import compare, compare_2d
from opintel.dqm.comparing.means import compare_means

ROWS = 3000


def expected(shape: str, bins: int, mean: float) -> np.ndarray:
    """Expected contents of `mean` a bin."""
    x = (np.arange(bins) + 0.5) / bins
    of = {"flat": x * 0.0, "falling": -5.0 * x, "empty-tailed": -0.5 * ((x - 0.3) / 0.07) ** 2}
    weights = np.exp(of[shape])
    return mean * weights / weights.mean()


def assert_calibrated(p: np.ndarray, least: float = 0.8) -> None:
    """Also that enough was judged."""
    p = p[np.isfinite(p)]
    assert len(p) > 1000
    for level in (0.1, 0.01):
        chance = 4.0 * np.sqrt(level / len(p))
        assert least * level - chance <= (p <= level).mean() <= 1.25 * level + chance, level


@pytest.mark.parametrize("shape", ["flat", "falling", "empty-tailed"])
@pytest.mark.parametrize(
    ("bins", "mean", "references", "richer"),
    [(20, 10.0, 4, 1.0), (100, 10.0, 1, 0.5), (100, 30.0, 8, 3.0), (50, 300.0, 4, 1.0), (100, 10_000.0, 8, 0.3)],
)
def test_clean_histograms(shape: str, bins: int, mean: float, references: int, richer: float) -> None:
    rng = np.random.default_rng(bins * references)
    of = expected(shape, bins, mean)
    observed = rng.poisson(of, (ROWS, bins))
    assert_calibrated(compare(observed, rng.poisson(of * richer, (references, ROWS, bins))).p_value)


@pytest.mark.parametrize("shape", ["flat", "falling", "empty-tailed"])
@pytest.mark.parametrize("mean", [0.5, 1.5])
def test_sparse_histograms(shape: str, mean: float) -> None:
    rng = np.random.default_rng(11)
    of = expected(shape, 100, mean)
    assert_calibrated(compare(rng.poisson(of, (ROWS, 100)), rng.poisson(of, (2, ROWS, 100))).p_value, least=0.3)


def test_clean_maps() -> None:
    rng = np.random.default_rng(12)
    of = 4.0 * expected("falling", 16, 1.0)[:, None] * expected("flat", 20, 1.0)
    assert_calibrated(compare_2d(rng.poisson(of, (ROWS, 16, 20)), rng.poisson(of, (2, ROWS, 16, 20))).p_value)


def test_weighted_histograms() -> None:
    rng = np.random.default_rng(13)
    of = expected("falling", 40, 60.0)

    def filled(rows: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        light, heavy = rng.poisson(of, (*rows, 40)), rng.poisson(of / 5.0, (*rows, 40))
        return light + 3.0 * heavy, light + 9.0 * heavy

    (observed, spread), (references, others) = filled((ROWS,)), filled((2, ROWS))
    found = compare(observed, references, observed_variance=spread, reference_variance=others)
    assert_calibrated(found.p_value)


def test_profiles() -> None:
    rng = np.random.default_rng(14)
    spread, others = rng.uniform(0.1, 2.0, (ROWS, 30)), rng.uniform(0.1, 2.0, (3, ROWS, 30))
    mean = np.linspace(3.0, 9.0, 30)
    observed = mean + rng.standard_normal((ROWS, 30)) * np.sqrt(spread)
    references = mean + rng.standard_normal((3, ROWS, 30)) * np.sqrt(others)
    assert_calibrated(compare_means(observed, spread, references, others).p_value)


def test_pulls_have_unit_variance_and_are_the_exact_mid_p() -> None:
    from scipy.stats import hypergeom

    rng = np.random.default_rng(15)
    observed, reference = rng.poisson(12.0, (300, 60)), rng.poisson(30.0, (300, 60))
    found = compare(observed, reference[None])
    assert found.pull.std() == pytest.approx(1.0, abs=0.02)
    n, of = (observed + reference).sum(axis=1)[:, None], observed.sum(axis=1)[:, None]
    exact = hypergeom(n, observed + reference, of)
    lower = exact.cdf(observed) - exact.pmf(observed) / 2
    calm = (found.p_value > 1e-3)[:, None] & (np.abs(found.pull) < 5.0)
    from scipy.special import ndtri

    assert np.abs(found.pull - ndtri(lower))[calm].max() < 0.05
