"""What an archive has to say of a stream, day by day, and what the outcome of each day depends on.

Days are a chain, as each begins with the state that the one before has left: of one topic, and of one that was
re-created after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opintel import __version__
from opintel.backfill.stages import Job, reducing
from opintel.finding import digest
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import ArchivedTopic
from opintel.streams.judging import JudgeStage


class Day(NamedTuple):
    """A day of event time of one epoch of the raw topic."""

    epoch: str
    name: str
    """`2026-11-30`."""
    pieces: Sequence[Sequence[Piece]]
    """Of each partition."""
    plan: str
    """A hash of all that its outcome depends on: build, detectors, settings, the records up to its end."""

    @property
    def files(self) -> list[Piece]:
        """All its pieces."""
        return [piece for pieces in self.pieces for piece in pieces]


def days_of(job: Job, topics: Sequence[ArchivedTopic]) -> Iterator[Day]:
    """The days of a raw topic, of all its epochs, in order."""
    judging = JudgeStage(job.stream, job.pipeline, 0, "", "backfill").structure
    plan = digest([__version__, reducing(job, 0, "").stage.structure, judging, job.settings, job.buckets])
    for topic in topics:
        for name in topic.days:
            pieces = [topic.of_day(partition, name) for partition in range(len(topic.pieces))]
            files = [[piece.file.name, piece.start] for its in pieces for piece in its]
            plan = digest([plan, files])
            yield Day(topic.epoch, name, pieces, plan)
