"""How a stream is doing, read from the log alone: lag, freshness, watermark, what was set aside; and as
metrics.

Any process over the same log can tell. Labels are bounded: streams, stages and kinds; what is per link or
channel lives in the store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from opintel import __version__
from opintel.streams.archive.waiting import waiting
from opintel.streams.log import AsideKind, Log, LogError, LogUnavailable
from opintel.streams.records import NEVER, Stamp
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.tail import tail_of

STALE_AFTER = 5
"""A live source is stale after this many tick intervals without data or tick."""
WITHIN = 2000
"""Records at the end of a partition among which a stamp is looked for: pages and scrapes ask often."""
KINDS: tuple[AsideKind, ...] = ("dead", "late", "refused", "quarantined", "gap")
log = logging.getLogger(__name__)


class StreamStatus(msgspec.Struct, frozen=True):
    """One stream at one moment. Times in ns."""

    name: str
    messages: int
    """Taken from the source that was heard last."""
    lag: int
    """Records that a stage has not processed yet."""
    arrival: int | None
    """When data or a tick came last."""
    watermark: int | None
    asides: dict[AsideKind, int]
    live: bool
    """Whether the last source ticks; files do not."""
    withheld: int | None = None
    """Its source does not show what it has had since then, so that nothing after it is judged."""


class Stored(NamedTuple):
    """What the store holds."""

    findings: dict[tuple[str, str], int]
    """(stream, kind) → how many."""
    incidents: dict[tuple[str, str], int]
    """(stream, state) → how many."""
    sinks: Sequence[Metric] = ()
    """Metrics of what is sent to each."""


NOTHING = Stored({}, {})


def stream_status(bus: Log, stream: Stream) -> StreamStatus:
    """What the log says about a stream now."""
    messages, arrival, watermark, live, withheld = 0, None, None, False, None
    for partition in range(stream.partitions):
        tail = tail_of(bus, stream, partition, within=WITHIN).stamp
        if tail is None:
            continue
        if arrival is None or tail.arrival >= arrival:
            # a tick of a live source says how far it listened; one at the end of a file closes more than that
            arrival, live = tail.arrival, tail.wm == tail.listened
            withheld = _withheld(tail, stream)
        messages = max(messages, tail.source.count)
        if tail.wm != NEVER:
            watermark = max(tail.wm, NEVER if watermark is None else watermark)
    counts, own = bus.aside_counts(), aside_topics(stream)
    asides = {kind: sum(n for (topic, k), n in counts.items() if k == kind and topic in own) for kind in KINDS}
    return StreamStatus(stream.name, messages, lag(bus, stream), arrival, watermark, asides, live, withheld)


def _withheld(stamp: Stamp, stream: Stream) -> int | None:
    """Until when a live source has shown all, where a stamp claims less than it could by its arrival; a file withholds
    nothing behind its end."""
    if stamp.listened is not None and stamp.wm != stamp.listened:
        return None
    claimed = stamp.wm + stream.lateness
    seen = stamp.arrival if stamp.listened is not None else min(stamp.source.seen_before, stamp.arrival + stream.skew)
    return claimed if stamp.wm != NEVER and seen - claimed > stream.interval else None


def aside_topics(stream: Stream) -> tuple[str, ...]:
    """The topics under which a stream's rows are set aside: its own, and one of what never came into the log."""
    return (stream.topic, stream.derived, f"{stream.name}.ingest", control_topic(stream))


def lag(bus: Log, stream: Stream) -> int:
    """Records that the two stages have not noted as processed, of those that are there still."""
    noted = bus.committed()
    behind = 0
    for group, topic, partitions in (("stage1", stream.topic, stream.partitions), ("stage2", stream.derived, 1)):
        for p in range(partitions):
            behind += max(0, bus.end(topic, p) - max(noted.get((group, topic, p), 0), bus.start(topic, p)))
    return behind


