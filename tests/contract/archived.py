"""The archive of a log that a case was played into, and what a backfill over it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from opintel.backfill.chain import DayOutcome
from opintel.backfill.local import backfill
from opintel.backfill.outcomes import Outcomes
from opintel.backfill.stages import Job, Settings
from opintel.finding import NS, finding_json
from opintel.streams.archive import archiver, cutting
from opintel.streams.archive.archiver import Archiver, of_raw
from opintel.streams.archive.copies import ArtefactCopies
from opintel.streams.archive.reader import Archive
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.artefacts import Artefacts, Door
from opintel.streams.log import Log

from .cases import START, TOY_CASE
from .harness import LOGS, Case, Outcome, artefacts, drain, feed, outcome, workers


def three_days() -> Sequence[tuple[int, bytes]]:
    """A row every twenty minutes, three days long."""
    return [(START + n * 1200 * NS, f"s0.k{n % 9} {START + n * 1200 * NS} {n % 100}".encode()) for n in range(216)]


DAYS = replace(TOY_CASE, stream=TOY_CASE.stream._replace(window=1200 * NS), messages=three_days)


def small_files(set_to: Callable[[object, str, object], None]) -> None:
    """Files of some records, looked at a few at a time."""
    set_to(cutting, "CUT_BYTES", 4000)
    set_to(cutting, "EVERY", 40)
    set_to(archiver, "BATCH", 25)


def archivers(bus: Log, url: str, case: Case, *, final: bool = True, door: Door | None = None) -> list[Archiver]:
    """Those of a case's raw topic."""
    stream, store = case.stream, ArchiveStore(url)
    topic = bus.create(stream.topic, stream.partitions)
    copies = ArtefactCopies(store, door or Artefacts([]))
    return [Archiver(bus, topic, p, store, of_raw(stream), copies, final=final) for p in range(stream.partitions)]


def archive(bus: Log, folder: Path, case: Case) -> None:
    """Archives a log to `archive` in the folder, until nothing is left to do."""
    team = archivers(bus, str(folder / "archive"), case, door=artefacts(case, folder))
    while sum(one.step() for one in team):
        pass
    assert all(one.idle() for one in team)


def days(
    case: Case,
    folder: Path,
    outcomes: Outcomes | None = None,
    until: int | None = None,
    settings: Settings | None = None,
) -> Iterator[DayOutcome]:
    """A backfill over that archive, which holds all that it may open."""
    url = str(folder / "archive")
    job = Job(
        case.stream._replace(partitions=1), case.pipeline, Artefacts([f"{url}/_artefacts"]), settings=settings or {}
    )
    return backfill(job, Archive(url), outcomes, until=until)


def said(found: Sequence[DayOutcome]) -> Outcome:
    """As `outcome` tells it of a log."""
    result = Outcome()
    for day in found:
        for finding in day.findings:
            assert finding.origin == "backfill"
            plain = finding_json(finding) | {"origin": "live"}
            assert result.findings.setdefault(plain["id"], plain) == plain
        for record in day.judged:
            place = (record.scope, record.window.end, record.window.start)
            seen = {"tests": record.tests, "complete": record.complete}
            assert result.judged.setdefault(place, seen) == seen
        for aside in day.asides:
            result.asides[aside.kind, aside.reason] += aside.count
    return result


def backfilled(case: Case, folder: Path) -> Outcome:
    """What a backfill over the archive says."""
    return said(list(days(case, folder)))


def behind_ingest(bus: Log, case: Case, live: Outcome) -> Outcome:
    """A live run's outcome, without what ingest set aside: that never came into the log."""
    kept = replace(live, asides=live.asides.copy())
    for aside in bus.asides(f"{case.stream.name}.ingest", limit=100_000):
        kept.asides[aside.kind, aside.reason] -= aside.count
    kept.asides = +kept.asides
    return kept


def live(case: Case, folder: Path) -> Outcome:
    """A live run, its log archived."""
    bus = LOGS["sqlite"](folder)
    for _ in feed(bus, case):
        pass
    drain(workers(bus, case, folder))
    archive(bus, folder, case)
    found = behind_ingest(bus, case, outcome(bus, case))
    bus.close()
    return found
