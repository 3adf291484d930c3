"""The simulator: reproducible bytes, real-looking traffic, and faults that show where the truth says they are."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339
from opintel.fts.simulated import wording
from opintel.fts.simulated.simulate import DEFAULT_START, FAULT_KINDS, Fault, FtsSimulator
from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer
from opintel.fts.wire import FtsWire
from opintel.rows import Row
from opintel.simulation import write

MINUTE = 60 * NS
SEEDS = range(8)
CAUSE_WORDS = {
    "endpoint-down": ("refused", "timed out", "expired", "no answer"),
    "link-cut": ("unreachable", "timed out", "expired"),
    "credentials-expired": ("certificate",),
    "disk-full": ("space", "Space", "507"),
    "wrong-checksums": ("checksum",),
    "slow-link": ("timed out", "cancelled", "expired", "stalled"),
}


@pytest.fixture(scope="module")
def story() -> tuple[FtsSimulator, list[tuple[int, bytes]], list[Row[Transfer]]]:
    """Three hours with all faults in the last two: the simulator, its messages, their rows (copies dropped)."""
    simulator = FtsSimulator(seed=11, hours=3, quiet_hours=1)
    messages = list(simulator.messages())
    wire = FtsWire()
    rows: dict[int, Row[Transfer]] = {}
    found = wire.decode([Message(body) for _, body in messages])
    assert not found.rejects
    for row in found.rows.rows():
        rows[row.id] = row
    return simulator, messages, list(rows.values())


def concerned(fault: Fault, transfer: Transfer) -> bool:
    subject = fault.subject
    if "endpoint" not in subject:
        return (transfer.source, transfer.destination) == (subject["source"], subject["destination"])
    if fault.kind in ("disk-full", "wrong-checksums"):
        return transfer.destination == subject["endpoint"]
    return subject["endpoint"] in (transfer.source, transfer.destination)


def test_same_seed_same_bytes_and_another_seed_another_story() -> None:
    one, same, other = (FtsSimulator(seed=seed, hours=0.5) for seed in (5, 5, 6))
    messages = list(one.messages())
    assert messages == list(one.messages()) == list(same.messages())
    assert one.truth == same.truth
    assert {body for _, body in messages}.isdisjoint(body for _, body in other.messages())
    assert {str(f.subject) for f in one.truth} != {str(f.subject) for f in other.truth}


def test_orders_and_times_differ_between_seeds() -> None:
    truths = [FtsSimulator(seed=seed, hours=6).truth for seed in SEEDS]
    assert len({tuple(f.kind for f in truth) for truth in truths}) > 4
    assert len({f.start for truth in truths for f in truth}) == len(SEEDS) * len(FAULT_KINDS)


@pytest.mark.parametrize("hours", [1.0, 6.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_faults_can_be_noticed(seed: int, hours: float) -> None:
    quiet = 0.5
    simulator = FtsSimulator(seed=seed, hours=hours + quiet, quiet_hours=quiet)
    truth = simulator.truth
    begin, span = DEFAULT_START + int(quiet * 60) * MINUTE, int(hours * 60) * MINUTE
    assert sorted(f.kind for f in truth) == sorted(FAULT_KINDS)
    assert [f.start for f in truth] == sorted(f.start for f in truth)
    assert begin < truth[0].start < begin + span / 10
    need = min(40 * MINUTE, span // 4)
    for fault in truth:
        assert fault.end <= begin + span
        assert fault.end - fault.start >= max(span // 8, min(20 * MINUTE, need))
        assert begin + span - fault.start >= need - NS
        assert fault.start % MINUTE
    hosts = [host for f in truth for host in f.subject.values()]
    assert len(set(hosts)) == len(hosts)
    share = {
        (link.source.host, link.destination.host): part
        for link, part in zip(simulator.grid.links, simulator.grid.share.tolist(), strict=True)
    }
    for fault in truth:
        if "endpoint" in fault.subject:
            assert sum(part for pair, part in share.items() if fault.subject["endpoint"] in pair) > 0.01
        else:
            assert share[fault.subject["source"], fault.subject["destination"]] * 20_000 / 6 > 12


def test_a_second_fts_sends_states_goes_dark_and_queues_time_out() -> None:
    simulator = FtsSimulator(seed=3, hours=2.0, rate=6000.0, faults=("queue-timeouts", "instance-dark"))
    truth = {f.kind: f for f in simulator.truth}
    found = FtsWire().decode([Message(body) for _, body in simulator.messages()])
    assert not found.rejects
    rows = list({row.id: row for row in found.rows.rows()}.values())
    second = truth["instance-dark"].subject["scope"]
    theirs = [row for row in rows if row.payload.scope == second]
    assert 0.06 < len(theirs) / len(rows) < 0.3
    dark, queue = truth["instance-dark"], truth["queue-timeouts"]
    assert not any(dark.start <= row.time < dark.end for row in theirs)
    last = {row.payload.file: row for row in sorted(theirs, key=lambda row: row.time) if row.payload.kind == "complete"}
    states = {row.payload.file: row for row in theirs if row.payload.kind == "state"}
    both = last.keys() & states.keys()
    assert len(both) > 0.95 * len(last)  # what is tried again, or goes dark, has none
    assert all(0 < states[file].time - last[file].time < 4 * NS for file in both)
    assert all(states[file].payload.outcome == last[file].payload.outcome for file in both)
    assert all(states[file].payload.error == last[file].payload.error for file in both)
    waited = [
        row.payload.outcome
        for row in rows
        if row.payload.destination == queue.subject["endpoint"] and queue.start <= row.time < queue.end
        if row.payload.kind != "queue"
    ]
    assert waited.count(FAILED) > 0.9 * len(waited) > 10


def test_the_world() -> None:
    for seed in SEEDS:
        world = FtsSimulator(seed=seed, hours=1).grid
        assert len({s.site for s in world.storages}) >= 60
        assert len({s.host for s in world.storages}) == len(world.storages)
        assert world.share.sum() == pytest.approx(1)
        assert min(*world.traffic("source").values(), *world.traffic("destination").values()) > 0
        assert 0.01 < float((world.share * world.failure).sum()) < 0.05
        assert np.median(world.failure) < float(world.failure.mean()) / 1.5
    assert {s.software for s in world.storages} == {"dcache", "eos", "storm", "xrootd", "echo"}


def test_messages_come_in_order_shortly_after_the_event(story: Any) -> None:
    _, messages, _ = story
    arrivals = [arrival for arrival, _ in messages]
    assert arrivals == sorted(arrivals)
    delays = [
        arrival - 1_000_000 * json.loads(body)["metadata"]["event_timestamp"] for arrival, body in messages[:5000]
    ]
    assert min(delays) > 0
    assert np.quantile(delays, 0.9) < 20 * NS
    assert max(d for d in delays if d < 121 * NS) > 20 * NS
    times = [json.loads(body)["metadata"]["event_timestamp"] for _, body in messages[:5000]]
    assert times != sorted(times)


def test_amounts(story: Any) -> None:
    """Shares are of some 60,000 messages: bounds are more than five standard deviations from what is drawn."""
    _, messages, rows = story
    assert len(messages) / 3 == pytest.approx(20_000, rel=0.15)
    kinds = Counter(json.loads(body)["metadata"]["type"] for _, body in messages)
    assert kinds["state"] / len(messages) == pytest.approx(0.03, abs=0.005)
    assert kinds["queue_state"] / len(messages) == pytest.approx(0.02, abs=0.005)
    copies = len(messages) - len({json.loads(body)["metadata"]["_id"] for _, body in messages})
    assert copies / len(messages) == pytest.approx(0.003, abs=0.0015)
    outcomes = Counter((r.payload.kind, r.payload.outcome) for r in rows)
    assert min(outcomes["complete", ABORTED], outcomes["state", FAILED], outcomes["state", ABORTED]) > 50
    links = {r.key for r in rows if r.time < DEFAULT_START + 60 * MINUTE}
    assert 700 < len(links) <= 1500


def test_a_day_has_twenty_thousand_an_hour() -> None:
    count = sum(1 for _ in FtsSimulator(seed=3, hours=24, faults=(), rate=2000).messages())
    assert count / 24 == pytest.approx(2000, rel=0.08)


def test_a_failed_file_is_tried_again(story: Any) -> None:
    _, _, rows = story
    tries: dict[int, list[Row[Transfer]]] = {}
    for row in rows:
        if row.payload.kind == "complete":
            tries.setdefault(row.payload.file, []).append(row)
    assert max(map(len, tries.values())) == 4
    for attempts in tries.values():
        attempts.sort(key=lambda row: row.time)
        assert all(row.payload.outcome == FAILED for row in attempts[:-1])
        assert all(b.time - a.time > 2 * MINUTE for a, b in pairwise(attempts))


def test_quiet_hours_are_quiet_and_faults_show(story: Any) -> None:
    simulator, _, rows = story
    rows = [r for r in rows if r.payload.kind == "complete"]
    for fault in simulator.truth:
        touched = [r for r in rows if concerned(fault, r.payload)]
        before = [r for r in touched if r.time < DEFAULT_START + 60 * MINUTE]
        during = [r for r in touched if fault.start <= r.time < fault.end]
        assert failed(before) < 0.2
        assert len(during) > 20
        assert failed(during) > failed(before) + 0.1
        if fault.kind in ("endpoint-down", "link-cut"):
            assert failed(during) == 1
        errors = [r.payload.error for r in during if r.payload.outcome == FAILED]
        named = sum(any(word in error for word in CAUSE_WORDS[fault.kind]) for error in errors)
        assert named > 0.6 * len(errors), "the rest are failures of every day"


def test_a_cut_link_fails_one_way_and_a_slow_one_is_slow(story: Any) -> None:
    simulator, _, rows = story
    rows = [r for r in rows if r.payload.kind == "complete"]
    for fault in simulator.truth:
        if fault.kind == "link-cut":
            back = [
                r
                for r in rows
                if (r.payload.destination, r.payload.source) == tuple(fault.subject.values())
                and fault.start <= r.time < fault.end
            ]
            assert failed(back) < 0.5
        if fault.kind == "slow-link":
            touched = [r for r in rows if concerned(fault, r.payload) and r.payload.outcome == OK]
            slow = [r.payload.throughput for r in touched if fault.start <= r.time < fault.end]
            usual = [r.payload.throughput for r in touched if not fault.start <= r.time < fault.end]
            assert np.median(slow) == pytest.approx(np.median(usual) / 15, rel=0.5)


def failed(rows: list[Row[Transfer]]) -> float:
    return sum(r.payload.outcome == FAILED for r in rows) / len(rows) if rows else 0.0


def test_messages_have_the_fields_of_real_ones(story: Any, shared_data: Path) -> None:
    real = json.loads((shared_data / "fts" / "monit_fts_example_2020.jsonl").read_bytes().splitlines()[0])
    ours = next(m for m in (json.loads(body) for _, body in story[1]) if m["metadata"]["type"] == "complete")
    assert set(real["data"]) - set(ours["data"]) == {"ipv6"}, "`ipver` took its place"
    assert set(real["metadata"]) <= set(ours["metadata"])
    for name, value in real["data"].items():
        assert name == "ipv6" or type(ours["data"][name]) is type(value), name
    assert list(ours["data"]) == sorted(ours["data"])
    assert 2000 < np.mean([len(body) for _, body in story[1]]) < 2800


def test_codes_categories_and_scopes_go_together(story: Any) -> None:
    for _, body in story[1][:20_000]:
        data = json.loads(body)["data"]
        if "t_error_code" not in data:
            continue
        good = data["t_final_transfer_state_flag"] == OK
        assert data["tr_error_category"] == ("" if good else wording.CATEGORIES[data["t_error_code"]])
        assert (data["tr_error_scope"] in ("SOURCE", "DESTINATION", "TRANSFER")) != good
        assert (data["t_failure_phase"] == "") == good
        assert (data["t__error_message"] == "") == good
        assert "{" not in data["t__error_message"]
        assert data["tr_timestamp_start"] < data["tr_timestamp_complete"]


def test_people_appear_in_errors_and_the_wire_replaces_them(story: Any) -> None:
    sent = [json.loads(body)["data"].get("t__error_message", "") for _, body in story[1]]
    assert any("/user/" in error for error in sent)
    scrubbed = [r.payload.error for r in story[2] if "/user/" in r.payload.error]
    assert scrubbed
    assert all("/user/user-" in error for error in scrubbed)


def test_written_files(tmp_path: Path) -> None:
    progress: list[float] = []
    write(tmp_path / "a", FtsSimulator(hours=1.5, seed=4, faults=("disk-full",)), progress.append)
    write(tmp_path / "b", FtsSimulator(hours=1.5, seed=9))
    write(tmp_path / "b", FtsSimulator(hours=1.5, seed=4, faults=("disk-full",)))
    names = ["messages/0000.jsonl", "messages/0001.jsonl", "truth.json"]
    for folder in ("a", "b"):
        assert sorted(str(p.relative_to(tmp_path / folder)) for p in (tmp_path / folder).rglob("*.json*")) == names
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    bodies = [line for n in names[:2] for line in (tmp_path / "a" / n).read_bytes().splitlines()]
    assert bodies == [body for _, body in FtsSimulator(seed=4, hours=1.5, faults=("disk-full",)).messages()]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    (fault,) = json.loads((tmp_path / "a" / "truth.json").read_bytes())
    assert set(fault) == {"id", "kind", "subject", "start", "end", "cause"}
    assert (fault["kind"], set(fault["subject"]), fault["cause"]) == ("disk-full", {"endpoint"}, "no-space")
    assert DEFAULT_START < parse_rfc3339(fault["start"]) < parse_rfc3339(fault["end"])


def test_no_faults_and_another_start() -> None:
    start = parse_rfc3339("2025-12-31T23:50:00Z")
    simulator = FtsSimulator(seed=1, hours=0.2, start=start, faults=(), instance="fts9.example.org")
    assert simulator.truth == ()
    first = json.loads(next(simulator.messages())[1])
    assert first["metadata"]["event_timestamp"] >= start // 1_000_000
    assert all(b"fts9.example.org" in body for _, body in simulator.messages() if b'"fts_raw_complete"' in body)


@pytest.mark.parametrize(
    "wrong",
    [{"faults": ("flood",)}, {"hours": 0}, {"quiet_hours": 1.0}, {"rate": -1}, {"hours": math.nan}, {"instances": 4}],
)
def test_impossible_stories_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"unknown fault kind 'flood'; known are|hours and rate|instances: expected 1 to 3"
    ):
        FtsSimulator(**{"seed": 1, "hours": 1.0, **wrong})
