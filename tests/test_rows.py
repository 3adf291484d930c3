"""Columns are their rows: whatever is done to them, and through their encoding; hostile encodings are ValueErrors."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from contract.toy import Value
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer, Transfers
from opintel.rows import Arrays, Batch, Columns, Numbers, Packed, Row, TextColumn

INT64 = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
COUNT = st.integers(0, 2**63 - 1)
REAL = st.floats(0, 1e300)
HOST = st.sampled_from(["a.example", "b.example", "c.example"])


def transfer(kind: str, source: str, destination: str, file: int, outcome: int, error: str, *numbers: Any) -> Transfer:
    return Transfer(kind, "fts", source, destination, file, outcome, error, *numbers)


PAYLOAD = st.builds(
    transfer,
    st.sampled_from(["complete", "state", "queue", "message"]),
    *(HOST, HOST, INT64),
    st.sampled_from([OK, FAILED, ABORTED]),
    st.text(max_size=5),
    *(COUNT, REAL, REAL, COUNT, COUNT),
)
TRANSFERS = st.lists(
    st.builds(
        lambda time, id, payload: Row(f"fts|{payload.source}|{payload.destination}", time, id, payload),
        *(st.integers(-(2**62), 2**62), INT64, PAYLOAD),
    ),
    max_size=12,
)
VALUES = st.lists(
    st.builds(Row, st.sampled_from(["a", "b", ""]), st.integers(0, 9), INT64, st.builds(Value, INT64)),
    max_size=12,
)


class Histogram(msgspec.Struct, array_like=True):
    path: str
    counts: list[float]
    cumulative: bool


class Histograms(Columns):
    ROW = Histogram
    path: TextColumn
    counts: Annotated[Arrays, Numbers("<f4", 0.0, 1e30, most=6, finite=False)]
    cumulative: Annotated[NDArray[np.int8], Numbers("<i1", 0, 1)]


COUNTS = st.lists(st.floats(0, 2**20, width=32), max_size=6) | st.just([1.0, 2.0, 3.0])
HISTOGRAMS = st.lists(
    st.builds(
        Row,
        *(st.sampled_from(["a", "b", ""]), st.integers(0, 9), INT64),
        st.builds(Histogram, HOST, COUNTS, st.booleans()),
    ),
    max_size=12,
)
EITHER = (
    TRANSFERS.map(lambda rows: (rows, Transfers))
    | VALUES.map(lambda rows: (rows, Value))
    | HISTOGRAMS.map(lambda rows: (rows, Histograms))
)


def through_msgpack(packed: Packed[Any], payload: type) -> Packed[Any]:
    kind = Packed[Value] if payload is Value else Packed[Any]
    return msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=kind)


@given(EITHER)
def test_columns_are_their_rows_and_survive_their_encoding(either: tuple[list[Row], type]) -> None:
    rows, payload = either
    batch = Batch.of(rows, payload)
    assert list(batch.rows()) == rows
    assert len(batch) == len(rows)
    again = Batch.unpacked(through_msgpack(batch.packed(), payload), payload)
    assert list(again.rows()) == rows
    assert list(batch.ordered().rows()) == rows


@given(EITHER, st.data())
def test_take_and_join_do_to_columns_what_they_do_to_rows(either: tuple[list[Row], type], data: st.DataObject) -> None:
    rows, payload = either
    batch = Batch.of(rows, payload)
    places = st.lists(st.integers(0, len(rows) - 1), max_size=8) if rows else st.just([])
    picks = [data.draw(places) for _ in range(3)]
    parts = [batch.take(np.array(pick, dtype=np.int64)) for pick in picks]
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))))
    assert list(batch.cut(begin, end).rows()) == rows[begin:end]
    for part, pick in zip(parts, picks, strict=True):
        assert list(part.rows()) == [rows[n] for n in pick]
        assert set(part.key.values) == {rows[n].key for n in pick}
    assert list(Batch.joined(parts).rows()) == [rows[n] for pick in picks for n in pick]


@given(TRANSFERS, st.lists(st.integers(0, 12), max_size=3))
def test_the_ordered_form_does_not_know_how_it_was_put_together(rows: list[Row], cuts: list[int]) -> None:
    whole = Batch.of(rows, Transfers)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [whole.take(np.arange(a, b)) for a, b in itertools.pairwise(bounds)]
    assert msgspec.msgpack.encode(Batch.joined(parts).ordered().packed()) == msgspec.msgpack.encode(
        whole.ordered().packed()
    )


@given(EITHER)
def test_rows_by_key_are_sorted_and_the_same(either: tuple[list[Row], type]) -> None:
    rows, payload = either
    found = Batch.of(rows, payload).by_key()
    place = lambda row: (row.key, row.time, row.id)  # noqa: E731
    assert [place(row) for row in found.rows()] == sorted(map(place, rows))
    assert sorted(map(repr, found.rows())) == sorted(map(repr, rows))
    assert [(key, [r.key for r in list(found.rows())[a:b]]) for key, a, b in found.spans()] == [
        (key, [key] * sum(row.key == key for row in rows)) for key in sorted({row.key for row in rows})
    ]


@given(EITHER)
def test_a_row_weighs_at_most_what_is_said(either: tuple[list[Row], type]) -> None:
    rows, payload = either
    batch = Batch.of(rows, payload)
    bound = batch.weights()
    assert bound.shape == (len(rows),)
    empty = len(msgspec.msgpack.encode(Batch.of([], payload).packed()))
    assert len(msgspec.msgpack.encode(batch.packed())) <= empty + 40 + bound.sum()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([np.array([7], "<i4").tobytes(), b"\0" * 28], "counts: sizes: expected 0 to 6, got 7 to 7"),
        ([np.array([-1], "<i4").tobytes(), b""], "counts: sizes: expected 0 to 6, got -1"),
        ([np.array([2], "<i4").tobytes(), b"\0" * 4], "counts: expected 2 numbers of 4 bytes, got 4 bytes"),
        ([np.array([1], "<i4").tobytes(), np.array([-2], "<f4").tobytes()], "counts: expected 0.0 to 1e"),
        (b"", "counts: expected two parts"),
    ],
)
def test_what_is_wrong_with_arrays_is_told(counts: Any, said: str) -> None:
    packed = Batch.of([Row("a", 1, 2, Histogram("p", [1.0], False))], Histograms).packed()
    packed.payload[1] = counts
    with pytest.raises(ValueError, match=said):
        Batch.unpacked(packed, Histograms)


def test_nan_travels_where_it_may() -> None:
    row = Row("a", 1, 2, Histogram("p", [1.0, math.nan, math.inf], False))
    batch = Batch.unpacked(through_msgpack(Batch.of([row], Histograms).packed(), Histograms), Histograms)
    assert np.array_equal(batch.payload.counts.at(0), [1.0, math.nan, math.inf], equal_nan=True)
    assert msgspec.json.encode(batch.row(0)) == b'["a",1,2,["p",[1.0,null,null],false]]'


def sound() -> Packed[Any]:
    payload = Transfer("complete", "fts", "a", "b", 5, FAILED, "boom", 1, 2.0, 3.0, 4, 5, "cms", "", "j1")
    return Batch.of([Row("fts|a|b", 7, 8, payload), Row("fts|a|c", 9, 10, payload)], Transfers).packed()


COLUMNS = ["kind", "file", "outcome", "error", "bytes", "throughput", "duration", "submitted", "active", "vo"]


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("kind", b"\x04\x00", "kind: expected 0 to 3, got 0 to 4"),
        ("outcome", b"\x02\x00", "outcome: expected -1 to 1, got 0 to 2"),
        ("bytes", (-1).to_bytes(8, "little", signed=True) * 2, "bytes: expected 0 to inf"),
        ("file", b"\0" * 24, "file: expected 2 numbers of 8 bytes, got 24"),
        ("throughput", np.array([math.nan, 1.0]).tobytes(), "throughput: expected finite numbers, got nan"),
        ("duration", np.array([1.0, -1.0]).tobytes(), "duration: expected 0.0 to inf"),
        ("error", [["boom"], np.array([0, 1], "<i4").tobytes()], "error: expected 0 to 0"),
        ("error", [[], np.array([0, 0], "<i4").tobytes()], "error: expected 0 to -1"),
        ("error", [["boom", 5], np.array([0, 1], "<i4").tobytes()], "error: expected texts"),
        ("error", [["x" * 70_000], np.array([0, 0], "<i4").tobytes()], "error: expected texts"),
        ("error", b"", "error: expected two parts"),
        ("active", "text", "active: expected bytes, got str"),
        ("vo", [["x"], b""], "vo: expected 2 numbers of 4 bytes, got 0"),
    ],
)
def test_what_is_wrong_with_a_column_is_told(name: str, column: Any, said: str) -> None:
    packed = sound()
    packed.payload[COLUMNS.index(name)] = column
    with pytest.raises(ValueError, match=said):
        Batch.unpacked(packed, Transfers)


def test_columns_that_came_later_may_be_missing_and_no_others() -> None:
    packed = sound()
    packed.payload += [b""]
    with pytest.raises(ValueError, match="expected 13 columns, got 14"):
        Batch.unpacked(packed, Transfers)
    del packed.payload[10:]
    assert [row.payload.vo + row.payload.job for row in Batch.unpacked(packed, Transfers).rows()] == ["cms", "cms"]
    del packed.payload[9:]
    assert [row.payload.vo + row.payload.job for row in Batch.unpacked(packed, Transfers).rows()] == ["", ""]
    del packed.payload[8:]
    with pytest.raises(ValueError, match="expected 13 columns, got 8"):
        Batch.unpacked(packed, Transfers)


@given(st.data())
def test_hostile_columns_are_value_errors(data: st.DataObject) -> None:
    packed = sound()
    junk = (
        st.binary(max_size=20)
        | st.none()
        | st.integers()
        | st.tuples(st.lists(st.text(max_size=2), max_size=3), st.binary(max_size=9)).map(list)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        field = data.draw(st.sampled_from(["key", "time", "id", "payload"]))
        if field == "payload":
            packed.payload[data.draw(st.integers(0, 12))] = data.draw(junk)
        else:
            setattr(packed, field, data.draw(st.binary(max_size=24)))
    try:
        batch = Batch.unpacked(packed, Transfers)
    except ValueError:
        return
    assert len(list(batch.rows())) == len(batch)


def test_texts_drop_what_nobody_holds() -> None:
    texts = TextColumn.of(["b", "a", "b", "c"])
    assert texts.take(np.array([1, 3])).tolist() == ["a", "c"]
    assert texts.ordered().values == ["a", "b", "c"]
    assert TextColumn.among(np.array([1, 3]), ["x", "y"], 5).tolist() == ["", "x", "", "y", ""]
