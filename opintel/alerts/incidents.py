"""An alert and an incident as records, and their rows in the store.

`Alert` is one (stream, kind, subject) whatever the version of its detector; `Incident` groups alerts. Both are
replaced, never changed, so that what a window changed is seen by comparing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from opintel.alerts.lifecycle import AlertState, IncidentState
from opintel.finding import Finding, Severity, digest
from opintel.store import schema as t

SUBJECTS_KEPT = 100
"""Distinct subjects an incident lists."""

LeadRank = tuple[int, int, float, int, str]
"""How well a finding titles an incident, smallest best: about its very subject; severity and kind; log10 p; window
end; id."""
BEST = -2e6
"""Smaller than any log10 p."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """The standing of one (stream, kind, subject). Times in ns UTC, event time."""

    fingerprint: str
    stream: str
    scope: str
    kind: str
    subject: dict[str, str]
    state: AlertState = "pending"
    history: str = ""
    began: int
    """Earliest beginning of a finding since it last began to pend."""
    last: int
    severity: Severity
    log10_p: float | None
    """The most surprising since it last began to pend."""
    findings: tuple[str, ...] = ()
    """Ids not yet part of an incident."""
    incident: str | None = None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator deals with. Times in ns UTC, event time."""

    id: str
    fingerprint: str
    """That of the alert that opened it."""
    stream: str
    scope: str
    about: tuple[str, ...]
    title: str
    severity: Severity
    state: IncidentState = "open"
    start: int
    opened: int
    last: int
    resolved: int | None = None
    known_until: int | None = None
    feedback: str | None = None
    merged_into: str | None = None
    subjects: tuple[dict[str, str], ...] = ()
    lead: LeadRank


# Asked in every window; made once, because to make a statement costs more than to run it.
OF_STREAM: sa.BindParameter[str] = sa.bindparam("of_stream")
OF_SCOPE: sa.BindParameter[str] = sa.bindparam("of_scope")
_ALERTS = sa.select(t.alert).where(t.alert.c.stream == OF_STREAM, t.alert.c.scope == OF_SCOPE, t.alert.c.history != "")
_INCIDENTS = (
    sa.select(t.incident)
    .where(t.incident.c.stream == OF_STREAM, t.incident.c.scope == OF_SCOPE, t.incident.c.state != "closed")
    .with_for_update()
)


def fingerprint(stream: str, finding: Finding) -> str:
    """What an alert is recognised by: no version enters, so that a deployment does not break an incident."""
    return digest([stream, finding.kind, sorted(finding.subject.items())])


def incident_id(fingerprint: str, opened: int) -> str:
    """The same in every run over the same log."""
    return digest(["incident", fingerprint, opened])[:20]


def load_scope(connection: sa.Connection, stream: str, scope: str) -> tuple[dict[str, Alert], dict[str, Incident]]:
    """A scope's alerts that have a history, its incidents that are not closed; locked as `load_incidents` does."""
    here = {"of_stream": stream, "of_scope": scope}
    alerts, incidents = (connection.execute(query, here) for query in (_ALERTS, _INCIDENTS))
    return _alerts(alerts), _incidents(incidents)


def load_alerts(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> dict[str, Alert]:
    """Fingerprint → alert of those that meet a condition on the alert table."""
    return _alerts(connection.execute(sa.select(t.alert).where(condition)))


def load_incidents(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> dict[str, Incident]:
    """Id → incident of those that meet a condition, locked against other writers where the database can."""
    return _incidents(connection.execute(sa.select(t.incident).where(condition).with_for_update()))


def save(connection: sa.Connection, before: Alert | Incident | None, after: Alert | Incident) -> None:
    """Writes what changed; `before` is what the store holds, None where it holds nothing."""
    if before == after:
        return
    values = _columns(after)
    table, key = (t.alert, "fingerprint") if isinstance(after, Alert) else (t.incident, "id")
    if before is None:
        connection.execute(sa.insert(table).values(values))
    else:
        name = values.pop(key)
        connection.execute(sa.update(table).where(table.c[key] == name).values(values))


def locate(connection: sa.Connection, incident: str, places: Iterable[str]) -> None:
    """Makes an incident one about these places; those that it has stay."""
    table = t.incident_place
    there = set(connection.execute(sa.select(table.c.place).where(table.c.incident == incident)).scalars())
    new = [{"incident": incident, "place": place} for place in places if place not in there]
    if new:
        connection.execute(sa.insert(table), new)


def attach(connection: sa.Connection, incident: str, findings: Iterable[str], role: str) -> None:
    """Makes findings part of an incident; `alarm` outranks `supporting`, what is there already stays."""
    table = t.incident_finding
    wanted = sorted(set(findings))
    if not wanted:
        return
    query = sa.select(table.c.finding, table.c.role).where(table.c.incident == incident, table.c.finding.in_(wanted))
    there = {row.finding: row.role for row in connection.execute(query)}
    new = [{"incident": incident, "finding": id, "role": role} for id in wanted if id not in there]
    if new:
        connection.execute(sa.insert(table), new)
    raised = [id for id, was in there.items() if role == "alarm" and was != role]
    if raised:
        here = (table.c.incident == incident) & table.c.finding.in_(raised)
        connection.execute(sa.update(table).where(here).values(role=role))


def alarm_kinds(connection: sa.Connection, incident: str) -> list[str]:
    """The kinds of finding that an incident was raised for."""
    return sorted({kind for kind, _ in raised_for(connection, incident)})


def raised_for(connection: sa.Connection, incident: str) -> set[tuple[str, Severity]]:
    """Kinds and severities of the findings that an incident was raised for, whether they still hold or not."""
    link = t.incident_finding
    query = (
        sa.select(t.finding.c.kind, t.finding.c.severity)
        .join(link, link.c.finding == t.finding.c.id)
        .where(link.c.incident == incident, link.c.role == "alarm")
        .distinct()
    )
    return {(row.kind, row.severity) for row in connection.execute(query)}


def note(connection: sa.Connection, home: str, at: int, by: str, what: str, **detail: Any) -> None:
    """A line in an incident's history; it is also the audit trail, so lines are never changed."""
    text = msgspec.json.encode(detail).decode()
    connection.execute(sa.insert(t.event).values(incident=home, at=at, by=by, kind=what, detail=text))


def _alerts(rows: Iterable[Any]) -> dict[str, Alert]:
    return {row.fingerprint: _record(row, Alert) for row in rows}


def _incidents(rows: Iterable[Any]) -> dict[str, Incident]:
    return {row.id: _record(row, Incident) for row in rows}


_JSON = ("subject", "findings", "about", "subjects", "lead")


def _record(row: Any, kind: Any) -> Any:
    plain = {str(name): value for name, value in row._mapping.items()}
    for name in _JSON:
        if name in plain:
            plain[name] = msgspec.json.decode(plain[name])
    return msgspec.convert(plain, kind)


def _columns(record: Alert | Incident) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    for name in _JSON:
        if name in plain:
            plain[name] = msgspec.json.encode(plain[name]).decode()
    return plain
