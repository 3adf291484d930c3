"""Columns are their rows: whatever is done to them, and through their encoding; hostile encodings are ValueErrors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from contract.toy import Value
from hypothesis import given
from hypothesis import strategies as st

from opintel.fts.records import ABORTED, FAILED, OK, Transfer, Transfers
from opintel.rows import Batch, Packed, Row, Texts

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
EITHER = TRANSFERS.map(lambda rows: (rows, Transfers)) | VALUES.map(lambda rows: (rows, Value))


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


def sound() -> Packed[Any]:
    payload = Transfer("complete", "fts", "a", "b", 5, FAILED, "boom", 1, 2.0, 3.0, 4, 5)
    return Batch.of([Row("fts|a|b", 7, 8, payload), Row("fts|a|c", 9, 10, payload)], Transfers).packed()


COLUMNS = ["kind", "file", "outcome", "error", "bytes", "throughput", "duration", "submitted", "active"]


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("kind", b"\x04\x00", "kind: 0 to 3"),
        ("outcome", b"\x02\x00", "outcome: -1 to 1"),
        ("bytes", (-1).to_bytes(8, "little", signed=True) * 2, "bytes: 0 to inf"),
        ("file", b"\0" * 24, "file: 2 rows of 8 bytes"),
        ("throughput", np.array([math.nan, 1.0]).tobytes(), "throughput: holds a number that is not finite"),
        ("duration", np.array([1.0, -1.0]).tobytes(), "duration: 0.0 to inf"),
        ("error", [["boom"], np.array([0, 1], "<i4").tobytes()], "error: 0 to 0 are right"),
        ("error", [[], np.array([0, 0], "<i4").tobytes()], "error: 0 to -1 are right"),
        ("error", [["boom", 5], np.array([0, 1], "<i4").tobytes()], "error: texts"),
        ("error", [["x" * 70_000], np.array([0, 0], "<i4").tobytes()], "error: texts"),
        ("error", b"", "error: a list of texts"),
        ("active", "text", "active: bytes are right, got str"),
        ("active", None, "9 columns are right, got 8"),
    ],
)
def test_what_is_wrong_with_a_column_is_told(name: str, column: Any, said: str) -> None:
    packed = sound()
    packed.payload[COLUMNS.index(name)] = column
    if column is None:
        packed.payload.pop()
    with pytest.raises(ValueError, match=said):
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
            packed.payload[data.draw(st.integers(0, 8))] = data.draw(junk)
        else:
            setattr(packed, field, data.draw(st.binary(max_size=24)))
    try:
        batch = Batch.unpacked(packed, Transfers)
    except ValueError:
        return
    assert len(list(batch.rows())) == len(batch)


def test_texts_drop_what_nobody_holds() -> None:
    texts = Texts.of(["b", "a", "b", "c"])
    assert texts.take(np.array([1, 3])).tolist() == ["a", "c"]
    assert texts.ordered().values == ["a", "b", "c"]
    assert Texts.among(np.array([1, 3]), ["x", "y"], 5).tolist() == ["", "x", "", "y", ""]