class Vitals:
    """The metrics of a process, as Prometheus text."""

    def __init__(
        self,
        bus: Log,
        streams: Sequence[Stream],
        *,
        now: Callable[[], int],
        stalled: Callable[[], bool],
        stored: Callable[[], Stored | None],
        parts: Callable[[], dict[str, tuple[int, bool]]] = dict,
        archived: bool = False,
    ) -> None:
        """`stored`: None where the store does not answer. `parts`: name → how often it failed, whether it works now.
        `archived`: the log has an archive.
        """
        self._bus, self._streams, self._now, self._stalled = bus, streams, now, stalled
        self._stored, self._parts, self._archived = stored, parts, archived
        self._missing = ""
        """Why the log gave no figures at the last scrape."""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        build = GaugeMetricFamily("opintel_build_info", "Version of opintel.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        stalled = GaugeMetricFamily("opintel_stalled", "1 while a service does not come back from its turn.")
        stalled.add_metric([], float(self._stalled()))
        yield stalled
        works = GaugeMetricFamily("opintel_part_up", "0 while a part of this process fails.", labels=["part"])
        failed = CounterMetricFamily("opintel_part_failures", "How often a part raised or hung.", labels=["part"])
        for part, (failures, well) in self._parts().items():
            works.add_metric([part], float(well))
            failed.add_metric([part], failures)
        yield from (works, failed)
        stored = self._stored()
        there = GaugeMetricFamily("opintel_store_up", "0 while the store does not answer.")
        there.add_metric([], float(stored is not None))
        found = CounterMetricFamily("opintel_findings", "Findings in the store.", labels=["stream", "kind"])
        open_ones = GaugeMetricFamily("opintel_incidents", "Incidents in the store.", labels=["stream", "state"])
        for (name, kind), count in (stored or NOTHING).findings.items():
            found.add_metric([name, kind], count)
        for (name, state), count in (stored or NOTHING).incidents.items():
            open_ones.add_metric([name, state], count)
        yield from (there, found, open_ones, *(stored or NOTHING).sinks)
        up = GaugeMetricFamily(
            "opintel_log_up", "0 while the log, or a topic of it, is not there: all about streams is missing then."
        )
        metrics: list[Metric] = []
        missing = ""
        try:
            metrics = self._of_the_log()
        except (LogError, LogUnavailable) as error:
            missing = str(error)
        if missing and not self._missing:
            log.warning("no metrics of the log: %s", missing)
        self._missing = missing
        up.add_metric([], float(bool(metrics)))
        yield from (up, *metrics)

    def _of_the_log(self) -> list[Metric]:
        messages = CounterMetricFamily("opintel_messages", "Messages taken from a stream's source.", labels=["stream"])
        behind = GaugeMetricFamily("opintel_lag_records", "Records not yet processed.", labels=["stream"])
        fresh = GaugeMetricFamily("opintel_freshness_seconds", "Age of the last data or tick.", labels=["stream"])
        withheld = GaugeMetricFamily(
            "opintel_withheld_seconds",
            "Age of what a stream's source has and does not show; 0: it shows all.",
            labels=["stream"],
        )
        mark = GaugeMetricFamily("opintel_watermark_timestamp_seconds", "Event time judged up to.", labels=["stream"])
        asides = CounterMetricFamily("opintel_asides", "Rows and records set aside.", labels=["stream", "kind"])
        waits = GaugeMetricFamily("opintel_archive_lag_records", "Raw records not archived.", labels=["stream"])
        age = GaugeMetricFamily("opintel_archive_age_seconds", "Age of the oldest of them.", labels=["stream"])
        for stream in self._streams:
            if self._archived:
                behind_it = waiting(self._bus, stream, time.time_ns())
                waits.add_metric([stream.name], behind_it.records)
                age.add_metric([stream.name], behind_it.age / 1e9)
            status = stream_status(self._bus, stream)
            messages.add_metric([stream.name], status.messages)
            behind.add_metric([stream.name], status.lag)
            if status.arrival is not None:
                fresh.add_metric([stream.name], (self._now() - status.arrival) / 1e9)
            hidden = 0.0 if status.withheld is None else (self._now() - status.withheld) / 1e9
            withheld.add_metric([stream.name], hidden)
            if status.watermark is not None:
                mark.add_metric([stream.name], status.watermark / 1e9)
            for aside, count in status.asides.items():
                asides.add_metric([stream.name, aside], count)
        judged = GaugeMetricFamily("opintel_findings_log_records", "Records in the findings topic.")
        judged.add_metric([], self._bus.end(FINDINGS, 0))
        return [messages, behind, waits, age, fresh, withheld, mark, asides, judged]
