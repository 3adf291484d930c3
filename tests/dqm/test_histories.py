"""What is remembered of histograms: references that roll, thin contents that wait, increments of cumulative ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from opintel.dqm.rolling.histories import BlockMarks, Histories, Ints

SIZE, SLOTS, BLOCK = 3, 2, 2


def learn(past: Histories, rows: Ints, value: float, run: int, number: int, category: int = 0) -> None:
    sums = np.full((1, len(rows), past.size), value, dtype="<f4")
    ones = np.ones(len(rows), dtype=np.int64)
    past.learn(
        rows,
        sums,
        BlockMarks(run * ones, category * ones, 40.0 * ones, number * ones, number * ones, ones, 23.0 * ones, ones),
    )


def blocks(past: Histories, row: int) -> list[tuple[float, int, int, int]]:
    """(content of a bin, run, first and last lumisection) of each reference, the block in progress last."""
    rows = np.array([row])
    marks, there = past.marks(rows), past.marks(rows).lumisections > 0
    sums = past.references(rows, there)[:, 0, 0, 0]
    found = zip(sums, marks.run[:, 0], marks.first[:, 0], marks.last[:, 0], there[:, 0], strict=True)
    return [(float(s), int(r), int(a), int(b)) for s, r, a, b, here in found if here]


def test_a_whole_block_takes_the_place_of_the_oldest() -> None:
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    rows = past.rows_of(["a"])
    for number in range(1, 8):
        learn(past, rows, number, 5, number)
    assert blocks(past, 0) == [(11.0, 5, 5, 6), (7.0, 5, 3, 4), (7.0, 5, 7, 7)]


def test_a_block_is_of_one_run_and_class() -> None:
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    rows = past.rows_of(["a"])
    past.block = 8
    for run, number, category in ((5, 30, 0), (5, 31, 0), (6, 1, 0), (6, 2, 9), (6, 3, 9)):
        learn(past, rows, number, run, number, category)
    # the lumisection that was alone in its class is no reference
    assert blocks(past, 0) == [(61.0, 5, 30, 31), (5.0, 6, 2, 3)]


def test_what_is_thin_waits_within_its_run() -> None:
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    rows, one = past.rows_of(["a"]), np.ones((1, 1, SIZE), dtype="<f4")
    for number in (3, 4):
        sums, since, waited = past.wait(rows, one, np.array([5]), np.array([number]))
    assert (sums[0, 0].tolist(), since.tolist(), waited.tolist()) == ([2.0, 2.0, 2.0], [3], [2])
    assert past.waits(rows, np.array([5])).tolist() == [True]
    assert past.waits(rows, np.array([6])).tolist() == [False]
    sums, since, waited = past.wait(rows, one, np.array([6]), np.array([1]))
    assert (sums[0, 0].tolist(), since.tolist(), waited.tolist()) == ([1.0, 1.0, 1.0], [1], [1])
    past.waited(rows)
    assert past.waits(rows, np.array([6])).tolist() == [False]


def increments(past: Histories, value: float, run: int, number: int) -> tuple[float, int]:
    rows = past.rows_of(["a"])
    sums = np.full((1, 1, SIZE), value, dtype="<f4")
    found, after = past.increments(rows, sums, np.array([run]), np.array([number]), np.array([True]))
    return float(found[0, 0, 0]), int(after[0])


def test_cumulative_contents_are_judged_by_their_increments() -> None:
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    assert increments(past, 100, 5, 1) == (100.0, 0)
    assert increments(past, 210, 5, 2) == (110.0, 1)
    assert increments(past, 330, 5, 4) == (120.0, 2)  # the third was lost
    assert increments(past, 12, 5, 5) == (12.0, 0)  # a fall is a restart
    assert increments(past, 30, 6, 1) == (30.0, 0)
    assert increments(past, 40, 5, 6) == (28.0, 5)  # a late part of the run before
    assert increments(past, 50, 6, 2) == (20.0, 1)
    again, _ = increments(past, 45, 6, 1)
    assert np.isnan(again)


def test_contents_that_cannot_be_judged_are_no_lumisection_before() -> None:
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    assert increments(past, 100, 5, 1) == (100.0, 0)
    rows = past.rows_of(["a"])
    broken = np.array([[[110, np.nan, 110]]], dtype="<f4")
    past.increments(rows, broken, np.array([5]), np.array([2]), np.array([False]))
    assert increments(past, 330, 5, 3) == (230.0, 1)


def test_a_cumulative_profile_starts_over_where_its_weights_fall_and_not_its_means() -> None:
    past = Histories(SIZE, 2, SLOTS, BLOCK)
    rows = past.rows_of(["a"])

    def of(number: int, weighted: float, weight: float) -> tuple[float, float]:
        sums = np.stack([np.full((1, SIZE), value, dtype="<f4") for value in (weighted, weight)])
        found, _ = past.increments(rows, sums, np.array([5]), np.array([number]), np.array([True]))
        return float(found[0, 0, 0]), float(found[1, 0, 0])

    assert of(1, -10.0, 4.0) == (-10.0, 4.0)
    assert of(2, -30.0, 9.0) == (-20.0, 5.0)
    assert of(3, 8.0, 2.0) == (8.0, 2.0)


def test_references_are_carried_over_to_other_bins() -> None:
    past, other = Histories(SIZE, 1, SLOTS, BLOCK), Histories(4, 1, SLOTS, BLOCK)
    rows, now = past.rows_of(["a"]), np.array([0])
    for number in range(1, 4):
        sums = np.array([[[number, 10 * number, 100 * number]]], dtype="<f4")
        ones = np.ones(1, dtype=np.int64)
        past.learn(
            rows,
            sums,
            BlockMarks(5 * ones, 0 * ones, 40.0 * ones, number * ones, number * ones, ones, 23.0 * ones, ones),
        )
    other.carry_over("a", past, (2, -1, 0, 1))
    marks = other.marks(now)
    assert marks.lumisections[:, 0].tolist() == [2, 1, 0]  # what was in progress is a reference
    assert other.whole(now)[:2, 0].tolist() == [False, False]
    np.testing.assert_array_equal(
        other.references(now, marks.lumisections > 0)[:2, 0, 0], [[300, np.nan, 3, 30], [300, np.nan, 3, 30]]
    )
    learn(other, now, 7, 5, 4)
    assert other.whole(now)[-1, 0]


steps = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(1, 50)), max_size=25)


@given(steps, st.integers(0, 25))
def test_a_restored_state_goes_on_alike(some: list[tuple[str, int, int]], cut: int) -> None:
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    other = past
    for n, (key, run, value) in enumerate(some):
        if n == cut:
            other = Histories(SIZE, 1, SLOTS, BLOCK)
            other.restore(past.state())
        for one in {id(past): past, id(other): other}.values():
            rows = one.rows_of([key])
            learn(one, rows, value, run, n + 1)
            one.wait(rows, np.full((1, 1, SIZE), value, dtype="<f4"), np.array([run]), np.array([n + 1]))
            sums, sound = np.full((1, 1, SIZE), value, dtype="<f4"), np.array([value % 5 > 0])
            one.increments(rows, sums, np.array([run]), np.array([n + 1]), sound)
    assert other.state() == past.state()


def test_one_histogram_says_nothing_of_another() -> None:
    """A dropped one leaves no trace for the one that takes its row."""
    past = Histories(SIZE, 1, SLOTS, BLOCK)
    learn(past, past.rows_of(["a", "b"]), 3, 5, 1)
    past.drop("a")
    fresh = Histories(SIZE, 1, SLOTS, BLOCK)
    fresh.rows_of(["b"])
    learn(fresh, fresh.rows_of(["b"]), 3, 5, 1)
    assert past.state() == fresh.state()
    past.rows_of(["c"])
    assert blocks(past, past.row["c"]) == []
