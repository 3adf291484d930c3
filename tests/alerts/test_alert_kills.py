"""SIGKILL between the steps of alert service and deliverer: same incidents and tickets by key, each made once."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alert_story import A_B, A_C, D_B, END_A, STRONG, WEAK, finding, outcome, windows
from forked import exit_code
from killed_alerts import KEY, STEPS, main

from opintel.demo.receiver import Receiver
from opintel.store import open_store, queries, sqlite_url
from opintel.streams.findings import encode


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver(KEY).start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links that fail, their endpoint after them, one that gets worse and comes back; some of it written twice."""
    story = {
        2: [finding(2, A_B), finding(2, D_B)],
        3: [finding(3, A_B), finding(3, A_C), finding(3, END_A, kind="endpoint", severity="critical")],
        5: [finding(5, D_B, STRONG, severity="critical")],
        6: [finding(6, D_B, WEAK), finding(6, A_C, WEAK, kind="slow")],
        20: [finding(20, D_B)],
    }
    log = windows(story, 26)
    log = log[:14] + log[9:20] + log[15:]
    file = tmp_path_factory.mktemp("log") / "records"
    file.write_bytes(msgspec.msgpack.encode([encode(record) for record in log]))
    return file


def run(folder: Path, records: Path, receiver: Receiver, step: str, count: int) -> int:
    """Runs the program once; its exit status."""
    status = exit_code(main, sqlite_url(folder / "store.db"), records, receiver.url, step, count)
    assert status in (0, -signal.SIGKILL)
    return status


def result(folder: Path, receiver: Receiver) -> tuple[Any, Any]:
    """Decisions, and what the other end has."""
    store = open_store(sqlite_url(folder / "store.db"))
    decided = outcome(store)
    decided.pop("outbox")  # attempts differ, their messages are compared below
    told = [
        (i["id"], d["message"], d["kind"], d["state"], d["body"])
        for i in queries.incidents(store)
        for d in (queries.incident(store, i["id"]) or {})["deliveries"]
    ]
    assert queries.outbox_empty(store)
    store.close()
    return (decided, told), sorted(receiver.tickets(), key=lambda ticket: ticket["key"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, records: Path) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    receiver = Receiver(KEY).start()
    assert run(folder, records, receiver, "none", 0) == 0
    told = result(folder, receiver)
    receiver.close()
    return told


def test_the_undisturbed_run_makes_tickets(undisturbed: tuple[Any, Any]) -> None:
    _, tickets = undisturbed
    assert len(tickets) == 2
    assert {ticket["created"] for ticket in tickets} == {1}
    assert sum(ticket["updates"] for ticket in tickets) >= 5


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(
    tmp_path: Path, records: Path, receiver: Receiver, undisturbed: tuple[Any, Any], step: str
) -> None:
    for count in (1, 2, 3):
        assert run(tmp_path, records, receiver, step, count) == -signal.SIGKILL
    assert run(tmp_path, records, receiver, "none", 0) == 0
    assert result(tmp_path, receiver) == undisturbed


@pytest.mark.soak
def test_killed_at_100_random_steps(tmp_path: Path, records: Path, undisturbed: tuple[Any, Any]) -> None:
    rng = random.Random(3)
    kills = 0
    rounds = 0
    while kills < 100:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        rounds += 1
        fresh = Receiver(KEY).start()
        while run(folder, records, fresh, rng.choice(STEPS), rng.randint(1, 6)) != 0:
            kills += 1
        assert result(folder, fresh) == undisturbed
        fresh.close()
