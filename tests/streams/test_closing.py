"""Closing a window carefully: one key's fault stays its own, whatever else the reducer had done before it raised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from contract.cases import START, TOY_STREAM
from contract.histograms import HISTOGRAM_STREAM, HISTOGRAMS, Histogram, HistogramReducer, Histograms
from contract.toy import COLUMN_TOY, TOY, Value
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stored import stored

from opintel.detector import Controls, NoSettings, Pipeline, Record, Reduced, Reducer, WindowRows
from opintel.finding import NS, Window
from opintel.rows import Arrays, Batch, Row, TextColumn
from opintel.streams.closing import TRIES, close, close_carefully
from opintel.streams.log import Aside
from opintel.streams.records import Derived, Rows, SourcePosition, Tick, derived_codec, raw_codec
from opintel.streams.reduce import ReduceStage
from opintel.streams.stage import DetectorFailed

WINDOW = Window(START, START + 60 * NS)
SOURCE = SourcePosition("x", 0, None, None, 0, 0, 0, 0)


class Poisoned(Exception):
    """What the reducer below raises."""


class Counting(Reducer[Value]):
    """Rows by key so far; counts all keys that it is given before it looks at their values, and raises at 666."""

    name, version = "counting", 1

    def __init__(self, calls: list[int] | None = None, fault: Exception | None = None) -> None:
        self.so_far: dict[str, int] = {}
        self._calls, self._fault = [] if calls is None else calls, fault

    def close(self, closing: WindowRows[Value]) -> Reduced:
        rows = closing.rows
        beside = {key: end - begin for key, begin, end in closing.context.spans()}
        assert beside.keys() <= set(rows.key.values)
        self._calls.append(len(rows.key.values))
        for key, begin, end in rows.spans():
            self.so_far[key] = self.so_far.get(key, 0) + end - begin
        records = []
        for key, begin, end in rows.spans():
            values = [payload.value for payload in rows.payload[begin:end]]
            if 666 in values:
                raise self._fault or Poisoned(key)
            said = [self.so_far[key], sum(values), beside.get(key, 0)]
            records.append(Record(closing.window, "count", key, self.scope(key), said))
        return Reduced(records, {"a": {"one": len(records), "two": len(rows)}} if records else {})

    def scope(self, key: str) -> str:
        return "a"

    def drop(self, key: str) -> None:
        self.so_far.pop(key, None)

    def state(self) -> Any:
        return sorted(self.so_far.items())

    def restore(self, state: Any) -> None:
        self.so_far = dict(state)


def closing_of(rows: Sequence[Row[Value]], beside: Sequence[Row[Value]] = ()) -> WindowRows[Value]:
    batches = [Batch.of(some, Value).by_key() for some in (rows, beside)]
    return WindowRows(WINDOW, *batches, Controls(), NoSettings(), {})


def row(key: int, value: int, n: int) -> Row[Value]:
    return Row(f"a.{key:05d}", START + n, n, Value(value))


KEYS = st.dictionaries(st.integers(0, 60), st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=50)


@given(KEYS)
@example(dict.fromkeys(range(60), (1, True, False)))
@example({n: (1, n % 2 == 0, True) for n in range(60)})
@example({17: (2, True, True)})
def test_exactly_the_poisoned_keys_fail_and_the_rest_is_as_if_they_had_not_come(
    keys: dict[int, tuple[int, bool, bool]],
) -> None:
    rows = [row(key, 666 if bad else n, n) for key, (count, bad, _) in keys.items() for n in range(count)]
    beside = [row(key, 1, 99) for key, (*_, near) in keys.items() if near]
    poisoned = {f"a.{key:05d}" for key, (_, bad, _) in keys.items() if bad}
    calls: list[int] = []
    reducer = Counting(calls)
    reducer.restore([["a.00001", 5], ["a.99999", 7]])
    found = close_carefully(lambda: Counting(calls), reducer, closing_of(rows, beside))
    assert [key for key, _ in found.failed] == sorted(poisoned)
    assert all(reason == f"Poisoned: {key}" for key, reason in found.failed)
    healthy = Counting()
    healthy.restore([["a.00001", 5], ["a.99999", 7]])
    plain = close(healthy, closing_of(*([r for r in some if r.key not in poisoned] for some in (rows, beside))))
    assert found.reduced.records == plain.records
    assert found.reduced.tested == plain.tested
    for key in poisoned:
        healthy.drop(key)
    assert found.reducer.state() == healthy.state()
    looked_for = min(len(poisoned), TRIES)
    depth = math.ceil(math.log2(max(len(keys), 2))) + 1
    assert len(calls) <= 1 + 2 * looked_for * depth + (len(keys) if len(poisoned) >= TRIES else 0)


@pytest.mark.parametrize("fault", [MemoryError(), OSError("no space"), TimeoutError()])
def test_faults_of_the_machine_quarantine_nothing(fault: Exception) -> None:
    rows = [row(key, 666 if key == 3 else 1, 0) for key in range(9)]
    with pytest.raises(type(fault)):
        close_carefully(Counting, Counting(fault=fault), closing_of(rows))


def test_a_record_of_another_window_is_the_fault_of_its_key() -> None:
    class Elsewhere(Counting):
        def close(self, closing: WindowRows[Value]) -> Reduced:
            reduced = super().close(closing)
            other = Window(WINDOW.start, WINDOW.end + 1)
            records = [Record(other, *r[1:]) if r[2] == "a.00003" else r for r in map(parts, reduced.records)]
            return Reduced([r if isinstance(r, Record) else Record(*r) for r in records], reduced.tested)

    def parts(record: Record[Any]) -> tuple[Any, ...]:
        return (record.window, record.kind, record.key, record.scope, record.payload)

    found = close_carefully(Elsewhere, Elsewhere(), closing_of([row(key, 1, 0) for key in range(9)]))
    [(key, reason)] = found.failed
    assert key == "a.00003"
    assert reason.startswith("ValueError: expected records of Window")
    assert len(found.reduced.records) == 8


def recorded(pipeline: Pipeline, batches: Sequence[tuple[int, Batch[Any]]], wm: int) -> list[tuple[int, bytes]]:
    """Raw records of these (watermark, rows), then one that moves the watermark."""
    codec = raw_codec(pipeline.payload)
    values = [codec.encode(Rows(at, 0, SOURCE, batch)) for at, batch in batches]
    return list(enumerate([*values, codec.encode(Tick(wm, 0, SOURCE, wm))]))


def said(stage: ReduceStage, raw: Sequence[tuple[int, bytes]]) -> tuple[dict[tuple[str, str], Any], list[Aside]]:
    """((kind, key) → payload, asides) of a careful pass."""
    codec, found, asides = derived_codec(stage.pipeline.record), {}, []
    for one in raw:
        out = stage.process(stored([one]), careful=True)
        asides += out.asides
        for entry in out.records:
            if isinstance(value := codec.decode(entry.value), Derived):
                found.update({(record.kind, record.key): record.payload for record in value.records})
    return found, asides


@pytest.mark.parametrize("pipeline", [TOY, COLUMN_TOY], ids=["rows", "columns"])
def test_rows_of_a_quarantined_key_are_counted_once_however_often_they_come(pipeline: Pipeline) -> None:
    stream = TOY_STREAM._replace(partitions=1)
    rows = [
        Row("s0.a", START, 0, Value(666)),
        Row("s0.b", START, 1, Value(1)),
        Row("s0.a", START + 61 * NS, 2, Value(1)),
    ]
    later = [Row("s0.a", START + 62 * NS + n, 3 + n, Value(1)) for n in (0, 1, 0)]
    again = [later[0], rows[2]]
    end = START + 60 * NS
    batches = [(START, Batch.of(rows, pipeline.payload))]
    batches += [(end, Batch.of(some, pipeline.payload)) for some in (later, again)]
    stage = ReduceStage(stream, pipeline, 0, "e", 1)
    first, _ = said(stage, recorded(pipeline, batches[:2], end)[:2])
    assert first == {("sum", "s0.b"): [1, 1, 1], ("quarantined", "s0.a"): 1}
    restored = ReduceStage(stream, pipeline, 0, "e", 1)
    restored.restore(stage.state())
    second, asides = said(restored, recorded(pipeline, batches[2:], end + 60 * NS))
    assert second == {("quarantined", "s0.a"): 3}
    assert not asides
    assert stage.duplicates + restored.duplicates == 3


def batch_of(keys: list[str], values: NDArray[np.float32], length: int) -> Batch[Histogram]:
    """Histograms of four bins of one lumisection, without references."""
    n = len(keys)
    ones, zeros = np.ones(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
    arrays = Arrays(values.reshape(-1), np.arange(n + 1) * 4)
    payload = Histograms(zeros, ones, ones, ones, np.full(n, length), 4 * ones, TextColumn([""], zeros), arrays)
    places = np.arange(n, dtype=np.int32)
    return Batch(TextColumn(keys, places), np.full(n, START), places.astype(np.int64), payload)


def test_one_poisoned_histogram_among_25000_of_a_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours' records are the same to the last bit, and the window takes few tries."""
    keys = 25_000
    stream = HISTOGRAM_STREAM._replace(partitions=1)
    length = 23 * NS

    calls: list[int] = []
    plain_close = HistogramReducer.close

    def counted(self: HistogramReducer, closing: WindowRows[Histogram]) -> Reduced:
        calls.append(len(closing.rows.key.values))
        return plain_close(self, closing)

    monkeypatch.setattr(HistogramReducer, "close", counted)
    values = np.random.default_rng(1).normal(10, 3, size=(keys, 4)).astype("<f4")
    healthy = batch_of([f"tracker|{n:05d}" for n in range(keys)], values, length)
    bad = batch_of(["tracker|16999 bad"], np.array([[1, 2, 666, 4]], dtype="<f4"), length)
    poisoned = Batch[Histogram].joined([healthy, bad])

    def stage() -> ReduceStage:
        return ReduceStage(stream, HISTOGRAMS, 0, "e", 1)

    raw = recorded(HISTOGRAMS, [(START, poisoned)], START + length)
    with pytest.raises(DetectorFailed, match="the number of the beast"):
        stage().process(stored(raw), careful=False)
    calls.clear()
    found, asides = said(stage(), raw)
    assert len(calls) <= 2 * math.ceil(math.log2(keys + 1)) + 1
    assert sum(calls) <= 4 * keys
    assert [(a.kind, a.excerpt) for a in asides] == [("quarantined", b"tracker|16999 bad")]
    assert found.pop(("quarantined", "tracker|16999 bad")) == 1
    without, none = said(stage(), recorded(HISTOGRAMS, [(START, healthy)], START + length))
    assert not none
    assert found == without


def test_many_poisoned_histograms_cost_a_try_each() -> None:
    """All of a window: the first ones are looked for by halving, then each key is closed by itself."""
    keys = 3000
    calls: list[int] = []
    reducer = Counting(calls)
    found = close_carefully(lambda: Counting(calls), reducer, closing_of([row(n, 666, 0) for n in range(keys)]))
    assert len(found.failed) == keys
    assert not found.reduced.records
    assert found.reducer.state() == []
    assert len(calls) <= keys + 2 * TRIES * math.ceil(math.log2(keys))
