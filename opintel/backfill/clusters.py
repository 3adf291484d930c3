"""Clusters of errors with their names, as the service `clusters` would have made them in the hours of an archive: in a
store with which a new site begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from opintel.alerts.service import keep
from opintel.backfill.fitting import Days
from opintel.backfill.local import backfill
from opintel.backfill.stages import Job
from opintel.backfill.stored import AT_ONCE
from opintel.finding import rfc3339
from opintel.fts.judging.errors import ERRORS
from opintel.site.clustering.service import Clustering
from opintel.site.settings import ClusterSettings
from opintel.store import Store
from opintel.store import schema as t
from opintel.streams.archive.layout import Piece
from opintel.streams.archive.reader import Archive
from opintel.streams.findings import Found


class ClustersCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a store's clusters were made of."""

    stream: str
    start: str
    """Of the first and the last hour, RFC 3339."""
    end: str
    hours: int
    """Findings that list an hour's errors."""
    forms: int
    clusters: dict[str, list[str]]
    """Scope → the names of its clusters."""


def fit_clusters(
    job: Job, archive: Archive, days: Days, store: Store, settings: ClusterSettings, behind: Callable[[Piece], None]
) -> ClustersCard:
    """Judges the archived records again, puts each hour's errors of some days into the store, and clusters them at the
    event times at which the service does. Nothing else is stored, and no window counts as judged there.

    Raises ArchiveError, and ValueError where the store has clusters of the stream already, or there are no errors.
    """
    name = job.stream.name
    with store.read() as connection:
        if connection.execute(sa.select(t.clustering.c.scope).where(t.clustering.c.stream == name)).first():
            raise ValueError(f"expected a store without clusters of {name}, got one that has some")
    hours = []
    for day in backfill(job, archive, behind=behind):
        if days.last is not None and day.day.name > days.last:
            break
        hours += [f for f in day.findings if f.kind == ERRORS and day.day.name in days]
    if not hours:
        raise ValueError(f"expected hours with errors of {name}, got none")
    for at in range(0, len(hours), AT_ONCE):
        with store.write() as connection:
            if conflicts := keep(connection, [Found(name, finding) for finding in hours[at : at + AT_ONCE]]):
                raise ValueError(conflicts[0])
    through: dict[str, int] = {}
    for finding in hours:
        through[finding.subject["scope"]] = max(finding.window.end, through.get(finding.subject["scope"], 0))
    rows = [{"stream": name, "scope": scope, "through": end} for scope, end in sorted(through.items())]
    mine = t.judged.c.stream == name
    with store.write() as connection:
        connection.execute(sa.insert(t.judged), rows)
    service = Clustering(store, [name], settings)
    try:
        while not service.idle():
            service.step()
    finally:
        with store.write() as connection:
            connection.execute(sa.delete(t.judged).where(mine))
    return _card(store, name, [(f.window.start, f.window.end) for f in hours])


def _card(store: Store, stream: str, hours: list[tuple[int, int]]) -> ClustersCard:
    names: dict[str, list[str]] = {}
    with store.read() as connection:
        known = sa.select(t.cluster.c.scope, t.cluster.c.name).where(t.cluster.c.stream == stream)
        for row in connection.execute(known.order_by(t.cluster.c.scope, t.cluster.c.name)):
            names.setdefault(row.scope, []).append(row.name)
        counted = sa.select(sa.func.count()).select_from(t.cluster_member).where(t.cluster_member.c.stream == stream)
        forms: Any = connection.execute(counted).scalar_one()
    return ClustersCard(
        stream=stream,
        start=rfc3339(min(start for start, _ in hours)),
        end=rfc3339(max(end for _, end in hours)),
        hours=len(hours),
        forms=int(forms),
        clusters=names,
    )
