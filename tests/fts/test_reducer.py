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
from opintel.fts import files
from opintel.fts.link_windows import LINK, MESSAGES, OTHERS, SLICES, LinkWindow, read_window
from opintel.fts.reducer import EXAMPLE, FACETS, FORMS, JOBS, FtsReducer
from opintel.fts.templates.merging import form_id
from opintel.fts.texts.masking import mask
from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer, Transfers
from opintel.rows import Batch, Row

LENGTH = 600
WINDOWS = [Window(n * LENGTH, (n + 1) * LENGTH) for n in range(3)]
ERRORS = ["", "error 451 on /a/b", "error 451 on /c/d", "error 452 on /a/b", "timed out after 3 s"]


def transfer(
    id: int, time: int, link: str, file: int, outcome: int, error: str, rate: float, kind: str
) -> Row[Transfer]:
    if kind == "message":
        return Row("fts1||", time, id, Transfer("message", "fts1", "", "", id, FAILED, error or "x"))
    if kind == "queue":
        payload = Transfer("queue", "fts1", "a", link, 0, OK, submitted=id % 100, active=id % 7)
    elif outcome == OK:
        payload = Transfer(kind, "fts1", "a", link, file, OK, bytes=id % 1000, throughput=rate, vo=f"vo{id % 3}")
    else:
        about = {"vo": f"vo{id % 3}", "activity": f"activity {id % 5}", "job": f"job{id % 4}"}
        payload = Transfer(kind, "fts1", "a", link, file, outcome, error, bytes=5, throughput=9.0, **about)
    return Row(f"fts1|a|{link}", time, id, payload)


rows_strategy = st.lists(
    st.builds(
        transfer,
        id=st.integers(-(2**63), 2**63 - 1),
        time=st.integers(0, 3 * LENGTH - 1),
        link=st.sampled_from("bc"),
        file=st.integers(0, 5),
        outcome=st.sampled_from([OK, FAILED, ABORTED]),
        error=st.sampled_from(ERRORS),
        rate=st.sampled_from([0.0, 1e6, 3.7e7, 1e300, 1e-300]),
        kind=st.sampled_from(["complete", "complete", "state", "state", "queue", "message"]),
    ),
    max_size=40,
    unique_by=lambda row: row.id,
)


def close(rows: list[Row[Transfer]], restart: bool = False) -> list[Record]:
    """The records of the windows in turn; `restart`: a new reducer goes on with the state of the one before."""
    reducer, found = FtsReducer(), list[Record]()
    for window in WINDOWS:
        found += closed(reducer, window, rows, Transfers)
        if restart:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(reducer.state()))
            reducer = FtsReducer()
            reducer.restore(state)
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(reducer.state())) == state
    return found


@settings(deadline=None)
@given(rows_strategy, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_keys_beside_change_nothing(rows: list[Row[Transfer]], random: Any) -> None:
    expected = close(rows)
    random.shuffle(rows)
    assert close(rows) == expected
    assert close(rows, restart=True) == expected
    alone = [r for key in {row.key for row in rows} for r in close([row for row in rows if row.key == key])]
    assert sorted(alone, key=lambda r: (r.window, r.kind, r.key)) == expected
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(expected), type=list[Record]) == [
        Record(r.window, r.kind, r.key, r.scope, msgspec.msgpack.decode(msgspec.msgpack.encode(r.payload)))
        for r in expected
    ]


@settings(deadline=None)
@given(rows_strategy)
def test_a_file_counts_once_by_its_last_outcome(rows: list[Row[Transfer]]) -> None:
    records = {(r.window, r.payload.destination): read_window(r.payload) for r in close(rows)}
    known: dict[tuple[str, int], tuple[int, bool]] = {}
    for window in WINDOWS:
        for link in {row.key.rpartition("|")[2] for row in rows}:
            mine = [r for r in rows if r.key.endswith(f"|{link}") and window.start <= r.time < window.end]
            if mine:
                check(records.pop((window, link)), sorted(mine, key=lambda row: (row.time, row.id)), known)
    assert not records


