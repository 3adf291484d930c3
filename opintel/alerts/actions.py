"""What operators do to incidents: each action is one transaction that leaves a line in the incident's history.

The console and the command line call these. `by` is who did it, `now` the wall clock in ns UTC: it dates the
history only, decisions stay in event time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from opintel.alerts import outbox
from opintel.alerts.budget import retune
from opintel.alerts.incidents import Incident, alarm_kinds, load_incidents, note, save
from opintel.alerts.lifecycle import LIVE, IncidentInput, incident_step
from opintel.alerts.ticket import clean
from opintel.finding import rfc3339
from opintel.store import Store
from opintel.store import schema as t

Answer = Literal["confirmed", "false-alarm"]


class Refused(ValueError):
    """The action is not possible; the text says why, in words for the operator."""


class Retried(NamedTuple):
    """A ticket whose messages are sent again."""

    ticket: str
    sink: str
    incident: str
    messages: int


def acknowledge(store: Store, incident: str, by: str, *, now: int) -> None:
    """Someone looks after it. Raises Refused (as all actions here do) for an unknown incident or an impossible step."""
    with _incident(store, incident) as (connection, old):
        _change(connection, old, "acknowledge", by, now)


def mitigate(store: Store, incident: str, by: str, *, now: int) -> None:
    """Its effect is contained though its cause is not gone; an alert that joins it or rises again reopens it."""
    with _incident(store, incident) as (connection, old):
        _change(connection, old, "mitigate", by, now)


def close(store: Store, incident: str, by: str, *, now: int) -> None:
    """Done with it, whatever its alerts say; they must rise again to open another one."""
    with _incident(store, incident) as (connection, old):
        _change(connection, old, "close", by, now)


def confirm(store: Store, incident: str, by: str, *, now: int, text: str = "") -> None:
    """It was a true alarm: the budget of its kinds in this scope doubles, up to what is configured."""
    with _incident(store, incident) as (connection, old):
        _answer(connection, old, "confirmed", 2.0, by, now, text)


def false_alarm(store: Store, incident: str, by: str, *, now: int, text: str = "") -> None:
    """It was not: the budget of its kinds in this scope halves, down to a sixteenth, and the incident is closed."""
    with _incident(store, incident) as (connection, old):
        new = _answer(connection, old, "false-alarm", 0.5, by, now, text)
        if new.state != "closed":
            _change(connection, new, "close", by, now)


def known_until(store: Store, incident: str, until: int, by: str, *, now: int) -> None:
    """It is known: no message about it, and no new incident about its subjects, until `until` (ns UTC, event time)."""
    with _incident(store, incident) as (connection, old):
        if old.state not in LIVE:
            raise Refused(f"the incident is {old.state}; only a live one can be known until a time")
        if until <= old.last:
            raise Refused(f"{rfc3339(until)} has passed for this incident, it was last seen at {rfc3339(old.last)}")
        new = msgspec.structs.replace(old, known_until=until)
        save(connection, old, new)
        note(connection, incident, now, _who(by), "known-until", until=rfc3339(until))
        for subject in new.subjects:
            _silence(connection, new.stream, subject, until, by, "known", incident)
        if new.state == "open":
            _change(connection, new, "acknowledge", by, now)


def silence(store: Store, stream: str, subject: dict[str, str], until: int, by: str, reason: str) -> None:
    """No incident about subjects of `stream` that carry these labels (none: all) opens until `until` (event time)."""
    with store.write() as connection:
        _silence(connection, stream, subject, until, by, reason, None)


def send_ticket(store: Store, incident: str, sink: str, by: str, *, now: int) -> None:
    """Sends a proposed ticket: from now on the sink gets the news of this incident."""
    with _incident(store, incident) as (connection, old):
        here = (t.ticket.c.incident == incident) & (t.ticket.c.sink == sink)
        ticket = connection.execute(sa.select(t.ticket).where(here).with_for_update()).first()
        if ticket is None or ticket.state != "proposed":
            state = "there is none" if ticket is None else f"it is {ticket.state}"
            raise Refused(f"no ticket for {sink!r} waits to be sent: {state}")
        connection.execute(sa.update(t.ticket).where(here).values(state="queued"))
        outbox.enqueue(connection, old.id, ticket.key, sink, "created", now)
        note(connection, incident, now, _who(by), "ticket-sent", sink=sink)


def retry_tickets(
    store: Store, by: str, *, now: int, sink: str = "", incident: str = "", keys: Collection[str] = ()
) -> list[Retried]:
    """Sends the messages again that have failed, and those at once that wait for their next attempt; of a sink, of an
    incident, of tickets by their keys, or of all. What is sent keeps its id. Raises Refused for an unknown key.
    """
    with store.write() as connection:
        known = set(connection.execute(sa.select(t.ticket.c.key).where(t.ticket.c.key.in_(keys))).scalars())
        for key in keys:
            if key not in known:
                raise Refused(f"there is no ticket {clean(key, 80)!r}")
        failed, waits = t.outbox.c.state == "failed", (t.outbox.c.state == "queued") & (t.outbox.c.due > 0)
        wanted = sa.or_(failed, waits)
        for given, column in ((sink, t.outbox.c.sink), (incident, t.ticket.c.incident)):
            wanted = sa.and_(wanted, column == given) if given else wanted
        if keys:
            wanted = sa.and_(wanted, t.ticket.c.key.in_(keys))
        query = sa.select(t.outbox.c.id, t.ticket).join(t.ticket, t.ticket.c.key == t.outbox.c.ticket).where(wanted)
        rows = connection.execute(query.order_by(t.ticket.c.at, t.ticket.c.key, t.outbox.c.sequence)).all()
        messages: dict[str, list[Any]] = {}
        for row in rows:
            here = t.outbox.c.id == row.id
            connection.execute(sa.update(t.outbox).where(here, failed).values(state="queued", attempts=0))
            connection.execute(sa.update(t.outbox).where(here).values(due=0))
            messages.setdefault(row.key, []).append(row)
        retried = [Retried(key, row.sink, row.incident, len(of)) for key, of in messages.items() for row in of[:1]]
        for one in retried:
            here = (t.ticket.c.key == one.ticket) & (t.ticket.c.state == "failed")
            connection.execute(sa.update(t.ticket).where(here).values(state="queued"))
            note(connection, one.incident, now, _who(by), "ticket-retried", sink=one.sink, messages=one.messages)
        return retried


@contextmanager
def _incident(store: Store, id: str) -> Iterator[tuple[sa.Connection, Incident]]:
    with store.write() as connection:
        found = load_incidents(connection, t.incident.c.id == id)
        if id not in found:
            raise Refused(f"there is no incident {clean(id, 40)!r}")
        yield connection, found[id]


def _change(connection: sa.Connection, old: Incident, given: IncidentInput, by: str, now: int) -> Incident:
    try:
        state = incident_step(old.state, given)
    except ValueError as error:
        raise Refused(str(error)) from error
    new = msgspec.structs.replace(old, state=state)
    save(connection, old, new)
    note(connection, old.id, now, _who(by), given, was=old.state, now=state)
    outbox.announce(connection, None, old, new, now)
    return new


def _answer(
    connection: sa.Connection, old: Incident, answer: Answer, factor: float, by: str, now: int, text: str
) -> Incident:
    if old.feedback == answer:
        raise Refused(f"the incident is marked {answer} already")
    new = msgspec.structs.replace(old, feedback=answer)
    save(connection, old, new)
    said = clean(text, 1000)
    connection.execute(sa.insert(t.feedback).values(incident=old.id, answer=answer, by=_who(by), at=now, note=said))
    kinds = alarm_kinds(connection, old.id)
    budgets = {kind: retune(connection, old.stream, kind, old.scope, factor) for kind in kinds}
    note(connection, old.id, now, _who(by), answer, budgets=budgets, note=said)
    return new


def _silence(
    connection: sa.Connection,
    stream: str,
    subject: dict[str, str],
    until: int,
    by: str,
    reason: str,
    incident: str | None,
) -> None:
    labels = msgspec.json.encode(subject, order="sorted").decode()
    values = {"stream": stream, "subject": labels, "until": until, "by": _who(by), "incident": incident}
    connection.execute(sa.insert(t.silence).values(reason=clean(reason), **values))


def _who(by: str) -> str:
    return clean(by, 80) or "unknown"
