"""Raw records through their encoding; the form of before columns is read; what else anybody sends is a ValueError."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from contract.toy import Value, Values
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Record
from opintel.finding import Window
from opintel.fts.transfers import FAILED, Transfer, Transfers
from opintel.rows import Batch, Row
from opintel.streams.records import (
    MAX_RECORD,
    Closed,
    Control,
    Derived,
    Rows,
    SourcePosition,
    Tick,
    derived_codec,
    raw_codec,
    stamp_of,
)

SOURCE = SourcePosition("x", 3, None, {"a": 1}, 5, 6, 7, 8)
TRANSFER = Transfer("complete", "fts", "a", "b", 5, FAILED, "boom", 1, 2.0, 3.0, 4, 5)


def rows(payload: type) -> list[Row[Any]]:
    one: Any = TRANSFER if payload is Transfers else Value(7)
    return [Row("fts|a|b", 7, 8, one), Row("fts|a|b", 9, -1, one)]


@pytest.mark.parametrize("payload", [Value, Values, Transfers])
def test_rows_survive_their_encoding(payload: type) -> None:
    codec = raw_codec(payload)
    value = codec.encode(Rows(1, 2, SOURCE, Batch.of(rows(payload), payload), 1, 3))
    found = codec.decode(value)
    assert isinstance(found, Rows)
    assert (found.wm, found.arrival, found.source, found.part, found.parts) == (1, 2, SOURCE, 1, 3)
    assert list(found.batch.rows()) == rows(payload)
    stamp = stamp_of(value)
    assert stamp == (1, 2, SOURCE, 1, 3, None)


@pytest.mark.parametrize("payload", [Value, Values, Transfers])
def test_the_form_of_before_columns_is_read(payload: type) -> None:
    old = b"\x01" + msgspec.msgpack.encode(["rows", 1, 2, SOURCE, rows(payload)])
    found = raw_codec(payload).decode(old)
    assert isinstance(found, Rows)
    assert list(found.batch.rows()) == rows(payload)
    assert stamp_of(old) == (1, 2, SOURCE, 0, 1, None)


@pytest.mark.parametrize(
    "change",
    [{"kind": "x"}, {"outcome": 500}, {"outcome": 2}, {"throughput": float("inf")}, {"bytes": -1}, {"file": 2**63}],
)
def test_the_form_of_before_columns_is_held_to_the_same(change: dict[str, Any]) -> None:
    row = Row("fts|a|b", 7, 8, msgspec.structs.replace(TRANSFER, **change))
    with pytest.raises(ValueError, match=r"."):
        raw_codec(Transfers).decode(b"\x01" + msgspec.msgpack.encode(["rows", 1, 2, SOURCE, [row]]))


def test_ticks_and_controls_have_their_stamps() -> None:
    codec = raw_codec(Value)
    assert stamp_of(codec.encode(Tick(1, 2, SOURCE, 3))) == (1, 2, SOURCE, 0, 1, 3)
    assert stamp_of(codec.encode(Control("a", "b", "c", 1, 0, None))) is None


@given(st.lists(st.integers(0, 300_000), max_size=12))
def test_records_together_are_split_by_size_and_keep_their_order(sizes: list[int]) -> None:
    codec = derived_codec(str)
    records = [Record(Window(0, 1), "k", f"{n}", "s", "x" * size) for n, size in enumerate(sizes)]
    values = codec.together(records)
    assert [r for value in values for r in codec.decode(value).records] == records  # type: ignore[union-attr]
    assert all(len(value) <= MAX_RECORD for value in values)
    assert len(values) <= 1 + sum(sizes) // (MAX_RECORD // 8)


def test_a_record_by_itself_as_it_was_kept_once_is_read() -> None:
    codec, record = derived_codec(str), Record(Window(0, 1), "k", "key", "s", "x")
    assert codec.decode(b"\x01" + msgspec.msgpack.encode(["derived", record])) == Derived([record])
    closed = Closed(0, 1, "e", 5)
    assert codec.decode(codec.encode(closed)) == closed


@given(st.data())
def test_damaged_records_are_value_errors(data: st.DataObject) -> None:
    codec = raw_codec(Transfers)
    value = bytearray(codec.encode(Rows(1, 2, SOURCE, Batch.of(rows(Transfers), Transfers))))
    for _ in range(data.draw(st.integers(1, 5))):
        value[data.draw(st.integers(1, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = codec.decode(bytes(value))
    except ValueError:
        return
    if isinstance(found, Rows):
        assert len(list(found.batch.rows())) == len(found.batch)
        assert np.isfinite(found.batch.payload.throughput).all()
