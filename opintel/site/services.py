"""The services that are no workers: delivery, in its own thread, retention, and a look at the topics."""

from __future__ import annotations

import logging
import threading
import time

from opintel.alerts.delivery import Deliverer
from opintel.site.sinks import open_sinks
from opintel.site.system import System
from opintel.store.queries import outbox
from opintel.streams.log import LogError, LogUnavailable
from opintel.streams.vitals import aside_topics

RETENTION_EVERY = 3600.0
"""Seconds between two rounds of retention …"""
PIECE_EVERY = 0.1
"""… and between two pieces of what a round drops: others append to the log meanwhile."""
LOOK_EVERY = 30.0
"""Seconds between two looks at the topics."""
LONGEST_WAIT = 60.0
"""Most seconds between two attempts of a delivery that cannot reach the store."""
LEAVE_WITHIN = 5.0
"""Seconds for which a process that leaves waits for messages that are being sent."""
log = logging.getLogger(__name__)


class Delivery:
    """Sends what the outbox holds, in a thread a sink: one that is slow, hangs or is away holds up nothing else."""

    name = "delivery"

    def __init__(self, system: System) -> None:
        self._sinks = open_sinks(system.site)
        policy = system.alerts.routes.delivery
        self._deliverers = [Deliverer(system.store, name, sink, policy) for name, sink in self._sinks.items()]
        for name, standing in outbox(system.store).items():
            if standing.queued and name not in self._sinks:
                log.warning("%d messages wait for the sink %r, which is not configured", standing.queued, name)
        self._leaving = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(one,), name=f"delivery {one.name}", daemon=True)
            for one in self._deliverers
        ]
        for thread in self._threads:
            thread.start()

    def step(self) -> bool:
        return False

    def idle(self) -> bool:
        return all(one.idle() for one in self._deliverers)

    def close(self) -> None:
        self._leaving.set()
        end = time.monotonic() + LEAVE_WITHIN
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        for sink in self._sinks.values():
            sink.close()

    def _work(self, deliverer: Deliverer) -> None:
        """Sends until it is to leave. Where the store cannot be reached, or anything else fails, it tries again."""
        failures = 0
        while not self._leaving.is_set():
            try:
                worked = deliverer.step()
                failures = 0
            except Exception:
                wait = min(LONGEST_WAIT, 2.0**failures)
                failures += 1
                log.exception("delivery to %s: next attempt in %.0f s", deliverer.name, wait)
                self._leaving.wait(wait)
            else:
                if not worked:
                    self._leaving.wait(0.2)


class Retention:
    """Drops what is out of a stream's retention, once an hour, piece by piece."""

    name = "retention"

    def __init__(self, system: System) -> None:
        self._system = system
        self._next = 0.0

    def step(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + RETENTION_EVERY
        for watched in self._system.streams.values():
            kept, bus = watched.settings, self._system.log
            oldest = time.time_ns() - kept.retention
            topics = (watched.stream.topic, watched.stream.derived)
            dropped = {t: bus.trim(t, oldest, kept.retention_bytes or None) for t in topics}
            dropped |= {f"{t}, set aside": bus.trim_asides(t, oldest) for t in aside_topics(watched.stream)}
            for name, count in dropped.items():
                if count:
                    log.info("%s: %d out of retention dropped", name, count)
                    self._next = time.monotonic() + PIECE_EVERY
        return False

    def idle(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to do."""


class Look:
    """Looks now and then whether the topics are the same: one that was re-created is read again only when a service
    asks for it, and a process that only shows what others do has no other service for that.
    """

    name = "topics"

    def __init__(self, system: System) -> None:
        self._system = system
        self._next = time.monotonic() + LOOK_EVERY

    def step(self) -> bool:
        if time.monotonic() < self._next:
            return False
        try:
            self._system.look()
        except (LogError, LogUnavailable) as error:  # a service that needs them says so
            log.debug("looking at the topics: %s", error)
        self._next = time.monotonic() + LOOK_EVERY
        return False

    def idle(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to do."""
