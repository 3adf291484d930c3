"""Stage 1 by column is stage 1 row by row: the same records, asides and state, however the rows were cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from contract.cases import START, TOY_STREAM
from contract.toy import COLUMN_TOY, TOY, Value, Values
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import stored

from opintel.detector import Pipeline
from opintel.finding import NS
from opintel.ids import natural_id
from opintel.rows import Batch, Row
from opintel.streams.records import NEVER, Control, Rows, SourcePosition, Tick, raw_codec, shard_of
from opintel.streams.reduce import ReduceStage

STREAM = TOY_STREAM._replace(partitions=1, shards=2, max_keys=3, ttl=200 * NS, quiet=70 * NS)
SOURCE = SourcePosition("x", 0, None, None, 0, 0, 0, 0)
ROWS = st.lists(
    st.builds(
        lambda key, second, value: Row(key, START + second * NS, natural_id(key, second, value), Value(value)),
        *(st.sampled_from([f"s0.k{n}" for n in range(9)]), st.integers(0, 400), st.integers(0, 2)),
    ),
    max_size=25,
)
RECORDS = st.lists(st.tuples(st.integers(-60, 400), ROWS), max_size=8)


def encoded(pipeline: Pipeline, records: list[tuple[int, list[Row]]]) -> list[tuple[int, bytes]]:
    codec = raw_codec(pipeline.payload)
    values: list[Any] = []
    for n, (second, rows) in enumerate(records):
        wm = START + second * NS
        values.append(Rows(wm, 0, SOURCE, Batch.of(rows, pipeline.payload)))
        if n % 3 == 2:
            values.append(Control(f"c{n}", "scale", "all", n, 0, n + 1, NEVER))
    values.append(Tick(START + 900 * NS, 0, SOURCE, START + 900 * NS))
    return [(position, codec.encode(value)) for position, value in enumerate(values)]


def told(stage: ReduceStage, batches: Iterator[list[tuple[int, bytes]]], careful: bool) -> tuple[Any, ...]:
    asides, records = [], []
    for batch in batches:
        out = stage.process(stored(batch), careful)
        asides += out.asides
        records += out.records
    state = msgspec.msgpack.encode(stage.state(), order="deterministic")
    return sorted(asides, key=lambda a: a.where), records, state, stage.duplicates


def cut(values: list[tuple[int, bytes]], size: int) -> Iterator[list[tuple[int, bytes]]]:
    return (values[at : at + size] for at in range(0, len(values), size))


@settings(deadline=None, max_examples=150)
@given(RECORDS, st.integers(1, 9))
def test_columns_are_rows(records: list[tuple[int, list[Row]]], size: int) -> None:
    stage = lambda: ReduceStage(STREAM, TOY, 0, "e", 1)  # noqa: E731
    values = encoded(TOY, records)
    whole = told(stage(), cut(values, len(values)), careful=False)
    assert told(stage(), cut(values, size), careful=False) == whole
    assert told(stage(), cut(values, 1), careful=True) == whole
    columns = told(ReduceStage(STREAM, COLUMN_TOY, 0, "e", 1), cut(encoded(COLUMN_TOY, records), size), careful=False)
    assert columns == whole


def ends(batch: Batch[Value]) -> Any:
    return batch.time + np.array([(1 + payload.value) * 17 * NS for payload in batch.payload], dtype=np.int64)


FEW = st.lists(
    st.tuples(st.integers(0, 25), st.lists(st.tuples(st.integers(0, 3), st.integers(-20, 20), st.integers(0, 2)))),
    max_size=9,
)


@settings(deadline=None, max_examples=80)
@given(FEW, st.integers(1, 9))
def test_windows_that_come_with_the_data_close_the_same_in_any_split(
    steps: list[tuple[int, list[tuple[int, int, int]]]], size: int
) -> None:
    records, second = [], 0
    for step, came in steps:
        second += step
        records.append((second, [Row(f"s0.k{k}", START + (second + t) * NS, k + t, Value(v)) for k, t, v in came]))
    stage = lambda: ReduceStage(STREAM, TOY._replace(ends=ends), 0, "e", 1)  # noqa: E731
    values = encoded(TOY, records)
    one_by_one = told(stage(), cut(values, 1), careful=False)
    assert told(stage(), cut(values, size), careful=False) == one_by_one
    assert told(stage(), cut(values, len(values)), careful=False) == one_by_one


@settings(deadline=None, max_examples=100)
@given(RECORDS)
def test_what_becomes_of_a_row(records: list[tuple[int, list[Row]]]) -> None:
    """A slow model: late, refused, copy or taken, row by row, with nothing but sets and dicts."""
    stream = STREAM._replace(ttl=10**6 * NS, quiet=10**6 * NS)
    fates: Counter[str] = Counter()
    wm, known, seen = NEVER, {}, set()  # type: ignore[var-annotated]
    stage = ReduceStage(stream, TOY, 0, "e", 1)
    for second, rows in records:
        wm = max(wm, START + second * NS)
        for row in rows:
            start = row.time - row.time % stream.window
            shard = known.setdefault(shard_of(row.key, stream.shards), set())
            if start + stream.window <= wm:
                fates["late"] += 1
            elif row.key not in shard and len(shard) == stream.max_keys:
                fates["refused"] += 1
            elif (start, row.key, row.id) in seen:
                fates["copy"] += 1
            else:
                shard.add(row.key)
                seen.add((start, row.key, row.id))
    out = stage.process(stored(encoded(TOY, records)), careful=False)
    found: Counter[str] = Counter()
    for aside in out.asides:
        found[aside.kind] += aside.count
    assert (found["late"], found["refused"], stage.duplicates) == (fates["late"], fates["refused"], fates["copy"])


NAMES = {shard: [k for k in (f"k{n}" for n in range(20)) if shard_of(k, STREAM.shards) == shard] for shard in (0, 1)}
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 30, 60, 90, 120]), st.sampled_from([0, 0, 1]), st.integers(0, 4)),
    min_size=5,
    max_size=25,
)


@settings(deadline=None, max_examples=400)
@given(STEPS)
def test_what_a_shard_forgets_does_not_depend_on_the_shards_beside_it(steps: list[tuple[int, int, int]]) -> None:
    """Another number of partitions: the other shard's records are not seen, and windows end in longer steps."""
    second, came = 0, []
    for n, (step, shard, key) in enumerate(steps):
        second += step
        came.append((shard, second, Row(NAMES[shard][key], START + second * NS, n, Value(1))))

    def told(parts: list[tuple[int, int, Row]]) -> tuple[Any, ...]:
        stage = ReduceStage(STREAM, TOY, 0, "e", 1)
        codec = raw_codec(TOY.payload)
        values = [Rows(START + s * NS, 0, SOURCE, Batch.of([row], TOY.payload)) for _, s, row in parts]
        asides = stage.process(stored([(n, codec.encode(v)) for n, v in enumerate(values)]), careful=False).asides
        rows = [(a.kind, *msgspec.json.decode(a.excerpt)[:3]) for a in sorted(asides, key=lambda a: a.where)]
        keys = [key for key in stage.state()["keys"]["known"] if key[0] in NAMES[0]]
        return [row for row in rows if row[1] in NAMES[0]], keys

    last = (0, second, Row(NAMES[0][0], START + second * NS, -1, Value(1)))
    assert told([*came, last]) == told([*(part for part in came if part[0] == 0), last])


