"""Segments against sets of whole numbers; known beside active; open ends; rounding outward and inward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.finding import NS
from opintel.gw import segments as seg
from opintel.gw.segments import OPEN, SegmentFlag, coalesce

END = 60
rows = st.lists(st.tuples(st.integers(0, END), st.integers(0, END)), max_size=12)


def inside(segments: seg.Segments) -> set[int]:
    assert (segments[:, 0] < segments[:, 1]).all()
    assert (segments[1:, 0] > segments[:-1, 1]).all(), "sorted, disjoint, not touching"
    return {i for a, b in segments.tolist() for i in range(a, min(b, END + 5))}


def slowly(pairs: list[tuple[int, int]]) -> set[int]:
    return {i for a, b in pairs for i in range(a, b)}


@given(one=rows, other=rows)
def test_operations_are_those_of_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b, left, right = coalesce(one), coalesce(other), slowly(one), slowly(other)
    assert inside(a) == left
    assert inside(seg.union(a, b)) == left | right
    assert inside(seg.intersection(a, b)) == left & right
    assert inside(seg.minus(a, b)) == left - right
    assert seg.duration(a) == len(left)
    assert {i for i in range(END + 1) if seg.contains(a, np.array([i]))[0]} == left
    assert np.array_equal(coalesce(a), a)


@given(one=rows, step=st.integers(1, 7))
def test_vetoes_grow_and_science_time_shrinks(one: list[tuple[int, int]], step: int) -> None:
    segments, held = coalesce(one), slowly(one)
    cells = {i: set(range(i, i + step)) for i in range(0, END + step, step)}
    assert inside(seg.outward(segments, step)) == {j for cell in cells.values() if cell & held for j in cell}
    assert inside(seg.inward(segments, step)) == {j for cell in cells.values() if cell <= held for j in cell}


@given(one=rows, start=st.integers(0, END), other=rows)
def test_an_open_end_is_later_than_any(one: list[tuple[int, int]], start: int, other: list[tuple[int, int]]) -> None:
    opened, there = coalesce([*one, (start, OPEN)]), coalesce(other)
    held = slowly(one) | set(range(start, END + 5))
    assert opened[-1, 1] == OPEN
    assert inside(seg.intersection(opened, there)) == held & slowly(other)
    assert inside(seg.minus(there, opened)) == slowly(other) - held
    assert seg.minus(opened, there)[-1, 1] == OPEN
    assert inside(seg.until(opened, END)) == held & set(range(END))
    assert seg.outward(opened)[-1, 1] == seg.inward(opened)[-1, 1] == OPEN
    with pytest.raises(ValueError, match="open end"):
        seg.duration(opened)


@given(active=rows, known=rows, other=rows, other_known=rows)
def test_a_result_is_known_only_where_both_are(
    active: list[tuple[int, int]],
    known: list[tuple[int, int]],
    other: list[tuple[int, int]],
    other_known: list[tuple[int, int]],
) -> None:
    one = SegmentFlag("A", coalesce(active), coalesce(known))
    two = SegmentFlag("B", coalesce(other), coalesce(other_known))
    both = slowly(known) & slowly(other_known)
    for found, wanted in (
        (one.minus(two, "C"), slowly(active) - slowly(other)),
        (one.union(two, "C"), slowly(active) | slowly(other)),
        (one.intersection(two, "C"), slowly(active) & slowly(other)),
    ):
        assert inside(found.known) == both
        assert inside(found.active) == wanted & both


def test_seconds_are_kept_to_the_microsecond() -> None:
    pairs = [(1_264_316_024.0628, 1_264_316_024.1628), (1_264_316_030.5, float("inf")), (1_264_316_028.0, 0)]
    found = seg.of_seconds(pairs)
    assert found.tolist() == [[1_264_316_024_062_800_000, 1_264_316_024_162_800_000], [1_264_316_028 * NS, OPEN]]
    assert seg.seconds(found)[0].tolist() == list(pairs[0])
    assert seg.seconds(found)[-1, 1] == np.inf
    assert seg.of_seconds([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ([(1.0, float("nan"))], "that is none"),
        ([(float("-inf"), 1.0)], "that is none"),
        ([(1.0, 1e18)], "GPS seconds"),
        ([1.0, 2.0], "pairs"),
    ],
)
def test_what_are_no_segments_is_refused(pairs: list[tuple[float, float]], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        seg.of_seconds(pairs)
