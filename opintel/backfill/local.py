"""A backfill in this process: partitions take turns by event time, so that stage 2 holds what few windows need, day by
day."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from opintel.backfill.days import Day, days_of
from opintel.backfill.outcomes import Counts, Outcomes
from opintel.backfill.stages import Job, Judging, reducing
from opintel.backfill.what_if import with_settings
from opintel.finding import Finding
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.findings import Judged
from opintel.streams.log import Aside, Stored
from opintel.streams.reduce import ReduceStage
from opintel.streams.run import Run

BATCH = 500
"""Records that stage 1 is fed at a time, at most."""


class DayOutcome(NamedTuple):
    """What a day came to."""

    day: Day
    counts: Counts
    findings: list[Finding]
    judged: list[Judged]
    asides: list[Aside]
    """None of a day that was done before."""
    before: bool = False
    """Whether it was done before."""


class _Stages:
    """Both stages as they stand after some day."""

    def __init__(self, job: Job, partitions: int) -> None:
        self._job, self._partitions = job, partitions
        self._epoch = ""
        self.runs: list[Run[ReduceStage]] = []
        self.judging = Judging(job, "")

    def of(self, day: Day) -> None:
        """Makes stage 1 afresh where the topic was re-created."""
        if day.epoch != self._epoch:
            self._epoch = day.epoch
            self.runs = [reducing(self._job, p, day.epoch) for p in range(self._partitions)]

    def state(self) -> dict[str, Any]:
        return {"runs": [run.state() for run in self.runs], "judging": self.judging.state()}

    def restore(self, day: Day, state: dict[str, Any]) -> None:
        """On fresh stages."""
        self.of(day)
        for run, its in zip(self.runs, state["runs"], strict=True):
            run.restore(its)
        self.judging.restore(state["judging"])


def backfill(
    job: Job,
    archive: Archive,
    outcomes: Outcomes | None = None,
    *,
    until: int | None = None,
    behind: Callable[[Piece], None] = lambda _: None,
) -> Iterator[DayOutcome]:
    """Judges a stream's archived records once more, a day at a time.

    With `outcomes` days that are done are not judged again, and others are kept. It ends behind the day on which all
    windows up to `until`, ns UTC, are judged. `behind` is called with each file that was read. Raises ArchiveError,
    OutcomeError, and ArtefactUnavailable where what a control names is not to be found.
    """
    topics = archive.epochs(job.stream.topic)
    job = job._replace(stream=job.stream._replace(partitions=len(topics[0].pieces)))
    stages, before = _Stages(job, job.stream.partitions), None
    for day in days_of(job, topics):
        done = None if outcomes is None else outcomes.done(day)
        if outcomes is not None and done is not None:
            before = day
            for piece in day.files:
                behind(piece)
            yield DayOutcome(day, done.counts, outcomes.findings(day), outcomes.judged(day), [], before=True)
            continue
        if outcomes is not None and before is not None:
            stages.restore(before, outcomes.state(before))
            before = None
        stages.of(day)
        outcome = _judged(job, stages, archive, day, behind)
        if outcomes is not None:
            outcomes.put(day, outcome.findings, outcome.judged, outcome.asides, stages.state(), outcome.counts)
        yield outcome
        if until is not None and stages.judging.frontier >= until:
            return


def _judged(job: Job, stages: _Stages, archive: Archive, day: Day, behind: Callable[[Piece], None]) -> DayOutcome:
    """One day, of both stages: next is the partition that is furthest behind."""
    records = rows = 0
    findings: list[Finding] = []
    judged: list[Judged] = []
    asides: list[Aside] = []
    batches = [_batches(archive, day, p, behind) for p in range(len(day.pieces))]
    turns = [(run.stage.wm, p) for p, run in enumerate(stages.runs)]
    heapq.heapify(turns)
    while turns:
        _, p = heapq.heappop(turns)
        batch = next(batches[p], None)
        if batch is None:
            continue
        out = stages.runs[p].feed(with_settings(batch, job.stream.name, job.settings))
        records, rows = records + len(batch), rows + out.rows
        said = stages.judging.feed(entry.value for entry in (*out.records, *out.closing))
        asides += [*out.asides, *said.asides]
        findings += [found.finding for found in said.findings]
        judged += said.judged
        heapq.heappush(turns, (stages.runs[p].stage.wm, p))
    kinds = sorted({aside.kind for aside in asides})
    counted: dict[str, int] = {kind: sum(aside.count for aside in asides if aside.kind == kind) for kind in kinds}
    return DayOutcome(day, Counts(records, rows, len(findings), counted), findings, judged, asides)


def _batches(archive: Archive, day: Day, partition: int, behind: Callable[[Piece], None]) -> Iterator[Sequence[Stored]]:
    for piece in day.pieces[partition]:
        for group in archive.read(piece):
            for at in range(0, len(group), BATCH):
                yield group[at : at + BATCH]
        behind(piece)
