"""What the pages show beside `opintel.store.queries`: the incident list with its sparklines, findings by kind.

Reads the store only. All texts in what comes back are untrusted; the templates escape them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from opintel.alerts.lifecycle import LIVE
from opintel.alerts.ticket import FINDINGS_LISTED, render
from opintel.console.drawing import JOINED, Spark, looks_ahead, spark
from opintel.console.past import Thing
from opintel.evidence import Series
from opintel.finding import finding_json, rfc3339
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import in_downtime, incidents, incidents_json, read_finding, telling

Json = dict[str, Any]

STATES = ("open", "acknowledged", "mitigated", "resolved", "closed")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Needs attention": ("open",),
    "Being looked after": ("acknowledged", "mitigated"),
    "Over": ("resolved", "closed"),
}
LIVE_SHOWN = 300
OVER_SHOWN = 100
ABOUT_SHOWN = 20
"""Incidents that a thing's page lists."""
LEADS_KEPT = 2000


class Lead(NamedTuple):
    """What the list tells of the finding that gave an incident its title."""

    log10_p: float | None
    spark: Spark | None


class IncidentList:
    """The incident list. Findings never change, so what was drawn of one is kept: a page is polled often."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leads: dict[str, Lead] = {}

    def read(self) -> list[Json]:
        """Incidents in JSON form, live ones first, then the more severe, then the newer; besides their keys `last`,
        `known_until`, `answer`, `merged_into`, `lasted` (ns, event time) and `lead` (a `Lead` or None)."""
        found = incidents(self._store, states=LIVE, limit=LIVE_SHOWN)
        found += incidents(self._store, states=("resolved", "closed"), limit=OVER_SHOWN)
        with self._store.read() as connection:
            rows = {row.id: row for row in _by_id(connection, t.incident, [i["id"] for i in found])}
            through = {(r.stream, r.scope): r.through for r in connection.execute(sa.select(t.judged))}
            leads = {id: _lead_id(row.lead) for id, row in rows.items()}
            self._load(connection, leads.values())
        for incident in found:
            row = rows[incident["id"]]
            end = row.resolved if row.resolved is not None else row.last
            if row.state in LIVE:
                end = max(row.last, through.get((row.stream, row.scope), row.last))
            incident |= {
                "last": rfc3339(row.last),
                "known_until": None if row.known_until is None else rfc3339(row.known_until),
                "answer": row.feedback,
                "merged_into": row.merged_into,
                "lasted": end - row.start,
                "lead": self._leads.get(leads[incident["id"]]),
            }
        severities = {"critical": 0, "warning": 1, "info": 2}
        found.sort(key=lambda i: (i["start"], i["id"]), reverse=True)
        found.sort(key=lambda i: (_group(i["state"]), severities[i["severity"]] if i["state"] in LIVE else 0))
        return found

    def _load(self, connection: sa.Connection, ids: Iterable[str]) -> None:
        missing = [id for id in ids if id not in self._leads]
        if len(self._leads) + len(missing) > LEADS_KEPT:
            self._leads.clear()
        for row in _by_id(connection, t.finding, missing):
            found = read_finding(row.content)
            series = next((b for b in found.evidence if isinstance(b, Series)), None)
            self._leads[row.id] = Lead(found.log10_p, None if series is None else spark(series))


def judged_through(store: Store) -> list[tuple[str, str]]:
    """(stream, RFC 3339 time up to which all of its scopes have been judged)."""
    query = sa.select(t.judged.c.stream, sa.func.min(t.judged.c.through)).group_by(t.judged.c.stream)
    with store.read() as connection:
        return [(stream, rfc3339(through)) for stream, through in connection.execute(query.order_by(t.judged.c.stream))]


def latest_findings(
    store: Store, *, stream: str | None, kind: str | None, incident: str | None, limit: int
) -> list[Json]:
    """The newest findings, of a stream, kind or incident if asked; newest first, in JSON form with their `stream`."""
    query = sa.select(t.finding.c.content, t.finding.c.stream, t.finding.c.downtime)
    if incident is not None:
        link = t.incident_finding
        query = query.join(link, link.c.finding == t.finding.c.id).where(link.c.incident == incident)
    if stream is not None:
        query = query.where(t.finding.c.stream == stream)
    if kind is not None:
        query = query.where(t.finding.c.kind == kind)
    query = query.order_by(t.finding.c.window_end.desc(), t.finding.c.id.desc()).limit(limit)
    with store.read() as connection:
        rows = connection.execute(query).all()
    return [_finding(row) for row in rows]


def incidents_of(store: Store, finding: str) -> list[tuple[str, str]]:
    """(id, title) of the incidents that a finding is part of."""
    link = t.incident_finding
    query = (
        sa.select(t.incident.c.id, t.incident.c.title)
        .join(link, link.c.incident == t.incident.c.id)
        .where(link.c.finding == finding)
        .order_by(t.incident.c.opened, t.incident.c.id)
    )
    with store.read() as connection:
        return [(id, title) for id, title in connection.execute(query)]


def incidents_about(store: Store, thing: Thing) -> list[Json]:
    """The newest incidents about a thing, in JSON form."""
    table = t.incident.c
    about = msgspec.json.encode(thing.about).decode()
    query = sa.select(t.incident).where(table.stream == thing.stream, table.scope == thing.scope, table.about == about)
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.opened.desc(), table.id).limit(ABOUT_SHOWN)).all()
        return incidents_json(connection, rows)


def findings_of(store: Store, ids: Sequence[str]) -> list[Json]:
    """Findings in JSON form with their `stream`, in the order of their ids."""
    with store.read() as connection:
        rows = {row.id: row for row in _by_id(connection, t.finding, ids)}
    by_id = {id: _finding(row) for id, row in rows.items()}
    return [by_id[id] for id in ids if id in by_id]


def _finding(row: Any) -> Json:
    return finding_json(read_finding(row.content)) | {"stream": row.stream} | in_downtime(row)


def same_matter(store: Store, incident: str, finding: Json) -> list[Json]:
    """The alarms of an incident of the kind and about the subject of one of them, in order of time, in JSON form; of
    many at most `JOINED`, spread evenly and always the first and the last."""
    link = t.incident_finding
    # the subject as it is written: a sieve, so that not all contents are read
    written = f'"subject":{msgspec.json.encode(finding["subject"]).decode()}'
    query = (
        sa.select(t.finding.c.id)
        .join(link, link.c.finding == t.finding.c.id)
        .where(link.c.incident == incident, link.c.role == "alarm", t.finding.c.kind == finding["kind"])
        .where(t.finding.c.content.contains(written, autoescape=True))
        .order_by(t.finding.c.window_end, t.finding.c.id)
    )
    with store.read() as connection:
        ids = list(connection.execute(query).scalars())
    step = max(1.0, (len(ids) - 1) / (JOINED - 1))
    some = [ids[round(k * step)] for k in range(min(len(ids), JOINED))]
    return [f for f in findings_of(store, some) if f["subject"] == finding["subject"]]


def lead_findings(store: Store, incident: str) -> list[Json]:
    """The finding that gave an incident its title, if it is still there."""
    with store.read() as connection:
        lead = connection.execute(sa.select(t.incident.c.lead).where(t.incident.c.id == incident)).scalar()
    return [] if lead is None else findings_of(store, [_lead_id(lead)])


def foreseen(store: Store, incident: str) -> Json | None:
    """The newest forecast among an incident's alarms, if there is one."""
    link = t.incident_finding
    query = (
        sa.select(t.finding.c.content)
        .join(link, link.c.finding == t.finding.c.id)
        .where(link.c.incident == incident, link.c.role == "alarm", t.finding.c.log10_p.is_(None))
        .order_by(t.finding.c.window_end.desc(), t.finding.c.id)
        .limit(JOINED)
    )
    with store.read() as connection:
        found = (finding_json(read_finding(content)) for content in connection.execute(query).scalars())
        return next(filter(looks_ahead, found), None)


