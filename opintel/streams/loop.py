"""The loop of a process: its services take turns, one step each, until `stop` is set or they have nothing
left to do.

One thread does all the work that touches the log, so a process is as deterministic as its log. A watchdog
thread notices a service that does not come back: it writes where every thread stands and, when that does not
pass, ends the process, because a supervisor can restart what is dead but not what hangs.
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
from typing import Protocol

IDLE = 0.05
"""Seconds between two looks when there is nothing to do."""
LEAVE = 8.0
"""Seconds that a process may take to leave when it is asked to."""
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


class Watchdog:
    """Knows when each service came back last."""

    def __init__(self, patience: float = 60.0) -> None:
        self.patience = patience
        self._turn: tuple[str, float] | None = None
        self._told = False
        self.ended = threading.Event()

    def begin(self, service: str) -> None:
        """A service takes its turn."""
        self._turn, self._told = (service, time.monotonic()), False

    def rest(self) -> None:
        """No service has the turn."""
        self._turn = None

    def stalled(self) -> tuple[str, float] | None:
        """(service, seconds) of a turn that lasts longer than the patience."""
        turn = self._turn
        if turn is None or time.monotonic() - turn[1] < self.patience:
            return None
        return turn[0], time.monotonic() - turn[1]

    def look(self) -> None:
        """Logs a stall once; ends the process when it has lasted twice the patience."""
        found = self.stalled()
        if found is None:
            return
        if not self._told:
            log.error("service %s has not come back for %.0f s; where the threads stand follows", *found)
            faulthandler.dump_traceback(sys.stderr)
            self._told = True
        if found[1] > 2 * self.patience:
            log.critical("service %s hangs; leaving with %d to be restarted", found[0], STALLED_EXIT)
            os._exit(STALLED_EXIT)

    def watch(self, stop: Stop) -> None:
        """Looks until the loop has ended; the body of a daemon thread. Once it is to stop, a turn may last LEAVE s."""
        asked: float | None = None
        while not self.ended.wait(min(1.0, self.patience / 10)):
            self.look()
            if not stop:
                continue
            asked = time.monotonic() if asked is None else asked
            if time.monotonic() - asked > LEAVE:
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
        try:
            for service in services:
                service.close()
        finally:
            watchdog.ended.set()