def check(found: LinkWindow, mine: list[Row[Transfer]], known: dict[tuple[str, int], tuple[int, bool]]) -> None:
    """That a link's window is what its rows, in order of time, and the files that are known say; these go on."""
    by_file: dict[int, list[Row[Transfer]]] = {}
    for row in mine:
        if row.payload.kind != "queue":
            by_file.setdefault(row.payload.file, []).append(row)
    last, arrived, why, attempts = list[Row[Transfer]](), list[Row[Transfer]](), list[Row[Transfer]](), 0
    facets = Counter[tuple[str, str, int]]()
    for file, its in by_file.items():
        completions = [row for row in its if row.payload.kind != "state"]
        outcome = its[-1].payload.outcome
        before, completed = known.get((its[0].key, file), (None, False))
        counts = before != outcome or (completed and bool(completions))
        same = [row for row in its if row.payload.outcome == outcome]
        texts = [row for row in same if row.payload.error]
        why += ([row for row in texts if row in completions] or texts)[-1:] if counts and outcome != OK else []
        arrived += [row for row in same if row in completions][-1:] if outcome == OK else []
        last += its[-1:] if counts else []
        best = ([row for row in its if row in completions] or its)[-1].payload
        facets[best.vo, best.activity, outcome] += counts
        attempts += len(completions) + (counts and not completions) - (not counts and bool(completions))
        if its[-1].id != file:  # else it has no name
            known[its[0].key, file] = (outcome, completed or bool(completions))
    outcomes = Counter(row.payload.outcome for row in last)
    assert (found.ok, found.failed, found.aborted) == tuple(outcomes[o] for o in (OK, FAILED, ABORTED))
    assert found.attempts == attempts
    listed = {
        (vo, activity, o): n
        for vo, activity, *both in found.facets
        for o, n in zip((OK, FAILED), both, strict=True)
        if n
    }
    if len(found.facets) <= FACETS:
        assert listed == {facet: n for facet, n in facets.items() if facet[2] != ABORTED and n}
    assert [sum(facet[at] for facet in found.facets) for at in (2, 3)] == [found.ok, found.failed]
    assert found.bytes == sum(row.payload.bytes for row in arrived)
    rates = [math.log(row.payload.throughput) for row in arrived if 1e-6 <= row.payload.throughput <= 1e13]
    assert found.log_rate == (len(rates), math.fsum(rates), math.fsum(r * r for r in rates))
    forms = Counter(mask(row.payload.error) for row in why)
    assert {text: count for _, text, count, _ in found.forms} == forms
    table = found.by_slice()
    assert table.sum(axis=0) == pytest.approx([found.ok, found.failed, *found.log_rate[:2]])
    for at, pair in enumerate(table[:, :2]):
        times = [row.time % LENGTH for row in last if row.payload.outcome in (OK, FAILED)]
        assert sum(pair) == sum(time * SLICES // LENGTH == at for time in times)
    queue = [row for row in mine if row.payload.kind == "queue"]
    expected = (queue[-1].payload.submitted, queue[-1].payload.active) if queue else (0, 0)
    assert (found.submitted, found.active) == expected
    for id, text, _, example in found.forms:
        alike = [row for row in why if mask(row.payload.error) == text]
        assert id == form_id(text)
        alike.sort(key=lambda row: (row.time, row.id))
        assert example == alike[0].payload.error[:EXAMPLE]
        named = [job for job, _ in found.jobs[[form[0] for form in found.forms].index(id)]]
        assert named == list(dict.fromkeys(row.payload.job for row in alike if row.payload.job))[:JOBS]


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


COMPLETION = transfer(1, LENGTH - 2, "b", 7, OK, "", 1e6, "complete")
FAILURE = transfer(1, LENGTH - 2, "b", 7, FAILED, ERRORS[1], 0.0, "complete")


@pytest.mark.parametrize("time", [LENGTH - 3, LENGTH - 1, LENGTH + 1, 3 * LENGTH - 1])
@pytest.mark.parametrize("completion", [COMPLETION, FAILURE])
def test_a_completion_and_a_state_are_one_file(completion: Row[Transfer], time: int) -> None:
    outcome, error = completion.payload.outcome, completion.payload.error
    state = transfer(2, time, "b", 7, outcome, error, 0.0, "state")
    for rows in (
        [completion, state],
        [
            transfer(1, time, "b", 7, outcome, error, 1e6, "complete"),
            transfer(2, LENGTH - 2, "b", 7, outcome, error, 0.0, "state"),
        ],
    ):
        found = [read_window(record.payload) for record in close(rows, restart=True)]
        assert sum(f.ok + f.failed + f.aborted for f in found) == sum(f.attempts for f in found) == 1
        assert sum(f.log_rate[0] for f in found) == (outcome == OK)
        assert sum(count for f in found for _, _, count, _ in f.forms) == (outcome != OK)


def test_a_state_may_say_otherwise_than_the_completion_before() -> None:
    archived = transfer(2, LENGTH + 2, "b", 7, FAILED, "ARCHIVING [110] no answer", 0.0, "state")
    first, second = (read_window(record.payload) for record in close([COMPLETION, archived]))
    assert (first.ok, first.failed, second.ok, second.failed) == (1, 0, 0, 1)
    assert one([COMPLETION, transfer(2, LENGTH - 1, "b", 7, FAILED, "late", 0.0, "state")]).failed == 1


def test_what_is_known_of_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FILES", 3)
    monkeypatch.setattr(files, "REMEMBERED", 2 * LENGTH)
    reducer = FtsReducer()
    rows = [transfer(200 + n, n, "b", n, OK, "", 1e6, "complete") for n in range(10, 20)]
    states = [transfer(100 + n, LENGTH + n, "b", n, OK, "", 0.0, "state") for n in range(10, 20)]
    closed(reducer, WINDOWS[0], rows, Transfers)
    assert len(Batch.from_plain(reducer.state(), files.KnownFiles)) == 3
    (record,) = closed(reducer, WINDOWS[1], states, Transfers)
    assert record.payload.ok == 7  # the latest three are known
    closed(reducer, WINDOWS[2], [transfer(2, 2 * LENGTH + 1, "c", 1, OK, "", 1e6, "complete")], Transfers)
    reducer.drop("fts1|a|c")
    assert len(Batch.from_plain(reducer.state(), files.KnownFiles)) == 3
    (record,) = closed(
        reducer, Window(4 * LENGTH, 5 * LENGTH), [transfer(2, 4 * LENGTH, "c", 1, OK, "", 1e6, "state")], Transfers
    )
    assert len(Batch.from_plain(reducer.state(), files.KnownFiles)) == 1  # all others are too long ago


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


def test_who_moves_files_is_bounded_and_those_who_fail_come_first() -> None:
    def file(n: int, activity: int, outcome: int) -> Row[Transfer]:
        about = Transfer("complete", "fts1", "a", "b", n, outcome, vo="cms", activity=f"activity {activity}")
        return Row("fts1|a|b", n, n, about)

    rows = [file(n, n % 20, OK) for n in range(60)] + [file(100, 19, FAILED), file(101, 18, FAILED)]
    found = one([*rows, file(102, 18, FAILED)]).facets
    assert found[:3] == [("cms", "activity 18", 3, 2), ("cms", "activity 19", 3, 1), ("cms", "activity 0", 3, 0)]
    assert len(found) == FACETS + 1
    assert found[-1] == (OTHERS, OTHERS, 3 * (20 - FACETS), 0)


def test_jobs_have_the_link_to_their_log() -> None:
    def failed(n: int, job: str) -> Row[Transfer]:
        link = f"https://fts.example:8449/{job}" if job != "j2" else ""
        about = Transfer("complete", "fts1", "a", "b", n, FAILED, "no space", job=job, log_link=link)
        return Row("fts1|a|b", n, n, about)

    found = one([failed(n, job) for n, job in enumerate(["j3", "j2", "", "j3", "j1", "j4"])])
    assert found.jobs == [
        [("j3", "https://fts.example:8449/j3"), ("j2", ""), ("j1", "https://fts.example:8449/j1")],
    ]


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
