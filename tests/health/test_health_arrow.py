"""Samples in Arrow messages: the same rows as in JSON, a reason for each bad one, and nothing that breaks the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.arrow_ipc import MAX_BATCHES
from opintel.detector import Decoded, Message
from opintel.health import arrow
from opintel.health.bounds import MAX_KEY, MAX_LABELS, MAX_RECORDS
from opintel.health.wire import HealthWire

T0 = 1_700_000_000
MAP = pa.map_(pa.string(), pa.string())
LABELS = {"job": "n", "instance": "a:9100"}
GOOD: dict[str, Any] = {"timestamp": T0, "value": 1.5, "name": "up", "labels": LABELS}
TYPES = {"timestamp": pa.int64(), "value": pa.float64(), "name": pa.string(), "labels": MAP}
Rows = list[tuple[int, int, str, int, int, float, bool]]


def stream(table: pa.Table, rows_a_batch: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, rows_a_batch)
    return bytes(sink.getvalue())


def table(samples: Sequence[dict[str, Any]], **types: Any) -> pa.Table:
    """Columns of these types; the labels of a map as its pairs."""
    columns = {}
    for name, kind in {**TYPES, **types}.items():
        values = [sample.get(name) for sample in samples]
        if kind == MAP:
            values = [None if one is None else list(one.items()) for one in values]
        columns[name] = pa.array(values, kind)
    return pa.table(columns)


def packed(samples: Sequence[dict[str, Any]], **types: Any) -> bytes:
    return stream(table(samples, **types))


def as_json(samples: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps([{**s, "value": s["value"] if s["value"] is None else str(s["value"])} for s in samples]).encode()


def decode(*bodies: bytes) -> Decoded[Any]:
    return HealthWire().decode([Message(body, "f", n, n) for n, body in enumerate(bodies)])


def rows(found: Decoded[Any]) -> Rows:
    places = zip(found.message.tolist(), found.n.tolist(), found.rows.rows(), strict=True)
    return [(m, n, r.key, r.time, r.id, r.payload.value, r.payload.missing) for m, n, r in places]


def reasons(found: Decoded[Any]) -> dict[tuple[int, int], str]:
    told = {(r.message, n): r.reason for r in found.rejects for n in r.records}
    assert len(told) == sum(len(r.records) for r in found.rejects)
    return told


NAMES = st.sampled_from(["up", "node_load1", "a:b", "1up", "", "with space", None])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
SERIES_LABELS = st.dictionaries(st.sampled_from(["job", "a", "b", "__name__", "1x", ""]), TEXTS, max_size=4)
NUMBERS = st.floats() | st.none() | st.sampled_from([1e30, -1.1e30, 1e300, 5e-324])
SIZES = [10**n for n in (-9, 0, 3, 6, 9)]
WHOLE_TIMES = st.none() | st.builds(lambda s, u: int(s * u), st.integers(9 * 10**8, 42 * 10**8), st.sampled_from(SIZES))
REAL_TIMES = st.floats() | st.builds(lambda s, u: s * u, st.floats(9e8, 4.2e9), st.sampled_from(SIZES))


@st.composite
def batches_of_samples(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Any]:
    times, kind = draw(st.sampled_from([(WHOLE_TIMES, pa.int64()), (REAL_TIMES, pa.float64())]))
    sample = st.fixed_dictionaries({"timestamp": times, "value": NUMBERS, "name": NAMES, "labels": SERIES_LABELS})
    samples = draw(st.lists(sample, min_size=1, max_size=12))
    if kind == pa.float64():  # JSON has no number for these, and a text is another thing
        samples = [s for s in samples if np.isfinite(s["timestamp"])] or [{**GOOD, "timestamp": float(T0)}]
    return samples, kind


@given(batches_of_samples(), st.integers(1, 5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_arrow_and_json_forms_of_the_same_samples_give_the_same_rows(
    drawn: tuple[list[dict[str, Any]], Any], size: int, in_json: bool
) -> None:
    samples, kind = drawn
    expected = decode(as_json(samples))
    if in_json:
        texts = [{**sample, "labels": json.dumps(sample["labels"])} for sample in samples]
        body = stream(table(texts, timestamp=kind, labels=pa.string()), size)
    else:
        body = stream(table(samples, timestamp=kind), size)
    found = decode(body)
    assert rows(found) == rows(expected)
    assert reasons(found).keys() == reasons(expected).keys()


@given(st.lists(st.integers(0, 6), max_size=9), st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_split_of_the_messages_into_calls_gives_the_same(chosen: list[int], sizes: list[int]) -> None:
    kinds = [
        Message(as_json([GOOD, {**GOOD, "timestamp": 5}])),
        Message(packed([GOOD, {**GOOD, "timestamp": 5}, {**GOOD, "name": "down"}])),
        Message(packed([GOOD])[:-30]),
        Message(b"timestamp,value,name\n2024-01-01,3,x", "a.csv", 0, 0, "table"),
        Message(b"timestamp,value\n2024-01-01", "a.csv", 0, 0, "table"),
        Message(b"some text", "a.txt", 0, 0, "text"),
        Message(b"\xff\xff\xff\xff"),
    ]
    messages = [kinds[n] for n in chosen]
    whole = HealthWire().decode(messages)
    wire, at, taken, told = HealthWire(), 0, [], {}
    for turn in range(len(messages)):
        part = messages[at : at + sizes[turn % len(sizes)]]
        found = wire.decode(part)
        taken += [(m + at, *rest) for m, *rest in rows(found)]
        told |= {(m + at, n): reason for (m, n), reason in reasons(found).items()}
        at += len(part)
    assert taken == rows(whole)
    assert told == reasons(whole)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((pa.timestamp(unit), T0 * size) for unit, size in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))),
        (pa.timestamp("ms", "UTC"), T0 * 10**3),
        (pa.timestamp("ns", "Europe/Rome"), T0 * 10**9),
        (pa.int64(), T0),
        (pa.int32(), T0),
        (pa.float64(), float(T0)),
        (pa.float64(), T0 * 1e9),
    ],
)
def test_a_time_may_be_of_any_unit(kind: Any, value: Any) -> None:
    [found] = rows(decode(packed([{**GOOD, "timestamp": value}], timestamp=kind)))
    assert found[3] == T0 * 10**9


def test_units_mixed_in_one_message_are_told_by_their_size() -> None:
    samples = [{**GOOD, "timestamp": T0 * size} for size in (1, 10**3, 10**6, 10**9, 10, 10**8)]
    for body in (packed(samples), as_json(samples)):
        found = decode(body)
        assert [row[3] for row in rows(found)] == [T0 * 10**9] * 4
        assert sorted(reasons(found)) == [(0, 4), (0, 5)]
        assert "2000 to 2100" in reasons(found)[0, 4]


def coded(values: list[str | None]) -> Any:
    return pa.array(values).dictionary_encode()


@pytest.mark.parametrize(
    "labels",
    [
        {"labels": pa.array([[("job", "n"), ("host", "a")], [("host", "b"), ("job", "n")]], MAP)},
        {"labels": pa.array([[("job", "n"), ("host", "a"), ("rack", None)], [("job", "n"), ("host", "b")]], MAP)},
        {"labels": pa.array([{"job": "n", "host": "a"}, {"job": "n", "host": "b", "rack": None}])},
        {"labels": pa.array(['{"job":"n","host":"a"}', '{"host":"b", "job":"n"}'])},
        {"labels": coded(['{"job":"n","host":"a"}', '{"host":"b", "job":"n"}'])},
        {"job": coded(["n", "n"]), "host": pa.array(["a", "b"], pa.large_string()), "rack": pa.array([None, ""])},
        {"host": coded(["a", "b"]), "job": pa.array(["n", "n"]), "rows": pa.array([1, 2])},
    ],
)
@pytest.mark.parametrize("name", [pa.array(["up", "up"]), coded(["up", "up"])])
def test_labels_come_in_many_ways(labels: dict[str, Any], name: Any) -> None:
    columns = {"timestamp": pa.array([T0, T0 + 60]), "value": pa.array([1, 2]), "name": name, **labels}
    found = rows(decode(stream(pa.table(columns))))
    assert [(row[2], row[5]) for row in found] == [('n|up{host="a",job="n"}', 1.0), ('n|up{host="b",job="n"}', 2.0)]


def test_a_message_may_be_an_arrow_file_of_many_batches_with_dictionaries_of_their_own() -> None:
    chunks = [pa.array(["up", "down"]).dictionary_encode(), pa.array(["left", "up"]).dictionary_encode()]
    columns = {"timestamp": pa.array([T0 + n for n in range(4)]), "value": pa.array([1.0] * 4)}
    samples = pa.table({**columns, "name": pa.chunked_array(chunks)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, samples.drop(["name"]).append_column("name", pa.array(["up"] * 4)).schema) as writer:
        writer.write_table(samples.set_column(2, "name", pa.array(["up"] * 4)), 3)
    assert [row[2] for row in rows(decode(bytes(sink.getvalue())))] == ["default|up"] * 4
    found = rows(decode(stream(samples)))
    assert [row[2] for row in found] == ["default|up", "default|down", "default|left", "default|up"]


def test_a_key_is_made_once_for_each_name_and_labels() -> None:
    asked = []

    def series(name: Any, labels: dict[Any, Any]) -> str:
        asked.append((name, labels))
        return f"s|{name}{labels['instance']}"

    samples = [
        {**GOOD, "name": name, "labels": {**LABELS, "instance": i}} for _ in range(50) for name in "ab" for i in "xyz"
    ]
    found = arrow.decode(packed(samples), series)
    assert len(found.rows) == 300
    assert len(asked) == 6


BAD: list[tuple[dict[str, Any], str]] = [
    ({"timestamp": None}, "2000 to 2100, got None"),
    ({"timestamp": 5}, "2000 to 2100, got 5"),
    ({"timestamp": 2**62}, "2000 to 2100"),
    ({"timestamp": -T0}, "2000 to 2100"),
    ({"value": None}, "value: expected a number, got None"),
    ({"name": None}, "a metric's name"),
    ({"name": "1up"}, "a metric's name"),
    ({"name": "x" * (1 << 20)}, f"at most {MAX_KEY}"),
    ({"labels": {"a b": "x"}}, "a label's name"),
    ({"labels": {"a": "\n"}}, "a printable text"),
    ({"labels": {"a": "x" * MAX_KEY}}, f"at most {MAX_KEY}"),
    ({"labels": {f"l{n}": "x" for n in range(MAX_LABELS + 1)}}, f"at most {MAX_LABELS}"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_a_bad_sample_is_a_reason_and_its_neighbours_are_rows(change: dict[str, Any], said: str) -> None:
    other = {**GOOD, "name": "down"}
    found = decode(packed([other, {**GOOD, **change}, other]))
    alone = rows(decode(packed([other])))[0]
    assert rows(found) == [alone, (0, 2, *alone[2:])]
    [reason] = reasons(found).values()
    assert re.search(said, reason)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e31, -1e308])
def test_what_is_no_number_to_reckon_with_is_a_sample_without_a_value(value: float) -> None:
    first, second = rows(decode(packed([{**GOOD, "value": value}, GOOD])))
    assert first[5:] == (0.0, True)
    assert second[5:] == (1.5, False)


def test_the_largest_whole_numbers_are_values() -> None:
    [found] = rows(decode(packed([{**GOOD, "value": 2**64 - 1}], value=pa.uint64())))
    assert found[5] == 2.0**64


@pytest.mark.parametrize("form", [packed, as_json])
def test_copies_have_one_id_and_rows_out_of_order_stay_as_they_came(form: Any) -> None:
    times = [T0 + 60, T0, T0 + 60, T0 + 30]
    found = rows(decode(form([{**GOOD, "timestamp": time, "value": float(n)} for n, time in enumerate(times)])))
    assert [row[3] // 10**9 for row in found] == times
    assert [row[5] for row in found] == [0.0, 1.0, 2.0, 3.0]
    assert found[0][2:5] == found[2][2:5]
    assert len({row[4] for row in found}) == 3


@pytest.mark.parametrize("size", [None, 30_000])
def test_more_samples_than_a_message_may_have_are_told_and_the_first_are_taken(size: int | None) -> None:
    samples = [{**GOOD, "timestamp": T0 + n, "labels": {"a": str(n % 7)}} for n in range(MAX_RECORDS + 1)]
    found = decode(stream(table(samples), size), packed([GOOD]))
    kept = rows(found)
    assert kept[:-1] == rows(decode(as_json(samples)))
    assert [row[0] for row in kept[-2:]] == [0, 1]
    assert reasons(found) == {(0, MAX_RECORDS): "more than 100000 samples in a message: the rest was not read"}


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"timestamp": pa.string()}, "column timestamp: expected a timestamp, int64 or float64, got string"),
        ({"timestamp": pa.date32()}, "column timestamp: expected .*, got date32"),
        ({"value": pa.string()}, "column value: expected float64 or an integer, got string"),
        ({"value": pa.list_(pa.float64())}, "column value: expected .*, got list"),
        ({"name": pa.int64()}, "column name: expected string, got int64"),
        ({"labels": pa.map_(pa.string(), pa.int64())}, "column labels: expected .*, got map<string, int64>"),
        ({"labels": pa.list_(pa.string())}, "column labels: expected .*, got list"),
        ({"labels": pa.struct([("a", pa.int64())])}, "column labels: expected .*, got struct<a: int64>"),
        ({"labels": pa.binary()}, "column labels: expected .*, got binary"),
    ],
)
def test_columns_of_wrong_types_are_one_reason_and_other_messages_stay(types: dict[str, Any], said: str) -> None:
    wrong = pa.table({name: pa.nulls(2, kind) for name, kind in {**TYPES, **types}.items()})
    found = decode(packed([GOOD]), stream(wrong), packed([GOOD]))
    assert [row[0] for row in rows(found)] == [0, 2]
    [(place, reason)] = reasons(found).items()
    assert place == (1, 0)
    assert re.search(said, reason)


@pytest.mark.parametrize("labels", ['["a"]', "{", '{"a":1}', "[" * 50_000, '{"a":"' + "x" * 20_000 + '"}'])
def test_labels_that_are_no_texts_in_json_are_a_reason(labels: str) -> None:
    body = packed([{**GOOD, "labels": "{}"}, {**GOOD, "labels": labels}], labels=pa.string())
    found = decode(body)
    assert [row[1] for row in rows(found)] == [0]
    [reason] = reasons(found).values()
    assert re.search("in JSON|a printable text", reason)


def test_json_nested_too_deeply_or_with_huge_numbers_is_a_reason() -> None:
    deep = b'{"timestamp":1700000000,"value":' + b"[" * 100_000
    huge = b'{"timestamp":1700000000,"name":"up","value":1' + b"0" * 5000 + b"}"
    found = decode(as_json([GOOD]), deep, huge, packed([GOOD]))
    assert [row[0] for row in rows(found)] == [0, 3]
    assert sorted(reasons(found)) == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (stream(table([GOOD] * 100), compression="zstd"), "expected plain buffers"),
        (stream(table([GOOD]).set_column(2, "name", coded(["up"])), compression="lz4"), "expected plain buffers"),
        (stream(table([GOOD] * (MAX_BATCHES + 1)), 1), f"at most {MAX_BATCHES}"),
        (stream(table([GOOD]).drop(["value"])), "no column value"),
        (stream(table([GOOD]).drop(["timestamp"])), "no column timestamp"),
        (stream(pa.table([[T0], [1.0], [2.0]], names=["timestamp", "value", "value"])), "expected each column once"),
        (stream(table([]).slice(0, 0)), "no sample in it"),
        (b"\xff\xff\xff\xff", "not an Arrow message"),
        (b"ARROW1\x00\x00", "not an Arrow message"),
    ],
)
def test_messages_that_cannot_be_taken_are_a_reason(body: bytes, said: str) -> None:
    found = decode(body, packed([GOOD]))
    assert [row[0] for row in rows(found)] == [1]
    [reason] = reasons(found).values()
    assert said in reason


def test_pieces_of_a_dictionary_are_refused() -> None:
    first, more = pa.array(["up"]).dictionary_encode(), pa.array(["up", "down"]).dictionary_encode()
    schema = pa.schema({"timestamp": pa.int64(), "value": pa.float64(), "name": first.type})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)) as writer:
        writer.write_batch(pa.record_batch([pa.array([T0]), pa.array([1.0]), first], schema=schema))
        writer.write_batch(pa.record_batch([pa.array([T0, T0]), pa.array([1.0, 1.0]), more], schema=schema))
    [reason] = reasons(decode(bytes(sink.getvalue()))).values()
    assert "expected whole dictionaries" in reason


def test_a_dictionary_that_inflates_beside_plain_batches_is_refused() -> None:
    samples = table([GOOD] * 100).set_column(2, "name", coded(["up" * (n + 1) for n in range(100)]))
    plain, small = ([*pa.ipc.MessageReader.open_stream(stream(samples, **o))] for o in ({}, {"compression": "zstd"}))
    mixed = [plain[0], small[1], plain[2]]
    assert [message.type for message in mixed] == ["schema", "dictionary", "record batch"]
    [reason] = reasons(decode(b"".join(bytes(message.serialize()) for message in mixed))).values()
    assert "expected plain buffers" in reason


def test_large_dictionaries_beside_many_batches_are_refused() -> None:
    """To validate 12 MB again with each of 900 batches would take seconds."""
    name = pa.DictionaryArray.from_arrays(pa.array([0] * 900), pa.array(["up", "x" * 12_000_000]))
    columns = {"timestamp": pa.array([T0] * 900), "value": pa.array([1.0] * 900), "name": name}
    [reason] = reasons(decode(stream(pa.table(columns), 1))).values()
    assert "few beside large dictionaries" in reason


def test_a_message_cut_anywhere_is_rows_or_a_reason_and_others_stay() -> None:
    whole = stream(table([{**GOOD, "value": float(n)} for n in range(30)]), 10)
    before = rows(decode(whole))
    for length in range(4, len(whole), 61):
        found = decode(as_json([GOOD]), whole[:length], packed([GOOD]))
        there = [row[1:] for row in rows(found) if row[0] == 1]
        assert there == [row[1:] for row in before[: len(there)]]
        assert len(there) in (0, 10, 20, 30)
        assert there or reasons(found)
        assert {0, 2} <= {row[0] for row in rows(found)}


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes_never_break_the_wire(data: st.DataObject) -> None:
    samples = table([{**GOOD, "name": None, "labels": {"a": "x"}} for _ in range(5)])
    columns = samples.set_column(2, "name", coded(["up", "up", "down", "up", None]))
    body = bytearray(stream(columns, 3))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(body), packed([GOOD]))
    assert rows(found)[-1][0] == 1
    for row in rows(found):
        assert np.isfinite(row[5])
        assert 0 < len(row[2]) <= MAX_KEY
