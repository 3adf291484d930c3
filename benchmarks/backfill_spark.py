"""Identity and cost of a backfill in Spark, beside the live run, `--local`, and Spark jobs that only count windows.

`python benchmarks/backfill_spark.py FOLDER prepare fts=49` simulates a story into FOLDER and makes the log and, of its
decoded rows, the Parquet that the counting jobs read; then `python benchmarks/backfill_spark.py FOLDER FORM …` prints a
line for each form. What else the simulator is to be asked for stands behind the hours: `prepare fts=49 instances=3`,
`prepare dqm=.65 histograms=10000`. The forms:

    embedded            both stages over the embedded log with checkpoints; then writes the archive, not counted
    local               `--local`, each day's outcome kept, as in Spark
    spark[1] spark[2]   Spark with local[1], local[2]
    pandas[2] sql[2]    applyInPandas by key, and plain Spark SQL, that count rows by window and key, nothing else

Each form is a process of its own; its CPU time is that of its session's processes, Spark's start among it, Java apart.
Differences are counted against the embedded run, by id and by content to the last bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from backfill import findings, ingest

from opintel.backfill.chain import Engine, judged_again
from opintel.backfill.jobs import job_of
from opintel.backfill.local import InProcess
from opintel.backfill.outcomes import Outcomes
from opintel.backfill.spark import InSpark, session
from opintel.finding import Finding
from opintel.site.archiving import archivers
from opintel.site.load import load_site
from opintel.site.settings import Site
from opintel.site.system import System, drain
from opintel.streams.archive.reader import Archive
from opintel.streams.records import Rows, raw_codec

WINDOW = 600 * 10**9
TICKS = os.sysconf("SC_CLK_TCK")


class Line(msgspec.Struct):
    """What a form came to."""

    records: int
    rows: int
    findings: list[Finding]
    wall: float
    """Seconds."""
    python: float
    """CPU seconds."""
    java: float


def main() -> None:
    folder, first, *rest = sys.argv[1:]
    if first == "prepare":
        stream, _, hours = rest[0].partition("=")
        sizes = dict(size.split("=") for size in rest[1:])
        prepare(Path(folder), stream, float(hours), {name: int(n) for name, n in sizes.items()})
        return
    print(f"{'form':10}{'records':>10}{'rows':>11}{'findings':>10}{'differences':>13}", end="")
    print(f"{'rows/s':>9}{'CPU-us a row: Python':>22}{'all':>7}")
    for form in (first, *rest):
        subprocess.run([sys.executable, __file__, folder, f"={form}"], check=True, start_new_session=True)
        shown(form, Path(folder))


def shown(form: str, folder: Path) -> None:
    line, live = (msgspec.msgpack.decode((folder / name).read_bytes(), type=Line) for name in (form, "embedded"))
    mine, others = (
        {f.id: msgspec.msgpack.encode(msgspec.structs.replace(f, origin="live")) for f in its.findings}
        for its in (line, live)
    )
    counts_only = form.startswith(("pandas", "sql"))
    differences = len(dict(mine.items() ^ others.items()))
    found = ("–", "–") if counts_only else (f"{len(mine):,}", str(differences))
    print(f"{form:10}{line.records or live.records:10,}{live.rows:11,}{found[0]:>10}{found[1]:>13}", end="")
    python, java = (1e6 * seconds / live.rows for seconds in (line.python, line.java))
    print(f"{live.rows / line.wall:9,.0f}{python:22.1f}{python + java:7.1f}", flush=True)


def prepare(folder: Path, stream: str, hours: float, sizes: dict[str, int]) -> None:
    """The log, and the rows as a table."""
    system = System(folder / "data", _site(folder))
    ingest(system, stream, hours, folder / "in", **sizes)
    (folder / "stream").write_text(stream)
    with pq.ParquetWriter(folder / "rows.parquet", pa.schema({"key": pa.string(), "time": pa.int64()})) as rows:
        for batch in _batches(system, stream):
            key, code = batch.batch.key
            columns = {"key": pa.array(key).take(pa.array(code)), "time": pa.array(batch.batch.time)}
            rows.write_table(pa.table(columns))
    system.close()


def _batches(system: System, stream: str) -> Iterator[Rows]:
    watched = system.stream(stream)
    codec, topic = raw_codec(watched.pipeline.payload), watched.stream.topic
    for p in range(watched.stream.partitions):
        position = 0
        while batch := system.log.read(topic, p, position, 500):
            position = batch[-1][0] + 1
            yield from (r for _, value, _ in batch if isinstance(r := codec.decode(value), Rows) and len(r.batch))


def measure(form: str, folder: Path) -> None:
    """Runs a form in this process, and keeps what it came to."""
    stream = (folder / "stream").read_text()
    before, began = cpu("python"), time.perf_counter()
    name, _, cores = form.rstrip("]").partition("[")
    run: Callable[[], tuple[int, int, list[Finding]]] = {
        "embedded": partial(embedded, folder, stream),
        "local": partial(again, folder, stream, form, InProcess),
        "spark": partial(in_spark, folder, stream, form, cores),
        "pandas": partial(counting, folder, cores, in_pandas=True),
        "sql": partial(counting, folder, cores, in_pandas=False),
    }[name]
    records, rows, found = run()
    line = Line(records, rows, found, time.perf_counter() - began, cpu("python") - before, cpu("java"))
    (folder / form).write_bytes(msgspec.msgpack.encode(line))
    if name == "embedded":
        system = System(folder / "data", _site(folder))
        topic = f"archive {system.stream(stream).stream.topic}"
        drain([make() for name, make in archivers(system, final=True).items() if name == topic])


def embedded(folder: Path, stream: str) -> tuple[int, int, list[Finding]]:
    system = System(folder / "data", _site(folder))
    watched = system.stream(stream)
    drain([system.stage1(watched), system.stage2(watched)])
    topic, partitions = watched.stream.topic, range(watched.stream.partitions)
    rows = pq.ParquetFile(folder / "rows.parquet").metadata.num_rows
    found = list(findings(system).values())
    return sum(system.log.end(topic, p) for p in partitions), rows, found


def again(folder: Path, stream: str, form: str, engine: Callable[..., Engine]) -> tuple[int, int, list[Finding]]:
    url, outcomes = str(folder / "archive"), Outcomes(str(folder / f"out-{form}"), stream)
    days = list(judged_again(job_of(_site(folder), stream, url), Archive(url), engine, outcomes))
    assert not any(day.before for day in days), f"{folder}/out-{form} is of a run before"
    records, rows = sum(day.counts.records for day in days), sum(day.counts.rows for day in days)
    return records, rows, [finding for day in days for finding in day.findings]


def in_spark(folder: Path, stream: str, form: str, cores: str) -> tuple[int, int, list[Finding]]:
    return again(folder, stream, form, partial(InSpark, lambda: session(f"local[{cores}]", form)))


def counting(folder: Path, cores: str, in_pandas: bool) -> tuple[int, int, list[Finding]]:
    """Windows of keys, counted."""
    from pyspark.sql import functions as f

    frame = session(f"local[{cores}]", "counting").read.parquet(str(folder / "rows.parquet"))
    frame = frame.withColumn("window", f.floor(f.col("time") / WINDOW))
    if in_pandas:
        counts = frame.groupBy("key").applyInPandas(
            lambda rows: rows.groupby(["key", "window"], as_index=False).size(), "key string, window long, size long"
        )
    else:
        counts = frame.groupBy("key", "window").agg(f.count("*").alias("size"))
    return 0, sum(counts.toArrow()["size"].to_pylist()), []


def cpu(name: str) -> float:
    """CPU seconds of this session's processes that are called so."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            called, _, fields = (process / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        values = fields.split()
        if int(values[3]) == os.getsid(0) and called.startswith(name):
            total += int(values[11]) + int(values[12])
    return total / TICKS


def _site(folder: Path) -> Site:
    site = load_site()
    return site._replace(
        settings=msgspec.structs.replace(site.settings, archive=str(folder / "archive"), simulated=True)
    )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].startswith("="):
        measure(sys.argv[2][1:], Path(sys.argv[1]))
    else:
        main()