def thing_of(store: Store, incident: str) -> Thing:
    """What an incident is about."""
    table = t.incident.c
    with store.read() as connection:
        row = connection.execute(sa.select(table.stream, table.scope, table.about).where(table.id == incident)).one()
    return Thing(row.stream, row.scope, tuple(msgspec.json.decode(row.about, type=list[str])))


def matters(findings: Sequence[Json], by: str) -> list[list[Json]]:
    """The findings by role (or stream), kind and subject, each matter at the place of its first one: hours of the same
    are one line and what is behind it.
    """
    alike: dict[tuple[str, str, str], list[Json]] = {}
    for f in findings:
        alike.setdefault((f[by], f["kind"], str(sorted(f["subject"].items()))), []).append(f)
    return list(alike.values())


def ticket_preview(store: Store, incident: Json) -> str:
    """The text that a proposed ticket would carry if it were sent now."""
    with store.read() as connection:
        return render(incident, telling(connection, incident["id"], FINDINGS_LISTED)).text


def tunings(store: Store) -> list[Json]:
    """Kinds whose share of their budget operators' answers have changed: `{stream, kind, scope, factor}`."""
    query = sa.select(t.tuning).where(t.tuning.c.factor != 1.0)
    with store.read() as connection:
        return [dict(row._mapping) for row in connection.execute(query.order_by(*t.tuning.primary_key.columns))]


def _lead_id(rank: str) -> str:
    *_, id = msgspec.json.decode(rank)
    return str(id)


def _group(state: str) -> int:
    return next(i for i, states in enumerate(GROUPS.values()) if state in states)


def _by_id(connection: sa.Connection, table: sa.Table, ids: Iterable[str]) -> Iterable[Any]:
    wanted = list(ids)
    for start in range(0, len(wanted), 500):
        yield from connection.execute(sa.select(table).where(table.c.id.in_(wanted[start : start + 500])))
