"""The contract of DESIGN: same log, same findings, however it was cut, stopped, repeated or spread over partitions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opintel.detector import ANY_LABEL
from opintel.finding import NS
from opintel.rows import Batch, Row
from opintel.streams.controls import NOT_PLAIN
from opintel.streams.ingest import Ingester
from opintel.streams.log import Entry
from opintel.streams.records import Codec, Control, Rows, SourcePosition, raw_codec
from opintel.streams.sequencer import Sequencer

from .archived import archive, backfilled, behind_ingest
from .cases import CASES, FAILING, TOY_CASE, TOY_STREAM
from .harness import LOGS, Case, MakeLog, Outcome, drain, feed, outcome, play, workers
from .toy import TOY, ToyWire, Value

cases = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
TOYS = ("toy", "toy-failing", "toy-columns")
"""Cheap enough for further splits and restarts, which are the stages' business more than a domain's."""
AT_INGEST = ("fts-batched",)
"""Other messages of a story that is a case already: what the stages get of them is cut by ingest, not by the log."""
ON_KAFKA = ("toy-failing", "histograms", "samples")
"""What is played over Kafka too: rows, arrays on natural windows, arrays with context. Of the
domains DQM is restarted only, and FTS is killed in the tests of faults."""


def plays(
    value: str, sqlite: Sequence[int], toys: Sequence[int], kafka: Sequence[int], on_kafka: Sequence[str] = ON_KAFKA
) -> pytest.MarkDecorator:
    """Cases over SQLite with some values, the toys with more, a few over Kafka."""
    chosen = [
        pytest.param(form, case, n, id=f"{form}-{n}-{case.name}")
        for case in CASES
        if case.name not in AT_INGEST
        for form, values, names in (("sqlite", sqlite, ()), ("sqlite", toys, TOYS), ("kafka", kafka, on_kafka))
        if not names or case.name in names
        for n in values
    ]
    return pytest.mark.parametrize(("make_log", "case", value), chosen, indirect=["make_log"])


in_each_log = pytest.mark.parametrize(
    ("make_log", "case"),
    [
        pytest.param(form, c, id=f"{form}-{c.name}")
        for c in CASES
        for form in LOGS
        if form != "kafka" or c.name in ON_KAFKA
    ],
    indirect=["make_log"],
)
_reference: dict[str, Outcome] = {}


@pytest.fixture
def reference(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The undisturbed run of a case, made once."""
    if case.name not in _reference:
        _reference[case.name] = play(case, tmp_path_factory.mktemp("reference"))
        assert len(_reference[case.name].findings) > 10
    return _reference[case.name]


@plays("batch", sqlite=[1], toys=[5], kafka=[40])
def test_any_split_into_batches(case: Case, reference: Outcome, make_log: MakeLog, batch: int, tmp_path: Path) -> None:
    assert play(case, tmp_path, make_log=make_log, batch=batch) == reference


@plays("seed", sqlite=[0], toys=[1, 2, 3], kafka=[4], on_kafka=[*ON_KAFKA, "dqm"])
def test_restore_anywhere(case: Case, reference: Outcome, make_log: MakeLog, seed: int, tmp_path: Path) -> None:
    assert play(case, tmp_path, make_log=make_log, restarts=random.Random(seed)) == reference


@cases
def test_findings_are_of_the_kinds_and_labels_that_their_domain_declares(case: Case, reference: Outcome) -> None:
    for finding in reference.findings.values() if case.pipeline.kinds else ():
        declared = case.pipeline.kinds[finding["kind"]]
        assert ANY_LABEL in declared or finding["subject"].keys() <= set(declared), finding
        explained = finding["evidence"] or finding["severity"] == "info" or case.name in ("histograms", "samples")
        assert explained, finding


@cases
@pytest.mark.parametrize("partitions", [1, 7])
def test_number_of_partitions(case: Case, reference: Outcome, partitions: int, tmp_path: Path) -> None:
    other = replace(case, stream=case.stream._replace(partitions=partitions))
    assert play(other, tmp_path) == reference


@in_each_log
def test_replay_of_the_log_and_backfill_of_its_archive_equal_live(
    case: Case, reference: Outcome, make_log: MakeLog, tmp_path: Path
) -> None:
    bus = make_log(tmp_path / "live")
    for _ in feed(bus, case):
        pass
    drain(workers(bus, case, tmp_path / "a", batch=7), random.Random(3))
    live = outcome(bus, case)
    copy = make_log(tmp_path / "replay")
    copy.create(case.stream.topic, case.stream.partitions)
    for p in range(case.stream.partitions):
        copy.append([Entry(case.stream.topic, p, v) for _, v, _ in bus.read(case.stream.topic, p, 0, 10**6)])
    drain(workers(copy, case, tmp_path / "b"))
    again = outcome(copy, case)
    assert again.findings == live.findings
    assert again.judged == live.judged
    assert again.findings == reference.findings
    archive(bus, tmp_path / "a", case)
    assert backfilled(case, tmp_path / "a") == behind_ingest(bus, case, live)


