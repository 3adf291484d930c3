"""Invariants of the many-series detector: what a row gets depends on its own series' past and on nothing else."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.health import MultiSeriesDetector, Scores
from opintel.health.scoring import STATISTICS

SERIES = 40


def story(seed: int, rows: int = 260) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series of all sorts with gaps, missing values, ties, jumps and times that go back; (rows * SERIES,) each."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, SERIES))
    x[:, 1] = x[:, 1].cumsum()
    x[:, 2] = rng.poisson(2.0, rows)
    x[:, 3] = 5.0
    x[150:, 4] += 40.0
    x[120:200, 5] = x[120, 5]
    x[:, 6] *= 1e-9
    x[:, 7] = 1e12 + 1e3 * x[:, 7]
    x[rng.uniform(size=x.shape) < 0.01] = np.nan
    x[10, 8], x[11, 8] = np.inf, -np.inf
    times = 1.6e9 + 1800.0 * np.arange(rows)[:, None] + rng.uniform(-900.0, 900.0, x.shape)
    times[100:, 9] += 1e6
    times[:, 10] = 7.0
    return np.tile(np.arange(SERIES), rows), times.ravel(), x.ravel()


def same(a: Scores, b: Scores) -> None:
    for name, left, right in zip(Scores._fields, a, b, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)


def same_state(a: MultiSeriesDetector, b: MultiSeriesDetector) -> None:
    left, right = a.state(), b.state()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def pick(scores: Scores, rows: np.ndarray) -> Scores:
    return Scores(*(column[rows] for column in scores))


def joined(parts: list[Scores]) -> Scores:
    return Scores(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 260 * SERIES), max_size=12))
def test_a_batch_gives_what_its_parts_give(seed: int, cuts: list[int]) -> None:
    keys, times, values = story(seed)
    whole, parts = MultiSeriesDetector(SERIES), MultiSeriesDetector(1)
    edges = [0, *sorted(cuts), len(keys)]
    pieces = [slice(a, b) for a, b in pairwise(edges)]
    same(
        whole.update_many(keys, times, values),
        joined([parts.update_many(keys[p], times[p], values[p]) for p in pieces]),
    )
    same_state(whole, parts)


def test_a_batch_gives_what_its_rows_give_one_by_one() -> None:
    keys, times, values = story(1, rows=240)
    whole, single = MultiSeriesDetector(SERIES), MultiSeriesDetector(0)
    rows = [single.update_many(keys[i : i + 1], times[i : i + 1], values[i : i + 1]) for i in range(len(keys))]
    same(whole.update_many(keys, times, values), joined(rows))
    same_state(whole, single)


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_order_of_keys_does_not_matter(seed: int) -> None:
    keys, times, values = story(seed, rows=150)
    rng = np.random.default_rng(seed)
    name = rng.permutation(SERIES)
    order = np.concatenate([i * SERIES + rng.permutation(SERIES) for i in range(150)])
    a = MultiSeriesDetector(SERIES).update_many(keys, times, values)
    b = MultiSeriesDetector(SERIES).update_many(name[keys[order]], times[order], values[order])
    same(pick(a, order), b)


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 999), cut=st.integers(1, 180 * SERIES - 1))
def test_a_restored_detector_goes_on_bit_for_bit(seed: int, cut: int) -> None:
    keys, times, values = story(seed, rows=180)
    first, second = MultiSeriesDetector(SERIES), MultiSeriesDetector(3)
    first.update_many(keys[:cut], times[:cut], values[:cut])
    state = first.state()
    rest = first.update_many(keys[cut:], times[cut:], values[cut:])
    second.restore(state)
    same(rest, second.update_many(keys[cut:], times[cut:], values[cut:]))
    same_state(first, second)


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 999), cut=st.integers(1, 180 * SERIES - 1))
def test_nothing_looks_ahead(seed: int, cut: int) -> None:
    keys, times, values = story(seed, rows=180)
    other = values.copy()
    other[cut:] = 1e6
    a = MultiSeriesDetector(SERIES).update_many(keys, times, values)
    b = MultiSeriesDetector(SERIES).update_many(keys, times, other)
    same(pick(a, np.arange(cut)), pick(b, np.arange(cut)))


@settings(max_examples=2, deadline=None)
@given(
    seed=st.integers(0, 999), scale=st.sampled_from([-1e6, -1.0, -1e-3, 1e-3, 7.0, 1e6]), offset=st.floats(-3.0, 3.0)
)
def test_scores_do_not_depend_on_units(seed: int, scale: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    rows = 400
    x = rng.standard_normal((rows, 4))
    x[:, 1] = x[:, 1].cumsum()
    x[300, 2] = 9.0
    keys, times = np.tile(np.arange(4), rows), np.repeat(60.0 * np.arange(rows), 4)
    a = MultiSeriesDetector(4).update_many(keys, times, x.ravel())
    b = MultiSeriesDetector(4).update_many(keys, times, (scale * (x + offset)).ravel())
    np.testing.assert_allclose(a.score, b.score, atol=1e-5)
    np.testing.assert_allclose(a.p_value, b.p_value, rtol=1e-4)
    signed = [k for k, name in enumerate(STATISTICS) if name not in ("flat", "silent", "spread")]
    np.testing.assert_allclose(a.statistics[:, signed] * np.sign(scale), b.statistics[:, signed], atol=1e-4)
    other = [k for k in range(len(STATISTICS)) if k not in signed]
    np.testing.assert_allclose(a.statistics[:, other], b.statistics[:, other], atol=1e-4)


def test_a_missing_value_changes_nothing() -> None:
    keys, times, values = story(3, rows=200)
    kept = np.isfinite(values)
    assert not kept.all()
    a, b = MultiSeriesDetector(SERIES), MultiSeriesDetector(SERIES)
    with_gaps = a.update_many(keys, times, values)
    same(pick(with_gaps, np.flatnonzero(kept)), b.update_many(keys[kept], times[kept], values[kept]))
    same_state(a, b)
    assert (with_gaps.score[~kept] == 0.0).all()
    assert np.isnan(with_gaps.p_value[~kept]).all()


def test_every_score_is_finite_and_between_0_and_1() -> None:
    scores = MultiSeriesDetector(SERIES).update_many(*story(4))
    for column in (scores.score, scores.latched, scores.statistics):
        assert np.isfinite(column).all()
    assert scores.score.min() >= 0.0
    assert scores.score.max() < 1.0
    known = scores.p_value[~np.isnan(scores.p_value)]
    assert len(known) > 1000
    assert known.min() >= 0.0
    assert known.max() <= 1.0


def test_huge_and_tiny_values_do_no_harm() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(600)
    x[300], x[310], x[320], x[330] = 1e29, -1e29, 1e-300, 1e250
    scores = MultiSeriesDetector(1).update_many(np.zeros(600, dtype=int), 60.0 * np.arange(600), x)
    assert np.isfinite(scores.score).all()
    assert scores.p_value[300] < 1e-4
    assert np.isnan(scores.p_value[330])
    assert np.median(scores.score[-100:]) < 0.2


def test_a_detector_grows_with_new_keys() -> None:
    detector = MultiSeriesDetector(1)
    detector.update_many([0], [0.0], [1.0])
    detector.update_many([70], [0.0], [1.0])
    assert len(detector) == 71


def test_a_series_takes_little_room() -> None:
    state = MultiSeriesDetector(100).state()
    assert sum(array.nbytes for array in state.values()) <= 100 * 20_000


@pytest.mark.parametrize(
    ("keys", "times", "values"),
    [([0, 1], [0.0], [0.0]), ([0.5], [0.0], [0.0]), ([-1], [0.0], [0.0]), ([[0]], [[0.0]], [[0.0]])],
)
def test_bad_rows_are_refused(keys: list[object], times: list[object], values: list[object]) -> None:
    detector = MultiSeriesDetector(1)
    with pytest.raises(ValueError, match="must"):
        detector.update_many(keys, times, values)
    same_state(detector, MultiSeriesDetector(1))


def test_a_foreign_state_is_refused() -> None:
    detector = MultiSeriesDetector(2)
    state = detector.state()
    state["rings"] = state["rings"][:1]
    with pytest.raises(ValueError, match="rings"):
        detector.restore(state)


def test_a_state_of_other_columns_is_refused() -> None:
    state = MultiSeriesDetector(2).state()
    state["names"] = state["names"][::-1]
    with pytest.raises(ValueError, match=r"expected a state of the columns rows, .*, got "):
        MultiSeriesDetector(2).restore(state)


def test_no_rows_give_no_scores() -> None:
    assert len(MultiSeriesDetector(1).update_many(np.zeros(0, dtype=int), [], []).score) == 0


@pytest.mark.parametrize("key", [-1, 2])
def test_keys_that_are_not_there_are_refused(key: int) -> None:
    detector = MultiSeriesDetector(2)
    before = detector.state()
    with pytest.raises(IndexError, match="keys from 0 to 1"):
        detector.forget([key])
    with pytest.raises(IndexError, match="keys from 0 to 1"):
        detector.state([key])
    assert all(np.array_equal(before[name], array) for name, array in detector.state().items())
    with pytest.raises(ValueError, match="number of series"):
        MultiSeriesDetector(-1)


@pytest.mark.parametrize("n", [1, 30])
@pytest.mark.parametrize("time", [1e16, 1e23, 1e300, -1e300, math.inf])
@pytest.mark.filterwarnings("error")
def test_a_time_that_is_none_changes_nothing_and_years_are_no_harm(n: int, time: float) -> None:
    keys, detector = np.arange(n), MultiSeriesDetector(n)
    for t in (0.0, 60.0):
        detector.update_many(keys, np.full(n, t), np.ones(n))
    before = detector.state()
    assert np.isnan(detector.update_many(keys, np.full(n, time), np.ones(n)).p_value).all()
    assert all(np.array_equal(before[name], array) for name, array in detector.state().items())
    for t in (3e9, -3e9, 1e15):
        assert np.isfinite(detector.update_many(keys, np.full(n, t), np.ones(n)).expected).all()
