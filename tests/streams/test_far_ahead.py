"""Records dated far ahead inside the log: one would blind a stream. Each is told, and the findings are what they would
be without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from contract.cases import TOY_CASE
from contract.harness import Case, Outcome, drain, feed, outcome, workers
from contract.toy import TOY, ToyWire, Value

from opintel.detector import Message, Record
from opintel.finding import NS, Window, parse_rfc3339
from opintel.rows import Batch, Row
from opintel.site.alerting import Alerting
from opintel.streams import records
from opintel.streams.findings import Judged, encode
from opintel.streams.ingest import Ingester
from opintel.streams.log import Entry
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.records import (
    Closed,
    Control,
    Derived,
    Forwarded,
    Rows,
    SourcePosition,
    Tick,
    derived_codec,
    raw_codec,
    stamp_of,
)
from opintel.streams.reduce import ReduceStage
from opintel.streams.stream import CLOCKS, FINDINGS

STREAM = TOY_CASE.stream._replace(ahead=TOY_CASE.stream.skew + CLOCKS)
CASE = Case("toy", STREAM, TOY_CASE.pipeline, TOY_CASE.wire, TOY_CASE.messages)
FAR = parse_rfc3339("2115-01-01T00:00:00Z")
FAR -= FAR % STREAM.window
WINDOW = Window(FAR - STREAM.window, FAR)
HERE = SourcePosition("forged", 0, None, None, FAR, FAR, 0, 0)


class Dated(SqliteLog):
    """A log whose clock is that of its stamps' arrival."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path)
        self.now = 0
        monkeypatch.setattr("opintel.streams.log_sqlite.time", SimpleNamespace(time_ns=lambda: self.now))

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.topic == STREAM.topic and (stamp := stamp_of(entry.value)) is not None:
                self.now = max(self.now, stamp.arrival)
        super().append(entries)

    def forge(self, entries: Sequence[Entry]) -> None:
        """Somebody appends; the clock goes on as it does."""
        super().append(entries)


def raw(record: Rows | Tick) -> list[Entry]:
    value = raw_codec(TOY.payload).encode(record)
    return [Entry(STREAM.topic, p, value) for p in range(STREAM.partitions)]


def derived(*records: Derived | Forwarded | Closed | records.Tested) -> list[Entry]:
    return [Entry(STREAM.derived, 0, derived_codec(TOY.record).encode(record)) for record in records]


PARTITIONS = range(STREAM.partitions)
FORGED: dict[str, Callable[[str], list[Entry]]] = {
    "tick": lambda _: raw(Tick(FAR, FAR, HERE, FAR)),
    "stamp": lambda _: raw(Rows(FAR, FAR, HERE, Batch.of([], TOY.payload))),
    "row": lambda _: raw(Rows(0, FAR, HERE, Batch.of([Row("a.k0", FAR, 1, Value(1.0))], TOY.payload))),
    "closed": lambda epoch: derived(*(Closed(p, STREAM.partitions, epoch, FAR) for p in PARTITIONS)),
    "record": lambda _: derived(Derived([Record(WINDOW, "sum", "a.k0", "a", [1, 1, 1])])),
    "tested": lambda _: derived(records.Tested(WINDOW, 0, STREAM.partitions, {"a": {"high": 1}})),
    "forwarded": lambda _: derived(
        *(Forwarded(p, STREAM.partitions, FAR, Control("c", "scale", "all", 1, 0, 2)) for p in PARTITIONS)
    ),
}


def played(folder: Path, monkeypatch: pytest.MonkeyPatch, forged: Callable[[str], list[Entry]] | None) -> Outcome:
    bus = Dated(folder / "log.db", monkeypatch)
    epoch = bus.create(STREAM.topic, STREAM.partitions).epoch
    team = workers(bus, CASE, folder)
    for n, _ in enumerate(feed(bus, CASE)):
        if n in (3, 20) and forged is not None:
            bus.forge(forged(epoch))
        for worker in team:
            worker.step()
    drain(team)
    found = outcome(bus, CASE)
    again = workers(bus, CASE, folder / "again")  # a replay of the log decides alike
    drain(again)
    assert outcome(bus, CASE) == found
    bus.close()
    return found


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        return played(tmp_path_factory.mktemp("honest"), patch, None)


@pytest.mark.parametrize("kind", FORGED)
def test_what_is_dated_far_ahead_is_told_and_changes_no_finding(
    kind: str, honest: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = played(tmp_path, monkeypatch, FORGED[kind])
    assert found.findings == honest.findings
    assert found.judged == honest.judged
    told = found.asides - honest.asides
    assert told
    assert {kind for kind, _ in told} == {"dead"}
    assert len(honest.findings) > 5


def test_honest_clocks_may_differ(honest: Outcome) -> None:
    assert not any("appended" in reason for _, reason in honest.asides)


class _Service:
    """The alert service: what it was given to decide on."""

    def __init__(self) -> None:
        self.judged: list[Judged] = []

    def position(self) -> int:
        return 0

    def consume(self, position_from: int, records: Sequence[Judged], position_to: int) -> list[str]:
        self.judged += records
        return []


@pytest.mark.parametrize(("bounded", "decided"), [(True, 1), (False, 2)])
def test_a_window_that_cannot_have_ended_is_not_decided_on(
    bounded: bool, decided: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, service = Dated(tmp_path / "log.db", monkeypatch), _Service()
    bus.create(FINDINGS, 1)
    bus.now = FAR - 100 * 365 * 86_400 * NS
    honest = Window(bus.now - STREAM.lateness - STREAM.window, bus.now - STREAM.lateness)
    for window in (honest, WINDOW):
        bus.append([Entry(FINDINGS, 0, encode(Judged("toy", "a", window, {}, True)))])
    stream = STREAM if bounded else STREAM._replace(ahead=None)
    Alerting(bus, service, {"toy": stream}).step()  # type: ignore[arg-type]
    assert len(service.judged) == decided
    assert len(bus.asides(FINDINGS, "dead")) == 2 - decided
    bus.close()


def test_the_end_of_a_file_closes_the_window_of_its_last_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However near to now that lies."""
    bus = Dated(tmp_path / "log.db", monkeypatch)
    ingester = Ingester(bus, STREAM, TOY, ToyWire(), "files:a", live=False)
    now = FAR - 100 * 365 * 86_400 * NS
    ingester.take([Message(f"a.k {now} 1".encode(), "a", 0, 0)], 1, now)
    ingester.finish(now)
    stages = [ReduceStage(STREAM, TOY, p, "e", 1) for p in PARTITIONS]
    outs = [stage.process(bus.read(STREAM.topic, p, 0, 100), False) for p, stage in enumerate(stages)]
    assert not [aside for out in outs for aside in out.asides]
    assert all(stage.wm > now for stage in stages)
    bus.close()