@in_each_log
def test_records_sent_again_change_nothing(case: Case, reference: Outcome, make_log: MakeLog, tmp_path: Path) -> None:
    """A producer that crashed may append what it had appended: raw rows at any later time, derived records likewise."""
    bus = make_log(tmp_path)
    team = workers(bus, case, tmp_path)
    rng = random.Random(5)
    for _ in feed(bus, case):
        for topic in (case.stream.derived,):
            held = bus.read(topic, 0, max(0, bus.end(topic, 0) - 40), 40)
            again = [value for _, value, _ in held if rng.random() < 0.3]
            bus.append([Entry(topic, 0, value) for value in again])
        for worker in team:
            worker.step()
    drain(team)
    assert outcome(bus, case).findings == reference.findings


def test_rows_sent_again_are_duplicates(make_log: MakeLog, tmp_path: Path) -> None:
    case = TOY_CASE
    bus = make_log(tmp_path)
    team = workers(bus, case, tmp_path)
    topic = case.stream.topic
    for _ in feed(bus, case):
        for p in range(case.stream.partitions):
            last = bus.read(topic, p, max(0, bus.end(topic, p) - 2), 2)
            bus.append([Entry(topic, p, value) for _, value, _ in last])
        drain(team)
    assert sum(w.stage.duplicates for w in team[:-1]) > 1000
    assert outcome(bus, case).findings == play(case, tmp_path / "plain").findings


def test_lateness_decides_what_is_late(make_log: MakeLog, tmp_path: Path) -> None:
    """A row later than the lateness allows goes aside; one that is late by less counts. Nothing else goes aside as
    late.
    """
    start, stream = 1_700_000_040 * NS, TOY_STREAM
    assert start % stream.window == 0
    window_end = start + stream.window
    clock = window_end + stream.lateness

    def lines(second_arrives: int) -> list[tuple[int, bytes]]:
        first = [(start + i * NS, f"a.k{i} {start + i * NS} 1".encode()) for i in range(5)]
        trigger = [(clock - 1, f"a.t {clock - 1} 1".encode()), (clock, f"a.u {clock} 1".encode())]
        row = (second_arrives, f"a.k9 {window_end - 1} 5".encode())
        return sorted([*first, *trigger, row, (clock + 2 * NS, f"a.v {clock + NS} 1".encode())])

    def run(name: str, arrives: int) -> Outcome:
        case = Case("late", stream, TOY, ToyWire(), lambda: lines(arrives))
        bus = make_log(tmp_path / name)
        team = workers(bus, case, tmp_path / name)
        for _ in feed(bus, case, live=False, chunk=1):
            drain(team)
        return outcome(bus, case)

    in_time, late = run("in time", clock - 1), run("late", clock + NS)
    assert not in_time.asides
    assert late.asides == {("late", "its window was closed"): 1}
    sums = [next(f["effect"]["value"] for f in o.findings.values() if f["kind"] == "total") for o in (in_time, late)]
    assert sums == [10.0, 5.0]


def test_idle_partitions_wait_for_a_tick(make_log: MakeLog, tmp_path: Path) -> None:
    """All keys in one partition: without ticks nothing is judged, with ticks everything is, as in a single
    partition.
    """
    rows = [(TOY_STREAM.window * 10**6 + i * NS, i) for i in range(300)]
    case = Case("idle", TOY_STREAM, TOY, ToyWire(), lambda: [(t, f"a.k {t} {i}".encode()) for t, i in rows])
    bus = make_log(tmp_path / "files")
    team = workers(bus, case, tmp_path / "files")
    turns = list(range(6))
    for _, _ in zip(turns, feed(bus, case, live=False), strict=False):
        drain(team)
    assert not outcome(bus, case).judged
    ticking = play(case, tmp_path / "ticks")
    assert len(ticking.judged) >= 4
    single = replace(case, stream=TOY_STREAM._replace(partitions=1))
    assert play(single, tmp_path / "single") == ticking


def test_the_end_of_a_file_closes_windows_and_marks_the_last_incomplete(tmp_path: Path) -> None:
    result = play(TOY_CASE, tmp_path, live=False)
    by_end = sorted(result.judged.items(), key=lambda item: item[0][1])
    whole = [seen["complete"] for _, seen in by_end]
    assert whole.count(False) == 2  # the last window of each of the two scopes
    assert not any(whole[-2:])


