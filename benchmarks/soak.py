"""Half an hour at 80 % of what this machine can do, services as processes over a broker: does memory or lag grow?

`python benchmarks/soak.py [--minutes 30] [--report FILE]`. First a source topic is kept a fixed number of messages
ahead of the services, which shows how many a second they, the broker and the producer manage together; then a new story
comes at 80 % of that, its messages dated as they are sent. Everything runs here, so the figures are this machine's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from firehose import SOURCE, Hose, make_source

from opintel.demo.broker import Broker
from opintel.demo.fleet import Fleet
from opintel.demo.site import make_site
from opintel.site.load import load_site
from opintel.site.system import System
from opintel.store.queries import finding_counts
from opintel.streams.records import Control, raw_codec

SERVICES = ("ingest", "stage1 a", "stage1 b", "stage2", "alerts", "delivery", "console")
SETTINGS = {"window": "30s", "lateness": "30s", "skew": "30s", "interval": "10s"}
"""Short windows: stage 2 remembers the last twelve, so memory has reached its level within minutes."""
SHARE = 0.8
AHEAD = 100_000
"""Messages in flight while the capacity is measured: several seconds, for positions are committed once a second."""
WARM, MEASURED = 20.0, 40.0
"""s of that."""
EVERY = 10.0
SETTLED = 600.0
"""s after which memory should have its level; a sixth of a shorter run."""
GROWTH_MB, GROWTH = 16.0, 0.05
"""Growth over the rest of the run, by a fitted line, that is still flat: the larger of the two (share of RSS)."""
SLACK_S = 10.0
"""Lag is flat if its median grows by no more than what comes in so many seconds: a batch, the end of a window."""
NOT_OURS = ("broker", "producer")
"""The broker grows to the heap that it is given, the producer holds two minutes of its story at a time."""
MB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """One look. Lags in messages as far as they are known in messages, else in records."""

    second: float
    rss: dict[str, float]
    """Process → MB."""
    cpu: dict[str, float]
    """Process → s since it started."""
    lag: dict[str, int]
    sent: int
    findings: int


class Result(NamedTuple):
    """What a soak came to."""

    capacity: float
    """Messages a second, all of it on this machine."""
    rate: float
    """Messages a second that were sent in the soak."""
    samples: list[Sample]
    restarts: int
    growing: list[str]
    """Processes and lags that are not flat."""
    table: str
    """Markdown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="Memory has its level after 10; at most 100.")
    parser.add_argument("--report", type=Path, help="Also write the table there, as Markdown.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), given.minutes, lambda line: print(line, flush=True))
    print(result.table)
    if given.report:
        given.report.write_text(result.table)
    raise SystemExit(bool(result.growing or result.restarts))


def soak(
    folder: Path, minutes: float, tell: Callable[[str], None] = lambda _: None, jars: Path | None = None
) -> Result:
    """Runs it in an empty folder."""
    # the source is read once and at once; what lies there longer only fills the disk
    often = {"log.retention.check.interval.ms": "10000"}
    with ExitStack() as leaving:
        broker = leaving.enter_context(Broker(folder / "kafka", properties=often, jars=jars))
        make_source(broker.bootstrap)
        site, receiver = make_site(folder, headless=True, bus=broker.bootstrap)
        leaving.callback(receiver.close)
        stream = site / "streams/fts.yaml"
        source = {"bootstrap": [broker.bootstrap], "topics": [SOURCE]}
        stream.write_text(yaml.safe_dump({**yaml.safe_load(stream.read_text()), **SETTINGS, "kafka": source}))
        system = System(folder / "data", load_site(site))
        leaving.callback(system.close)
        fleet = Fleet(folder / "logs")
        leaving.callback(fleet.leave)
        for name in SERVICES:
            port = ("--port", "0") if name == "console" else ()
            fleet.start(name, "run", name.split()[0], *port, "--config", str(site), "--data", str(folder / "data"))
        watch = Watch(system, fleet, broker)
        capacity, flight = _capacity(broker.bootstrap, watch, fleet)
        limit = "the producer" if flight < AHEAD / 2 else "the services"
        tell(f"capacity: {capacity:,.0f} messages/s, {flight:,.0f} in flight: {limit} could do no more")
        sent, samples = watch.taken(), list[Sample]()
        with Hose(broker.bootstrap, seed=2, rate=SHARE * capacity) as hose:
            began, before = time.monotonic(), hose.sent.value
            while time.monotonic() - began < 60 * minutes:
                time.sleep(max(0.0, began + EVERY * (len(samples) + 1) - time.monotonic()))
                fleet.look()
                samples.append(watch.look(time.monotonic() - began, sent + hose.sent.value, hose.pid))
                tell(_line(samples))
            rate = (hose.sent.value - before) / (time.monotonic() - began)
        restarts = sum(service["restarts"] for service in fleet.listing())
        return _judged(capacity, rate, samples, restarts, minutes)


def _capacity(bootstrap: str, watch: Watch, fleet: Fleet) -> tuple[float, float]:
    """Messages a second that come through all stages while the producer keeps AHEAD of them in flight, if it can; and
    how many were (median)."""
    with Hose(bootstrap, seed=1, rate=None) as hose:
        marks: list[tuple[float, int]] = []
        flight: list[int] = []
        began = time.monotonic()
        while not marks or marks[-1][0] < began + WARM + MEASURED:
            done = watch.reduced()
            hose.allowed.value = done + AHEAD
            marks.append((time.monotonic(), done))
            flight.append(hose.sent.value - done)
            time.sleep(0.2)
            fleet.look()
            if not done:
                began = time.monotonic()  # they are still starting
        first = next(mark for mark in marks if mark[0] >= began + WARM)
        rate = (marks[-1][1] - first[1]) / (marks[-1][0] - first[0])
        end = hose.stop()
    while watch.reduced() < end:
        fleet.look()
        time.sleep(0.2)
    return rate, statistics.median(flight[len(flight) // 2 :])


class Watch:
    """Looks at processes and at the log from outside."""

    def __init__(self, system: System, fleet: Fleet, broker: Broker) -> None:
        self._system, self._fleet, self._broker = system, fleet, broker
        watched = system.stream("fts")
        self._stream, self._codec = watched.stream, raw_codec(watched.pipeline.payload)

    def taken(self) -> int:
        """Messages that the ingest has taken."""
        bus, topic = self._system.log, self._stream.topic
        return max(self._count(p, bus.end(topic, p) - 1) for p in range(self._stream.partitions))

    def reduced(self) -> int:
        """Messages of which stage 1 has processed every partition's share; exact to a chunk."""
        bus, topic, taken = self._system.log, self._stream.topic, self.taken()
        noted = bus.committed()
        at = [noted.get(("stage1", topic, p), 0) for p in range(self._stream.partitions)]
        behind = [self._count(p, n - 1) for p, n in enumerate(at) if n < bus.end(topic, p)]
        return min(behind, default=taken)

    def look(self, second: float, sent: int, producer: int) -> Sample:
        """`sent`: messages since the beginning; `producer`: its process."""
        bus, stream = self._system.log, self._stream
        noted = bus.committed()
        taken = self.taken()
        raw = sum(
            bus.end(stream.topic, p) - noted.get(("stage1", stream.topic, p), 0) for p in range(stream.partitions)
        )
        lag = {
            "source, messages": max(0, sent - taken),
            "stage 1, messages": max(0, taken - self.reduced()),
            "stage 1, records": raw,
            "stage 2, records": bus.end(stream.derived, 0) - noted.get(("stage2", stream.derived, 0), 0),
            "alerts, records": self._system.undecided(),
        }
        pids = {s["name"]: s["pid"] for s in self._fleet.listing()} | {
            "broker": self._broker.pid or 0,
            "producer": producer,
        }
        rss = {name: _rss(pid) for name, pid in pids.items()}
        cpu = {name: _cpu(pid) for name, pid in pids.items()}
        return Sample(second, rss, cpu, lag, sent, sum(finding_counts(self._system.store).values()))

    def _count(self, partition: int, position: int) -> int:
        """Messages taken up to the record at a position; controls count none, so what is before them."""
        while position >= 0:
            for _, value, _ in self._system.log.read(self._stream.topic, partition, position, 1):
                record = self._codec.decode(value)
                if not isinstance(record, Control):
                    return int(record.source.count)
            position -= 1
        return 0


def _rss(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _line(samples: list[Sample]) -> str:
    last = samples[-1]
    rss = sum(mb for name, mb in last.rss.items() if name not in NOT_OURS)
    lag = ", ".join(f"{name} {n}" for name, n in last.lag.items())
    return f"{last.second:6.0f} s  sent {last.sent:,}  {rss:.0f} MB  {last.findings} findings  lag: {lag}"


def _judged(capacity: float, rate: float, samples: list[Sample], restarts: int, minutes: float) -> Result:
    settled = min(SETTLED, 60 * minutes / 6)
    kept = [s for s in samples if s.second >= settled]
    third = max(1, len(kept) // 3)
    hours = np.array([s.second for s in kept]) / 3600
    length, growing = float(hours[-1] - hours[0]), []
    lines = [
        f"{minutes:g} minutes at {rate:,.0f} messages/s ({rate / capacity:.0%} of {capacity:,.0f}), "
        f"{os.cpu_count()} cores for services, broker and producer; {samples[-1].findings} findings, "
        f"{restarts} restarts.",
        "",
        f"| process | RSS at {settled:.0f} s, MB | at the end, MB | slope, MB/h | CPU, % of a core | flat |",
        "|---|---|---|---|---|---|",
    ]
    for name in kept[-1].rss:
        rss = np.array([s.rss[name] for s in kept])
        slope = float(np.polyfit(hours, rss, 1)[0]) if len(kept) > 2 else 0.0
        flat = name in NOT_OURS or slope * length <= max(GROWTH_MB, GROWTH * float(rss[0]))
        cpu = (kept[-1].cpu[name] - kept[0].cpu[name]) / max(1e-9, 3600 * length)
        growing += [name] * (not flat)
        told = "not ours" if name in NOT_OURS else "yes" if flat else "no"
        lines.append(f"| {name} | {rss[0]:.0f} | {rss[-1]:.0f} | {slope:+.1f} | {cpu:.0%} | {told} |")
    lines += ["", "| lag | first third, median (max) | last third, median (max) | flat |", "|---|---|---|---|"]
    for name in kept[-1].lag:
        first, last = [s.lag[name] for s in kept[:third]], [s.lag[name] for s in kept[-third:]]
        slack = SLACK_S * rate if "messages" in name else SLACK_S * 100
        flat = statistics.median(last) <= statistics.median(first) + slack
        growing += [name] * (not flat)
        told = [f"{statistics.median(part):,.0f} ({max(part):,})" for part in (first, last)]
        lines.append(f"| {name} | {told[0]} | {told[1]} | {'yes' if flat else 'no'} |")
    return Result(capacity, rate, samples, restarts, growing, "\n".join(lines) + "\n")


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
