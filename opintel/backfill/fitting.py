"""What can be learned of an archive before a site begins: the archived records go through stage 1 once more, and what
it has learned at the end becomes an artefact, known by its SHA-256, that a control names (`models` in a stream's YAML).

In this process: to learn is one pass of stage 1, less than a backfill, and what it leaves behind has to come together
in one place anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from opintel.backfill.stages import Job, batches, reducing
from opintel.dqm.modelled.archived_references import REFERENCES, ReferenceCollector, fitted_references
from opintel.health.reducer import HealthReducer
from opintel.health.warm_start import BASELINE, fitted
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.urls import Location


class Days(NamedTuple):
    """Days of event time (`2026-11-30`), both ends included; None: no end."""

    first: str | None = None
    last: str | None = None

    def __contains__(self, day: object) -> bool:
        return isinstance(day, str) and (self.first or day) <= day <= (self.last or day)


ALL = Days()


class Fitted(NamedTuple):
    """An artefact that was learned."""

    name: str
    """By which detectors ask for it."""
    data: bytes
    card: msgspec.Struct
    """What it was made of."""

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return sha256(self.data).hexdigest()


Fit = Callable[[Job, Archive, Days, Callable[[Piece], None]], Fitted]


def fit(job: Job, archive: Archive, days: Days = ALL, behind: Callable[[Piece], None] = lambda _: None) -> Fitted:
    """What the stream's domain learns of the archived records of some days; `behind` is called with each file that was
    read. Raises ArchiveError, ArtefactUnavailable, and ValueError where there is too little to learn from.
    """
    learner = FITS.get(job.pipeline.domain)
    if learner is None:
        raise ValueError(
            f"nothing is learned of an archive for {job.pipeline.domain}; expected {', '.join(FITS)}, fts or gw"
        )
    return learner(job, archive, days, behind)


def put(place: Location, made: Fitted) -> None:
    """Writes an artefact under its SHA-256, where the door looks for it, and its card beside it."""
    place.put(made.sha256, made.data)
    card = {"name": made.name, "sha256": made.sha256, **msgspec.to_builtins(made.card)}
    place.put(f"{made.sha256}.json", msgspec.json.format(msgspec.json.encode(card)) + b"\n")


def reducers(job: Job, archive: Archive, days: Days, behind: Callable[[Piece], None]) -> Iterator[Any]:
    """The reducer of each partition and epoch as it stands behind the records of these days, the oldest epoch first."""
    for topic in archive.epochs(job.stream.topic):
        mine = job._replace(stream=job.stream._replace(partitions=len(topic.pieces)))
        for partition, pieces in enumerate(topic.pieces):
            run = reducing(mine, partition, topic.epoch)
            for batch in batches(archive, [piece for piece in pieces if piece.file.day in days], behind):
                run.feed(batch)
            yield run.stage.reducer


def health_baseline(job: Job, archive: Archive, days: Days, behind: Callable[[Piece], None]) -> Fitted:
    """With what the series of another run begin (`opintel.health.warm_start`)."""
    learned = [reducer.learned() for reducer in reducers(job, archive, days, behind)]
    made = fitted(learned, job.stream.name, [HealthReducer.name, HealthReducer.version])
    return Fitted(BASELINE, made.data, made.card)


def dqm_references(job: Job, archive: Archive, days: Days, behind: Callable[[Piece], None]) -> Fitted:
    """Models of good runs (`opintel.dqm.modelled.archived_references`)."""
    collecting = job._replace(pipeline=job.pipeline._replace(reducer=ReferenceCollector))
    made = fitted_references((r.collected for r in reducers(collecting, archive, days, behind)), job.stream.name)
    return Fitted(REFERENCES, made.data, made.card)


FITS: dict[str, Fit] = {"dqm": dqm_references, "health": health_baseline}
"""Domain → what is learned of its archives."""
