"""The share of a topic's partitions that a process works on: their services are made when a partition is won and let go
when it is lost.

It follows a `Membership` of the log between steps. A log that cannot be reached is met as a crash of these services,
not of the process: they are dropped and re-created, from the log, when it is back. The group is joined again too: the
log that comes back may be another one, without the topics and the members of the old.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from opintel.streams.log import LogUnavailable, Membership
from opintel.streams.loop import Service

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""s between two tries at a log that cannot be reached: doubled each time."""
log = logging.getLogger(__name__)


class Owned:
    """The services of the partitions that are ours, as one service."""

    def __init__(
        self,
        name: str,
        join: Callable[[], Membership],
        make: Callable[[int], Sequence[Service]],
        steps: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`join` becomes a member, `make` gives the services of a partition in their order; both are called in `step`,
        again where they raise LogUnavailable. Their other errors go up. `steps` is entered around the services' steps.
        """
        self.name = name
        self._join, self._make, self._steps = join, make, steps
        self._membership: Membership | None = None
        self._made: dict[int, Sequence[Service]] = {}
        self._away = False
        self._pause, self._not_before = FIRST_PAUSE, 0.0

    def step(self) -> bool:
        """A step of each service."""
        if time.monotonic() < self._not_before:
            return False
        try:
            changed = self._follow()
            with self._steps():
                worked = [service.step() for services in self._made.values() for service in services]
        except LogUnavailable as error:
            self._fail(error)
            return False
        if self._away:
            log.info("%s: the log is back", self.name)
            self._away, self._pause = False, FIRST_PAUSE
        return changed or any(worked)

    def idle(self) -> bool:
        """Whether something is ours and nothing of it has anything to do: who waits for a share is not done."""
        if self._away:
            return False
        try:
            return bool(self._made) and all(s.idle() for services in self._made.values() for s in services)
        except LogUnavailable as error:
            self._fail(error)
            return False

    def close(self) -> None:
        """Closes all and leaves the group: the others take over from what the services left behind."""
        try:
            self._let_go(list(self._made))
        finally:
            if self._membership is not None:
                self._membership.close()

    def _follow(self) -> bool:
        """Lets go what was lost, makes what was won."""
        if self._membership is None or self._away:
            before, self._membership = self._membership, self._join()
            if before is not None:
                before.close()  # only now: to leave a group takes a broker that answers
        owned = self._membership.owned()
        lost, won = sorted(self._made.keys() - owned), sorted(owned - self._made.keys())
        self._let_go(lost)
        if lost:
            log.info("%s: lets go of partitions %s", self.name, lost)
        self._membership.released()
        for partition in won:
            self._made[partition] = self._make(partition)
        if won:
            self._made = dict(sorted(self._made.items()))
        return bool(lost or won)

    def _let_go(self, partitions: Sequence[int]) -> None:
        """Closes their services; what a dead log keeps from that is not needed."""
        for partition in partitions:
            for service in self._made.pop(partition):
                try:
                    service.close()
                except LogUnavailable as error:
                    log.warning("%s: closing it failed: %s", service.name, error)

    def _fail(self, error: LogUnavailable) -> None:
        """Drops all: an acknowledgement may be missing, so only the log knows where they stand. A worker that was cut
        short in its step checkpoints nothing when it is closed."""
        if not self._away:
            log.warning("%s: %s; beginning again when the log can be reached", self.name, error)
        self._away = True
        self._let_go(list(self._made))
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
