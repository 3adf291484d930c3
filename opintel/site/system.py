"""Puts the services of a site together over one log and one store: what `run`, `replay` and `demo` have in
common. What needs the store, and SQLAlchemy with it, is imported where it is asked for: ingest and the two stages do
without."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from opintel.alerts.settings import Declared
from opintel.finding import Origin
from opintel.site.errors import UserError
from opintel.site.gate import PATIENCE, Gate
from opintel.site.grid_sites import with_files
from opintel.site.load import load_site
from opintel.site.secrets import opened
from opintel.site.settings import Site
from opintel.site.turns import Lineage, WorkerTurn
from opintel.site.watched import Watched, watch
from opintel.streams.artefacts import MODEL, Artefacts
from opintel.streams.controls import SETTINGS
from opintel.streams.ingest import Ingester
from opintel.streams.judging import JudgeStage
from opintel.streams.log import Log, LogError, LogUnavailable, Membership
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.loop import Service, Stop, calm_collector
from opintel.streams.ownership import Owned
from opintel.streams.reduce import ReduceStage
from opintel.streams.sequencer import CopiedControls, Sequencer, control_topic, send_control
from opintel.streams.stage import Stage
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.worker import BATCH, Worker

if TYPE_CHECKING:
    from opintel.store import Store


class Feed(Service, Protocol):
    """Messages of a source on their way into an ingester."""

    @property
    def ingester(self) -> Ingester: ...


class System:
    """A site's log, its store, and the services over them. `data`: where their files are, as far as they have any.
    `replayed`: all messages are from files, whose times are what they are.
    """

    def __init__(self, data: Path, site: Site | None = None, *, replayed: bool = False) -> None:
        self.site = site or load_site()
        self.data = data
        self.checkpoints = self.site.settings.checkpoints or str(data / "checkpoints")
        self.streams = watch(self.site)
        if not (replayed or self.site.settings.simulated):
            self.streams = {name: watched.bounded() for name, watched in self.streams.items()}
        self.door = Artefacts([self.site.settings.models or str(self.site.folder / "models")])
        domains = {name: watched.pipeline for name, watched in self.streams.items()}
        declared = {
            name: Declared(d.naming.entities, tuple(d.kinds), d.adapting, d.explaining, d.naming.across_scopes)
            for name, d in domains.items()
        }
        self.alerts = self.site.alerts.over(declared)
        self.warnings: list[str] = []
        """What an operator should know of what cannot be reached yet."""
        try:
            self.alerts = msgspec.structs.replace(self.alerts, topology=with_files(self.alerts.topology))
        except (OSError, ValueError) as error:
            self.warnings.append(f"alerts/topology.yaml: {error}")
        self._epochs: dict[str, str] = {}
        """Topic → its epoch when it was asked for last."""
        self.ingesters: dict[str, Ingester] = {}
        """Stream → its way in that was made last in this process."""
        self._copied: CopiedControls = {}
        bus = self.site.settings.bus
        self._gate = Gate(PATIENCE if bus else 0.0)
        try:
            self.log: Log = self._open_log()
            for watched in self.streams.values():
                self._topics(watched.stream)
        except LogUnavailable as error:
            self.warnings.append(f"the log cannot be reached, beginning when it can: {error}")
        except (LogError, OSError, sqlite3.Error) as error:
            where = data if bus is None else "the log at " + ", ".join(bus.bootstrap)
            raise UserError(f"{where} cannot be used: {' '.join(str(error).split())}") from error

    @cached_property
    def store(self) -> Store:
        """Findings, alerts, incidents; reached when it is first asked for something. UserError where it cannot be used,
        whether it is there or not.
        """
        from opintel.site.storage import store_of

        return store_of(self.site, self.data)

    def reach_store(self) -> None:
        """Brings the store's schema up to date; where it is away for now, that is a warning. Raises UserError."""
        from opintel.site.storage import prepare

        if warning := prepare(self.store, self.site, self.data):
            self.warnings.append(warning)

    def stream(self, name: str) -> Watched:
        """A configured stream; UserError names those there are."""
        if name not in self.streams:
            raise UserError(f"no stream {name!r} is configured; there are: {', '.join(sorted(self.streams))}")
        return self.streams[name]

    def ingester(self, watched: Watched, source: str, *, live: bool, replayable: bool = False) -> Ingester:
        """The way in of a stream, its settings and what names its models sent ahead of the first row."""
        settings = {name: value for name, value in watched.detectors.items() if value}
        send_control(self.log, watched.stream, SETTINGS, watched.stream.name, settings)
        for name, sha256 in sorted(watched.models.items()):
            send_control(self.log, watched.stream, MODEL, name, {"sha256": sha256})
        pipeline, wire = watched.pipeline, watched.wire
        made = Ingester(self.log, watched.stream, pipeline, wire, source, live=live, replayable=replayable)
        self.ingesters[watched.stream.name] = made
        return made

    def sequencer(self, ingester: Ingester) -> Sequencer:
        """Copies the stream's controls into its raw partitions."""
        return Sequencer(self.log, ingester, self._copied)

    def ingest(self, watched: Watched, feed: Callable[[], Feed]) -> Owned:
        """A stream's way in: its controls and what `feed` gives, by one process at a time; a second one stands by."""

        def make(_: int) -> list[Service]:
            made = feed()
            try:
                return [self.sequencer(made.ingester), made]
            except BaseException:
                made.close()
                raise

        return self._owned(watched, "ingest", control_topic(watched.stream), make)

    def copied(self, watched: Watched, feed: Callable[[], Service]) -> Owned:
        """A stream's records from an archive, its controls among them, likewise."""
        return self._owned(watched, "ingest", control_topic(watched.stream), lambda _: [feed()])

    def stage1(self, watched: Watched, *, batch: int = BATCH) -> Owned:
        """The workers of a stream's raw partitions."""
        stream, pipeline = watched.stream, watched.pipeline

        def make(partition: int) -> list[Service]:
            epoch = self._epochs[stream.topic]
            return [
                self._turn(
                    stream.topic,
                    partition,
                    batch,
                    lambda: ReduceStage(stream, pipeline, partition, epoch, 1, self.door),
                )
            ]

        return self._owned(watched, "stage1", stream.topic, make)

    def stage2(self, watched: Watched, *, origin: Origin = "live", batch: int = BATCH) -> Owned:
        """The worker of a stream's derived topic."""
        stream, pipeline = watched.stream, watched.pipeline

        def make(partition: int) -> list[Service]:
            epoch = self._epochs[stream.derived]
            stage = lambda: JudgeStage(stream, pipeline, partition, epoch, origin, self.door)  # noqa: E731
            return [self._turn(stream.derived, partition, batch, stage)]

        return self._owned(watched, "stage2", stream.derived, make)

    def alerting(self, *, warm_until: int = 0) -> Owned:
        """The alert service over the findings topic."""
        from opintel.alerts.service import AlertService
        from opintel.site.alerting import Alerting
        from opintel.site.downtimes import Downtimes

        downtimes = Downtimes(self.alerts.calendar.files)

        def make(_: int) -> list[Service]:
            service = AlertService(
                self.store, self.alerts, warm_until=warm_until, epoch=self.epoch(FINDINGS), announced=downtimes.read
            )
            streams = {name: watched.stream for name, watched in self.streams.items()}
            return [Alerting(self.log, service, streams)]

        return self.over({FINDINGS: 1}, "alerts", "opintel.alerts", FINDINGS, make)

    def epoch(self, topic: str) -> str:
        """A topic's epoch when it was looked at last."""
        return self._epochs[topic]

    def over(
        self, topics: Mapping[str, int], name: str, group: str, topic: str, make: Callable[[int], list[Service]]
    ) -> Owned:
        """The services of the partitions of a topic that the members of a group share, made over `topics` (name →
        partitions) as they are then.
        """

        def join() -> Membership:
            self._find(topics)
            return self.log.join(group, topic)

        def over_topics(partition: int) -> list[Service]:
            self._find(topics)
            return [Lineage(self._epochs), *make(partition)]

        return Owned(name, join, over_topics, self._gate.step)

    def undecided(self) -> int:
        """Records of the findings topic that the alert service has not seen yet."""
        from opintel.alerts.service import AlertService

        service = AlertService(self.store, self.alerts, epoch=self.log.create(FINDINGS, 1).epoch)
        return self.log.end(FINDINGS, 0) - service.position()

    def look(self) -> None:
        """Finds the topics as they are now; services over one that was re-created begin again at their next step.

        Raises LogError, LogUnavailable.
        """
        for watched in self.streams.values():
            self._topics(watched.stream)

    def close(self) -> None:
        """Closes log and store."""
        self.log.close()
        if "store" in vars(self):
            self.store.close()

    def _open_log(self) -> Log:
        bus = self.site.settings.bus
        if bus is None:
            return SqliteLog(self.data / "log.db")
        from opintel.streams.kafka.topics import plan
        from opintel.streams.log_kafka import KafkaLog

        retention = {name: watched.settings.retention for name, watched in self.streams.items()}
        most = {name: watched.settings.retention_bytes for name, watched in self.streams.items()}
        specs = plan([w.stream for w in self.streams.values()], retention, self.site.settings.replication, most)
        password = opened(self.site.written, ("bus",), bus, bus.password)
        return KafkaLog(bus, password, specs={spec.name: spec for spec in specs})

    def _topics(self, stream: Stream) -> None:
        """Makes a stream's topics where they are missing and notes their epochs."""
        self._find(_topics_of(stream))

    def _find(self, topics: Mapping[str, int]) -> None:
        with self._gate.look():
            for name, partitions in topics.items():
                self._epochs[name] = self.log.create(name, partitions).epoch

    def _owned(self, watched: Watched, stage: str, topic: str, make: Callable[[int], list[Service]]) -> Owned:
        """The services of a stage of a stream."""
        name, group = f"{stage} {watched.stream.name}", f"opintel.{watched.stream.name}.{stage}"
        return self.over(_topics_of(watched.stream), name, group, topic, make)

    def _turn(self, topic: str, partition: int, batch: int, make: Callable[[], Stage]) -> WorkerTurn:
        return WorkerTurn(Worker(self.log, topic, partition, make, self.checkpoints, batch=batch))


def _topics_of(stream: Stream) -> dict[str, int]:
    """Name → partitions of a stream's topics and that of findings."""
    return {stream.topic: stream.partitions, stream.derived: 1, FINDINGS: 1, control_topic(stream): 1}


def drain(
    services: Sequence[Service], each_round: Callable[[], None] = lambda: None, *, stop: Stop | None = None
) -> None:
    """Gives turns until no service has anything to do, or `stop`."""
    calm_collector()
    while not stop:
        worked = [service.step() for service in services]
        each_round()
        if any(worked):
            continue
        if all(service.idle() for service in services):
            return
        time.sleep(0.01)
