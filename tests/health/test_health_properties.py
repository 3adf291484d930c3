"""Laws of the many-series detector on rows that hypothesis makes up: it chooses keys, steps of time (none and
backwards too) and values. `test_series.py` has the same laws on long stories of known sorts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.health import MultiSeriesDetector, Scores

KEYS = 4
WARM = 130
"""Rows of each series before those that hypothesis chooses: p-values begin at the 100th."""
WEEK = 7 * 86_400.0


class Rows(NamedTuple):
    keys: np.ndarray
    times: np.ndarray
    values: np.ndarray

    def at(self, rows: slice | np.ndarray) -> Rows:
        return Rows(self.keys[rows], self.times[rows], self.values[rows])


STEP = st.sampled_from([0.0, 1e-9, 1.0, 60.0, 60.0, 60.0, 3600.0, 1e6, -1.0, -60.0, -1e6])
VALUE = st.one_of(
    st.floats(-5.0, 5.0),
    st.integers(-3, 3).map(float),
    st.floats(-1e29, 1e29),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1e29, 1e31, float("nan"), float("inf"), -float("inf")]),
)
DRAWN = st.lists(st.tuples(st.integers(0, KEYS - 1), STEP, VALUE), min_size=1, max_size=60)


def rows_of(seed: int, drawn: list[tuple[int, float, float]]) -> Rows:
    """Ordinary rows of all series, then the drawn ones; steps add up by series."""
    rng = np.random.default_rng(seed)
    clock = [1.7e9 + 60.0 * WARM] * KEYS
    tail: list[tuple[int, float, float]] = []
    for key, step, value in drawn:
        clock[key] += step
        tail.append((key, clock[key], value))
    keys, times, values = zip(*tail, strict=True)
    return Rows(
        np.r_[np.tile(np.arange(KEYS), WARM), keys],
        np.r_[np.repeat(1.7e9 + 60.0 * np.arange(WARM), KEYS), times],
        np.r_[rng.standard_normal(WARM * KEYS), values],
    )


ROWS = st.builds(rows_of, st.integers(0, 99), DRAWN)


def fed(rows: Rows, detector: MultiSeriesDetector | None = None) -> Scores:
    return (MultiSeriesDetector(KEYS) if detector is None else detector).update_many(*rows)


def joined(parts: list[Scores]) -> Scores:
    return Scores(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def same(a: Scores, b: Scores, rows: np.ndarray | slice = slice(None)) -> None:
    """Bit for bit: `a`, of which these rows are looked at, and `b`."""
    for name, left, right in zip(Scores._fields, a, b, strict=True):
        np.testing.assert_array_equal(left[rows], right, err_msg=name)


@given(rows=ROWS)
def test_a_batch_gives_what_its_rows_give_one_by_one(rows: Rows) -> None:
    single = MultiSeriesDetector(0)
    parts = [fed(rows.at(slice(0, WARM * KEYS)), single)]
    parts += [fed(rows.at(slice(n, n + 1)), single) for n in range(WARM * KEYS, len(rows.keys))]
    same(fed(rows), joined(parts))


@given(rows=ROWS)
def test_a_series_alone_gets_what_it_gets_among_others(rows: Rows) -> None:
    whole = fed(rows)
    for key in range(KEYS):
        its = np.flatnonzero(rows.keys == key)
        alone = rows.at(its)
        same(whole, fed(alone._replace(keys=np.zeros(len(its), dtype=np.int64))), its)


@given(rows=ROWS, names=st.permutations(range(KEYS)), seed=st.integers(0, 99))
def test_neither_the_names_of_keys_nor_how_series_are_mixed_matter(rows: Rows, names: list[int], seed: int) -> None:
    turn = np.random.default_rng(seed).permutation(len(rows.keys))
    order = np.empty(len(turn), dtype=np.int64)
    for key in range(KEYS):  # each series' own rows keep their order
        order[np.sort(np.flatnonzero(rows.keys[turn] == key))] = np.flatnonzero(rows.keys == key)
    mixed = rows.at(order)
    same(fed(rows), fed(mixed._replace(keys=np.array(names)[mixed.keys])), order)


@given(rows=ROWS, share=st.floats(0.0, 1.0), names=st.permutations(range(KEYS)))
def test_a_detector_restored_anywhere_goes_on_bit_for_bit(rows: Rows, share: float, names: list[int]) -> None:
    """Also where its series come back in another order."""
    cut = int(share * len(rows.keys))
    first, second = MultiSeriesDetector(KEYS), MultiSeriesDetector(0)
    fed(rows.at(slice(0, cut)), first)
    second.restore(first.state(names))
    rest = rows.at(slice(cut, None))
    place = np.argsort(names)  # series k is now the place[k]-th
    same(fed(rest, first), fed(rest._replace(keys=place[rest.keys]), second))


@given(rows=ROWS, share=st.floats(0.0, 1.0), other=DRAWN)
def test_what_comes_later_changes_nothing_before(
    rows: Rows, share: float, other: list[tuple[int, float, float]]
) -> None:
    """Other values, times and keys after the cut, in the same call."""
    cut = WARM * KEYS + int(share * (len(rows.keys) - WARM * KEYS))
    late = rows_of(0, other).at(slice(WARM * KEYS, None))
    changed = Rows(*(np.r_[a[:cut], b] for a, b in zip(rows, late, strict=True)))
    same(fed(rows.at(slice(0, cut))), Scores(*(column[:cut] for column in fed(changed))))


@given(rows=ROWS, key=st.integers(0, KEYS - 1))
def test_a_key_that_was_forgotten_begins_as_a_new_one(rows: Rows, key: int) -> None:
    detector = MultiSeriesDetector(KEYS)
    fed(rows, detector)
    others = {name: a.copy() for name, a in detector.state([k for k in range(KEYS) if k != key]).items()}
    detector.forget([key])
    for name, array in detector.state([k for k in range(KEYS) if k != key]).items():
        np.testing.assert_array_equal(array, others[name])
    its = rows.at(np.flatnonzero(rows.keys == key))
    fresh = fed(its._replace(keys=np.zeros(len(its.keys), dtype=np.int64)), MultiSeriesDetector(1))
    same(fed(its, detector), fresh)


@given(rows=ROWS)
def test_any_rows_give_finite_scores(rows: Rows) -> None:
    """Duplicates, times that stand still or go back, values that are enormous, tiny, equal or missing."""
    twice = Rows(*(np.repeat(column, 2) for column in rows))
    for one in (rows, twice):
        detector = MultiSeriesDetector(KEYS)
        scores = fed(one, detector)
        for column in (scores.score, scores.latched, scores.statistics):
            assert np.isfinite(column).all()
        assert ((scores.score >= 0.0) & (scores.score < 1.0)).all()
        missing = ~(np.abs(one.values) <= 1e30)
        assert np.isnan(scores.p_value[missing]).all()
        known = scores.p_value[WARM * KEYS :][~missing[WARM * KEYS :]] if one is rows else scores.p_value[:0]
        assert not np.isnan(known).any()
        assert ((known >= 0.0) & (known <= 1.0)).all()


@given(
    seed=st.integers(0, 999),
    scale=st.floats(1e-9, 1e9) | st.floats(-1e9, -1e-9),
    offset=st.floats(-1e3, 1e3),
    fault=st.sampled_from(["none", "jump", "shift", "scatter", "drift"]),
)
def test_p_does_not_depend_on_units(seed: int, scale: float, offset: float, fault: str) -> None:
    """a·x + b has the p of x, for b up to 1000 standard deviations of the noise.

    x + b loses b · 1e-16, and what is left of the noise carries it through 600 rows of running sums: over 200 series
    the worst change of p was a part in 4e-9 at b = 1000, in 1e-13 at b = 0. 1e-5 leaves room for a tail that is kept in
    single precision and rounds to the other side."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(600)
    n = np.arange(600)
    x = {
        "none": x,
        "jump": x + 8.0 * (n == 550),
        "shift": x + 3.0 * (n >= 500),
        "scatter": x * np.where(n >= 500, 3.0, 1.0),
        "drift": x + np.maximum(0, n - 400) / 60.0,
    }[fault]
    keys, times = np.zeros(600, dtype=np.int64), 1.7e9 + 60.0 * n
    plain, other = fed(Rows(keys, times, x)), fed(Rows(keys, times, scale * (x + offset)))
    np.testing.assert_allclose(other.p_value, plain.p_value, rtol=1e-5)


@given(rows=ROWS, weeks=st.integers(-1000, 1000))
def test_p_does_not_depend_on_the_week(rows: Rows, weeks: int) -> None:
    """Whole weeks keep the hour and the day; a double of seconds since 1970 is exact to 2e-7, hence 1e-6."""
    ordinary = rows.at(np.flatnonzero(np.abs(rows.values) <= 10.0))
    moved = ordinary._replace(times=ordinary.times + weeks * WEEK)
    np.testing.assert_allclose(fed(moved).p_value, fed(ordinary).p_value, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 23, 24, 25, 2047, 2048, 2049])
def test_few_and_many_rows_at_once_are_the_same(rows: int) -> None:
    """Below 24 rows a batch goes one by one, above 2048 in blocks: the bounds are nowhere to be seen."""
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((140, rows))
    whole, halves = MultiSeriesDetector(rows), MultiSeriesDetector(rows)
    for n, values in enumerate(x):
        times = np.full(rows, 1.7e9 + 60.0 * n)
        cut = int(rng.integers(0, rows + 1))
        parts = [
            halves.update_many(np.arange(rows)[part], times[part], values[part])
            for part in (slice(0, cut), slice(cut, None))
        ]
        same(whole.update_many(np.arange(rows), times, values), joined(parts))
