"""A backfill in Spark: the same two stages, day by day, in tasks of a Spark session.

A task takes the files of a raw partition in order of position, so that the archive is not shuffled; what it says goes
to buckets of scopes, in each of which stage 2 takes it in order of the partitions' watermarks. Each task gets the state
of the day before as a row and gives its own back as one. What a task needs beside rows travels with it: executors need
the same build of opintel, and no file of the site's.

Traps: pyspark is imported in functions only, as it is an extra; a batch of Arrow's holds few rows, as one may be half a
megabyte; an error that the caller is to explain comes back as a row, for Spark would try again and show a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from opintel import __version__
from opintel.backfill.chain import DayOutcome, counted
from opintel.backfill.days import Day
from opintel.backfill.outcomes import Counts
from opintel.backfill.stages import Job, Judging, batches, reducing
from opintel.backfill.what_if import with_settings
from opintel.finding import Finding
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive, ArchiveError
from opintel.streams.archive.store import ArchiveUnavailable
from opintel.streams.artefacts import ArtefactUnavailable
from opintel.streams.findings import Found, Judged
from opintel.streams.log import Aside
from opintel.streams.records import NEVER
from opintel.streams.stream import FAR

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

BUCKETS = 16
"""Parts into which scopes are put for stage 2."""
ROWS = 64
"""Rows in a batch of Arrow's at most."""
_EXPLAINED = (ArchiveError, ArchiveUnavailable, ArtefactUnavailable)


class _Task(msgspec.Struct, frozen=True):
    """What a task is given of a raw partition, or of a bucket, which has no pieces."""

    n: int
    epoch: str = ""
    pieces: list[Piece] = []
    state: dict[str, Any] | None = None
    """The one that the day before has left."""


class _Reduced(msgspec.Struct, frozen=True):
    """What a day came to in a raw partition."""

    records: int
    rows: int
    asides: list[Aside]
    state: dict[str, Any]


class _Said(msgspec.Struct, frozen=True):
    """What a day came to in a bucket."""

    findings: list[Found]
    judged: list[Judged]
    asides: list[Aside]
    state: dict[str, Any]
    frontier: int


class _Row(NamedTuple):
    """What goes from stage 1 to stage 2: sorted by all but the last two, a bucket's rows are in the order to take."""

    bucket: int
    due: int
    """The watermark behind which it was said; a bucket's task comes before all."""
    partition: int
    seq: int
    kind: str
    """`task` (of a bucket), `said` (a derived record), `reduced` or `failed`, which stage 2 passes on."""
    value: bytes


def session(master: str | None, name: str) -> SparkSession:
    """A session for backfills; `master` None: the one that spark-submit has said. ImportError without pyspark,
    RuntimeError where Spark does not start."""
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if (master or "").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else the first python3 of the path
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(name).config("spark.log.level", "ERROR").config("spark.ui.enabled", "false")
    for key, value in (
        ("spark.ui.showConsoleProgress", "false"),
        ("spark.sql.execution.arrow.maxRecordsPerBatch", str(ROWS)),
        ("spark.driver.maxResultSize", "0"),  # the states of a day come back
        ("spark.python.daemon.module", "opintel.backfill.daemon"),
        ("spark.executorEnv.OMP_NUM_THREADS", "1"),
        ("spark.executorEnv.OPENBLAS_NUM_THREADS", "1"),
    ):
        builder = builder.config(key, value)
    try:
        return (builder if master is None else builder.master(master)).getOrCreate()
    except PySparkException as error:
        raise RuntimeError(f"Spark does not start ({' '.join(str(error).split())[:300]}); is Java 17 there?") from error


