"""Puts the services of a site together over one log and one store: what `run`, `replay` and `demo` have in
common."""

from __future__ import annotations

import importlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, load_alerts
from opintel.cli.errors import UserError
from opintel.config import Site, StreamSettings, detector_settings, load_site, public_key_warning, wire_settings
from opintel.detector import Pipeline, Wire
from opintel.finding import Origin
from opintel.store.database import Store, open_store, sqlite_url
from opintel.streams.findings import decode
from opintel.streams.ingest import Ingester, create_topics
from opintel.streams.judging import SETTINGS, JudgeStage
from opintel.streams.log import Aside, Log, LogError
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.loop import Service, Stop, calm_collector
from opintel.streams.reduce import ReduceStage
from opintel.streams.sequencer import Sequencer, send_control
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.worker import BATCH, Worker

FINDINGS_A_TURN = 256
log = logging.getLogger(__name__)


class Watched(NamedTuple):
    """A stream of the site with all that is needed to process it."""

    settings: StreamSettings
    stream: Stream
    pipeline: Pipeline
    wire: Wire[Any]
    detectors: dict[str, Any]
    """Settings of the detectors as plain data, what the stream's settings control carries."""


class System:
    """One data folder: the log, the store, and the services over them."""

    def __init__(self, data: Path, site: Site | None = None, *, alerts: AlertSettings | None = None) -> None:
        self.site = site or load_site()
        self.alerts = alerts or load_alerts(self.site.alerts)
        self.data = data
        self.streams = {name: _watched(self.site, name) for name in self.site.streams}
        self.warnings = [
            w for n in self.streams if (w := public_key_warning(self.site, n, self.streams[n].pipeline.wire))
        ]
        """What an operator should know about the configuration before real data flow."""
        try:
            self.log: Log = SqliteLog(data / "log.db")
            self.store: Store = open_store(sqlite_url(data / "store.db"))
            for watched in self.streams.values():
                create_topics(self.log, watched.stream)
        except (LogError, OSError, sqlite3.Error, SQLAlchemyError, RuntimeError) as error:
            raise UserError(f"{data} cannot be used: {' '.join(str(error).split())}") from error

    def stream(self, name: str) -> Watched:
        """A configured stream; UserError names those there are."""
        if name not in self.streams:
            raise UserError(f"no stream {name!r} is configured; there are: {', '.join(sorted(self.streams))}")
        return self.streams[name]

    def ingester(self, watched: Watched, source: str, *, live: bool) -> Ingester:
        """The way in of a stream, its settings sent ahead of the first row."""
        settings = {name: value for name, value in watched.detectors.items() if value}
        send_control(self.log, watched.stream, SETTINGS, watched.stream.name, settings)
        return Ingester(self.log, watched.stream, watched.pipeline, watched.wire, source, live=live)

    def sequencer(self, ingester: Ingester) -> Sequencer:
        """Copies the stream's controls into its raw partitions."""
        return Sequencer(self.log, ingester)

    def stage1(self, watched: Watched, *, batch: int = BATCH) -> list[Turn]:
        """The workers of a stream's raw partitions."""
        stream, pipeline = watched.stream, watched.pipeline
        epoch = self.log.create(stream.topic, stream.partitions).epoch

        def make(partition: int) -> Callable[[], ReduceStage]:
            return lambda: ReduceStage(stream, pipeline, partition, epoch, 1)

        return [
            Turn(Worker(self.log, stream.topic, p, make(p), str(self.data / "checkpoints"), batch=batch))
            for p in range(stream.partitions)
        ]

    def stage2(self, watched: Watched, *, origin: Origin = "live", batch: int = BATCH) -> list[Turn]:
        """The worker of a stream's derived topic."""
        stream, pipeline = watched.stream, watched.pipeline
        epoch = self.log.create(stream.derived, 1).epoch
        checkpoints = str(self.data / "checkpoints")
        make = lambda: JudgeStage(stream, pipeline, 0, epoch, origin)  # noqa: E731
        return [Turn(Worker(self.log, stream.derived, 0, make, checkpoints, batch=batch))]

    def alerting(self, *, warm_until: int = 0) -> Alerting:
        """The alert service over the findings topic."""
        epoch = self.log.create(FINDINGS, 1).epoch
        return Alerting(self.log, AlertService(self.store, self.alerts, warm_until=warm_until, epoch=epoch))

    def close(self) -> None:
        """Closes log and store."""
        self.log.close()
        self.store.close()


class Turn:
    """A worker as a service."""

    def __init__(self, worker: Worker) -> None:
        self.name = f"{worker.group} {worker.topic}-{worker.partition}"
        self.worker = worker

    def step(self) -> bool:
        return self.worker.step() > 0

    def idle(self) -> bool:
        return self.worker.lag == 0

    def close(self) -> None:
        self.worker.checkpoint()


class Alerting:
    """The alert service's turn: a stretch of the findings topic, decided on in one transaction."""

    name = "alerts"

    def __init__(self, bus: Log, service: AlertService) -> None:
        self.log, self.service = bus, service
        self._position = service.position()

    def step(self) -> bool:
        batch = self.log.read(FINDINGS, 0, self._position, FINDINGS_A_TURN)
        if not batch:
            return False
        records, dead = [], []
        for position, value in batch:
            try:
                records.append(decode(value))
            except ValueError as error:
                dead.append(Aside("dead", FINDINGS, 0, position, 0, str(error), excerpt=value[:4096]))
        self.log.put_asides(dead)
        following = batch[-1][0] + 1
        conflicts = self.service.consume(self._position, records, following)
        for n, conflict in enumerate(conflicts):
            log.error("%s; the first stays", conflict)
            self.log.put_asides([Aside("dead", FINDINGS, 0, self._position, -1 - n, conflict)])
        self._position = following
        return True

    def idle(self) -> bool:
        return self._position >= self.log.end(FINDINGS, 0)

    def close(self) -> None:
        """Nothing to do: each turn is a transaction."""


def drain(
    services: Sequence[Service], each_round: Callable[[], None] = lambda: None, *, stop: Stop | None = None
) -> None:
    """Gives turns until nobody has anything to do, or `stop`."""
    calm_collector()
    while not stop:
        worked = [service.step() for service in services]
        each_round()
        if any(worked):
            continue
        if all(service.idle() for service in services):
            return
        time.sleep(0.01)


def pipeline_of(domain: str) -> Pipeline:
    """The pipeline of a domain, its libraries imported only now; UserError where there is none."""
    try:
        module = importlib.import_module(f"opintel.{domain}.pipeline")
    except ModuleNotFoundError as error:
        if error.name in (f"opintel.{domain}", f"opintel.{domain}.pipeline"):
            raise UserError(f"no domain {domain!r} in this build of opintel") from error
        raise
    pipeline: Pipeline = module.PIPELINE
    return pipeline


def _watched(site: Site, name: str) -> Watched:
    settings = site.streams[name]
    pipeline = pipeline_of(settings.domain)
    stream = Stream(**{field: getattr(settings, field) for field in Stream._fields})
    wire = pipeline.wire(**wire_settings(site, name, pipeline.wire))
    detector_settings(site, name, {judge.name: judge.Settings for judge in (make() for make in pipeline.judges)})
    return Watched(settings, stream, pipeline, wire, settings.detectors)
