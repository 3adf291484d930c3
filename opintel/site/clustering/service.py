"""The service `clusters`: takes in the hours of errors that the alert service has put into the store, scope by scope in
order of event time, and makes clusters of them at scheduled event times.

An hour taken in, the clusters made with it, and how far the service is are one transaction: wherever it is killed, what
the store holds in the end is the same. Clusters are made outside of a transaction, as that takes seconds in which
nobody else could write; where an operator acts meanwhile, what was made is thrown away and made again.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Collection, Iterator

import msgspec
import sqlalchemy as sa

from opintel.alerts.ticket import clean
from opintel.finding import Finding
from opintel.fts.clusters.registry import RegistryChange
from opintel.fts.judging.errors import ERRORS, TEXT, HourForm, forms_of
from opintel.site.clustering.rows import Crossed, ErrorScope, load, save
from opintel.site.settings import ClusterSettings
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding

LOOK_EVERY = 2.0
"""Seconds between two looks at how far the scopes are judged."""
HOURS_A_TURN = 8
log = logging.getLogger(__name__)


class Clustering:
    """Takes turns: in each of them some hours of one scope, and at most one clustering."""

    name = "clusters"

    def __init__(self, store: Store, streams: Collection[str], settings: ClusterSettings) -> None:
        self._store, self._streams, self._settings = store, sorted(streams), settings
        self._seen: dict[ErrorScope, int] = {}
        """Up to where the hours of each scope have been looked for."""
        self._next = 0.0

    def step(self) -> bool:
        if time.monotonic() < self._next:
            return False
        for scope, through in self._judged():
            if self._take(scope, through):
                return True
        self._next = time.monotonic() + LOOK_EVERY
        return False

    def idle(self) -> bool:
        """Whether all that is judged has been taken in."""
        self._next = 0.0
        return not any(self._judged())

    def close(self) -> None:
        """Nothing to do: each turn is a transaction."""

    def _judged(self) -> Iterator[tuple[ErrorScope, int]]:
        """The scopes that have been judged further than they were looked at, and up to where."""
        query = sa.select(t.judged).where(t.judged.c.stream.in_(self._streams))
        with self._store.read() as connection:
            rows = connection.execute(query.order_by(t.judged.c.stream, t.judged.c.scope)).all()
        for row in rows:
            scope = ErrorScope(row.stream, row.scope)
            if row.through > self._seen.get(scope, row.through - 1):
                yield scope, row.through

    def _take(self, scope: ErrorScope, through: int) -> bool:
        """Takes in hours of a scope that end at or before `through`; whether there were any."""
        with self._store.read() as connection:
            before, version = load(connection, scope)
            found = _hours(connection, scope, before.through, through)
        if not found:
            self._seen[scope] = through
            return False
        after, changes = copy.copy(before), list[tuple[int, RegistryChange]]()
        after.forms, after.clusters = dict(before.forms), dict(before.clusters)
        for finding in found:
            after.take(finding.window.start, finding.window.end, _forms(finding))
            if after.due(self._settings.every):
                made = after.recluster(self._settings.encoder, self._settings.model or None)
                changes += ((after.through, change) for change in made)
                break
        try:
            with self._store.write() as connection:
                save(connection, scope, before, after, version, changes)
        except Crossed as error:
            log.info("%s; made again", error)
        return True


def _hours(connection: sa.Connection, scope: ErrorScope, after: int, through: int) -> list[Finding]:
    """The findings of kind `errors` of a scope whose hours end in (after, through], the earliest first; of each hour
    one, at most `HOURS_A_TURN`."""
    f = t.finding.c
    written = f'"scope":{msgspec.json.encode(scope.scope).decode()}'  # a sieve: a database may take `Calo` for `calo`
    query = (
        sa.select(f.id)
        .where(f.kind == ERRORS, f.stream == scope.stream, f.window_end > after, f.window_end <= through)
        .where(f.content.contains(written, autoescape=True))
        .order_by(f.window_end, f.id)
    )
    found: dict[int, Finding] = {}
    for id in connection.execute(query).scalars().all():
        finding = read_finding(connection.execute(sa.select(f.content).where(f.id == id)).scalar_one())
        if finding.subject.get("scope") == scope.scope:
            found.setdefault(finding.window.end, finding)
        if len(found) == HOURS_A_TURN:
            break
    return list(found.values())


def _forms(finding: Finding) -> list[HourForm]:
    """What it lists, fit for every database; nothing, and a line in the log, where it is not of the agreed form."""
    try:
        return [
            HourForm(
                clean(form.template, 100),
                clean(form.text, TEXT),
                clean(form.family, 100),
                form.messages,
                clean(form.example, TEXT),
                clean(form.hosts, 20 * TEXT),
            )
            for form in forms_of(finding)
        ]
    except ValueError as error:
        log.warning("left out: %s", error)
        return []
