"""Identity and cost of a backfill: the live run of a simulated story, its archive, and the archive judged again.

`python benchmarks/backfill.py [fts=12 health=6 …]`: streams and the hours of their stories. Live are both stages over
the embedded log with checkpoints; the archiver reads that log; the backfill (`--local`) reads the archive and keeps
each day's outcome. CPU time of this process, one after the other. Differences are counted by id and, where both have
it, by content.

`python benchmarks/backfill.py files STREAM=PATH …`: the same of files of others, which `replay` reads and which become
an archive for the backfill; CPU time with that of the processes that parse them.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from opintel.backfill.chain import DayOutcome
from opintel.backfill.files import files_archived
from opintel.backfill.jobs import job_of
from opintel.backfill.local import backfill
from opintel.backfill.outcomes import Outcomes
from opintel.finding import Finding, same_content
from opintel.simulation import DEFAULT_START, write
from opintel.site.archiving import archivers
from opintel.site.files_read import complete_files
from opintel.site.load import load_site
from opintel.site.story import stories_for
from opintel.site.system import System, drain
from opintel.streams.archive.reader import Archive
from opintel.streams.feeds import file_feed
from opintel.streams.findings import Found, decode
from opintel.streams.stream import FINDINGS

STORIES = ("fts=12", "health=6", "dqm=1", "gw=0.1")


def main() -> None:
    if sys.argv[1:2] == ["files"]:
        print(f"{'stream':8}{'files':>7}{'rows':>9}{'replay':>9}{'backfill':>10}{'differences':>13}", end="")
        print(f"{'archive, MB':>13}{'replay':>9}{'to archive':>12}{'backfill':>10}  CPU-s")
        for given in sys.argv[2:]:
            stream, _, path = given.partition("=")
            with tempfile.TemporaryDirectory() as folder:
                measure_files(stream, Path(path), Path(folder))
        return
    print(f"{'stream':8}{'records':>9}{'rows':>9}{'findings':>10}{'differences':>13}{'archive, MB':>13}", end="")
    print(f"{'live':>9}{'archiver':>10}{'backfill':>10}  CPU-us a row")
    for given in sys.argv[1:] or STORIES:
        stream, _, hours = given.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            measure(stream, float(hours), Path(folder))


def measure(stream: str, hours: float, folder: Path) -> None:
    """One line of the table."""
    site = load_site()
    site = site._replace(settings=msgspec.structs.replace(site.settings, archive=str(folder / "archive")))
    system = System(folder / "data", site)
    watched = system.stream(stream)
    ingest(system, stream, hours, folder / "in")
    began = time.process_time()
    drain([system.stage1(watched), system.stage2(watched)])
    live = time.process_time() - began
    found = findings(system)
    began = time.process_time()
    drain([make() for name, make in archivers(system, final=True).items() if name == f"archive {watched.stream.topic}"])
    archiving = time.process_time() - began
    job = job_of(system.site, stream, str(folder / "archive"))
    began = time.process_time()
    days = list(backfill(job, Archive(str(folder / "archive")), Outcomes(str(folder / "out"), stream)))
    again = time.process_time() - began
    records, rows = sum(day.counts.records for day in days), sum(day.counts.rows for day in days)
    size = sum(path.stat().st_size for path in (folder / "archive").rglob("*.parquet")) / 1e6
    print(f"{stream:8}{records:9,}{rows:9,}{len(found):10,}{differences(found, days):13}{size:13.1f}", end="")
    print("".join(f"{1e6 * seconds / rows:{width}.1f}" for seconds, width in ((live, 9), (archiving, 10), (again, 10))))
    system.close()


def measure_files(stream: str, path: Path, folder: Path) -> None:
    """One line of the table of files."""
    site, url = load_site().by_itself(), str(folder / "archive")
    system = System(folder / "data", site, replayed=True)
    watched = system.stream(stream)
    times = [cpu()]
    feed = complete_files(system, watched, [path])
    drain([system.sequencer(feed.ingester), feed, system.stage1(watched), system.stage2(watched, origin="replay")])
    found = findings(system)
    times.append(cpu())
    _, read = files_archived(site, stream, [path], lambda _: url)
    times.append(cpu())
    days = list(backfill(job_of(site, stream, url), Archive(url), Outcomes(str(folder / "out"), stream)))
    times.append(cpu())
    rows, again = sum(day.counts.rows for day in days), sum(len(day.findings) for day in days)
    size = sum(file.stat().st_size for file in (folder / "archive").rglob("*.parquet")) / 1e6
    print(f"{stream:8}{read.files:7,}{rows:9,}{len(found):9,}{again:10,}{differences(found, days):13}", end="")
    print(f"{size:13.1f}", "".join(f"{b - a:{w}.1f}" for a, b, w in zip(times, times[1:], (8, 12, 10), strict=False)))
    system.close()


def cpu() -> float:
    """Seconds of this process and of those that it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def ingest(system: System, stream: str, hours: float, folder: Path, **sizes: Any) -> None:
    """The simulator's messages, through files into the log; `sizes`: what else its simulator is asked for."""
    watched = system.stream(stream)
    stories = stories_for(system.site, stream)
    simulation = stories.simulator(hours=hours, seed=1, start=DEFAULT_START, faults=stories.faults, **sizes)
    write(folder, simulation, lambda _: None, suffix=stories.suffix)
    feed = file_feed(lambda source: system.ingester(watched, source, live=False), [folder / "messages"], final=True)
    drain([system.sequencer(feed.ingester), feed])


def findings(system: System) -> dict[str, Finding]:
    """Those in the findings topic."""
    found: dict[str, Finding] = {}
    position = 0
    while batch := system.log.read(FINDINGS, 0, position, 1000):
        position = batch[-1][0] + 1
        found |= {r.finding.id: r.finding for _, value, _ in batch if isinstance(r := decode(value), Found)}
    return found


def differences(live: dict[str, Finding], days: list[DayOutcome]) -> int:
    """Findings that only one has, or that say something else."""
    again = {finding.id: finding for day in days for finding in day.findings}
    other = sum(not same_content(live[id], again[id], tolerance=0.0) for id in live.keys() & again.keys())
    return len(live.keys() ^ again.keys()) + other


if __name__ == "__main__":
    main()
