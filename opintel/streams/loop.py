"""The loop of a process: its services take turns, one step each, until `stop` is set or they have nothing
left to do.

A watchdog thread notices a service that does not come back: it writes where every thread stands and, when that does
not pass, ends the process, because a supervisor can restart what is dead but not what hangs. A part
(`opintel.site.parts`) takes its turns in a thread of its own: of one that hangs it only tells.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

IDLE = 0.05
"""Seconds between two looks when there is nothing to do."""
LEAVE = 8.0
"""Seconds that a process may take to leave when it is asked to."""
PAUSE = 2
"""Times the seconds that lie between two looks of the watchdog: what is more is a pause of the whole process."""
STALLED_EXIT = 75
"""EX_TEMPFAIL: restart me."""
log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that takes turns."""

    name: str

    def step(self) -> bool:
        """Does a bounded piece of work (well below a second); whether there was any."""

    def idle(self) -> bool:
        """Whether nothing is left to do until new input comes."""

    def close(self) -> None:
        """Leaves orderly: checkpoints what is worth it."""


class Stop:
    """Asked to leave by SIGTERM, SIGINT or a caller."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """SIGTERM and SIGINT ask to stop; a second one ends the process at once."""

    def handler(number: int, _: object) -> None:
        if stop:
            os._exit(128 + number)
        stop.set()

    before = {s: signal.signal(s, handler) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class Turn(NamedTuple):
    """A turn under way."""

    service: str
    since: float
    """When it began, by the watchdog's clock."""
    apart: bool
    """In a thread of its own: the others go on without it."""


class Watchdog:
    """Knows since when each thread's service has its turn.

    Its clock counts only while the process runs: it goes from one look to the next, by at most PAUSE times what was to
    lie between them. So a process that was stopped, or a machine that slept, is not taken for one that hangs.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.patience = patience
        self.ended = threading.Event()
        self._between = min(1.0, patience / 10)
        self._turns: dict[int, Turn] = {}
        """Thread → its turn."""
        self._reported: set[Turn] = set()
        self._awake, self._looked = 0.0, time.monotonic()

    def begin(self, service: str, *, apart: bool = False) -> None:
        """A service takes its turn in this thread."""
        self._turns[threading.get_ident()] = Turn(service, self._awake, apart)

    def rest(self, thread: int | None = None) -> None:
        """No service has the turn in this thread, or in one that is given up."""
        self._turns.pop(threading.get_ident() if thread is None else thread, None)

    def lasting(self, thread: int) -> float:
        """Seconds that the turn of a thread lasts; 0 where it has none."""
        turn = self._turns.get(thread)
        return 0.0 if turn is None else self._awake - turn.since

    def stalled(self) -> tuple[str, float] | None:
        """(service, seconds) of the longest turn that lasts longer than the patience."""
        turn = min(list(self._turns.values()), key=lambda turn: turn.since, default=None)
        if turn is None or self._awake - turn.since < self.patience:
            return None
        return turn.service, self._awake - turn.since

    def look(self) -> None:
        """Logs each stall once; ends the process when one that others wait for has lasted twice the patience."""
        now = time.monotonic()
        self._awake, self._looked = self._awake + min(now - self._looked, PAUSE * self._between), now
        turns = [turn for turn in list(self._turns.values()) if self._awake - turn.since >= self.patience]
        self._reported.intersection_update(turns)
        for turn in turns:
            lasts = self._awake - turn.since
            if turn not in self._reported:
                said = "service %s has not come back for %.0f s; where the threads stand follows"
                log.error(said, turn.service, lasts)
                faulthandler.dump_traceback(sys.stderr)
                self._reported.add(turn)
            if lasts > 2 * self.patience and not turn.apart:
                log.critical("service %s hangs; leaving with %d to be restarted", turn.service, STALLED_EXIT)
                os._exit(STALLED_EXIT)

    def watch(self, stop: Stop) -> None:
        """Looks until the loop has ended; the body of a daemon thread. Once it is to stop, a turn may last LEAVE s."""
        asked: float | None = None
        self._looked = time.monotonic()
        while not self.ended.wait(self._between):
            self.look()
            if not stop:
                continue
            asked = self._awake if asked is None else asked
            if self._awake - asked > LEAVE:
                log.warning("a turn does not end; leaving without it, the next start does it again")
                os._exit(STALLED_EXIT)


def calm_collector() -> None:
    """Rows live briefly and hold no cycles; without this the cyclic collector looks through them all, again and
    again, for an eighth of the CPU time (`benchmarks/pipeline.py`)."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def run(
    services: Sequence[Service],
    stop: Stop,
    *,
    until_idle: bool = False,
    watchdog: Watchdog | None = None,
    each_round: Callable[[], None] = lambda: None,
) -> None:
    """Gives turns until `stop` (or, with `until_idle`, until all are idle), then closes all. Errors of a service
    end it.
    """
    calm_collector()
    watchdog = watchdog or Watchdog()
    threading.Thread(target=watchdog.watch, args=(stop,), name="watchdog", daemon=True).start()
    try:
        while not stop:
            worked = False
            for service in services:
                watchdog.begin(service.name)
                worked |= service.step()
                if stop:
                    break
            watchdog.rest()
            each_round()
            if worked:
                continue
            if until_idle and all(s.idle() for s in services):
                break
            stop.wait(IDLE)
    finally:
        stop.set()
        watchdog.rest()
        try:
            for service in services:
                service.close()
        finally:
            watchdog.ended.set()