def test_a_failing_key_is_quarantined_and_the_others_go_on(tmp_path: Path) -> None:
    failing = FAILING
    result = play(failing, tmp_path)
    quarantined = {reason: n for (kind, reason), n in result.asides.items() if kind == "quarantined"}
    assert sorted(quarantined) == [
        "ArithmeticError: its neighbour",
        "ArithmeticError: the number of the beast",
        "its key is quarantined",
    ]
    totals = [f["summary"] for f in result.findings.values() if f["kind"] == "total"]
    told = sum(int(summary.split("held ")[1].split(",")[0]) for summary in totals)
    assert told > quarantined["its key is quarantined"] > 5
    harmless = [m for m in failing.messages() if b" 66" not in m[1][-4:]]
    healthy = play(replace(failing, messages=lambda: harmless), tmp_path / "h")
    other = [s for s in result.judged if s[0] == "s0"]
    assert set(other) == {s for s in healthy.judged if s[0] == "s0"}


def test_a_failing_judge_is_quarantined_for_its_scope_only(tmp_path: Path) -> None:
    def messages() -> list[tuple[int, bytes]]:
        rows = list(TOY_CASE.messages())
        middle = rows[700][0]
        return sorted([*rows, (middle, f"s0.cursed {middle} 1".encode())])

    case = replace(TOY_CASE, messages=messages)
    result = play(case, tmp_path)
    found = [f for f in result.findings.values() if f["kind"] == "total"]
    totals = {s: [f for f in found if f["subject"]["scope"] == s] for s in ("s0", "s1")}
    assert 3 < len(totals["s0"]) < len(totals["s1"]) - 3
    assert any(f["subject"].get("key") == "s0.cursed" for f in result.findings.values())  # the other judge saw it
    [reason] = [reason for kind, reason in result.asides if kind == "quarantined"]
    assert reason.startswith("toy.total on s0, window end ")


def test_a_poisoned_record_is_a_dead_letter_with_its_position(make_log: MakeLog, tmp_path: Path) -> None:
    case = TOY_CASE
    bus = make_log(tmp_path)
    team = workers(bus, case, tmp_path)
    poison = [b"", b"\x01", b"\x02abc", b"\x01\x93\xa4rows", b"\x01" + b"\x91" * 5000, b"\xff" * 100]
    torn = Rows(1, 2, SourcePosition("x", 0, None, None, 0, 0, 0, 0), Batch.of([Row("a.k", 5, 6, Value(7))], Value))
    poison.append(raw_codec(Value).encode(torn)[:-3])
    for n, _ in enumerate(feed(bus, case)):
        if n < len(poison):
            bus.append([Entry(case.stream.topic, 1, poison[n]), Entry(case.stream.derived, 0, poison[n])])
        for worker in team:
            worker.step()
    drain(team)
    dead = [a for a in bus.asides(kind="dead") if a.topic != "toy.ingest"]
    assert len(dead) == 2 * len(poison)
    assert len({a.where for a in dead}) == len(dead)
    assert all(a.reason for a in dead)
    assert outcome(bus, case).findings == play(case, tmp_path / "plain").findings


@pytest.mark.parametrize("depth", [60, 70, 900, 940])
def test_a_deep_control_is_taken_or_a_dead_letter_the_same_everywhere(depth: int, tmp_path: Path) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    bus = LOGS["sqlite"](tmp_path)
    topic = bus.create(f"{TOY_STREAM.name}.controls", 1).name
    bus.append([Entry(topic, 0, Codec(Control).encode(Control("id", "x", "y", 1, 0, value)))])
    ingester = Ingester(bus, TOY_STREAM, TOY, ToyWire(), "test", live=True)
    sequencer = Sequencer(bus, ingester)
    while sequencer.step():
        pass
    drain(workers(bus, TOY_CASE, tmp_path))
    dead = [a.reason for a in bus.asides(kind="dead")]
    assert dead == ([] if depth < 64 else [NOT_PLAIN])
    bus.close()


def test_a_full_shard_refuses_new_keys_only(tmp_path: Path) -> None:
    few = replace(TOY_CASE, stream=TOY_STREAM._replace(shards=1, partitions=1, max_keys=20))
    result = play(few, tmp_path)
    assert any(kind == "refused" for kind, _ in result.asides)
    known = {f["subject"]["key"] for f in result.findings.values() if f["kind"] == "seen"}
    assert len(known) == 20


