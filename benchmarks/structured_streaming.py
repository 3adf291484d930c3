"""Identity, cost and latency of the two stages in Spark Structured Streaming (`micro_batches.py`), beside the live run.

`python benchmarks/structured_streaming.py FOLDER prepare fts=2` simulates a story and makes the log; then
`python benchmarks/structured_streaming.py FOLDER FORM …` prints a line for each form, `embedded` first:

    embedded             both stages over the embedded log; then writes the archive, files of 2 records, not counted
    driver tasks         a query over the archive, 8 files a batch: stage 1 in the driver, or in a task a partition
    killed               `tasks`, where after each fifth batch the driver fails between its output and Spark's commit
    kafka                `tasks` from a Kafka topic with the same records, 16 a batch; JARS in the environment are the
                         connector's, separated by commas
    shuffled             `driver` over a copy of the archive whose files are of other ages than their records

Each form is a process of its own. Latency is the time of a batch, from when Spark begins to look for records until it
has committed; for `embedded` that of a turn of all workers over as many records. `ours` is the time in `foreachBatch`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from backfill import findings
from backfill_spark import Line, _site, cpu, prepare, shown
from micro_batches import Batches, from_archive, from_kafka
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from opintel.backfill.jobs import job_of
from opintel.backfill.spark import session
from opintel.demo.broker import Broker
from opintel.finding import Finding
from opintel.site.archiving import archivers
from opintel.site.system import System, drain
from opintel.streams.archive import cutting
from opintel.streams.archive.reader import Archive
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.log import Entry
from opintel.streams.log_kafka import KafkaLog

EVERY = 2
"""Records in a file."""
FILES = 8
"""In a batch."""


class Times(msgspec.Struct):
    """Seconds of each batch, and of our part of it."""

    batches: list[float]
    ours: list[float]
    starts: int = 0
    """Of the query."""


def main() -> None:
    folder, first, *rest = sys.argv[1:]
    if first == "prepare":
        stream, _, hours = rest[0].partition("=")
        prepare(Path(folder), stream, float(hours))
        return
    print(f"{'form':10}{'records':>10}{'rows':>11}{'findings':>10}{'differences':>13}", end="")
    print(f"{'rows/s':>9}{'CPU-us a row: Python':>22}{'all':>7}   batches, s: median, longest, ours")
    for form in (first, *rest):
        if subprocess.run([sys.executable, __file__, folder, f"={form}"], start_new_session=True).returncode:
            print(f"{form:10} stopped")
            continue
        shown(form, Path(folder))
        times = msgspec.msgpack.decode(Path(folder, f"{form}.times").read_bytes(), type=Times)
        print(
            f"{'':10}{times.starts} starts, {len(times.batches)} batches: {statistics.median(times.batches):.3f}",
            end="",
        )
        print(f"{max(times.batches):8.3f}{statistics.median(times.ours):8.3f}", flush=True)


def measure(form: str, folder: Path) -> None:
    stream = (folder / "stream").read_text()
    times = Times([], [])
    before, began = cpu("python"), time.perf_counter()
    records, rows, found = embedded(folder, stream, times) if form == "embedded" else query(form, folder, stream, times)
    line = Line(records, rows, found, time.perf_counter() - began, cpu("python") - before, cpu("java"))
    (folder / form).write_bytes(msgspec.msgpack.encode(line))
    (folder / f"{form}.times").write_bytes(msgspec.msgpack.encode(times))
    if form == "embedded":
        cutting.EVERY = EVERY
        system = System(folder / "data", _site(folder))
        topic = f"archive {system.stream(stream).stream.topic}"
        drain([make() for name, make in archivers(system, final=True).items() if name == topic])
        # as old as their records, as those of an archive that is written while the log grows
        files = sorted((folder / "archive").rglob("partition=*/*.parquet"), key=lambda file: file.name)
        aged(files)


def embedded(folder: Path, stream: str, times: Times) -> tuple[int, int, list[Finding]]:
    system = System(folder / "data", _site(folder))
    watched = system.stream(stream)
    services = [system.stage1(watched, batch=2 * EVERY), system.stage2(watched)]
    worked = [True]
    while any(worked) or not all(service.idle() for service in services):
        began = time.perf_counter()
        worked = [service.step() for service in services]
        times.batches.append(time.perf_counter() - began)
    times.ours = times.batches
    topic, partitions = watched.stream.topic, range(watched.stream.partitions)
    rows = pq.ParquetFile(folder / "rows.parquet").metadata.num_rows
    return sum(system.log.end(topic, p) for p in partitions), rows, list(findings(system).values())


class Failing(Batches):
    """Fails once behind each fifth batch, when all is written and nothing committed."""

    def __init__(self, *given: Any, times: Times, fail: bool, **options: Any) -> None:
        super().__init__(*given, **options)
        self._times, self._fail, self._failed = times, fail, set[int]()

    def __call__(self, frame: DataFrame, n: int) -> None:
        began = time.perf_counter()
        super().__call__(frame, n)
        self._times.ours.append(time.perf_counter() - began)
        if self._fail and n % 5 == 4 and n not in self._failed:
            self._failed.add(n)
            raise RuntimeError("killed")


def query(form: str, folder: Path, stream: str, times: Times) -> tuple[int, int, list[Finding]]:
    """A query until it has read all."""
    url = str(folder / "archive")
    job = job_of(_site(folder), stream, url)
    (archived,) = Archive(url).epochs(job.stream.topic)
    job = job._replace(stream=job.stream._replace(partitions=len(archived.pieces)))
    out = folder / f"out-{form}"
    shutil.rmtree(out, ignore_errors=True)
    batches = Failing(
        job,
        out / "batches",
        archived.epoch,
        in_tasks=form not in ("driver", "shuffled"),
        times=times,
        fail=form == "killed",
    )
    with session_of(form) as spark, ExitStack() as leaving:
        if form == "kafka":
            broker = leaving.enter_context(Broker(out / "broker"))
            copy(folder, stream, broker)
            frame = from_kafka(spark, broker.bootstrap, job.stream.topic, FILES * EVERY)
        else:
            if form == "shuffled":
                url = shuffled(folder / "archive", out / "archive")
            frame = from_archive(spark, url, job.stream.topic, FILES)
        spark.sparkContext.addPyFile(str(Path(__file__).with_name("micro_batches.py")))
        writer = frame.writeStream.option("checkpointLocation", str(out / "spark")).trigger(availableNow=True)
        while True:
            times.starts += 1
            running = writer.foreachBatch(batches).start()
            try:
                running.awaitTermination()
            except StreamingQueryException as error:
                if "killed" not in str(error):
                    raise SystemExit(re.findall(r"Hole: .*", str(error))[-1]) from None
            times.batches += [
                p["durationMs"]["triggerExecution"] / 1e3 for p in running.recentProgress if p["numInputRows"]
            ]
            if running.exception() is None:
                break
    return 0, 0, list(batches.findings().values())


@contextmanager
def session_of(form: str) -> Iterator[SparkSession]:
    if jars := os.environ.get("JARS"):
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"--jars {jars} pyspark-shell"
    spark = session("local[2]", form)
    spark.conf.set("spark.sql.shuffle.partitions", 4)
    spark.conf.set("spark.sql.streaming.numRecentProgressUpdates", 10_000)
    yield spark
    spark.stop()


def copy(folder: Path, stream: str, broker: Broker) -> None:
    """The log's raw topic into a cluster."""
    system = System(folder / "data", _site(folder))
    topic = system.stream(stream).stream.topic
    cluster = KafkaLog(KafkaSettings(bootstrap=[broker.bootstrap]))
    for p in range(cluster.create(topic, system.stream(stream).stream.partitions).partitions):
        position = 0
        while records := system.log.read(topic, p, position, EVERY):
            cluster.append([Entry(topic, p, value) for _, value, _ in records])
            position = records[-1][0] + 1
    cluster.close()
    system.close()


def shuffled(archive: Path, copied: Path) -> str:
    shutil.copytree(archive, copied)
    files = sorted(copied.rglob("*.parquet"))
    random.Random(1).shuffle(files)
    aged(files)
    return str(copied)


def aged(files: list[Path]) -> None:
    """Gives files ages in this order."""
    for n, file in enumerate(files):
        os.utime(file, (1e9 + n, 1e9 + n))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].startswith("="):
        measure(sys.argv[2][1:], Path(sys.argv[1]))
    else:
        main()
