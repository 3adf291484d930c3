"""Reading the registry of error clusters: what the console shows of it, as typed records.

The clustering service and operators' actions write it (`opintel.site.clustering`). Times are in RFC 3339. All texts may
have been sent by anyone: they are escaped where they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from opintel.finding import NS, rfc3339
from opintel.store import schema as t
from opintel.store.database import Store

HOUR: Final = 3600 * NS
HOURS: Final = 168
"""Hours of the past for which messages are counted by the hour."""
EVENTS_SHOWN: Final = 200
State = Literal["live", "merged", "gone"]


class ClusteredScope(msgspec.Struct, frozen=True):
    """How far the errors of a scope have been clustered."""

    stream: str
    scope: str
    through: str
    """End of the last hour that was taken in."""
    clustered: str | None
    """End of the hour with which the clusters were last made; None: not yet."""
    live: int
    """Clusters that are live."""


class ClusterMember(msgspec.Struct, frozen=True):
    """One form of error."""

    template: str
    text: str
    """The masked form."""
    family: str
    """Its cause family, or `unclassified`."""
    strength: float
    """Of its membership, 0 to 1."""
    first: str
    last: str
    """Start of the first and end of the last hour in which it came."""
    messages: int
    """All of them, since it is remembered."""
    counts: list[int]
    """Messages an hour, as `ClusterView.counts`."""
    example: str
    """As it was sent, people and secrets hidden."""
    hosts: list[str]
    """With most of them in the last hour in which it came."""


class ClusterEvent(msgspec.Struct, frozen=True):
    """What happened to a cluster, or was done to it."""

    cluster: str
    at: str
    """Event time where the service notes it (`by` is `opintel`), the clock's where an operator did it."""
    by: str
    kind: str
    """born, split, returned, merged, gone; by operators: renamed, pinned, unpinned, joined, parted."""
    detail: dict[str, Any]
    """`{from}` of a split, `{into}` of what merged or was joined, `{title}` of what was renamed."""


class ClusterView(msgspec.Struct, frozen=True):
    """A cluster as it is shown: itself and what operators joined to it."""

    stream: str
    scope: str
    name: str
    """Never changes: what links and actions name."""
    title: str
    """What operators call it, else its name."""
    state: State
    pinned: bool
    into: str | None
    """The cluster of which it is part now; None where it stands for itself."""
    joined: list[str]
    """Names of the clusters that operators made part of it."""
    born: str
    last: str
    """Time of the last clustering in which it had members."""
    families: list[tuple[str, int]]
    """(cause family, messages) of its members, most first."""
    messages: int
    """Of its members, all that are remembered."""
    counts: list[int]
    """Messages in each of the last `HOURS` hours, the oldest first; the last one ends at `ClusteredScope.through`."""
    members: list[ClusterMember]
    """Most messages first."""


def clustered_scopes(store: Store) -> list[ClusteredScope]:
    """The scopes whose errors are clustered, in order of stream and scope."""
    live = sa.func.count(t.cluster.c.name).label("live")
    here = (t.cluster.c.stream == t.clustering.c.stream) & (t.cluster.c.scope == t.clustering.c.scope)
    query = (
        sa.select(t.clustering, live)
        .outerjoin(t.cluster, here & (t.cluster.c.state == "live") & t.cluster.c.into.is_(None))
        .group_by(*t.clustering.c)
        .order_by(t.clustering.c.stream, t.clustering.c.scope)
    )
    with store.read() as connection:
        return [
            ClusteredScope(
                row.stream,
                row.scope,
                rfc3339(row.through),
                None if row.clustered is None else rfc3339(row.clustered),
                row.live,
            )
            for row in connection.execute(query)
        ]


def clusters(store: Store, stream: str, scope: str, *, past: bool = False) -> list[ClusterView]:
    """The live clusters of a scope, most messages of the last `HOURS` hours first; `past`: then those that are gone or
    have merged into others, the last ones first."""
    with store.read() as connection:
        shown = _views(connection, stream, scope)
    live = sorted((c for c in shown if c.state == "live"), key=lambda c: (-sum(c.counts), -c.messages, c.name))
    over = sorted((c for c in shown if c.state != "live"), key=lambda c: (c.last, c.name), reverse=True)
    return live + over if past else live