def test_an_idle_key_is_forgotten_and_a_quarantine_ends(tmp_path: Path) -> None:
    stream = TOY_STREAM._replace(ttl=180 * NS)
    failing = replace(FAILING, stream=stream)
    result = play(failing, tmp_path)
    seven = replace(failing, stream=stream._replace(partitions=7))
    assert play(seven, tmp_path / "seven") == result
    held = [f for f in result.findings.values() if f["kind"] == "total" and "held 0" not in f["summary"]]
    assert 0 < len(held) <= 8


def test_controls_hold_from_a_window_that_has_no_row(make_log: MakeLog, tmp_path: Path) -> None:
    """A control changes windows from its own on, in all partitions at once, once, the highest version winning."""
    from opintel.streams.ingest import Ingester

    case = TOY_CASE

    def run(folder: Path, partitions: int, batch: int) -> Outcome:
        this = replace(case, stream=case.stream._replace(partitions=partitions))
        bus = make_log(folder)
        team = workers(bus, this, folder, batch=batch)
        for n, _ in enumerate(feed(bus, this)):
            if n in (40, 41, 60):  # 41 repeats 40
                version = 1 + (n > 50)
                sender = Ingester(bus, this.stream, this.pipeline, this.wire, "test", live=True)
                scale = Control(f"c{version}", "scale", "all", version, 0, 10 * version, sender.seen)
                offset = {"toy.total": {"offset": 1}}
                settings = Control(f"s{version}", "settings", "toy", version, 0, offset, sender.seen)
                sender.control(scale)
                sender.control(settings)
            if batch == 1:
                drain(team)
        drain(team)
        return outcome(bus, this)

    first, second = run(tmp_path / "a", 4, 1), run(tmp_path / "b", 7, 64)
    assert first.findings == second.findings
    plain = play(case, tmp_path / "plain")
    value = lambda o: [  # noqa: E731
        f["effect"]["value"]
        for f in sorted(o.findings.values(), key=lambda f: f["window"]["end"])
        if f["kind"] == "total" and f["subject"]["scope"] == "s0"
    ]
    ratios = [
        (changed - (changed != old)) / old for changed, old in zip(value(first), value(plain), strict=True) if old
    ]
    assert sorted(set(ratios)) == [1.0, 10.0, 20.0]
    assert ratios == sorted(ratios)


def test_records_out_of_retention_are_a_visible_gap(make_log: MakeLog, tmp_path: Path) -> None:
    import time

    case = TOY_CASE
    bus = make_log(tmp_path)
    for n, _ in enumerate(feed(bus, case)):
        if n == 30:
            drain(workers(bus, case, tmp_path))
        if n == 60:
            assert bus.trim(case.stream.topic, time.time_ns()) > 0
    drain(workers(bus, case, tmp_path))
    gaps = bus.asides(kind="gap")
    assert len(gaps) == case.stream.partitions
    assert all("fell out of retention" in g.reason for g in gaps)
    assert outcome(bus, case).findings


def test_a_long_gap_is_judged_in_bounded_pieces(make_log: MakeLog, tmp_path: Path) -> None:
    """Rows a week apart: a step judges at most so many windows, and cutting it changes nothing."""
    stream = TOY_STREAM._replace(quiet=3600 * NS)
    week = 7 * 86_400 * NS
    case = Case(
        "gap", stream, TOY, ToyWire(), lambda: [(n * week, f"a.k {n * week + NS} {n}".encode()) for n in range(1, 20)]
    )

    def run(folder: Path) -> tuple[Outcome, int]:
        bus = make_log(folder)
        for _ in feed(bus, case, live=False):
            pass
        team = workers(bus, case, folder)
        drain(team[:-1])
        longest, before = 0, 0
        while team[-1].step():
            end = bus.end("opintel.findings", 0)
            longest, before = max(longest, end - before), end
        return outcome(bus, case), longest

    whole, longest = run(tmp_path / "a")
    assert len(whole.judged) > 1000
    assert longest <= 100 * 3  # a window has a total, perhaps a first sight, and its judged
    assert play(case, tmp_path / "b", live=False, batch=1) == whole


def test_two_streams_that_see_one_scope_have_findings_of_their_own(tmp_path: Path) -> None:
    one = play(TOY_CASE, tmp_path / "one")
    two = play(replace(TOY_CASE, stream=TOY_STREAM._replace(name="toy2", topic="toy2.raw")), tmp_path / "two")
    assert len(one.findings) == len(two.findings) > 10
    assert not one.findings.keys() & two.findings.keys()


def test_columns_say_what_rows_say(tmp_path: Path) -> None:
    by_column = next(case for case in CASES if case.name == "toy-columns")
    assert play(by_column, tmp_path / "columns") == play(FAILING, tmp_path / "rows")
