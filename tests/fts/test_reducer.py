"""Stage 1 against a slow model of what it promises, for any order, split and restart."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import closed

from opintel.detector import Record
from opintel.finding import Window
from opintel.fts.link_windows import LINK, MESSAGES, SLICES, LinkWindow, read_window
from opintel.fts.masking import form_id, mask
from opintel.fts.reducer import EXAMPLE, FORMS, FtsReducer
from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer, Transfers
from opintel.rows import Row

LENGTH = 600
WINDOWS = [Window(0, LENGTH), Window(LENGTH, 2 * LENGTH)]
ERRORS = ["", "error 451 on /a/b", "error 451 on /c/d", "error 452 on /a/b", "timed out after 3 s"]


def transfer(
    id: int, time: int, link: str, file: int, outcome: int, error: str, rate: float, kind: str
) -> Row[Transfer]:
    if kind == "message":
        return Row("fts1||", time, id, Transfer("message", "fts1", "", "", id, FAILED, error or "x"))
    if kind == "queue":
        payload = Transfer("queue", "fts1", "a", link, 0, OK, submitted=id % 100, active=id % 7)
    elif outcome == OK:
        payload = Transfer(kind, "fts1", "a", link, file, OK, bytes=id % 1000, throughput=rate)
    else:
        payload = Transfer(kind, "fts1", "a", link, file, outcome, error, bytes=5, throughput=9.0)
    return Row(f"fts1|a|{link}", time, id, payload)


rows_strategy = st.lists(
    st.builds(
        transfer,
        id=st.integers(-(2**63), 2**63 - 1),
        time=st.integers(0, 2 * LENGTH - 1),
        link=st.sampled_from("bc"),
        file=st.integers(0, 5),
        outcome=st.sampled_from([OK, FAILED, ABORTED]),
        error=st.sampled_from(ERRORS),
        rate=st.sampled_from([0.0, 1e6, 3.7e7, 1e300, 1e-300]),
        kind=st.sampled_from(["complete", "complete", "state", "queue", "message"]),
    ),
    max_size=40,
    unique_by=lambda row: row.id,
)


def close(rows: list[Row[Transfer]]) -> list[Record]:
    return [record for window in WINDOWS for record in closed(FtsReducer(), window, rows, Transfers)]


@settings(deadline=None)
@given(rows_strategy, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_keys_beside_change_nothing(rows: list[Row[Transfer]], random: Any) -> None:
    expected = close(rows)
    random.shuffle(rows)
    assert close(rows) == expected
    alone = [r for key in {row.key for row in rows} for r in close([row for row in rows if row.key == key])]
    assert sorted(alone, key=lambda r: (r.window, r.kind, r.key)) == expected
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(expected), type=list[Record]) == [
        Record(r.window, r.kind, r.key, r.scope, msgspec.msgpack.decode(msgspec.msgpack.encode(r.payload)))
        for r in expected
    ]


@settings(deadline=None)
@given(rows_strategy)
def test_a_file_counts_once_by_its_last_outcome(rows: list[Row[Transfer]]) -> None:
    for record in close(rows):
        found = read_window(record.payload)
        mine = [
            row
            for row in rows
            if record.window.start <= row.time < record.window.end
            and row.key == f"fts1|{found.source}|{found.destination}"
        ]
        final = [row for row in mine if row.payload.kind != "queue"]
        last = {row.payload.file: row for row in sorted(final, key=lambda row: (row.time, row.id))}
        outcomes = Counter(row.payload.outcome for row in last.values())
        good = [row.payload for row in last.values() if row.payload.outcome == OK]
        rates = [math.log(p.throughput) for p in good if 1e-6 <= p.throughput <= 1e13]
        forms = Counter(mask(row.payload.error) for row in last.values() if row.payload.error)
        queue = [row for row in sorted(mine, key=lambda row: (row.time, row.id)) if row.payload.kind == "queue"]
        assert (found.ok, found.failed, found.aborted) == tuple(outcomes[o] for o in (OK, FAILED, ABORTED))
        assert found.attempts == len(final)
        assert found.bytes == sum(p.bytes for p in good)
        assert found.log_rate == (len(rates), math.fsum(rates), math.fsum(r * r for r in rates))
        assert {text: count for _, text, count, _ in found.forms} == forms
        table = found.by_slice()
        assert table.sum(axis=0) == pytest.approx([found.ok, found.failed, *found.log_rate[:2]])
        for at, pair in enumerate(table[:, :2]):
            times = [row.time % LENGTH for row in last.values() if row.payload.outcome in (OK, FAILED)]
            assert sum(pair) == sum(time * SLICES // LENGTH == at for time in times)
        expected = (queue[-1].payload.submitted, queue[-1].payload.active) if queue else (0, 0)
        assert (found.submitted, found.active) == expected
        for id, text, _, example in found.forms:
            same = [row for row in last.values() if row.payload.error and mask(row.payload.error) == text]
            assert id == form_id(text)
            assert example == min(same, key=lambda row: (row.time, row.id)).payload.error[:EXAMPLE]


def one(rows: list[Row[Transfer]]) -> LinkWindow:
    (record,) = close(rows)
    return read_window(record.payload)


def test_a_retry_that_succeeds_is_no_failure() -> None:
    found = one(
        [
            transfer(1, 10, "b", 7, FAILED, ERRORS[1], 0.0, "complete"),
            transfer(2, 20, "b", 7, OK, "", 1e6, "complete"),
            transfer(3, 30, "b", 8, ABORTED, ERRORS[1], 0.0, "state"),
        ]
    )
    assert (found.ok, found.failed, found.aborted, found.attempts) == (1, 0, 1, 3)
    assert [count for _, _, count, _ in found.forms] == [1]


def test_equal_times_go_by_row_id() -> None:
    late = transfer(2, 10, "b", 7, OK, "", 1e6, "complete")
    early = transfer(1, 10, "b", 7, FAILED, ERRORS[1], 0.0, "complete")
    assert one([late, early]) == one([early, late])
    assert one([late, early]).ok == 1


def test_a_link_with_a_queue_only_has_a_record() -> None:
    found = one([transfer(105, 10, "b", 0, OK, "", 0.0, "queue")])
    assert (found.ok, found.attempts, found.submitted, found.active) == (0, 0, 5, 0)


def test_forms_above_the_cap_are_counted() -> None:
    names = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(FORMS + 5)]
    rows = [transfer(n, n, "b", n, FAILED, f"no {name}", 0.0, "complete") for n, name in enumerate(names)]
    rows.append(transfer(999, 99, "b", 999, FAILED, f"no {names[-1]}", 0.0, "complete"))
    found = one(rows)
    assert len(found.forms) == FORMS
    assert found.forms[0][1:3] == (f"no {names[-1]}", 2)
    assert found.other_forms == 5
    assert [form[0] for form in found.forms[1:]] == sorted(form[0] for form in found.forms[1:])


def test_kinds_keys_and_scopes_of_records() -> None:
    rows = [
        transfer(1, 10, "c", 1, OK, "", 1.0, "complete"),
        transfer(2, 10, "b", 1, OK, "", 1.0, "complete"),
        transfer(3, 10, "b", 1, FAILED, "bare", 0.0, "message"),
    ]
    records = close(rows)
    assert [(r.kind, r.key, r.scope) for r in records] == [
        (LINK, "a|b", "fts1"),
        (LINK, "a|c", "fts1"),
        (MESSAGES, "", "fts1"),
    ]
