from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, nbinom

from opintel.stats.counts import MOST, log_mid_p, log_pmf, log_zero, ragged, shape

RATES = st.floats(1e-3, 50.0)


@given(n=st.integers(0, 60), share=st.floats(0, 1), a=RATES, b=RATES)
def test_mid_p_is_the_published_sum(n: int, share: float, a: float, b: float) -> None:
    k = round(share * n)
    slow = betabinom.pmf(np.arange(k + 1, n + 1), n, a, b).sum() + 0.5 * betabinom.pmf(k, n, a, b)
    assert np.exp(log_mid_p(k, n, a, b))[0] == pytest.approx(slow, rel=1e-7, abs=1e-14)


@given(n=st.integers(0, 40), a=RATES, b=RATES)
def test_mid_p_has_mean_one_half_under_the_null(n: int, a: float, b: float) -> None:
    k = np.arange(n + 1)
    assert np.sum(np.exp(log_pmf(k, n, a, b) + log_mid_p(k, n, a, b))) == pytest.approx(0.5, abs=1e-9)


def test_a_tail_below_the_smallest_double_keeps_its_logarithm() -> None:
    a, b = 50.0, 49_950.0
    terms = [
        math.lgamma(2001) - math.lgamma(j + 1) - math.lgamma(2001 - j)
        + math.lgamma(j + a) + math.lgamma(2000 - j + b) - math.lgamma(2000 + a + b)
        + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        for j in range(1500, 2001)
    ]  # fmt: skip
    weights = [math.exp(t - terms[0]) * (0.5 if i == 0 else 1.0) for i, t in enumerate(terms)]
    expected = terms[0] + math.log(math.fsum(weights))
    assert expected < -745
    assert log_mid_p(1500, 2000, a, b)[0] == pytest.approx(expected, rel=1e-9)


def test_one_row_does_not_depend_on_the_others() -> None:
    k, n = np.array([0, 3, 700, 2]), np.array([0, 3, 4000, 5])
    together = log_mid_p(k, n, 0.5, 9.0)
    alone = [log_mid_p(k[i], n[i], 0.5, 9.0)[0] for i in range(4)]
    np.testing.assert_array_equal(together, alone)


def test_counts_above_the_cap_keep_their_share() -> None:
    assert log_mid_p(MOST * 10, MOST * 100, 1.0, 9.0) == pytest.approx(log_mid_p(MOST // 10, MOST, 1.0, 9.0))


def test_negative_binomial_zero() -> None:
    mean, dispersion = 4.0, 0.7
    assert np.exp(log_zero(mean, dispersion)) == pytest.approx(
        nbinom.pmf(0, 1 / dispersion, 1 / (1 + dispersion * mean))
    )


def test_shape_and_ragged() -> None:
    a, b = shape(0.2, 0.1)
    assert (a / (a + b), 1 / (a + b + 1)) == pytest.approx((0.2, 0.1))
    row, value = ragged(np.array([5, 0, 2]), np.array([2, 0, 3]))
    assert (row.tolist(), value.tolist()) == ([0, 0, 2, 2, 2], [5, 6, 2, 3, 4])
