"""The two stages from a query of Spark Structured Streaming: an example for sites that have Spark and no place for our
workers (docs/structured-streaming.md says what holds then and what does not).

`from_archive` and `from_kafka` are streams of a raw topic's records; `Batches(job, folder, epoch)` is what their
`writeStream.foreachBatch` calls. It sorts a micro-batch by position and has stage 1 go on from the state that the batch
before has left, in this process or in a task a partition, and stage 2 in this process. Findings and state are kept
below the number of the batch, the state last: Spark gives a batch that was not committed once more, with the same
records, and the same files are written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from opintel.backfill.stages import BATCH, Job, Judging, reducing
from opintel.finding import Finding
from opintel.streams.log import Stored

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COLUMNS = "partition int, position long, at long, value binary"
SAID = "partition int, seq int, value binary"
"""What a task of stage 1 gives back: derived records, and behind them the state that it left, as seq −1."""


class Hole(Exception):
    """Records are missing, or come behind what was judged already."""


def from_archive(spark: SparkSession, url: str, topic: str, files: int) -> DataFrame:
    """The records of an archived topic, so many files a batch: in order where its files are as old as their records,
    as those of a copy are not."""
    from pyspark.sql import functions as f

    stream = spark.readStream.schema("position long, at long, value binary").format("parquet")
    options = {"recursiveFileLookup": True, "maxFilesPerTrigger": files, "maxFileAge": "36500d"}
    partition = f.regexp_extract(f.col("_metadata.file_path"), "partition=([0-9]+)", 1).cast("int")
    return (
        stream.options(**options).load(f"{url}/{topic}").select(partition.alias("partition"), "position", "at", "value")
    )


def from_kafka(spark: SparkSession, bootstrap: str, topic: str, records: int) -> DataFrame:
    """The records of a raw topic, so many a batch; the session needs the connector's jars."""
    from pyspark.sql import functions as f

    stream = spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", topic)
    options = {"startingOffsets": "earliest", "maxOffsetsPerTrigger": records, "failOnDataLoss": True}
    at = f.unix_micros("timestamp") * 1000
    return (
        stream.options(**options).load().select("partition", f.col("offset").alias("position"), at.alias("at"), "value")
    )


class State(msgspec.Struct):
    """What a batch has left."""

    following: dict[int, int] = {}
    """Partition → the position that comes next."""
    runs: dict[int, bytes] = {}
    judging: bytes | None = None


class Batches:
    """Judges micro-batches."""

    def __init__(self, job: Job, folder: Path, epoch: str, *, in_tasks: bool) -> None:
        """`in_tasks`: stage 1 runs in a task a partition, its states going there and back with each batch."""
        self._job, self._folder, self._epoch, self._in_tasks = job, folder, epoch, in_tasks
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, frame: DataFrame, n: int) -> None:
        before = self._folder / f"{n - 1}.state"
        if n and not before.exists():
            raise Hole(f"batch {n} needs the state of batch {n - 1}")
        state = msgspec.msgpack.decode(before.read_bytes(), type=State) if n else State()
        said = self._tasks(frame, state) if self._in_tasks else self._here(frame, state)
        judging = Judging(self._job)
        if state.judging is not None:
            judging.restore(msgspec.msgpack.decode(state.judging))
        found = [found.finding for found in judging.feed(said).findings]
        state.judging = msgspec.msgpack.encode(judging.state())
        self._put(f"{n}.findings", msgspec.msgpack.encode(found))
        self._put(f"{n}.state", msgspec.msgpack.encode(state))
        (self._folder / f"{n - 2}.state").unlink(missing_ok=True)  # Spark repeats the last batch, none before it

    def findings(self) -> dict[str, Finding]:
        """Those of all batches, by id."""
        files = self._folder.glob("*.findings")
        found = [msgspec.msgpack.decode(file.read_bytes(), type=list[Finding]) for file in files]
        return {finding.id: finding for some in found for finding in some}

    def _here(self, frame: DataFrame, state: State) -> list[bytes]:
        table = frame.select(*frame.columns).orderBy("partition", "position").toArrow()
        said: list[bytes] = []
        for p in sorted(set(table["partition"].to_pylist())):
            its = table.filter(pc.equal(table["partition"], p))
            *values, left = reduced(self._job, self._epoch, p, its, state)
            said += values
            _take(state, p, left)
        return said

    def _tasks(self, frame: DataFrame, state: State) -> list[bytes]:
        job, epoch = self._job, self._epoch

        def stage1(table: pa.Table) -> pa.Table:
            (p,) = set(table["partition"].to_pylist())
            *values, left = reduced(job, epoch, p, table.sort_by("position"), state)
            seq = [*range(len(values)), -1]
            types = pa.schema({"partition": pa.int32(), "seq": pa.int32(), "value": pa.binary()})
            return pa.table({"partition": [p] * len(seq), "seq": seq, "value": [*values, left]}, types)

        rows = (
            frame.groupBy("partition")
            .applyInArrow(stage1, SAID)
            .toArrow()
            .sort_by([("partition", "ascending"), ("seq", "ascending")])
        )
        said = []
        for p, seq, value in zip(*(rows[name].to_pylist() for name in ("partition", "seq", "value")), strict=True):
            if seq < 0:
                _take(state, p, value)
            else:
                said.append(value)
        return said

    def _put(self, name: str, data: bytes) -> None:
        part = self._folder / f".{name}"
        part.write_bytes(data)
        part.rename(self._folder / name)


def reduced(job: Job, epoch: str, partition: int, table: pa.Table, state: State) -> Iterator[bytes]:
    """What stage 1 says of a partition's records in order of position; last, (the next position, its state)."""
    run, following = reducing(job, partition, epoch), state.following.get(partition, 0)
    if partition in state.runs:
        run.restore(msgspec.msgpack.decode(state.runs[partition]))
    records: list[Stored] = []
    for position, value, at in zip(*(table[name].to_pylist() for name in ("position", "value", "at")), strict=True):
        if position > following:
            raise Hole(f"partition {partition}: expected position {following}, got {position}")
        if position == following:  # what comes again, in a file that takes the place of a shorter one, was judged
            records.append((position, value, at))
            following += 1
    for first in range(0, len(records), BATCH):
        out = run.feed(records[first : first + BATCH])
        yield from (entry.value for entry in (*out.records, *out.closing))
    yield msgspec.msgpack.encode((following, msgspec.msgpack.encode(run.state())))


def _take(state: State, partition: int, left: bytes) -> None:
    state.following[partition], state.runs[partition] = msgspec.msgpack.decode(left, type=tuple[int, bytes])
