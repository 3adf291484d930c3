"""Forecasts to a limit: intervals that hold the truth as often as they say, and inf where nothing is heading there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from opintel.health.forecast import time_to_threshold

ROWS, STEP = 200, 60.0


def drift(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Values, limit and the true seconds from the last row until it is reached."""
    rows, pace = np.arange(ROWS), 0.01 * rng.uniform(0.5, 2.0)
    if kind == "walk":
        pace *= 10.0
        steps = np.cumsum(pace + 0.5 * rng.standard_normal(40 * ROWS))
        limit = steps[ROWS - 1] + 0.7 * pace * ROWS
        reached = np.flatnonzero(steps[ROWS:] >= limit)
        return steps[:ROWS], limit, (reached[0] + 1) * STEP if len(reached) else np.inf
    noise = 0.5 * rng.standard_normal(ROWS)
    if kind == "ar1":
        for i in range(1, ROWS):
            noise[i] = 0.8 * noise[i - 1] + 0.6 * noise[i]
    limit = 1.5 * pace * ROWS
    return pace * rows + noise, limit, (limit / pace - (ROWS - 1)) * STEP


@pytest.mark.parametrize("kind", ["white", "ar1", "walk"])
def test_the_interval_holds_the_truth_as_often_as_it_says(kind: str) -> None:
    rng = np.random.default_rng(21)
    times = STEP * np.arange(ROWS)
    held, ratio = [], []
    for _ in range(200):
        values, limit, truth = drift(kind, rng)
        median, low, high = time_to_threshold(times, values, limit, coverage=0.9)
        held.append(low <= truth <= high)
        ratio.append(median / truth)
    # 0.9 ± 4 standard errors of 200 trials, and what the choice between models costs
    assert 0.80 <= np.mean(held) <= 0.99
    assert 0.8 <= np.median(ratio) <= 1.25


def test_a_clean_line_is_exact() -> None:
    median, low, high = time_to_threshold(STEP * np.arange(100), 2.0 * np.arange(100), 238.0)
    np.testing.assert_allclose([median, low, high], 20 * STEP, rtol=1e-6)


def test_a_falling_series_reaches_a_lower_limit() -> None:
    median, _, _ = time_to_threshold(STEP * np.arange(100), -2.0 * np.arange(100), -238.0)
    assert median == pytest.approx(20 * STEP, rel=1e-6)


def test_nothing_heads_where_it_does_not() -> None:
    times = STEP * np.arange(100)
    assert time_to_threshold(times, -1.0 * np.arange(100), 10.0) == (np.inf, np.inf, np.inf)
    flat = time_to_threshold(times, np.random.default_rng(0).standard_normal(100), 10.0)
    assert flat.median == flat.high == np.inf


def test_a_limit_that_was_passed_is_now() -> None:
    assert time_to_threshold(STEP * np.arange(100), 1.0 * np.arange(100), 50.0) == (0.0, 0.0, 0.0)


def test_outliers_gaps_and_order_do_not_matter_much() -> None:
    rng = np.random.default_rng(1)
    times = STEP * np.sort(rng.choice(1000, 300, replace=False)).astype(float)
    values = times / STEP * 0.1 + 0.3 * rng.standard_normal(300)
    limit = 150.0
    truth = limit / 0.1 * STEP - times[-1]
    values[50], values[200], values[7] = 1e6, -1e6, np.nan
    shuffled = rng.permutation(300)
    forecast = time_to_threshold(times[shuffled], values[shuffled], limit)
    assert forecast.low <= truth <= forecast.high
    assert forecast.median == pytest.approx(truth, rel=0.1)
    assert forecast == time_to_threshold(times, values, limit)


def test_too_little_says_nothing() -> None:
    assert time_to_threshold([0.0, 1.0], [0.0, 1.0], 5.0) == (np.inf, 0.0, np.inf)
    assert time_to_threshold(np.zeros(50), np.arange(50.0), 500.0) == (np.inf, 0.0, np.inf)
    constant = time_to_threshold(np.arange(50.0), np.zeros(50), 5.0)
    assert constant.median == np.inf


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="coverage"):
        time_to_threshold([0.0], [0.0], 1.0, coverage=1.0)
    with pytest.raises(ValueError, match="times"):
        time_to_threshold([0.0, 1.0], [0.0], 1.0)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf])
def test_a_limit_is_a_number(limit: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        time_to_threshold([0.0, 60.0], [1.0, 2.0], limit)


def test_values_beyond_all_measure_are_left_out() -> None:
    t = 60.0 * np.arange(40)
    values = 100.0 - np.arange(40.0)
    wild = np.where(np.arange(40) % 7 == 3, 1e308 * (-1.0) ** np.arange(40), values)
    assert time_to_threshold(t, wild, 0.0).median == pytest.approx(61 * 60.0, rel=0.05)
