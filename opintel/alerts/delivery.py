"""Sending what the outbox holds for a sink: in order within a ticket, again after a failure, at least once.

The attempt is noted before the sink is called and its outcome after, so a process killed in between sends the
message again, under the same id. This is one of the few places that read a clock: waiting is about the outside
world, not about findings.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from opintel.alerts.settings import RetryPolicy
from opintel.alerts.sinks import Intent, Receipt, Sink
from opintel.alerts.ticket import clean
from opintel.finding import NS
from opintel.store import Store
from opintel.store import schema as t

SOON = 60 * NS
"""A run that ends with its input waits for a message whose next attempt is at most so far away."""
log = logging.getLogger(__name__)


class Deliverer:
    """Sends the messages of one sink. `clock` in ns UTC; `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        store: Store,
        name: str,
        sink: Sink,
        settings: RetryPolicy,
        *,
        clock: Callable[[], int] = time.time_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._store = store
        self._sink = sink
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self._away = False

    def step(self) -> bool:
        """Sends one message that is due. False if there is none."""
        begun = self._begin()
        if begun is None:
            return False
        row, attempt = begun
        self._finish(row, attempt, self._send(row))
        return True

    def idle(self) -> bool:
        """Whether nothing is due now or soon. What a sink refuses for longer stays in the outbox."""
        with self._store.read() as connection:
            return connection.execute(_due(self.name, self._clock() + SOON)).first() is None

    def _begin(self) -> tuple[Any, int] | None:
        now = self._clock()
        due = _due(self.name, now)
        with self._store.read() as connection:
            if connection.execute(due).first() is None:
                return None
        with self._store.write() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            noted = connection.execute(sa.insert(t.attempt).values(message=row.id, started=now))
            connection.execute(
                sa.update(t.outbox).where(t.outbox.c.id == row.id).values(attempts=t.outbox.c.attempts + 1)
            )
            assert noted.inserted_primary_key is not None
            return row, int(noted.inserted_primary_key[0])

    def _send(self, row: Any) -> Receipt:
        try:
            receipt = self._sink.send(Intent(row.id, row.ticket, row.sequence, row.kind, row.body))
            return Receipt(receipt.outcome, clean(receipt.detail))  # what the store cannot keep would be sent for ever
        except Exception as error:  # a sink's bug must not hold up the other tickets
            return Receipt("retry", clean(f"{type(error).__name__}: {error}"))

    def _finish(self, row: Any, attempt: int, receipt: Receipt) -> None:
        now = self._clock()
        tried = row.attempts + 1
        wait = self._wait(tried)
        outcome = receipt.outcome
        with self._store.write() as connection:
            if outcome == "retry" and now - _first_tried(connection, row.id, tried) >= self._settings.keep_trying:
                outcome = "failed"
            connection.execute(
                sa.update(t.attempt)
                .where(t.attempt.c.id == attempt)
                .values(finished=now, outcome=outcome, detail=receipt.detail)
            )
            here = t.outbox.c.id == row.id
            if outcome == "retry":
                connection.execute(sa.update(t.outbox).where(here).values(due=now + wait))
            else:
                connection.execute(sa.update(t.outbox).where(here).values(state=outcome))
                connection.execute(sa.update(t.ticket).where(t.ticket.c.key == row.ticket).values(state=outcome))
        self._tell(row.id, outcome, receipt.detail, wait)

    def _tell(self, message: str, outcome: str, detail: str, wait: int) -> None:
        """Logs what an operator should know: a failed message, and where the sink goes away or is back."""
        if outcome == "failed":
            log.error(
                "sink %s: message %s has failed: %s; `opintel tickets retry` sends it", self.name, message, detail
            )
        elif outcome == "retry" and not self._away:
            log.warning("sink %s: message %s: %s; next attempt in %.0f s", self.name, message, detail, wait / NS)
        elif outcome == "sent" and self._away:
            log.info("sink %s takes messages again", self.name)
        self._away = outcome == "retry"

    def _wait(self, tried: int) -> int:
        """ns until the next attempt: exponential, between half and all of it by chance, so that retries spread out."""
        longest = min(self._settings.longest, self._settings.first * 2 ** min(tried - 1, 60))
        return int(longest * (0.5 + 0.5 * self._jitter()))


def _first_tried(connection: sa.Connection, message: str, tried: int) -> int:
    """When (ns UTC) the first of a message's last `tried` attempts began: those since it was put into the queue."""
    attempts = sa.select(t.attempt.c.started).where(t.attempt.c.message == message)
    return int(connection.execute(attempts.order_by(t.attempt.c.id.desc()).offset(tried - 1).limit(1)).scalar_one())


def _due(sink: str, now: int) -> sa.Select[Any]:
    """The message to send next: due, and the first of its ticket that has not been sent or given up."""
    earlier = t.outbox.alias()
    blocked = sa.exists().where(
        earlier.c.ticket == t.outbox.c.ticket,
        earlier.c.state == "queued",
        earlier.c.sequence < t.outbox.c.sequence,
    )
    return (
        sa.select(t.outbox)
        .where(t.outbox.c.state == "queued", t.outbox.c.sink == sink, t.outbox.c.due <= now, ~blocked)
        .order_by(t.outbox.c.due, t.outbox.c.at, t.outbox.c.id)
        .limit(1)
    )
