"""What operators do to clusters of errors: each action is one transaction that leaves a line in the cluster's history.

It holds at once, and for all later clusterings (`opintel.fts.clusters.registry`). `by` is who did it, `now` the wall
clock in ns UTC, which dates the history only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from opintel.alerts.actions import Refused
from opintel.alerts.ticket import clean
from opintel.fts.clusters.registry import KnownCluster, root_of
from opintel.site.clustering.rows import Crossed, ErrorScope, advance, load_clusters, note
from opintel.store import Store
from opintel.store import schema as t

TITLE = 80
"""Characters of what operators call a cluster."""


class _Open:
    """The clusters of a scope in a transaction."""

    def __init__(self, connection: sa.Connection, scope: ErrorScope, by: str, now: int) -> None:
        self.connection, self.scope, self.by, self.now = connection, scope, clean(by, 80) or "unknown", now
        self.clusters = load_clusters(connection, scope)

    def cluster(self, name: str) -> KnownCluster:
        if name not in self.clusters:
            raise Refused(f"there is no cluster {clean(name, 80)!r}")
        return self.clusters[name]

    def change(self, name: str, kind: str, values: dict[str, object], **detail: object) -> None:
        here = self.scope.of(t.cluster) & (t.cluster.c.name == name)
        self.connection.execute(sa.update(t.cluster).where(here).values(**values))
        note(self.connection, self.scope, name, self.now, self.by, kind, **detail)


def rename(store: Store, stream: str, scope: str, name: str, title: str, by: str, *, now: int) -> None:
    """Gives a cluster a title, '' takes it away; its name, by which it is known, stays. Raises Refused (as all actions
    here do) for an unknown cluster, and for a title that another one has."""
    said = clean(title, TITLE)
    with _opened(store, stream, scope, by, now) as clusters:
        cluster = clusters.cluster(name)
        if said == (cluster.title or ""):
            raise Refused(f"the cluster is called {said or name!r} already")
        if any(said in (other.title, other.name) for other in clusters.clusters.values() if other.name != name):
            raise Refused(f"another cluster is called {said!r}")
        clusters.change(name, "renamed", {"title": said or None}, title=said or name)


def pin(store: Store, stream: str, scope: str, name: str, by: str, *, now: int) -> None:
    """No clustering takes a member from it any more."""
    with _opened(store, stream, scope, by, now) as clusters:
        cluster = clusters.cluster(name)
        if cluster.pinned or cluster.state != "live":
            raise Refused("the cluster is pinned already" if cluster.pinned else f"the cluster has {cluster.state}")
        clusters.change(name, "pinned", {"pinned": 1})


def unpin(store: Store, stream: str, scope: str, name: str, by: str, *, now: int) -> None:
    """From the next clustering on its members are what is found."""
    with _opened(store, stream, scope, by, now) as clusters:
        if not clusters.cluster(name).pinned:
            raise Refused("the cluster is not pinned")
        clusters.change(name, "unpinned", {"pinned": 0})


def join(store: Store, stream: str, scope: str, name: str, into: str, by: str, *, now: int) -> None:
    """Merges a cluster into another one, for good: what is found as the one is shown as part of the other."""
    with _opened(store, stream, scope, by, now) as clusters:
        cluster, other = clusters.cluster(name), clusters.cluster(into)
        if root_of(into, clusters.clusters) == name or name == into:
            raise Refused("the other cluster is part of this one")
        if cluster.joined and cluster.into == into:
            raise Refused("the cluster is part of that one already")
        clusters.change(name, "joined", {"into": other.name, "joined": 1}, into=other.name)


def part(store: Store, stream: str, scope: str, name: str, by: str, *, now: int) -> None:
    """Takes a merger of operators back."""
    with _opened(store, stream, scope, by, now) as clusters:
        cluster = clusters.cluster(name)
        if not cluster.joined:
            raise Refused("no operator has made the cluster part of another one")
        clusters.change(name, "parted", {"into": None, "joined": 0}, **{"from": cluster.into})


@contextmanager
def _opened(store: Store, stream: str, scope: str, by: str, now: int) -> Iterator[_Open]:
    here = ErrorScope(stream, scope)
    with store.write() as connection:
        version = connection.execute(sa.select(t.clustering.c.version).where(here.of(t.clustering))).scalar()
        if version is None:
            raise Refused(f"no errors of {clean(scope, 80)!r} are clustered")
        try:
            advance(connection, here, version, changed=1)
        except Crossed as error:
            raise Refused(f"{error}; do it again") from error
        yield _Open(connection, here, by, now)
