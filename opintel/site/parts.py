"""A part of a process: a service with a thread of its own, so that what it raises, or that it hangs, ends nothing else.

What it raises is reported (log, metric, console) and it is made again, after a pause that grows. One that hangs is
given up to its thread, and made again beside it: two that do the same work write the same, as two processes do.
Only the want of memory ends the process.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from opintel.streams.loop import IDLE, LEAVE, Service, Stop, Watchdog

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""s between two tries, doubled each time, each shorter by up to a half by chance."""
MOST_HANGING = 8
"""Threads that a part leaves hanging; then it waits for one of them."""
log = logging.getLogger(__name__)


class Part:
    """A service that is made by `make`, and made again when it fails. It works from its first step on, until `stop`."""

    def __init__(self, name: str, make: Callable[[], Service], watchdog: Watchdog, stop: Stop) -> None:
        self.name = name
        self.failures = 0
        """How often it raised or hung."""
        self.trouble = ""
        """Why it does not work, '' where it does."""
        self._make, self._watchdog, self._stop = make, watchdog, stop
        self._threads: list[threading.Thread] = []
        """The one that works is the last, before it those that hang."""
        self._tries, self._pause, self._well_at = 0, 0.0, 0.0
        self._fatal: MemoryError | None = None

    def step(self) -> bool:
        """Sees to it that it works, in the process's own thread. Raises MemoryError where it had none left."""
        if self._fatal is not None:
            raise self._fatal
        self._threads[:] = [thread for thread in self._threads if thread.is_alive()]
        if not self._threads:
            self._begin()
        elif (at := self._threads[-1].ident) is not None:
            lasts = self._watchdog.lasting(at)
            if lasts > 2 * self._watchdog.patience and len(self._threads) <= MOST_HANGING:
                self._watchdog.rest(at)
                self._fail(f"has not come back for {lasts:.0f} s", None)
                self._begin()
        return False

    def idle(self) -> bool:
        """Never: it waits for more."""
        return False

    def close(self) -> None:
        """Waits until it has left, which it does by itself once the process is to stop."""
        for thread in self._threads[-1:]:
            thread.join(2 * LEAVE)

    def _begin(self) -> None:
        self._threads.append(threading.Thread(target=self._work, name=self.name, daemon=True))
        self._threads[-1].start()

    def _mine(self) -> bool:
        """Whether this thread is not given up."""
        return not self._stop and self._threads[-1] is threading.current_thread()

    def _work(self) -> None:
        service: Service | None = None
        if self.trouble:
            self._stop.wait(self._pause)
        while self._mine():
            self._watchdog.begin(self.name, apart=True)
            try:
                service = service or self._make()
                worked = service.step()
            except MemoryError as error:
                log.critical("%s: out of memory; the process ends", self.name)
                self._fatal = error
                return
            except (Exception, SystemExit) as error:
                self._leave(service)
                service = None
                self._watchdog.rest()
                if self._mine():
                    self._fail(_plain(error), error)
                    self._stop.wait(self._pause)
                continue
            self._watchdog.rest()
            if self._mine() and self.trouble and time.monotonic() > self._well_at:
                log.info("%s works again", self.name)
                self.trouble, self._tries = "", 0
            if not worked:
                self._stop.wait(IDLE)
        self._leave(service)

    def _fail(self, why: str, error: BaseException | None) -> None:
        """Tells why, once where it stays the same."""
        self._pause = min(FIRST_PAUSE * 2**self._tries, LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        self._tries = min(self._tries + 1, 16)
        self._well_at = time.monotonic() + 2 * self._pause
        self.failures += 1
        if why != self.trouble:
            again = "%s: %s; it is tried again, the others go on"
            log.error(again, self.name, why, exc_info=error if _unforeseen(error) else None)
        self.trouble = why

    def _leave(self, service: Service | None) -> None:
        if service is None:
            return
        try:
            service.close()
        except Exception as error:
            log.warning("%s: closing it failed: %s", self.name, _plain(error))


def _plain(error: BaseException) -> str:
    """The first line of what an error says; of a database's, what its driver says."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0][:500] if said else type(error).__name__


def _unforeseen(error: BaseException | None) -> bool:
    """Whether it is a bug rather than the world's fault, so that its traceback is wanted."""
    return isinstance(error, (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError))
