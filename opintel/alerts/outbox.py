"""Intents: messages to the outside world, written in the transaction that decided it.

A route makes one ticket of an incident and sink. Its key is a function of the incident, so it is the same in every
run over the same log. Each message of a ticket carries the next number and is rendered here, once: sending it again
sends the same. `opintel.alerts.delivery` sends them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from opintel.alerts.incidents import Incident, raised_for
from opintel.alerts.lifecycle import LIVE
from opintel.alerts.settings import Routes, severity_rank
from opintel.alerts.ticket import FINDINGS_LISTED, render
from opintel.finding import digest, rfc3339
from opintel.store import schema as t
from opintel.store.queries import incidents_json, telling

Kind = Literal["created", "updated", "resolved"]


def ticket_key(incident: str, sink: str) -> str:
    """The key of an incident's ticket in a sink."""
    return digest(["ticket", incident, sink])


def announce(
    connection: sa.Connection, routes: Routes | None, old: Incident, new: Incident, at: int, *, retitled: bool = False
) -> None:
    """Writes the intents that a change of an incident calls for; `old` is `new` where it has just been opened.

    `routes`: where a live incident's tickets go that it does not have yet; None makes no new ones. `retitled`: another
    alert titles it; a title that only has newer numbers goes with the next message.
    """
    if new.state in LIVE and routes is not None:
        _make_tickets(connection, routes, new, at)
    changed = retitled or (new.state, new.severity, new.about) != (old.state, old.severity, old.about)
    ended = new.state not in LIVE and old.state in LIVE
    muted = new.known_until is not None and at < new.known_until and not ended
    if changed and not muted and (new.state in LIVE or ended):
        for row in _tickets(connection, new.id):
            if row.state not in ("proposed", "withdrawn") and not _just_made(connection, row.key, at):
                enqueue(connection, new.id, row.key, row.sink, "resolved" if ended else "updated", at)
    if new.state == "closed":
        proposed = (t.ticket.c.incident == new.id) & (t.ticket.c.state == "proposed")
        connection.execute(sa.update(t.ticket).where(proposed).values(state="withdrawn"))


def enqueue(connection: sa.Connection, incident: str, key: str, sink: str, kind: Kind, at: int) -> None:
    """The ticket's next message."""
    last = connection.execute(sa.select(sa.func.max(t.outbox.c.sequence)).where(t.outbox.c.ticket == key)).scalar()
    sequence = 1 if last is None else last + 1
    body = _body(connection, incident, key, sequence, kind, at)
    connection.execute(
        sa.insert(t.outbox).values(
            id=f"{key}.{sequence}",
            ticket=key,
            sequence=sequence,
            sink=sink,
            kind=kind,
            body=msgspec.json.encode(body).decode(),
            at=at,
            state="queued",
            attempts=0,
            due=0,
        )
    )


def _make_tickets(connection: sa.Connection, routes: Routes, incident: Incident, at: int) -> None:
    raised = raised_for(connection, incident.id)
    kinds, worst = {kind for kind, _ in raised}, max((severity for _, severity in raised), key=severity_rank)
    for route in routes.routes:
        if route.match.takes(incident.stream, incident.scope, kinds, worst):
            break
    else:
        return
    there = {row.sink for row in _tickets(connection, incident.id)}
    for sink in route.sinks:
        if sink in there:
            continue
        key = ticket_key(incident.id, sink)
        state = "queued" if route.ticket == "auto" else "proposed"
        connection.execute(sa.insert(t.ticket).values(key=key, incident=incident.id, sink=sink, state=state, at=at))
        if route.ticket == "auto":
            enqueue(connection, incident.id, key, sink, "created", at)


def _tickets(connection: sa.Connection, incident: str) -> list[Any]:
    return list(
        connection.execute(sa.select(t.ticket).where(t.ticket.c.incident == incident).order_by(t.ticket.c.sink))
    )


def _just_made(connection: sa.Connection, key: str, at: int) -> bool:
    """Whether the ticket's first message was written by this very decision, and so tells the change already."""
    first = (t.outbox.c.ticket == key) & (t.outbox.c.kind == "created") & (t.outbox.c.at == at)
    return connection.execute(sa.select(t.outbox.c.id).where(first)).first() is not None


def _body(connection: sa.Connection, incident: str, key: str, sequence: int, kind: Kind, at: int) -> dict[str, Any]:
    row = connection.execute(sa.select(t.incident).where(t.incident.c.id == incident)).one()
    [content] = incidents_json(connection, [row])
    del content["tickets"]
    text = render(content, telling(connection, incident, FINDINGS_LISTED))
    return {
        "type": f"incident.{kind}",
        "timestamp": rfc3339(at),
        "data": {
            "ticket": key,
            "sequence": sequence,
            "title": text.title,
            "text": text.text,
            "markdown": text.markdown,
            "incident": content,
        },
    }
