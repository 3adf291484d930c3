"""MONIT messages per CPU-second from file to incident on the embedded log, and where the time goes.

`python benchmarks/pipeline.py [--hours 3] [--profile]`. Beside it, in the same run and on the same messages,
what a consumer would need that did nothing but parse: the standard library's json, and msgspec without types.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from opintel.cli.system import System, drain
from opintel.fts import simulate
from opintel.streams.feeds import file_feed

ROOMS = (
    "fts/wire",
    "fts/fields",
    "fts/personal",
    "fts/reducer",
    "fts/masking",
    "fts/tokens",
    "fts/links",
    "fts/silent",
)
ROOMS += ("fts/slow", "fts/first_seen", "fts/explain", "stats/", "streams/ingest", "streams/reduce", "streams/judging")
ROOMS += (
    "streams/connectors",
    "streams/log_sqlite",
    "streams/",
    "alerts/",
    "store/",
    "sqlalchemy",
    "msgspec",
    "sqlite3",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument(
        "--profile", action="store_true", help="Also print where the time goes (slower while it looks)."
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate.write(
            folder / "in", hours=given.hours, seed=1, start=simulate.DEFAULT_START, faults=simulate.FAULT_KINDS
        )
        lines = [line for path in sorted((folder / "in/messages").iterdir()) for line in path.read_bytes().splitlines()]
        size = sum(map(len, lines)) / len(lines)
        print(f"{len(lines)} MONIT messages of {size:.0f} bytes on average\n")
        print(f"{'':44}{'messages/CPU-s':>15}{'us each':>10}")
        simulate.write(folder / "few", hours=0.05, seed=2, start=simulate.DEFAULT_START, faults=())
        whole(folder / "few", folder / "warm")  # imports and first use are not what is measured
        show("json.loads alone", len(lines), lambda: [json.loads(line) for line in lines])
        show("msgspec.json.decode alone", len(lines), lambda: [msgspec.json.decode(line) for line in lines])
        show("opintel, file to incident", len(lines), lambda: whole(folder / "in", folder / "a"))
        if given.profile:
            profile = cProfile.Profile()
            profile.runcall(whole, folder / "in", folder / "b")
            rooms(profile)


def whole(messages: Path, data: Path) -> None:
    """The pipeline in one process, from files to the store."""
    system = System(data)
    watched = system.stream("fts")
    feed = file_feed(lambda source: system.ingester(watched, source, live=False), [messages], final=True)
    team = [system.sequencer(feed.ingester), feed, *system.stage1(watched), *system.stage2(watched), system.alerting()]
    drain(team)
    system.close()


def show(what: str, messages: int, work: Callable[[], object]) -> None:
    """One line: the work's CPU time, all threads, user and system."""
    before = time.process_time()
    work()
    took = time.process_time() - before
    print(f"{what:44}{messages / took:>15,.0f}{took / messages * 1e6:>10.1f}")


def rooms(profile: cProfile.Profile) -> None:
    """The profile's own time, summed by room."""
    total: dict[str, float] = {}
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        place = f"{file}:{function}"
        room = next((r for r in ROOMS if r in place), "other (Python, imports)")
        total[room] = total.get(room, 0.0) + own
    whole_time = sum(total.values())
    print(f"\nwhere the time goes (under the profiler, {whole_time:.1f} s)")
    for room, own in sorted(total.items(), key=lambda item: -item[1]):
        if own > 0.005 * whole_time:
            print(f"  {room:32}{own / whole_time:>7.1%}")


if __name__ == "__main__":
    main()
