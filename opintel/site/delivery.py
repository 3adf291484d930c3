"""The service that sends what the outbox holds. Only a process that delivers imports this, with SQLAlchemy."""

from __future__ import annotations

import logging
import threading
import time

from opintel.alerts.delivery import Deliverer
from opintel.site.sinks import open_sinks
from opintel.site.system import System
from opintel.store.queries import outbox

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
