"""The services that keep the log in order: retention, and a look at the topics."""

from __future__ import annotations

import logging
import time

from opintel.site.system import System
from opintel.streams.archive.waiting import archived, waiting
from opintel.streams.log import LogError, LogUnavailable
from opintel.streams.vitals import aside_topics

RETENTION_EVERY = 3600.0
"""Seconds between two rounds of retention …"""
PIECE_EVERY = 0.1
"""… and between two pieces of what a round drops: others append to the log meanwhile."""
LOOK_EVERY = 30.0
"""Seconds between two looks at the topics."""
log = logging.getLogger(__name__)


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
            now, raw = time.time_ns(), watched.stream.topic
            oldest, most = now - kept.retention, kept.retention_bytes or None
            keep = archived(bus, watched.stream) if self._system.site.settings.archive else None
            dropped = {raw: bus.trim(raw, oldest, most, keep)}
            dropped[watched.stream.derived] = bus.trim(watched.stream.derived, oldest, most)
            if keep is not None and not dropped[raw] and waiting(bus, watched.stream, now).age > kept.retention:
                log.error("%s: the log outgrows its retention, as it keeps what is not archived yet", raw)
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
