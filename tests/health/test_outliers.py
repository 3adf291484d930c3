"""No row weighs more than a bounded number of standard deviations: what a series says after absurd ones, how soon, and
that it still follows what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from windows import closed

from opintel.finding import NS, Window
from opintel.health import MultiSeriesDetector, Scores
from opintel.health.reducer import HealthReducer
from opintel.health.samples import Sample, Samples
from opintel.health.series_names import key_of
from opintel.rows import Row

START = 1_700_000_040.0
SERIES = 30


def judged(values: np.ndarray) -> Scores:
    """Scores (rows * series) of minutes of these values (rows, series)."""
    return fed(MultiSeriesDetector(values.shape[1]), values, 0)


def fed(detector: MultiSeriesDetector, values: np.ndarray, at: int) -> Scores:
    """Scores of further minutes, the first of them the minute `at`."""
    rows, series = values.shape
    keys, times = np.tile(np.arange(series), rows), np.repeat(START + 60.0 * np.arange(at, at + rows), series)
    return detector.update_many(keys, times, values.ravel())


def fleet(rows: int, seed: int, *, series: int = SERIES, scale: float = 3.0) -> np.ndarray:
    return np.round(45.0 + scale * np.random.default_rng(seed).standard_normal((rows, series)), 1)


def found(p: np.ndarray) -> float:
    """Share of series with three rows below 1e-4."""
    return float(((p <= 1e-4).sum(axis=0) >= 3).mean())


@pytest.fixture(scope="module", params=[700, 3500])
def learned(request: pytest.FixtureRequest) -> tuple[int, dict[str, Any]]:
    """(rows, state) of a detector that has seen so many usual ones: in the first two days nearly all is learned."""
    detector, rows = MultiSeriesDetector(SERIES), request.param
    fed(detector, fleet(rows, seed=21), 0)
    return rows, detector.state()


@pytest.mark.parametrize(
    ("absurd", "rows"),
    [(9.3e18, 1), (9.3e18, 30), (-9.3e18, 30), (1.4e14, 1), (1.4e14, 60), (1e29, 12), (65535.0, 6), (-273.0, 4)],
)
def test_after_absurd_rows_a_series_is_judged_as_before(
    absurd: float, rows: int, learned: tuple[int, dict[str, Any]]
) -> None:
    """From half an hour later on hardly a row is called odd, and a step of 7 standard deviations after four hours is
    found."""
    at, state = learned
    detector = MultiSeriesDetector(SERIES)
    detector.restore(state)
    values = fleet(rows + 300, seed=27)
    values[:rows] = absurd
    values[rows + 240 :] += 21.0
    scores = fed(detector, values, at)
    p = scores.p_value.reshape(values.shape)
    assert (p[:1] <= 1e-4).all()
    assert (p[rows : rows + 240] <= 1e-4).mean() < 0.03
    assert (p[rows + 30 : rows + 240] <= 1e-4).mean() < 1e-3
    assert found(p[rows + 240 :]) == 1.0
    band = scores.band.reshape(values.shape)
    assert np.allclose(np.median(band[rows + 30 : rows + 240], axis=0), 3.0, rtol=0.4)


def test_the_band_beside_an_absurd_row_is_that_of_the_rows_before_it() -> None:
    values = fleet(900, seed=22)
    values[800] = 9.3e18
    scores = judged(values)
    expected, baseline = (column.reshape(values.shape)[800] for column in (scores.expected, scores.baseline))
    assert np.abs(expected - 45.0).max() < 3.0
    assert np.abs(baseline - 45.0).max() < 3.0


@pytest.mark.parametrize("place", [0, 1, 5, 9])
def test_an_absurd_row_among_the_first_is_outvoted(place: int) -> None:
    values = fleet(600, seed=23)
    values[place] = 9.3e18
    values[500:] += 21.0
    p = judged(values).p_value.reshape(values.shape)
    assert np.nanmean(p[:500] <= 1e-3) < 0.004
    assert found(p[500:]) == 1.0


def test_a_constant_series_that_left_its_value_once_is_still_constant() -> None:
    values = np.full((900, SERIES), 7.0)
    values[400] = 1e18
    values[700:720] = 8.0
    p = judged(values).p_value.reshape(values.shape)
    assert (p[401:700] <= 1e-3).mean() < 0.01
    assert (p[700:720] <= 1e-4).mean() > 0.9


def test_a_constant_series_that_changes_for_good_is_learned_afresh() -> None:
    rng = np.random.default_rng(24)
    values = np.full((1400, SERIES), 7.0)
    values[300:] = 900.0 + rng.standard_normal((1100, SERIES))
    values[1300:] += 7.0
    p = judged(values).p_value.reshape(values.shape)
    assert (p[300:400] <= 1e-4).mean() > 0.9
    assert np.nanmean(p[650:1300] <= 1e-3) < 0.004
    assert found(p[1300:]) == 1.0


def test_a_level_a_million_times_higher_becomes_the_baseline_when_it_stays() -> None:
    values = fleet(1900, seed=25)
    values[1000:] += 3e6
    scores = judged(values)
    p, expected = (column.reshape(values.shape) for column in (scores.p_value, scores.expected))
    assert (p[1000:1150] <= 1e-4).mean() > 0.95
    assert (p[1400:] <= 1e-3).mean() < 0.01
    assert np.abs(np.median(expected[1400:], axis=0) - 3e6 - 45.0).max() < 3.0


def test_one_leap_of_a_counter_does_not_hide_what_its_rate_does_later() -> None:
    """A counter that leaps (as a reset to an old value does) has one rate of 10^13 a second."""
    reducer, rng = HealthReducer(), np.random.default_rng(26)
    key, total, said = key_of("node", "requests_total", {"instance": "h"}), 0.0, []
    for n in range(900):
        total += 60.0 * (50.0 + rng.standard_normal()) + 1e15 * (n == 600) + 60.0 * 10.0 * (n >= 860)
        window = Window(int(START + 60 * n) * NS, int(START + 60 * n + 60) * NS)
        rows = [Row(key, window.start + NS, window.start + NS, Sample(total, False))]
        (record,) = closed(reducer, window, rows, Samples)
        said.append(record.payload.log10_p)
    assert said[600] is not None
    assert said[600] <= -4.0
    assert all(p is not None and p > -4.0 for p in said[620:860])
    assert sum(p is not None and p <= -4.0 for p in said[860:]) >= 3


def test_a_coarse_sensor_that_moves_by_one_step_is_news_for_half_an_hour() -> None:
    """Whole degrees that stand still for three hours: the first step is news, that it stays for hours is none."""
    values = np.full((400, SERIES), 50.0)
    values[180:, ::2] = 49.0
    values[180:, 1::2] = 51.0
    p = judged(values).p_value.reshape(values.shape)
    assert (p[180] <= 1e-4).all()
    assert (p[180:] <= 1e-4).sum(axis=0).max() < 45
