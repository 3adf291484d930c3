"""Training sets of an archive of interferometers: its records go through both stages once more, and each second becomes
a row of Parquet (`opintel.gw.training_seconds`).

Rows wait in a file until the span is known, so that they are in memory a part at a time; then they are split by event
time. A day's findings are in memory as in any backfill.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import IO, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opintel.backfill.days import days_of
from opintel.backfill.fitting import Days
from opintel.backfill.local import InProcess
from opintel.backfill.stages import Job
from opintel.finding import NS, rfc3339
from opintel.gw.channels.reducer import GwReducer
from opintel.gw.glitch_probability import LEAST_SNR
from opintel.gw.gps import utc_from_gps
from opintel.gw.judging.witnesses import WitnessJudge
from opintel.gw.training_seconds import CHUNK, SECONDS, TrainingSeconds
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.urls import Location

TRAINING: Final = "gw.training"
"""Name of the training set."""
FORMAT: Final = 1
ROWS: Final = 3600
"""Of a part."""
TRAIN, VALIDATION, LAST, BORDER = "train", "validation", "last", "border"
SHARES: Final = {VALIDATION: 0.6, LAST: 0.8}
"""Block → the share of the usable time that lies before it."""
BESIDE: Final = 4
"""s on both sides of where a block begins that are in none: a window's triggers are of samples up to so far away."""
SCHEMA = SECONDS.insert(2, pa.field("split", pa.string(), nullable=False))


class TrainingCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a training set was made of."""

    name: str
    stream: str
    format: int
    detector: list[Any]
    """What said the triggers and features, and its version."""
    start: str
    """Of the first usable second, RFC 3339."""
    end: str
    """Of the last one's end."""
    begins: dict[str, int]
    """Block → GPS second."""
    rows: dict[str, int]
    """Block → rows of it."""
    usable: dict[str, int]
    """Block → its rows of science mode in which the strain was judged."""
    glitches: dict[str, int]
    """Block → those of them with a trigger of the strain of `snr`."""
    snr: float
    strain: dict[str, list[str]]
    """Interferometer → its strain channels."""
    channels: list[str]
    """Auxiliary channels that are in it."""
    parts: list[str]
    """SHA-256 of the Parquet files, in order."""


class MadeTrainingSet(NamedTuple):
    """The card, and the SHA-256 of it as JSON: it names all parts by theirs, so this one names the whole."""

    card: TrainingCard
    sha256: str


def fit_training(
    job: Job, archive: Archive, days: Days, place: Location, behind: Callable[[Piece], None]
) -> MadeTrainingSet:
    """Writes the training set of the records of some days: `SHA-256.parquet` a part, and the card as `SHA-256.json`
    when all of them are there. Raises ArchiveError, ArtefactUnavailable, and ValueError where there is too little.
    """
    with tempfile.TemporaryFile() as file:
        return _parted(job.stream.name, _Waiting(file, job, archive, days, behind), place)


