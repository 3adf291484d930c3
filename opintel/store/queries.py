"""Reading the store as plain data, in the JSON forms that the console, the command line and reports share.

All texts in what comes back may have been sent by anyone: they are escaped where they are shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from opintel.finding import NS, Finding, finding_json, rfc3339
from opintel.naming import Naming, named_json
from opintel.store import schema as t
from opintel.store.database import Store

Json = dict[str, Any]
Place = tuple[int, str]
"""Where a finding or an incident stands among its like: (window end or opened, ns UTC; id)."""

NEAR = 86_400 * NS
"""Incidents of two streams about one place may be so far apart and still have to do with each other."""
FINDINGS_SHOWN = 60
"""Findings that `incident` returns in full; `findings` in it counts all of them."""


def findings(
    store: Store, *, stream: str | None = None, limit: int | None = None, naming: Mapping[str, Naming] | None = None
) -> list[Json]:
    """Findings in JSON form, sorted by window end, then id; with `limit`, the newest so many. `naming`: of streams
    whose times are given in a scale of their own too. `downtime`: the reason of the planned work in which one falls."""
    query = sa.select(t.finding.c.stream, t.finding.c.content, t.finding.c.downtime)
    if stream is not None:
        query = query.where(t.finding.c.stream == stream)
    query = query.order_by(t.finding.c.window_end.desc(), t.finding.c.id.desc()).limit(limit)
    with store.read() as connection:
        rows = connection.execute(query).all()
    names = naming or {}
    found = [(row, named_json(read_finding(row.content), names.get(row.stream, Naming()))) for row in reversed(rows)]
    return [plain | in_downtime(row) for row, plain in found]


def finding_places(store: Store, *, stream: str | None, limit: int, before: Place | None) -> list[Place]:
    """The newest so many findings that come before a place in order of (window end, id), the oldest first."""
    place = sa.tuple_(t.finding.c.window_end, t.finding.c.id)
    query = sa.select(t.finding.c.window_end, t.finding.c.id)
    if stream is not None:
        query = query.where(t.finding.c.stream == stream)
    if before is not None:
        query = query.where(place < sa.tuple_(*map(sa.literal, before)))
    query = query.order_by(t.finding.c.window_end.desc(), t.finding.c.id.desc()).limit(limit)
    with store.read() as connection:
        return [(end, id) for end, id in reversed(connection.execute(query).all())]


def findings_between(store: Store, start: int, end: int, *, detectors: str) -> list[Json]:
    """Findings in JSON form whose windows meet [start, end), ns UTC, of detectors whose names begin so; by window end,
    then id."""
    f = t.finding
    near = (f.c.window_end > start) & (f.c.window_start < end) & f.c.detector.startswith(detectors, autoescape=True)
    query = sa.select(f.c.content).where(near).order_by(f.c.window_end, f.c.id)
    with store.read() as connection:
        contents = connection.execute(query).scalars().all()
    return [finding_json(read_finding(content)) for content in contents]


def findings_of(store: Store, ids: Sequence[str]) -> list[Json]:
    """These findings in JSON form, in this order; those that are gone are left out."""
    with store.read() as connection:
        query = sa.select(t.finding.c.id, t.finding.c.content).where(t.finding.c.id.in_(ids))
        contents = {row.id: row.content for row in connection.execute(query)}
    return [finding_json(read_finding(contents[id])) for id in ids if id in contents]


def finding(store: Store, id: str) -> tuple[str, Finding] | None:
    """One finding, with its stream before it."""
    with store.read() as connection:
        row = connection.execute(sa.select(t.finding.c.stream, t.finding.c.content).where(t.finding.c.id == id)).first()
    return None if row is None else (row.stream, read_finding(row.content))


def incidents(
    store: Store,
    *,
    stream: str | None = None,
    states: Collection[str] | None = None,
    limit: int | None = None,
    before: Place | None = None,
) -> list[Json]:
    """Incidents in JSON form, the newest first; `before`: those behind the one that opened then and has this id.

    Keys: `id, fingerprint, stream, streams, title, severity, state, start, opened, subjects [{label: text}],
    findings: n, evidence: n, tickets [{sink, key, state, updates}], quiet` (live, though none of its alerts fires)`,
    related [{id, stream, title, severity, state, start, place}]` (of other streams, about the same place of the
    topology, in the same day; the earliest first)`, sites [{host, site, support_unit}]` (of the hosts it is about);
    times in RFC 3339.
    """
    query = sa.select(t.incident)
    if stream is not None:
        query = query.where(t.incident.c.stream == stream)
    if states is not None:
        query = query.where(t.incident.c.state.in_(list(states)))
    if before is not None:
        opened, id = before
        same = (t.incident.c.opened == opened) & (t.incident.c.id > id)
        query = query.where((t.incident.c.opened < opened) | same)
    query = query.order_by(t.incident.c.opened.desc(), t.incident.c.id).limit(limit)
    with store.read() as connection:
        return incidents_json(connection, connection.execute(query).all())


def incident(store: Store, id: str) -> Json | None:
    """An incident in JSON form with all that explains it, or None.

    Besides the keys of `incidents`: `scope`, `about` [text], `last`, `resolved`, `known_until` (RFC 3339 or None),
    `answer` (confirmed, false-alarm or None), `merged_into` (an incident's id or None), `feedback` [{answer, by,
    at, note}] (oldest first), `alerts` [{fingerprint, kind, subject, state, severity, log10_p, began, last,
    history}] (those whose latest incident it is, oldest first; `history` has one sign a judged window: `.` nothing,
    `w` weak, `s` strong, a capital where it rose), `events` [{at, by, kind, detail {…}}] (oldest first),
    `evidence_findings` [finding JSON and `role`: alarm or supporting] (alarms first, the most surprising first, at
    most `FINDINGS_SHOWN`), `deliveries` [{message, sink, kind, sequence, state, body, attempts [{started, finished,
    outcome, detail}]}].
    """
    with store.read() as connection:
        row = connection.execute(sa.select(t.incident).where(t.incident.c.id == id)).first()
        if row is None:
            return None
        [incident] = incidents_json(connection, [row])
        incident |= {
            "scope": row.scope,
            "about": _plain(row.about),
            "last": rfc3339(row.last),
            "resolved": _time(row.resolved),
            "known_until": _time(row.known_until),
            "answer": row.feedback,
            "merged_into": row.merged_into,
            "feedback": [
                {"answer": f.answer, "by": f.by, "at": rfc3339(f.at), "note": f.note}
                for f in _of_incident(connection, t.feedback, id)
            ],
            "alerts": _alerts(connection, id),
            "events": [
                {"at": rfc3339(e.at), "by": e.by, "kind": e.kind, "detail": _plain(e.detail)}
                for e in _of_incident(connection, t.event, id)
            ],
            "evidence_findings": _evidence(connection, id),
            "deliveries": _deliveries(connection, id),
        }
        return incident


def largest_findings(store: Store) -> dict[str, str]:
    """Incident → id of the most surprising finding that raised it."""
    link = t.incident_finding
    query = (
        sa.select(link.c.incident, t.finding.c.id)
        .join(link, link.c.finding == t.finding.c.id)
        .where(link.c.role == "alarm")
        .order_by(*_SURPRISE)
    )
    largest: dict[str, str] = {}
    with store.read() as connection:
        for incident, finding in connection.execute(query):
            largest.setdefault(incident, finding)
    return largest


class SinkStanding(NamedTuple):
    """What the outbox holds for a sink, and what became of it. Times in ns UTC."""

    queued: int
    """Messages that wait."""
    failed: int
    """Messages that have failed; `opintel tickets retry` sends them."""
    oldest: int | None
    """When the oldest that waits was decided on."""
    failures: int
    """Attempts that failed."""
    last_sent: int | None


def outbox(store: Store) -> dict[str, SinkStanding]:
    """Sink → its standing, of all that ever had a message, configured or not."""
    box, tries = t.outbox, t.attempt
    waiting = sa.case((box.c.state == "queued", box.c.at))
    counts = sa.select(
        box.c.sink,
        sa.func.count(waiting).label("queued"),
        sa.func.count(sa.case((box.c.state == "failed", 1))).label("failed"),
        sa.func.min(waiting).label("oldest"),
    ).group_by(box.c.sink)
    attempts = (
        sa.select(
            box.c.sink,
            sa.func.count(sa.case((tries.c.outcome.in_(("retry", "failed")), 1))).label("failures"),
            sa.func.max(sa.case((tries.c.outcome == "sent", tries.c.finished))).label("last_sent"),
        )
        .join(tries, tries.c.message == box.c.id)
        .group_by(box.c.sink)
    )
    with store.read() as connection:
        tried = {row.sink: (row.failures, row.last_sent) for row in connection.execute(attempts)}
        return {
            row.sink: SinkStanding(row.queued, row.failed, row.oldest, *tried.get(row.sink, (0, None)))
            for row in connection.execute(counts.order_by(box.c.sink))
        }


def outbox_empty(store: Store) -> bool:
    """Whether every message has been sent or given up."""
    with store.read() as connection:
        query = sa.select(t.outbox.c.id).where(t.outbox.c.state == "queued").limit(1)
        return connection.execute(query).first() is None


def budgets(store: Store) -> list[Json]:
    """The newest week (in event time) of each budget.

    `{stream, budget, scope, week (its start), allowed (false alarms a week), spent (expected so far: tests times their
    threshold), alarms (that rose), unranked (of these, without a p-value)}`.
    """
    spend = t.budget_spend
    with store.read() as connection:
        rows = connection.execute(sa.select(spend).order_by(spend.c.week)).all()
    newest = {(row.stream, row.budget, row.scope): row for row in rows}
    return [
        {
            "stream": row.stream,
            "budget": row.budget,
            "scope": row.scope,
            "week": rfc3339(row.week),
            "allowed": row.allowed,
            "spent": row.spent,
            "alarms": row.alarms,
            "unranked": row.unranked,
        }
        for _, row in sorted(newest.items())
    ]


def finding_counts(store: Store) -> dict[tuple[str, str], int]:
    """(stream, kind) → findings."""
    return _counts(store, t.finding.c.stream, t.finding.c.kind)


def incident_counts(store: Store) -> dict[tuple[str, str], int]:
    """(stream, state) → incidents."""
    return _counts(store, t.incident.c.stream, t.incident.c.state)


def _counts(store: Store, one: sa.Column[str], other: sa.Column[str]) -> dict[tuple[str, str], int]:
    query = sa.select(one, other, sa.func.count()).group_by(one, other).order_by(one, other)
    with store.read() as connection:
        return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def in_downtime(row: Any) -> Json:
    """What the JSON form of a finding says of its downtime: nothing where there is none."""
    return {} if row.downtime is None else {"downtime": row.downtime}


def read_finding(content: str) -> Finding:
    """A finding from its column."""
    return _finding.decode(content)


_finding = msgspec.json.Decoder(Finding)
_SURPRISE = (
    t.finding.c.severity == "info",
    sa.func.coalesce(t.finding.c.log10_p, 0.0),
    t.finding.c.window_end,
    t.finding.c.id,
)
"""The most surprising first; what says that something is over comes last, however surprising."""


def telling(connection: sa.Connection, incident: str, most: int) -> list[Finding]:
    """The alarms that tell most of an incident: the one that titles it, then the most surprising of each kind and
    subject; that something is over comes last."""
    rank = connection.execute(sa.select(t.incident.c.lead).where(t.incident.c.id == incident)).scalar_one()
    *_, lead = msgspec.json.decode(rank)
    link = t.incident_finding
    query = (
        sa.select(t.finding.c.content)
        .join(link, link.c.finding == t.finding.c.id)
        .where(link.c.incident == incident, link.c.role == "alarm")
        .order_by(t.finding.c.id != lead, *_SURPRISE)
        .limit(FINDINGS_SHOWN)
    )
    distinct: dict[tuple[str, str], Finding] = {}
    for found in map(read_finding, connection.execute(query).scalars()):
        distinct.setdefault((found.kind, str(sorted(found.subject.items()))), found)
    return list(distinct.values())[:most]


def incidents_json(connection: sa.Connection, rows: Sequence[Any]) -> list[Json]:
    """Rows of the incident table in JSON form, as this transaction sees them."""
    ids = [row.id for row in rows]
    counts: dict[str, tuple[int, int]] = {}
    tickets: dict[str, list[Json]] = {}
    related: dict[str, list[Json]] = {}
    sites: dict[str, list[Json]] = {}
    firing: set[str] = set()
    link = t.incident_finding
    for part in _parts(ids):
        query = (
            sa.select(link.c.incident, sa.func.count().label("n"), sa.func.sum(t.finding.c.evidence).label("blocks"))
            .join(t.finding, t.finding.c.id == link.c.finding)
            .where(link.c.incident.in_(part))
            .group_by(link.c.incident)
        )
        counts |= {row.incident: (row.n, row.blocks) for row in connection.execute(query)}
        alarming = t.alert.c.incident.in_(part) & t.alert.c.state.in_(("firing", "flapping"))
        firing |= set(connection.execute(sa.select(t.alert.c.incident).where(alarming)).scalars())
        for id, ticket in _tickets(connection, part):
            tickets.setdefault(id, []).append(ticket)
        for id, other in _related(connection, part):
            related.setdefault(id, []).append(other)
        sites |= _sites(connection, part)
    return [
        {
            "id": row.id,
            "fingerprint": row.fingerprint,
            "stream": row.stream,
            "streams": [row.stream],
            "title": row.title,
            "severity": row.severity,
            "state": row.state,
            "start": rfc3339(row.start),
            "opened": rfc3339(row.opened),
            "subjects": _plain(row.subjects),
            "findings": counts.get(row.id, (0, 0))[0],
            "evidence": counts.get(row.id, (0, 0))[1],
            "tickets": tickets.get(row.id, []),
            "quiet": row.state in ("open", "acknowledged", "mitigated") and row.id not in firing,
            "related": related.get(row.id, []),
            "sites": sites.get(row.id, []),
        }
        for row in rows
    ]


def _related(connection: sa.Connection, incidents: Sequence[str]) -> Iterable[tuple[str, Json]]:
    """Incident → one of another stream about the same place that was live at the same time, or within a day of it."""
    here, there = t.incident_place.alias("here"), t.incident_place.alias("there")
    one, other = t.incident.alias("one"), t.incident.alias("other")
    near = (other.c.start <= one.c.last + NEAR) & (one.c.start <= other.c.last + NEAR)
    query = (
        sa.select(here.c.incident.label("of"), sa.func.min(here.c.place).label("place"), other)
        .join(there, there.c.place == here.c.place)
        .join(one, one.c.id == here.c.incident)
        .join(other, other.c.id == there.c.incident)
        .where(here.c.incident.in_(incidents), other.c.stream != one.c.stream, near, other.c.merged_into.is_(None))
        .group_by(here.c.incident, other.c.id)
        .order_by(other.c.start, other.c.id)
    )
    for row in connection.execute(query):
        kept = {name: getattr(row, name) for name in ("id", "stream", "title", "severity", "state")}
        yield row.of, {**kept, "start": rfc3339(row.start), "place": row.place}


def _sites(connection: sa.Connection, incidents: Sequence[str]) -> dict[str, list[Json]]:
    """Incident → whose the hosts are that it is about, as it was noted last."""
    noted = (t.event.c.kind == "sites") & t.event.c.incident.in_(incidents)
    query = sa.select(t.event.c.incident, t.event.c.detail).where(noted).order_by(t.event.c.id)
    return {
        row.incident: [
            dict(zip(("host", "site", "support_unit"), owner, strict=True)) for owner in _plain(row.detail)["sites"]
        ]
        for row in connection.execute(query)
    }


def _tickets(connection: sa.Connection, incidents: Sequence[str]) -> Iterable[tuple[str, Json]]:
    updates = (
        sa.select(t.outbox.c.ticket, sa.func.count().label("n"))
        .where(t.outbox.c.state == "sent", t.outbox.c.kind != "created")
        .group_by(t.outbox.c.ticket)
        .subquery()
    )
    query = (
        sa.select(t.ticket, sa.func.coalesce(updates.c.n, 0).label("updates"))
        .outerjoin(updates, updates.c.ticket == t.ticket.c.key)
        .where(t.ticket.c.incident.in_(incidents))
        .order_by(t.ticket.c.sink)
    )
    for row in connection.execute(query):
        yield row.incident, {"sink": row.sink, "key": row.key, "state": row.state, "updates": row.updates}


def _alerts(connection: sa.Connection, incident: str) -> list[Json]:
    query = sa.select(t.alert).where(t.alert.c.incident == incident).order_by(t.alert.c.began, t.alert.c.fingerprint)
    return [
        {
            "fingerprint": row.fingerprint,
            "kind": row.kind,
            "subject": _plain(row.subject),
            "state": row.state,
            "severity": row.severity,
            "log10_p": row.log10_p,
            "began": rfc3339(row.began),
            "last": rfc3339(row.last),
            "history": row.history,
        }
        for row in connection.execute(query)
    ]


def _evidence(connection: sa.Connection, incident: str) -> list[Json]:
    link = t.incident_finding
    query = (
        sa.select(t.finding.c.content, t.finding.c.downtime, link.c.role)
        .join(link, link.c.finding == t.finding.c.id)
        .where(link.c.incident == incident)
        .order_by(link.c.role, *_SURPRISE)
        .limit(FINDINGS_SHOWN)
    )
    return [
        finding_json(read_finding(row.content)) | {"role": row.role} | in_downtime(row)
        for row in connection.execute(query)
    ]


def _deliveries(connection: sa.Connection, incident: str) -> list[Json]:
    query = (
        sa.select(t.outbox)
        .join(t.ticket, t.ticket.c.key == t.outbox.c.ticket)
        .where(t.ticket.c.incident == incident)
        .order_by(t.outbox.c.sink, t.outbox.c.sequence)
    )
    deliveries = []
    for row in connection.execute(query).all():
        attempts = sa.select(t.attempt).where(t.attempt.c.message == row.id).order_by(t.attempt.c.id)
        deliveries.append(
            {
                "message": row.id,
                "sink": row.sink,
                "kind": row.kind,
                "sequence": row.sequence,
                "state": row.state,
                "body": _plain(row.body),
                "attempts": [
                    {
                        "started": rfc3339(a.started),
                        "finished": _time(a.finished),
                        "outcome": a.outcome,
                        "detail": a.detail,
                    }
                    for a in connection.execute(attempts)
                ],
            }
        )
    return deliveries


def _of_incident(connection: sa.Connection, table: sa.Table, incident: str) -> Sequence[Any]:
    query = sa.select(table).where(table.c.incident == incident).order_by(table.c.id)
    return connection.execute(query).all()


def _plain(text: str) -> Any:
    return msgspec.json.decode(text)


def _time(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)


def _parts(ids: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
