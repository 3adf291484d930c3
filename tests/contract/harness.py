"""Plays messages through the real path (ingest, both stages, a real log) and tells what came out.

A detector joins the contract tests with one `Case` in `cases.py`, a log with one entry in `LOGS`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from opintel.detector import Message, Pipeline, Wire
from opintel.finding import Finding, finding_json
from opintel.streams.artefacts import SUMS, Artefacts
from opintel.streams.findings import Found, Judged, decode
from opintel.streams.ingest import CHUNK, Ingester
from opintel.streams.judging import JudgeStage
from opintel.streams.log import Log
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.records import Control
from opintel.streams.reduce import ReduceStage
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.worker import Worker

from .apart import Apart

MakeLog = Callable[[Path], Log]
LOGS: dict[str, MakeLog] = {
    "sqlite": lambda folder: SqliteLog(folder / "log.db"),
    "kafka": lambda folder: Apart(os.environ["OPINTEL_TEST_KAFKA"], folder),
}


@pytest.fixture(params=LOGS)
def make_log(request: pytest.FixtureRequest) -> Iterator[MakeLog]:
    """Opens a log that belongs to a folder, in each form, and closes it after the test."""
    if request.param == "kafka":
        os.environ["OPINTEL_TEST_KAFKA"] = request.getfixturevalue("kafka").bootstrap
    opened: list[Log] = []

    def make(folder: Path) -> Log:
        opened.append(LOGS[request.param](folder))
        return opened[-1]

    make.form = request.param  # type: ignore[attr-defined]
    yield make
    for log in opened:
        log.close()


@dataclass
class Case:
    """A detector under contract: its pipeline and a source of messages as (arrival ns, body)."""

    name: str
    stream: Stream
    pipeline: Pipeline
    wire: Wire
    messages: Callable[[], Sequence[tuple[int, bytes]]]
    controls: Callable[[], Sequence[tuple[int, Control]]] = list
    """(messages before it, control), in order."""
    artefacts: Sequence[bytes] = ()
    """Files that the stages' door opens."""


@dataclass
class Outcome:
    """What a run produced: findings by id, judged windows, how many rows were set aside and why (not where)."""

    findings: dict[str, dict] = field(default_factory=dict)
    judged: dict[tuple, dict] = field(default_factory=dict)
    asides: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and vars(self) == vars(other)


def feed(bus: Log, case: Case, *, live: bool = True, chunk: int = 50, source: str = "test") -> Iterator[None]:
    """Ingests the case's messages, a chunk a turn, ticking once an interval; resumes where the log's tail stands."""
    ingester = Ingester(bus, case.stream, case.pipeline, case.wire, source, live=live)
    assert chunk <= CHUNK
    messages, controls = list(case.messages()), case.controls()
    at = ingester.resume.position or 0
    interval = case.stream.interval
    while at < len(messages):
        for place, control in controls:
            if place == at:  # after a restart perhaps once more, which changes nothing
                ingester.control(msgspec.structs.replace(control, seen=ingester.seen))
        upto = min((place for place, _ in controls if place > at), default=len(messages))
        arrival = messages[at][0]
        due = arrival - arrival % interval + interval
        n = at
        while n < upto and n - at < chunk and messages[n][0] < due:
            n += 1
        part = [Message(body, "test", i, i) for i, (_, body) in enumerate(messages[at:n], at)]
        ingester.take(part, n, messages[n - 1][0])
        at = n
        if live and (n == len(messages) or messages[n][0] >= due):
            ingester.tick(due)
        yield
    ingester.finish(messages[-1][0] if messages else 0)
    yield


def workers(bus: Log, case: Case, folder: Path, batch: int = 64, checkpoint_bytes: int = 1 << 14) -> list[Worker]:
    """Both stages of a case, from their newest checkpoints."""
    stream = case.stream
    raw, derived = bus.create(stream.topic, stream.partitions), bus.create(stream.derived, 1)
    bus.create(FINDINGS, 1)
    checkpoints, door = str(folder / "checkpoints"), artefacts(case, folder)
    made = [
        Worker(
            bus,
            stream.topic,
            p,
            lambda p=p: ReduceStage(stream, case.pipeline, p, raw.epoch, 1, door),
            checkpoints,
            batch=batch,
            checkpoint_bytes=checkpoint_bytes,
        )
        for p in range(stream.partitions)
    ]
    judge = lambda: JudgeStage(stream, case.pipeline, 0, derived.epoch, door=door)  # noqa: E731
    made.append(Worker(bus, stream.derived, 0, judge, checkpoints, batch=batch, checkpoint_bytes=checkpoint_bytes))
    return made


def artefacts(case: Case, folder: Path) -> Artefacts:
    """The door to a case's artefacts: the first lies under its SHA-256, the others beside a list of theirs."""
    models = folder / "models"
    for n, data in enumerate(case.artefacts):
        sha = sha256(data).hexdigest()
        place = models / f"v{n}" / "weights" if n else models / sha
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        if n:
            (place.parent / SUMS).write_text(f"{sha}  {place.name}\n")
    return Artefacts([str(models)])


def drain(team: Sequence[Worker], rng: random.Random | None = None) -> None:
    """Steps all workers until nothing is left; in random order with `rng`."""
    team = list(team)
    while True:
        if rng is not None:
            rng.shuffle(team)
        if not sum(worker.step() for worker in team):
            return


def outcome(bus: Log, case: Case) -> Outcome:
    """What stands in the log. The same id with other content is an error here already."""
    result = Outcome()
    position = 0
    while batch := bus.read(FINDINGS, 0, position, 1000):
        position = batch[-1][0] + 1
        for _, value, _ in batch:
            record = decode(value)
            if isinstance(record, Found):
                plain = finding_json(record.finding)
                assert result.findings.setdefault(plain["id"], plain) == plain
            elif isinstance(record, Judged):
                place = (record.scope, record.window.end, record.window.start)
                seen = {"tests": record.tests, "complete": record.complete}
                assert result.judged.setdefault(place, seen) == seen
    for aside in bus.asides(limit=100_000):
        result.asides[aside.kind, aside.reason] += aside.count
    return result


def play(
    case: Case,
    folder: Path,
    *,
    make_log: MakeLog = LOGS["sqlite"],
    batch: int = 64,
    live: bool = True,
    restarts: random.Random | None = None,
) -> Outcome:
    """A whole run. With `restarts`, workers are thrown away at random moments and begin again at their checkpoints."""
    bus = make_log(folder)
    team = workers(bus, case, folder, batch)
    for _ in feed(bus, case, live=live):
        if restarts is None:
            for worker in team:
                worker.step()
            continue
        if restarts.random() < 0.3:
            drain(team, restarts)
        if restarts.random() < 0.3:
            for worker in team:
                if restarts.random() < 0.5:
                    worker.checkpoint()
            team = workers(bus, case, folder, restarts.choice([1, 3, 17, 64]))
    drain(team, restarts)
    result = outcome(bus, case)
    bus.close()
    return result


def findings_of(result: Outcome) -> list[Finding] | list[dict]:
    """The findings by window end, then id."""
    return sorted(result.findings.values(), key=lambda f: (f["window"]["end"], f["id"]))
