"""What the alert service makes of the findings of a whole backfill: incidents, tickets and the messages of its outbox,
in a store that is thrown away. Nothing is sent.

It decides under the site's budgets, routes and planned work of today; what operators did is not part of it.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings
from opintel.backfill.chain import DayOutcome
from opintel.site.settings import Site
from opintel.site.system import System
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import incidents, largest_findings
from opintel.streams.findings import Found, Judged

Json = dict[str, Any]


class TicketMade(NamedTuple):
    """A ticket that an incident would have got in a sink."""

    sink: str
    at: int
    """When, ns UTC in event time."""
    messages: list[tuple[str, int]]
    """(`created`, `updated` or `resolved`; when) of what would have been sent by itself; none where the route proposes
    tickets and an operator sends them."""


class DecidedIncident(NamedTuple):
    """An incident. Times in ns UTC, event time."""

    plain: Json
    """In the form of `opintel.store.queries.incidents`."""
    scope: str
    about: tuple[str, ...]
    start: int
    opened: int
    end: int
    """When it was resolved, else the end of the last window with a sign of it."""
    largest: str
    """Id of the most surprising finding that raised it."""
    tickets: list[TicketMade]


def records_of(stream: str, day: DayOutcome) -> list[Found | Judged]:
    """What a day came to, as the findings topic would carry it."""
    return [*(Found(stream, finding) for finding in day.findings), *day.judged]


def decide(store: Store, settings: AlertSettings, batches: Iterable[Sequence[Found | Judged]]) -> None:
    """Decides on what a whole backfill says as the alert service does of a log: what incidents there are."""
    service, position = AlertService(store, settings, epoch="backfill"), 0
    for batch in batches:
        service.consume(position, batch, position + len(batch))
        position += len(batch)


def decided(site: Site, stream: str, batches: Iterable[Sequence[Found | Judged]]) -> list[DecidedIncident]:
    """The incidents that come of a stream's findings and judged windows, in order of when they opened."""
    with tempfile.TemporaryDirectory(prefix="opintel-backfill-") as folder:
        system = System(Path(folder), site.by_itself(), replayed=True)
        try:
            decide(system.store, system.alerts, batches)
            return _read(system.store)
        finally:
            system.close()


def _read(store: Store) -> list[DecidedIncident]:
    plain = {incident["id"]: incident for incident in incidents(store)}
    largest, tickets = largest_findings(store), _tickets(store)
    with store.read() as connection:
        rows = connection.execute(sa.select(t.incident).order_by(t.incident.c.opened, t.incident.c.id)).all()
    return [
        DecidedIncident(
            plain[row.id],
            row.scope,
            tuple(msgspec.json.decode(row.about)),
            row.start,
            row.opened,
            row.last if row.resolved is None else row.resolved,
            largest[row.id],
            tickets[row.id],
        )
        for row in rows
    ]


def _tickets(store: Store) -> dict[str, list[TicketMade]]:
    """Incident → its tickets, by sink."""
    made, said = defaultdict[str, list[TicketMade]](list), defaultdict[str, list[tuple[str, int]]](list)
    with store.read() as connection:
        for row in connection.execute(sa.select(t.outbox).order_by(t.outbox.c.ticket, t.outbox.c.sequence)):
            said[row.ticket].append((row.kind, row.at))
        for row in connection.execute(sa.select(t.ticket).order_by(t.ticket.c.sink)):
            made[row.incident].append(TicketMade(row.sink, row.at, said[row.key]))
    return made