class InSpark:
    """Both stages as they stand after some day, their states kept here and their work done by Spark.

    A stream whose windows come with the data has one bucket: there a scope is judged at the windows of others too.
    Above a thousand scopes the live run refuses some that are judged here.
    """

    def __init__(self, spark: Callable[[], SparkSession], job: Job, archive: Archive) -> None:
        """`spark` is asked for when there is a day to judge. Executors have to reach the archive by its URL."""
        self._spark, self._url = spark, archive.url
        self.job = job._replace(buckets=BUCKETS if job.pipeline.ends is None else 1)
        self._epoch = ""
        self._runs: list[dict[str, Any] | None] = []
        self._judging: list[dict[str, Any] | None] = [None] * self.job.buckets
        self._frontier = NEVER

    @property
    def frontier(self) -> int:
        return self._frontier

    def judge(self, day: Day, behind: Callable[[Piece], None]) -> DayOutcome:
        self._of(day)
        tasks = [_Task(p, day.epoch, list(pieces), self._runs[p]) for p, pieces in enumerate(day.pieces)]
        buckets = [_Task(n, state=state) for n, state in enumerate(self._judging)]
        records = rows = 0
        findings: list[Finding] = []
        judged: list[Judged] = []
        asides: list[Aside] = []
        frontiers: list[int] = []
        for kind, n, value in self._run(tasks, buckets):
            if kind == "failed":
                name, said = msgspec.json.decode(value)
                raise {kind.__name__: kind for kind in _EXPLAINED}.get(name, RuntimeError)(said)
            if kind == "reduced":
                reduced = msgspec.msgpack.decode(value, type=_Reduced)
                records, rows = records + reduced.records, rows + reduced.rows
                asides += reduced.asides
                self._runs[n] = reduced.state
            else:
                said = msgspec.msgpack.decode(value, type=_Said)
                findings += [found.finding for found in said.findings]
                judged += said.judged
                asides += said.asides
                self._judging[n] = said.state
                frontiers.append(said.frontier)
        self._frontier = min(frontiers)
        for piece in day.files:
            behind(piece)
        findings.sort(key=lambda finding: (finding.window.end, finding.id))
        judged.sort(key=lambda record: (record.window.end, record.window.start, record.scope))
        asides.sort(key=lambda aside: aside.where)
        return DayOutcome(day, Counts(records, rows, len(findings), counted(asides)), findings, judged, asides)

    def state(self) -> dict[str, Any]:
        return {"runs": self._runs, "judging": self._judging}

    def restore(self, day: Day, state: dict[str, Any]) -> None:
        self._of(day)
        self._runs, self._judging = list(state["runs"]), list(state["judging"])

    def _of(self, day: Day) -> None:
        """Makes stage 1 afresh where the topic was re-created."""
        if day.epoch != self._epoch:
            self._epoch = day.epoch
            self._runs = [None] * self.job.stream.partitions

    def _run(self, tasks: list[_Task], buckets: list[_Task]) -> Iterator[tuple[str, int, bytes]]:
        """(kind, partition or bucket, value) of what the tasks of a day give back."""
        spark = self._spark()  # first, as it says what is missing where there is no pyspark
        import pyarrow as pa
        from pyspark.sql.functions import col

        given = [("raw", task.n, msgspec.msgpack.encode(task)) for task in tasks]
        given += [("bucket", task.n, msgspec.msgpack.encode(task)) for task in buckets]
        table = pa.Table.from_pylist(
            [{"kind": kind, "n": n, "task": body} for kind, n, body in given],
            pa.schema({"kind": pa.string(), "n": pa.int64(), "task": pa.binary()}),
        )
        frame = spark.createDataFrame(table).repartitionById(len(tasks), (col("n") % len(tasks)).cast("int"))
        said = frame.mapInArrow(partial(_reduce, self.job, self._url, __version__), _SAID)
        order = ("bucket", "due", "partition", "seq")
        sorted_ = said.repartitionById(len(buckets), col("bucket").cast("int")).sortWithinPartitions(*order)
        found = sorted_.mapInArrow(partial(_judge, self.job), _FOUND).toArrow()
        return zip(*(found[name].to_pylist() for name in ("kind", "n", "value")), strict=True)


_SAID = "bucket long, due long, partition long, seq long, kind string, value binary"
_FOUND = "kind string, n long, value binary"


def _reduce(job: Job, url: str, version: str, given: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Stage 1 of the tasks that Spark gives this process."""
    for batch in given:
        for kind, n, body in zip(*(batch.column(i).to_pylist() for i in range(3)), strict=True):
            if kind == "bucket":
                yield from _table([_Row(n, NEVER, -1, 0, "task", body)])
                continue
            try:
                if version != __version__:
                    raise RuntimeError(f"the driver has opintel {version}, an executor {__version__}")
                yield from _reduce_partition(job, url, msgspec.msgpack.decode(body, type=_Task))
            except (*_EXPLAINED, RuntimeError) as error:
                failed = msgspec.json.encode([type(error).__name__, str(error)])
                yield from _table([_Row(0, FAR, n, FAR, "failed", failed)])


def _reduce_partition(job: Job, url: str, task: _Task) -> Iterator[pa.RecordBatch]:
    run = reducing(job, task.n, task.epoch)
    if task.state is not None:
        run.restore(task.state)
    records = rows = seq = 0
    asides: list[Aside] = []
    for batch in batches(Archive(url), task.pieces):
        out = run.feed(with_settings(batch, job.stream.name, job.settings))
        records, rows = records + len(batch), rows + out.rows
        asides += out.asides
        entries = [*out.records, *out.closing]
        wm = run.stage.wm
        yield from _table([_Row(e.partition, wm, task.n, seq + k, "said", e.value) for k, e in enumerate(entries)])
        seq += len(entries)
    reduced = msgspec.msgpack.encode(_Reduced(records, rows, asides, run.state()))
    yield from _table([_Row(task.n % job.buckets, FAR, task.n, seq, "reduced", reduced)])


def _judge(job: Job, given: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Stage 2 of the buckets that Spark gives this process, one behind the other."""
    bucket: _Bucket | None = None
    for batch in given:
        rows = (_Row(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
        for kind, its in groupby(rows, key=lambda row: row.kind):
            if kind == "said" and bucket is not None:
                bucket.take([row.value for row in its])
                continue
            for row in its:
                if kind == "task":
                    if bucket is not None:
                        yield bucket.end()
                    bucket = _Bucket(job, msgspec.msgpack.decode(row.value, type=_Task))
                else:
                    yield _found(kind, row.partition, row.value)
    if bucket is not None:
        yield bucket.end()


class _Bucket:
    """Stage 2 of some scopes."""

    def __init__(self, job: Job, task: _Task) -> None:
        self._n, self._judging = task.n, Judging(job)
        if task.state is not None:
            self._judging.restore(task.state)
        self._findings: list[Found] = []
        self._judged: list[Judged] = []
        self._asides: list[Aside] = []

    def take(self, values: list[bytes]) -> None:
        said = self._judging.feed(values)
        self._findings += said.findings
        self._judged += said.judged
        self._asides += said.asides

    def end(self) -> pa.RecordBatch:
        judging = self._judging
        said = _Said(self._findings, self._judged, self._asides, judging.state(), judging.frontier)
        return _found("judged", self._n, msgspec.msgpack.encode(said))


def _table(rows: list[_Row]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    types = (pa.int64(), pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.binary())
    if rows:
        columns = [pa.array(column, type) for column, type in zip(zip(*rows, strict=True), types, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, names=_Row._fields)


def _found(kind: str, n: int, value: bytes) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pydict({"kind": [kind], "n": pa.array([n], pa.int64()), "value": [value]})
