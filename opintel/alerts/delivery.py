"""Sending what the outbox holds: in order within a ticket, again after a failure, at least once.

The attempt is noted before the sink is called and its outcome after, so a process killed in between sends the
message again, under the same id. This is one of the few places that read a clock: waiting is about the outside
world, not about findings.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from opintel.alerts.settings import RetryPolicy
from opintel.alerts.sinks import Intent, Receipt, Sink
from opintel.alerts.ticket import clean
from opintel.store import Store
from opintel.store import schema as t


class Deliverer:
    """Sends messages to sinks by name. `clock` in ns UTC; `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        store: Store,
        sinks: Mapping[str, Sink],
        settings: RetryPolicy,
        *,
        clock: Callable[[], int] = time.time_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._sinks = sinks
        self._settings = settings
        self._clock = clock
        self._jitter = jitter

    def step(self) -> bool:
        """Sends one message that is due. False if there is none."""
        begun = self._begin()
        if begun is None:
            return False
        row, attempt = begun
        self._finish(row, attempt, self._send(row))
        return True

    def _begin(self) -> tuple[Any, int] | None:
        now = self._clock()
        with self._store.read() as connection:
            if connection.execute(_due(now)).first() is None:
                return None
        with self._store.write() as connection:
            row = connection.execute(_due(now)).first()
            if row is None:
                return None
            noted = connection.execute(sa.insert(t.attempt).values(message=row.id, started=now))
            connection.execute(
                sa.update(t.outbox).where(t.outbox.c.id == row.id).values(attempts=t.outbox.c.attempts + 1)
            )
            assert noted.inserted_primary_key is not None
            return row, int(noted.inserted_primary_key[0])

    def _send(self, row: Any) -> Receipt:
        sink = self._sinks.get(row.sink)
        if sink is None:
            return Receipt("retry", f"no sink {row.sink!r} is configured")
        try:
            return sink.send(Intent(row.id, row.ticket, row.sequence, row.kind, row.body))
        except Exception as error:  # a sink's bug must not hold up the other tickets
            return Receipt("retry", clean(f"{type(error).__name__}: {error}"))

    def _finish(self, row: Any, attempt: int, receipt: Receipt) -> None:
        now = self._clock()
        tried = row.attempts + 1
        outcome = receipt.outcome
        if outcome == "retry" and tried >= self._settings.attempts:
            outcome = "failed"
        with self._store.write() as connection:
            connection.execute(
                sa.update(t.attempt)
                .where(t.attempt.c.id == attempt)
                .values(finished=now, outcome=outcome, detail=receipt.detail)
            )
            here = t.outbox.c.id == row.id
            if outcome == "retry":
                connection.execute(sa.update(t.outbox).where(here).values(due=now + self._wait(tried)))
                return
            connection.execute(sa.update(t.outbox).where(here).values(state=outcome))
            connection.execute(sa.update(t.ticket).where(t.ticket.c.key == row.ticket).values(state=outcome))

    def _wait(self, tried: int) -> int:
        """ns until the next attempt: exponential, between half and all of it by chance, so that retries spread out."""
        longest = min(self._settings.longest, self._settings.first * 2 ** min(tried - 1, 60))
        return int(longest * (0.5 + 0.5 * self._jitter()))


def _due(now: int) -> sa.Select[Any]:
    """The message to send next: due, and the first of its ticket that has not been sent or given up."""
    earlier = t.outbox.alias()
    blocked = sa.exists().where(
        earlier.c.ticket == t.outbox.c.ticket,
        earlier.c.state == "queued",
        earlier.c.sequence < t.outbox.c.sequence,
    )
    return (
        sa.select(t.outbox)
        .where(t.outbox.c.state == "queued", t.outbox.c.due <= now, ~blocked)
        .order_by(t.outbox.c.due, t.outbox.c.at, t.outbox.c.id)
        .limit(1)
    )