class _Waiting:
    """The rows in a file, and the span of those that are usable: of science mode, the strain judged."""

    def __init__(
        self, file: IO[bytes], job: Job, archive: Archive, days: Days, behind: Callable[[Piece], None]
    ) -> None:
        self._file, self._usable = file, Counter[int]()
        self.first, self.end = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        """GPS s of the first usable row, and of the last one's end."""
        with pa.ipc.new_stream(file, SECONDS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:

            def take(table: pa.Table) -> None:
                writer.write_table(table)
                seconds = table["gps"].to_numpy()[_usable(table)]
                self._usable.update((seconds // CHUNK).tolist())
                if len(seconds):
                    self.first, self.end = min(self.first, int(seconds[0])), max(self.end, int(seconds[-1]) + 1)

            _gather(job, archive, days, TrainingSeconds(take), behind)
        if self.end < self.first:
            raise ValueError("expected seconds of science mode in which the strain was judged, got none")

    def begins(self) -> dict[str, int]:
        """Block → the GPS second at which so much of the usable time is over, to a chunk's."""
        chunks = sorted(self._usable)
        counts = np.array([self._usable[chunk] for chunk in chunks])
        over, begins = np.cumsum(counts), {TRAIN: self.first}
        for name, share in SHARES.items():
            n = int(np.searchsorted(over, share * over[-1]))
            left = float((over[n] - share * over[-1]) / counts[n])
            begins[name] = (chunks[n] + 1) * CHUNK - round(left * CHUNK)
        return begins

    def tables(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def _gather(job: Job, archive: Archive, days: Days, rows: TrainingSeconds, behind: Callable[[Piece], None]) -> None:
    judges = tuple(rows.collector if judge is WitnessJudge else judge for judge in job.pipeline.judges)
    topics = archive.epochs(job.stream.topic)
    stream = job.stream._replace(partitions=len(topics[0].pieces))
    gathering = job._replace(stream=stream, pipeline=job.pipeline._replace(judges=judges))
    stages = InProcess(gathering, archive)
    for day in days_of(gathering, topics):
        if day.name not in days:
            continue
        for aside in stages.judge(day, behind).asides:
            if aside.kind == "quarantined" and aside.reason.startswith(f"{WitnessJudge.name} on "):
                raise ValueError(f"a second's row cannot be made: {aside.reason}")
    rows.finish()


def _parted(stream: str, waiting: _Waiting, place: Location) -> MadeTrainingSet:
    """Splits the rows and puts them, part by part."""
    begins = waiting.begins()
    rows, usable, glitches = (dict.fromkeys((*begins, BORDER), 0) for _ in range(3))
    for table in waiting.tables():
        block, good, glitch = _blocks(table, begins), _usable(table), table["glitch"].to_numpy()
        for counts, which in ((rows, True), (usable, good), (glitches, good & glitch)):
            for name in counts:
                counts[name] += int(((block == name) & which).sum())
    if lacking := [name for name in begins if not usable[name]]:
        raise ValueError(f"expected judged seconds of science mode in each block, got none in {', '.join(lacking)}")
    strain, channels, parts = dict[str, set[str]](), set[str](), list[str]()
    for part in _cut(waiting.tables()):
        for both in part.group_by(["interferometer", "strain"]).aggregate([]).to_pylist():
            if both["strain"] is not None:
                strain.setdefault(both["interferometer"], set()).add(both["strain"])
        auxiliary = pc.list_flatten(part["auxiliary"].combine_chunks())
        channels |= set(pc.unique(pc.struct_field(auxiliary, "channel")).to_pylist())
        split = pa.array(_blocks(part, begins), pa.string())
        body = _parquet(part.add_column(SCHEMA.get_field_index("split"), SCHEMA.field("split"), split))
        parts.append(sha256(body).hexdigest())
        place.put(f"{parts[-1]}.parquet", body)
    card = TrainingCard(
        name=TRAINING,
        stream=stream,
        format=FORMAT,
        detector=[GwReducer.name, GwReducer.version],
        start=rfc3339(utc_from_gps(waiting.first * NS)),
        end=rfc3339(utc_from_gps(waiting.end * NS)),
        begins=begins,
        rows=rows,
        usable=usable,
        glitches=glitches,
        snr=LEAST_SNR,
        strain={name: sorted(its) for name, its in sorted(strain.items())},
        channels=sorted(channels),
        parts=parts,
    )
    text = msgspec.json.format(msgspec.json.encode(card)) + b"\n"
    digest = sha256(text).hexdigest()
    place.put(f"{digest}.json", text)
    return MadeTrainingSet(card, digest)


def _cut(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, `ROWS` at a time: where a part ends is not to depend on how they came."""
    waiting, size = list[pa.Table](), 0
    for table in tables:
        waiting.append(table)
        size += len(table)
        while size >= ROWS:
            every = pa.concat_tables(waiting)
            yield every.slice(0, ROWS).combine_chunks()
            waiting, size = [every.slice(ROWS)], size - ROWS
    if size:
        yield pa.concat_tables(waiting).combine_chunks()


def _usable(table: pa.Table) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.and_(table["science"], table["judged"]).to_numpy()
    return found


def _blocks(table: pa.Table, begins: dict[str, int]) -> NDArray[np.object_]:
    """(n,) the block of each row; those before the first usable one are of `train`."""
    gps, names, starts = table["gps"].to_numpy(), np.array([*begins], dtype=object), np.array([*begins.values()])
    found: NDArray[np.object_] = names[np.maximum(np.searchsorted(starts, gps, side="right") - 1, 0)]
    for start in starts[1:].tolist():
        found[(gps >= start - BESIDE) & (gps < start + BESIDE)] = BORDER
    return found


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.cast(SCHEMA), sink, compression="zstd")
    return sink.getvalue()
