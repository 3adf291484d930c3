"""A backfill in this process: partitions take turns by event time, so that stage 2 holds what few windows need, day by
day.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from opintel.backfill.chain import DayOutcome, counted, judged_again
from opintel.backfill.days import Day
from opintel.backfill.outcomes import Counts, Outcomes
from opintel.backfill.stages import Job, Judging, batches, reducing
from opintel.backfill.what_if import with_settings
from opintel.finding import Finding
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.findings import Judged
from opintel.streams.log import Aside
from opintel.streams.reduce import ReduceStage
from opintel.streams.run import Run


def backfill(
    job: Job,
    archive: Archive,
    outcomes: Outcomes | None = None,
    *,
    until: int | None = None,
    behind: Callable[[Piece], None] = lambda _: None,
) -> Iterator[DayOutcome]:
    """`judged_again` by this process."""
    return judged_again(job, archive, InProcess, outcomes, until=until, behind=behind)


class InProcess:
    """Both stages as they stand after some day."""

    def __init__(self, job: Job, archive: Archive) -> None:
        self.job, self._archive = job, archive
        self._epoch = ""
        self._runs: list[Run[ReduceStage]] = []
        self._judging = Judging(job)

    @property
    def frontier(self) -> int:
        return self._judging.frontier

    def judge(self, day: Day, behind: Callable[[Piece], None]) -> DayOutcome:
        """One day, of both stages: next is the partition that is furthest behind."""
        self._of(day)
        records = rows = 0
        findings: list[Finding] = []
        judged: list[Judged] = []
        asides: list[Aside] = []
        rest = [batches(self._archive, pieces, behind) for pieces in day.pieces]
        turns = [(run.stage.wm, p) for p, run in enumerate(self._runs)]
        heapq.heapify(turns)
        while turns:
            _, p = heapq.heappop(turns)
            batch = next(rest[p], None)
            if batch is None:
                continue
            out = self._runs[p].feed(with_settings(batch, self.job.stream.name, self.job.settings))
            records, rows = records + len(batch), rows + out.rows
            said = self._judging.feed(entry.value for entry in (*out.records, *out.closing))
            asides += [*out.asides, *said.asides]
            findings += [found.finding for found in said.findings]
            judged += said.judged
            heapq.heappush(turns, (self._runs[p].stage.wm, p))
        return DayOutcome(day, Counts(records, rows, len(findings), counted(asides)), findings, judged, asides)

    def state(self) -> dict[str, Any]:
        return {"runs": [run.state() for run in self._runs], "judging": [self._judging.state()]}

    def restore(self, day: Day, state: dict[str, Any]) -> None:
        self._of(day)
        for run, its in zip(self._runs, state["runs"], strict=True):
            run.restore(its)
        (judging,) = state["judging"]
        self._judging.restore(judging)

    def _of(self, day: Day) -> None:
        """Makes stage 1 afresh where the topic was re-created."""
        if day.epoch != self._epoch:
            self._epoch = day.epoch
            self._runs = [reducing(self.job, p, day.epoch) for p in range(self.job.stream.partitions)]
