"""How event time is cut, and what a window's rows and its context are: held against slow models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from contract.histograms import HISTOGRAM_STREAM, HISTOGRAMS, Published
from contract.toy import COLUMN_TOY, TOY, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import stored

from opintel.detector import Pipeline, Record
from opintel.finding import NS, Window
from opintel.ids import natural_id
from opintel.rows import Batch, Row
from opintel.streams.judging import JudgeStage
from opintel.streams.keys import Keys
from opintel.streams.open_windows import OpenWindows
from opintel.streams.records import Closed, Derived, derived_codec, shard_of
from opintel.streams.stream import Stream
from opintel.streams.windows import Cut, Grid, groups

TIMES = st.integers(-(2**60), 2**60) | st.integers(-100, 100)
GRIDS = st.builds(Grid, st.integers(1, 50), st.integers(-100, 100))


@given(GRIDS, TIMES)
def test_a_grid_puts_each_time_into_one_window(grid: Grid, time: int) -> None:
    start = grid.start(time)
    assert start <= time < start + grid.size
    assert (start - grid.phase) % grid.size == 0
    assert grid.window(start) == Window(start, start + grid.size)
    assert grid.at_or_after(time) == (time if time == start else start + grid.size)
    assert grid.starts(np.array([time, start])).tolist() == [start, start]


ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 12)), max_size=12)


def ends(batch: Batch[Value]) -> Any:
    return batch.time + np.array([payload.value for payload in batch.payload], dtype=np.int64)


@given(ROWS, st.booleans())
def test_rows_are_cut_by_the_grid_or_by_the_ends_that_they_bring(rows: list[tuple[int, int]], natural: bool) -> None:
    cut = Cut(Grid(7, 3), ends if natural else None, longest=10)
    batch = Batch.of([Row("k", time, n, Value(length)) for n, (time, length) in enumerate(rows)], Value)
    start, end = cut(batch)
    expected = [(t, t + length) if natural else ((t - 3) // 7 * 7 + 3, (t - 3) // 7 * 7 + 10) for t, length in rows]
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == expected
    assert cut.refused(start, end).tolist() == [not 0 < e - s <= 10 for s, e in expected]
    lasts = [e - 1 if natural else t for (t, _), (_, e) in zip(rows, expected, strict=True)]
    assert cut.last(batch, end).tolist() == lasts
    assert cut.cut_short(12) == (12 if natural else 10)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(6, 9)), max_size=20))
def test_groups_are_the_windows_in_order_each_row_in_one(spans: list[tuple[int, int]]) -> None:
    start, end = (np.array([span[n] for span in spans], dtype=np.int64) for n in (0, 1))
    found = [(window, index.tolist()) for window, index in groups(start, end)]
    expected = [(Window(*span), [n for n, s in enumerate(spans) if s == span]) for span in sorted(set(spans))]
    assert found == expected


def test_two_windows_in_one_beat_have_notices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that come with the data may end within one window of the grid."""
    monkeypatch.setattr("opintel.streams.judging.MAX_SCOPES", 1)
    stream = HISTOGRAM_STREAM._replace(partitions=1)
    stage = JudgeStage(stream, HISTOGRAMS, 0, "e")
    codec = derived_codec(HISTOGRAMS.record)
    records = [
        Record(Window(60 * NS + n, 61 * NS + n), "published", f"{scope}|a", scope, Published("r1", 1))
        for n in (0, 1)
        for scope in ("a", "b")
    ]
    values = [codec.encode(Derived(records)), codec.encode(Closed(0, 1, "e", 70 * NS))]
    out = stage.process(stored(list(enumerate(values))), careful=False)
    assert [aside.kind for aside in out.asides] == ["refused", "refused"]
    assert len({aside.where for aside in out.asides}) == 2


SIZE = 4
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("rows"),
            st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=9),
        ),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("drop"), st.sets(st.sampled_from("ab"), min_size=1)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=25,
)


def by_window(batch: Batch[Value]) -> Iterator[tuple[Window, Batch[Value]]]:
    start = Grid(SIZE, 1).starts(batch.time)
    for window, index in groups(start, start + SIZE):
        yield window, batch.take(index)


