"""The same error before: past incidents about the same thing whose errors were of the same family, and what operators
said of them. The families are those of the `errors` findings of the hours in which an incident was, at its hosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from opintel.evidence import Table
from opintel.finding import rfc3339
from opintel.store import schema as t
from opintel.store.database import Store
from opintel.store.queries import read_finding

ERRORS: Final = "errors"
"""Kind of the findings that list the errors of an hour, with columns `family`, `messages` and `hosts`."""
HOURS_READ: Final = 6
"""First hours of an incident that are read."""
CANDIDATES: Final = 20
"""Newest past incidents about the same thing that are looked at."""
SHOWN: Final = 5
MAIN: Final = 0.2
"""Share of the messages from which a family counts as one of an incident's."""

Families = tuple[str, ...]


class OperatorSaid(msgspec.Struct, frozen=True):
    """What an operator answered to an incident."""

    answer: str
    """confirmed or false-alarm."""
    by: str
    at: str
    note: str


class EarlierIncident(msgspec.Struct, frozen=True):
    """A past incident about the same thing."""

    id: str
    title: str
    severity: str
    state: str
    start: str
    last: str
    families: Families
    """Those that it shares."""
    said: list[OperatorSaid]
    """Oldest first."""


def same_before(
    store: Store, incident: str, known: MutableMapping[tuple[str, int], Families] | None = None
) -> list[EarlierIncident]:
    """At most `SHOWN` incidents that began before an incident, about one of the things that it is about, whose errors
    shared a family with its own; those of which operators said something first, then the newest. None where its errors
    are not known: of its first hour they are when that has ended. `known` keeps what was read of incidents, by id and
    `last`.
    """
    cache: MutableMapping[tuple[str, int], Families] = {} if known is None else known
    table = t.incident
    with store.read() as connection:
        this = connection.execute(sa.select(table).where(table.c.id == incident)).first()
        if this is None:
            return []
        about = _about(this)
        wanted = set(_families(connection, this, cache))
        if not wanted or not about:
            return []
        mentions = sa.or_(*(table.c.about.contains(_written(name), autoescape=True) for name in about))
        query = (
            sa.select(table)
            .where(table.c.stream == this.stream, table.c.scope == this.scope, mentions)
            .where(table.c.opened < this.opened, table.c.merged_into.is_(None))
            .order_by(table.c.opened.desc(), table.c.id)
            .limit(CANDIDATES)
        )
        found = []
        for row in connection.execute(query).all():
            shared = tuple(f for f in _families(connection, row, cache) if f in wanted)
            if shared and about & _about(row):
                found.append((row, shared))
        said = _said(connection, [row.id for row, _ in found])
    found.sort(key=lambda item: item[0].id not in said)
    return [
        EarlierIncident(
            row.id,
            row.title,
            row.severity,
            row.state,
            rfc3339(row.start),
            rfc3339(row.last),
            shared,
            said.get(row.id, []),
        )
        for row, shared in found[:SHOWN]
    ]


def _families(connection: sa.Connection, incident: Any, known: MutableMapping[tuple[str, int], Families]) -> Families:
    """The families of which an incident's errors are, the most frequent first; what fits no family is none."""
    if (place := (incident.id, incident.last)) not in known:
        known[place] = _read_families(connection, incident)
    return known[place]


def _read_families(connection: sa.Connection, incident: Any) -> Families:
    f, counts, about = t.finding.c, Counter[str](), _about(incident)
    query = (
        sa.select(f.content)
        .where(f.kind == ERRORS, f.stream == incident.stream)
        .where(f.window_end > incident.start, f.window_start < incident.last)
        .where(f.content.contains(f'"scope":{_written(incident.scope)}', autoescape=True))
        .order_by(f.window_end, f.id)
        .limit(HOURS_READ)
    )
    for content in connection.execute(query).scalars():
        finding = read_finding(content)
        if finding.subject.get("scope") != incident.scope:
            continue
        for block in finding.evidence:
            if isinstance(block, Table) and {"family", "messages", "hosts"} <= {*block.columns}:
                for row in block.rows:
                    cells = dict(zip(block.columns, row, strict=True))
                    if isinstance(cells["messages"], int) and about & {*str(cells["hosts"]).split()}:
                        counts[str(cells["family"])] += cells["messages"]
    least = MAIN * counts.total()
    main = [family for family, n in counts.items() if n >= least and family != "unclassified"]
    return tuple(sorted(main, key=lambda family: (-counts[family], family)))


def _said(connection: sa.Connection, incidents: Sequence[str]) -> dict[str, list[OperatorSaid]]:
    query = sa.select(t.feedback).where(t.feedback.c.incident.in_(incidents)).order_by(t.feedback.c.id)
    said: dict[str, list[OperatorSaid]] = {}
    for row in connection.execute(query):
        said.setdefault(row.incident, []).append(OperatorSaid(row.answer, row.by, rfc3339(row.at), row.note))
    return said


def _about(incident: Any) -> set[str]:
    return set(msgspec.json.decode(incident.about, type=list[str]))


def _written(text: str) -> str:
    """A text as it stands in JSON: a sieve, so that not all is read."""
    return msgspec.json.encode(text).decode()
