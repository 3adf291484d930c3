"""A backfill as a chain of days: each begins with the state that the one before has left, or that was kept of it.

What judges a day is an `Engine`: this process (`local`), or Spark (`spark`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from opintel.backfill.days import Day, days_of
from opintel.backfill.outcomes import Counts, Outcomes
from opintel.backfill.stages import Job
from opintel.finding import Finding
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.findings import Judged
from opintel.streams.log import Aside


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


class Engine(Protocol):
    """Both stages as they stand after some day."""

    job: Job
    """As it is run: what a day came to and the state that it left depend on it."""

    @property
    def frontier(self) -> int:
        """All windows that end by then are judged, ns UTC."""

    def judge(self, day: Day, behind: Callable[[Piece], None]) -> DayOutcome:
        """Judges the day that follows; `behind` is called with each file that was read."""

    def state(self) -> dict[str, Any]:
        """Plain data."""

    def restore(self, day: Day, state: dict[str, Any]) -> None:
        """The inverse on a fresh one: the state that a day has left."""


def judged_again(
    job: Job,
    archive: Archive,
    engine: Callable[[Job, Archive], Engine],
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
    stages, before = engine(job, archive), None
    for day in days_of(stages.job, topics):
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
        outcome = stages.judge(day, behind)
        if outcomes is not None:
            outcomes.put(day, outcome.findings, outcome.judged, outcome.asides, stages.state(), outcome.counts)
        yield outcome
        if until is not None and stages.frontier >= until:
            return


def counted(asides: list[Aside]) -> dict[str, int]:
    """Kind → rows set aside."""
    kinds = sorted({aside.kind for aside in asides})
    return {kind: sum(aside.count for aside in asides if aside.kind == kind) for kind in kinds}
