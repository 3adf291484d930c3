"""A warm start: what a series begins with, what it keeps of its own, and that its p-values mean what they say.

The processes are Gaussian; seeds are fixed. Where a rate is measured, its bound is four standard errors wide.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from opintel.health.series import MultiSeriesDetector
from opintel.health.warm_start import Learned, WarmStart, fitted

DETECTOR = ["health.series", 5]
MINUTE, DAY = 60.0, 86_400.0
LATER = 400 * DAY
"""s from the past to the new site, a time of day later by none."""


def past(values: np.ndarray, step: float = MINUTE) -> MultiSeriesDetector:
    """A detector that has seen values (T, K)."""
    detector = MultiSeriesDetector(values.shape[1])
    rows, series = values.shape
    detector.update_many(np.tile(np.arange(series), rows), np.repeat(step * np.arange(rows), series), values.ravel())
    return detector


def learned(values: np.ndarray, step: float = MINUTE) -> WarmStart:
    """Of hosts 0 to K − 1."""
    keys = [f's|load{{instance="{n}"}}' for n in range(values.shape[1])]
    return WarmStart(fitted([Learned(keys, past(values, step).state())], "health", DETECTOR).data, DETECTOR)


def begun(warm: WarmStart, values: np.ndarray, own: bool, at: float = LATER) -> np.ndarray:
    """p-values (T, K) of series that begin with it at their tenth row; the times of the values go on from `at`."""
    detector, (rows, series) = MultiSeriesDetector(values.shape[1]), values.shape
    p = np.empty(values.shape)
    for n in range(rows):
        if n == 10:
            names = [f's|load{{instance="{k if own else 1000 + k}"}}' for k in range(series)]
            starts = [warm.find(name) for name in names]
            assert all(start is not None and start.own == own for start in starts)
            detector.begin(np.arange(series), warm.state, [start.place for start in starts], [own] * series)
        p[n] = detector.update_many(np.arange(series), np.full(series, at + MINUTE * n), values[n]).p_value
    return p


@pytest.mark.parametrize("own", [True, False])
def test_series_are_judged_from_their_tenth_row_and_rightly(own: bool) -> None:
    rng, hosts = np.random.default_rng(3), 100
    mean, sigma = rng.normal(0, 50, hosts), rng.uniform(0.5, 2.0, hosts)
    p = begun(learned(mean + sigma * rng.normal(size=(1000, hosts))), mean + sigma * rng.normal(size=(300, hosts)), own)
    assert np.isnan(p[:10]).all()
    assert np.isfinite(p[10:]).all()
    for level, most in ((1e-2, 1.6e-2), (1e-3, 3e-3)):
        assert (p[10:] <= level).mean() < most
    assert (p[10:60] <= 1e-3).mean() < 6e-3


@pytest.mark.parametrize("own", [True, False])
def test_a_fault_of_the_first_hour_is_found(own: bool) -> None:
    rng, hosts = np.random.default_rng(4), 40
    now = rng.normal(size=(90, hosts))
    now[60:] += 8.0
    p = begun(learned(rng.normal(size=(1000, hosts))), now, own)
    assert (p[60:65].min(axis=0) <= 1e-4).mean() > 0.95


def test_a_series_of_another_host_has_its_own_level_and_scale() -> None:
    rng = np.random.default_rng(5)
    warm = learned(rng.normal(size=(1000, 20)))
    p = begun(warm, 1e6 + 1e3 * rng.normal(size=(200, 60)), own=False)
    assert (p[10:] <= 1e-3).mean() < 3e-3


def test_a_series_that_is_not_where_it_was_is_found_and_then_learned() -> None:
    rng = np.random.default_rng(6)
    p = begun(learned(rng.normal(size=(1000, 10))), 10.0 + rng.normal(size=(450, 10)), own=True)
    assert (p[10:30].min(axis=0) <= 1e-4).all()
    assert (p[400:] <= 1e-4).mean() < 1e-2


def test_the_course_of_the_day_is_known() -> None:
    """Five days of a strong one; then three hours before its steepest rise, on hosts of another size."""
    rng, rows = np.random.default_rng(7), np.arange(5 * 288)
    course = 20.0 * np.sin(2 * np.pi * rows / 288)[:, None]
    warm = learned(course + rng.normal(size=(len(rows), 12)), 5 * MINUTE)
    at = np.arange(-180, 60)
    now = 100.0 + 3.0 * (20.0 * np.sin(2 * np.pi * at / 1440)[:, None] + rng.normal(size=(len(at), 50)))
    with_it = begun(warm, now, own=False, at=LATER - 180 * MINUTE)
    assert (with_it[100:] <= 1e-3).mean() < 5e-3


def test_constant_series_and_series_that_move_do_not_mix() -> None:
    constant, moving = np.full((300, 3), 7.0), np.random.default_rng(8).normal(size=(300, 3))
    detector = past(moving[:20])
    assert not detector.begin([0], learned(constant).state, [3], [False]).any()
    still = past(constant[:20])
    assert still.begin([0, 1], learned(moving).state, [3, 3], [False, False]).all()
    assert still.begin([2], learned(constant).state, [3], [False]).all()
    assert np.isfinite(still.state()["columns"]).all()


def test_the_same_states_make_the_same_file_however_they_are_spread() -> None:
    values = np.random.default_rng(9).normal(size=(400, 6))
    keys = [f's|load{{instance="{n}"}}' for n in range(6)]
    state = past(values)
    whole = fitted([Learned(keys, state.state())], "health", DETECTOR)
    parts = [Learned([keys[n] for n in some], state.state(some)) for some in ([5, 1], [0, 3], [4, 2])]
    assert fitted(parts, "health", DETECTOR) == whole
    assert (whole.card.series, whole.card.metrics, whole.card.rows) == (6, 1, 2400)
    assert whole.card.end == 399 * 60 * 10**9


def test_of_a_series_that_was_there_twice_the_last_state_counts_and_young_ones_are_left_out() -> None:
    old, new = np.zeros((200, 1)), np.random.default_rng(10).normal(size=(300, 1))
    made = fitted([Learned(["s|a"], past(old).state()), Learned(["s|a"], past(new).state())], "health", DETECTOR)
    assert made == fitted([Learned(["s|a"], past(new).state())], "health", DETECTOR)
    with pytest.raises(ValueError, match="expected a series of 100 samples or more, got none among 1"):
        fitted([Learned(["s|a"], past(new[:99]).state())], "health", DETECTOR)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "expected a baseline that `opintel fit` made"),
        (lambda data: b"", "expected a baseline that `opintel fit` made"),
        (lambda data: spoiled(data, format=2), "expected a baseline of format and detector"),
        (lambda data: spoiled(data, series=["s|a", "s|b"]), "expected 3 states, got 2"),
        (lambda data: spoiled(data, arrays={}), "expected the arrays columns, rings"),
        (lambda data: spoiled(data, shape=[9, 2]), "expected shape|cannot reshape|expected .* elements"),
    ],
)
def test_what_is_no_baseline_is_refused(change: object, said: str) -> None:
    data = fitted([Learned(["s|a"], past(np.zeros((200, 1))).state())], "health", DETECTOR).data
    assert WarmStart(data, DETECTOR).card.stream == "health"
    with pytest.raises(ValueError, match=said):
        WarmStart(change(data), DETECTOR)  # type: ignore[operator]
    with pytest.raises(ValueError, match="expected a baseline of format and detector"):
        WarmStart(data, ["health.series", 6])


def spoiled(data: bytes, **changes: object) -> bytes:
    plain = msgspec.msgpack.decode(data)
    if "shape" in changes:
        plain["arrays"]["hours"][0] = changes.pop("shape")
    return msgspec.msgpack.encode({**plain, **changes})