@settings(max_examples=200)
@given(STEPS, *(st.sampled_from([0, 1, 3, 5]),) * 2, st.sampled_from([TOY, COLUMN_TOY]))
def test_a_windows_rows_and_context_are_those_of_a_slow_model(
    steps: list[Any], before: int, after: int, pipeline: Pipeline
) -> None:
    """A model that keeps every row for ever, and looks all of them through for each window."""
    windows = OpenWindows(pipeline.payload, before, after)
    wm = 0
    came: list[tuple[str, int, int]] = []
    seen: set[tuple[str, int, int]] = set()
    not_judged: dict[Window, Counter[str]] = {}
    for kind, what in steps:
        if kind == "rows":
            rows = [Row(key, wm + time, n, Value(0)) for key, time, n in what]
            for window, some in by_window(Batch.of(rows, pipeline.payload)):
                if window.end <= wm:
                    continue
                these = [(row.key, row.time, row.id) for row in some.rows()]
                marks = np.array([natural_id(*one) for one in these])
                fresh = some.take(np.flatnonzero(windows.new(window, marks)))
                new = [one for one in dict.fromkeys(these) if one not in seen]
                assert [(row.key, row.time, row.id) for row in fresh.rows()] == new
                seen.update(new)
                came += new
                if new:
                    windows.add(window, fresh)
        elif kind == "drop":
            for key, time, _ in came:
                window = Grid(SIZE, 1).window(Grid(SIZE, 1).start(time))
                if key in what and window.end > wm:
                    not_judged.setdefault(window, Counter())[key] += 1
            came = [row for row in came if row[0] not in what]
            windows.drop(what)
        elif kind == "restart":
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(windows.state()))
            windows = OpenWindows(pipeline.payload, before, after)
            windows.restore(state)
        else:
            wm += what
            for window in windows.ended(wm):
                rows_of, context, held_back = windows.close(window)
                mine = sorted(row for row in came if window.start <= row[1] < window.end)
                keys = {row[0] for row in mine}
                near = [
                    row
                    for row in came
                    if row[0] in keys
                    and (window.start - before <= row[1] < window.start or window.end <= row[1] < window.end + after)
                ]
                assert [(r.key, r.time, r.id) for r in rows_of.rows()] == mine
                assert [(r.key, r.time, r.id) for r in context.rows()] == sorted(near)
                assert held_back == not_judged.get(window, {})
    assert windows.alive() == {row[0] for row in came if Grid(SIZE, 1).start(row[1]) + SIZE > wm}


ASKS = st.lists(st.tuples(st.sampled_from([f"k{n}" for n in range(12)]), st.integers(0, 9)), max_size=30)


@given(ASKS)
def test_a_shard_holds_so_many_keys_and_a_quarantined_one_gives_its_place(asks: list[tuple[str, int]]) -> None:
    stream = Stream("s", "s.raw", shards=2, max_keys=3, window=10, ttl=40, quiet=40)
    keys, known, quarantined = Keys(stream), {0: set(), 1: set()}, {}  # type: ignore[var-annotated]
    end = 0
    for key, what in asks:
        shard = known[shard_of(key, 2)]
        end += 10
        keys.expire(end - 10, end, known[0] | known[1])  # all are alive
        quarantined = {k: until for k, until in quarantined.items() if until > end}
        if key in shard and what > 6:
            keys.quarantine(key, end)
            shard.discard(key)
            quarantined[key] = end + 40
        elif key not in shard and key not in quarantined:
            assert keys.admit(key) == (len(shard) < 3)
            shard |= {key} if len(shard) < 3 else set()
        again = Keys(stream)
        again.restore(keys.state())
        for one in (keys, again):
            names = [f"k{n}" for n in range(12)]
            assert one.known(names).tolist() == [name in known[shard_of(name, 2)] for name in names]
            assert one.quarantined(names).tolist() == [name in quarantined for name in names]
            has_mark = [bool(mark) for mark in one.marks(names)]
            assert has_mark == (one.known(names) | one.quarantined(names)).tolist()
            assert one.state() == keys.state()