def test_a_full_shard_has_room_again_once_what_fills_it_is_gone() -> None:
    stream = STREAM._replace(shards=1, max_keys=2, ttl=10**6 * NS, quiet=120 * NS)
    stage = ReduceStage(stream, TOY, 0, "e", 1)
    came = [
        ("a", 0),
        ("b", 10),
        ("c", 20),
        ("a", 70),
        ("c", 80),
        ("a", 130),
        ("c", 140),
        ("a", 190),
        ("c", 200),
        ("b", 210),
    ]
    records = [(t, [Row(f"s0.{key}", START + t * NS, t, Value(1))]) for key, t in came]
    out = stage.process(stored(encoded(TOY, records)), careful=False)
    # b was last in the window that ended at 60 s, so it goes at 180 s; when it comes back there is no room for it
    assert [msgspec.json.decode(a.excerpt)[2] for a in out.asides] == [20, 80, 140, 210]


def test_a_restored_stage_goes_on_bit_for_bit() -> None:
    rows = [Row(f"s0.k{n % 5}", START + n * NS, n, Value(n)) for n in range(300)]
    values = encoded(COLUMN_TOY, [(n - 60, rows[n : n + 60]) for n in range(0, 300, 60)])
    stream = STREAM._replace(max_keys=9)
    once = ReduceStage(stream, COLUMN_TOY, 0, "e", 1)
    expected = told(once, cut(values, 99), careful=False)
    records: list[Any] = []
    stage = ReduceStage(stream, COLUMN_TOY, 0, "e", 1)
    for value in values:
        records += stage.process(stored([value]), careful=False).records
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(stage.state()))
        stage = ReduceStage(stream, COLUMN_TOY, 0, "e", 1)
        stage.restore(state)
    assert records == expected[1]
    assert msgspec.msgpack.encode(stage.state(), order="deterministic") == expected[2]
    assert issubclass(COLUMN_TOY.payload, Values)
