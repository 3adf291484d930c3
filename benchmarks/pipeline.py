"""FTS records per CPU-second on the embedded log, and where the time goes.

`python benchmarks/pipeline.py [--rate 150000] [--hours 0.7] [--profile]`. One run, one process, the same story: what a
consumer would need that did nothing but parse (the standard library's json, msgspec without types); the whole pipeline
from messages in memory to incidents, with single MONIT messages and with the batched wire; and from a file.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rooms import batches, rooms

from opintel.detector import Message
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.site.system import System, drain
from opintel.streams.feeds import file_feed
from opintel.streams.ingest import CHUNK, Ingester

RECORDS = 2000
"""Records of a batched message."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=150_000.0, help="Messages an hour: WLCG has 80,000 to 170,000.")
    parser.add_argument("--hours", type=float, default=0.7)
    parser.add_argument(
        "--profile", action="store_true", help="Also print where the time goes (slower while it looks)."
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [body for _, body in FtsSimulator(seed=1, hours=given.hours, rate=given.rate).messages()]
        (folder / "in").mkdir()
        (folder / "in/story.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        batched = batches(lines, RECORDS)
        size = sum(map(len, lines)) / len(lines)
        each = sum(map(len, batched)) / RECORDS / len(batched)
        print(f"{len(lines)} MONIT messages of {size:.0f} bytes, {given.rate:,.0f} an hour; the complete ones as")
        print(f"{len(batched)} Arrow messages of {RECORDS} records, {each:.0f} bytes each\n")
        print(f"{'':44}{'records/CPU-s':>15}{'us each':>10}")
        records = RECORDS * len(batched)
        runs: list[tuple[str, int, Callable[[System], None]]] = [
            ("single messages in memory, to incident", len(lines), lambda system: memory(system, lines)),
            ("batched messages in memory, to incident", records, lambda system: memory(system, batched, 4)),
            ("single messages from a file, to incident", len(lines), lambda system: whole(system, [folder / "in"])),
        ]
        with made(folder / "warm") as system:  # imports and first use are not what is measured
            memory(system, [*lines[:9000], *batched[:9]])
        show("json.loads alone", len(lines), lambda: [json.loads(line) for line in lines])
        show("msgspec.json.decode alone", len(lines), lambda: [msgspec.json.decode(line) for line in lines])
        for n, (what, count, run) in enumerate(runs):
            with made(folder / str(n)) as system:
                show(what, count, lambda run=run, system=system: run(system))  # type: ignore[misc]
        if given.profile:
            for n, (what, _, run) in enumerate(runs[:2]):
                profile = cProfile.Profile()
                with made(folder / f"profile{n}") as system:
                    profile.runcall(run, system)
                rooms(what, profile)


@contextmanager
def made(data: Path) -> Iterator[System]:
    """A system over a new folder, which is not part of what is measured."""
    system = System(data)
    yield system
    system.close()


class Given:
    """Messages in memory as a source, taken in chunks."""

    name = "given"

    def __init__(self, ingester: Ingester, messages: list[bytes], chunk: int) -> None:
        self.ingester, self.messages, self.chunk, self.at = ingester, messages, chunk, 0

    def step(self) -> bool:
        bodies = self.messages[self.at : self.at + self.chunk]
        if not bodies:
            return False
        part = [Message(body, "topic", n, n) for n, body in enumerate(bodies, self.at)]
        self.at += len(part)
        self.ingester.take(part, self.at, time.time_ns())
        if self.at >= len(self.messages):
            self.ingester.finish(time.time_ns())
        return True

    def idle(self) -> bool:
        return self.at >= len(self.messages)

    def close(self) -> None:
        """Nothing to do."""


def memory(system: System, messages: list[bytes], chunk: int = CHUNK, stream: str = "fts") -> None:
    """The pipeline in one process, from messages in memory to the store."""
    watched = system.stream(stream)
    given = Given(system.ingester(watched, "given", live=False), messages, chunk)
    team = [system.sequencer(given.ingester), given, system.stage1(watched), system.stage2(watched)]
    drain([*team, system.alerting()])


def whole(system: System, messages: list[Path]) -> None:
    """The pipeline in one process, from files to the store."""
    watched = system.stream("fts")
    feed = file_feed(lambda source: system.ingester(watched, source, live=False), messages, final=True)
    team = [system.sequencer(feed.ingester), feed, system.stage1(watched), system.stage2(watched), system.alerting()]
    drain(team)


def show(what: str, messages: int, work: Callable[[], object]) -> None:
    """One line: the work's CPU time, all threads, user and system."""
    before = time.process_time()
    work()
    took = time.process_time() - before
    print(f"{what:44}{messages / took:>15,.0f}{took / messages * 1e6:>10.1f}")


if __name__ == "__main__":
    main()
