"""The two stages over archived records: what comes out is a function of what goes in, in order.

Stage 1 takes the raw records of one partition in order of position; stage 2 takes what stage 1 said of all partitions,
where a window's records come before the `closed` that ends it. Nothing else matters: how records are cut into batches
and how partitions are interleaved shows nowhere. So this is all that runs apart from the driver, wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opintel.detector import Pipeline
from opintel.finding import Origin
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.artefacts import Door
from opintel.streams.findings import Found, Judged, decode
from opintel.streams.judging import JudgeStage
from opintel.streams.log import Aside, Stored
from opintel.streams.reduce import ReduceStage
from opintel.streams.run import Run
from opintel.streams.stream import Stream

BATCH = 500
"""Records that stage 1 is fed at a time, at most."""

Settings = Mapping[str, Mapping[str, Any]]
"""Detector → setting → value."""


class Job(NamedTuple):
    """A stream to be judged again, its number of partitions that of the archive."""

    stream: Stream
    pipeline: Pipeline
    door: Door
    """Opens what controls name."""
    origin: Origin = "backfill"
    settings: Mapping[str, Mapping[str, Any]] = {}
    """What the controls that carry settings are to say instead."""
    buckets: int = 1
    """Parts into which the scopes are put for stage 2, each judged by itself."""


def reducing(job: Job, partition: int, epoch: str) -> Run[ReduceStage]:
    """Stage 1 of a raw partition, to be fed its records in order of position."""

    def make() -> ReduceStage:
        return ReduceStage(job.stream, job.pipeline, partition, epoch, job.buckets, job.door)

    return Run(make, f"{job.stream.topic}-{partition}")


def batches(
    archive: Archive, pieces: Sequence[Piece], behind: Callable[[Piece], None] = lambda _: None
) -> Iterator[Sequence[Stored]]:
    """The records of a partition's pieces as stage 1 is fed them; `behind` is called with each piece that was read.
    Raises ArchiveError.
    """
    for piece in pieces:
        for group in archive.read(piece):
            for at in range(0, len(group), BATCH):
                yield group[at : at + BATCH]
        behind(piece)


class Judgements(NamedTuple):
    """What stage 2 says."""

    findings: list[Found]
    judged: list[Judged]
    asides: list[Aside]


class Judging:
    """Stage 2, to be fed what stage 1 says.

    What that claims of time was held against the raw records' own times by stage 1, so that nothing is here.
    """

    def __init__(self, job: Job) -> None:
        stream = job.stream._replace(ahead=None)
        self._stage = JudgeStage(stream, job.pipeline, 0, "", job.origin, job.door)
        self._position = 0

    @property
    def frontier(self) -> int:
        """All windows that end by then are judged, ns UTC."""
        return self._stage.frontier

    def feed(self, values: Iterable[bytes]) -> Judgements:
        """What the derived records make it say."""
        said = Judgements([], [], [])
        batch = [(position, value, 0) for position, value in enumerate(values, self._position)]
        self._position += len(batch)
        while batch or self._stage.pending:
            out = self._stage.process(batch, careful=False)
            said.asides.extend(out.asides)
            for entry in (*out.records, *out.closing):
                record = decode(entry.value)
                if isinstance(record, Found):
                    said.findings.append(record)
                else:
                    said.judged.append(record)
            batch = []
        return said

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {"position": self._position, "stage": self._stage.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse, on a fresh one."""
        self._position = state["position"]
        self._stage.restore(state["stage"])