def cluster(store: Store, stream: str, scope: str, name: str) -> ClusterView | None:
    """One cluster, whatever became of it; None where there is none of this name."""
    with store.read() as connection:
        return next((c for c in _views(connection, stream, scope, every=True) if c.name == name), None)


def unclustered(store: Store, stream: str, scope: str) -> list[ClusterMember]:
    """The forms of error that are in no cluster, most messages first; those of new forms until the next clustering."""
    with store.read() as connection:
        return _members(connection, stream, scope).get(None, [])


def cluster_events(store: Store, stream: str, scope: str, name: str | None = None) -> list[ClusterEvent]:
    """What happened to the clusters of a scope, or to one of them: the newest `EVENTS_SHOWN`, newest first."""
    e = t.cluster_event.c
    query = sa.select(t.cluster_event).where(e.stream == stream, e.scope == scope)
    if name is not None:
        query = query.where(e.cluster == name)
    with store.read() as connection:
        rows = connection.execute(query.order_by(e.id.desc()).limit(EVENTS_SHOWN))
        return [
            ClusterEvent(row.cluster, rfc3339(row.at), row.by, row.kind, msgspec.json.decode(row.detail))
            for row in rows
        ]


def root_of(name: str, into: dict[str, str]) -> str:
    """The cluster that stands for another: at the end of what was made part of what."""
    seen = {name}
    while (following := into.get(name)) is not None and following not in seen:
        seen.add(name := following)
    return name


def _views(connection: sa.Connection, stream: str, scope: str, *, every: bool = False) -> list[ClusterView]:
    """The clusters that stand for themselves; `every`: those too that operators made part of others."""
    c = t.cluster.c
    rows = connection.execute(sa.select(t.cluster).where(c.stream == stream, c.scope == scope).order_by(c.name)).all()
    into = {row.name: row.into for row in rows if row.joined and row.into is not None}
    parts: dict[str, list[Any]] = {}
    for row in rows:
        parts.setdefault(root_of(row.name, into), []).append(row)
    members = _members(connection, stream, scope)
    return [_view(row, parts.get(row.name, [row]), members) for row in rows if every or row.name not in into]


def _view(row: Any, parts: Sequence[Any], members: dict[str | None, list[ClusterMember]]) -> ClusterView:
    own = _most_first(member for part in parts for member in members.get(part.name, []))
    families: dict[str, int] = {}
    for member in own:
        families[member.family] = families.get(member.family, 0) + member.messages
    states = {part.state for part in parts}
    return ClusterView(
        row.stream,
        row.scope,
        row.name,
        row.title or row.name,
        "live" if "live" in states else row.state,
        bool(row.pinned),
        row.into,
        [part.name for part in parts if part.name != row.name],
        rfc3339(row.born),
        rfc3339(max(part.last for part in parts)),
        sorted(families.items(), key=lambda item: (-item[1], item[0])),
        sum(member.messages for member in own),
        [sum(hour) for hour in zip(*(member.counts for member in own), strict=True)] or [0] * HOURS,
        own,
    )


def _members(connection: sa.Connection, stream: str, scope: str) -> dict[str | None, list[ClusterMember]]:
    """Cluster → its members, most messages first; None → those of no cluster."""
    place, m = t.clustering.c, t.cluster_member.c
    here = sa.select(place.through).where(place.stream == stream, place.scope == scope)
    through = connection.execute(here).scalar() or 0
    found: dict[str | None, list[ClusterMember]] = {}
    for row in connection.execute(sa.select(t.cluster_member).where(m.stream == stream, m.scope == scope)):
        member = ClusterMember(
            row.template,
            row.text,
            row.family,
            row.strength,
            rfc3339(row.first),
            rfc3339(row.last),
            row.messages,
            _counts(row.hours, through),
            row.example,
            msgspec.json.decode(row.hosts, type=list[str]),
        )
        found.setdefault(row.cluster, []).append(member)
    return {name: _most_first(own) for name, own in found.items()}


def _counts(hours: str, through: int) -> list[int]:
    counts = [0] * HOURS
    for start, messages in msgspec.json.decode(hours, type=list[tuple[int, int]]):
        at = HOURS - 1 - (through - 1 - start) // HOUR
        if 0 <= at < HOURS:
            counts[at] += messages
    return counts


def _most_first(members: Iterable[ClusterMember]) -> list[ClusterMember]:
    return sorted(members, key=lambda member: (-member.messages, member.template))
