"""The memory of a scope (`opintel.fts.clusters.memory`) as rows of the store: read whole, written where it changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from opintel.alerts.round import SERVICE
from opintel.fts.clusters.memory import ClusterMemory, RememberedForm
from opintel.fts.clusters.registry import Form, KnownCluster, RegistryChange
from opintel.store import schema as t

Row = TypeVar("Row")
AT_ONCE = 400
"""Keys in a statement."""


class ErrorScope(NamedTuple):
    """Whose errors are clustered together."""

    stream: str
    scope: str

    def of(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The rows of a table that are its own."""
        return sa.and_(table.c.stream == self.stream, table.c.scope == self.scope)


class Crossed(RuntimeError):
    """The memory of a scope was changed by somebody else since it was read."""


def load(connection: sa.Connection, scope: ErrorScope) -> tuple[ClusterMemory, int]:
    """What is remembered of a scope, and the version of that; an empty memory and 0 of one that is new."""
    place = connection.execute(sa.select(t.clustering).where(scope.of(t.clustering))).first()
    if place is None:
        return ClusterMemory(), 0
    forms = [_form(row) for row in connection.execute(sa.select(t.cluster_member).where(scope.of(t.cluster_member)))]
    memory = ClusterMemory(
        forms={form.template: form for form in forms},
        clusters=load_clusters(connection, scope),
        through=place.through,
        clustered=place.clustered,
        changed=bool(place.changed),
    )
    return memory, place.version


def load_clusters(connection: sa.Connection, scope: ErrorScope) -> dict[str, KnownCluster]:
    """Name → cluster."""
    rows = connection.execute(sa.select(t.cluster).where(scope.of(t.cluster)).order_by(t.cluster.c.name))
    return {row.name: _cluster(row) for row in rows}


def save(
    connection: sa.Connection,
    scope: ErrorScope,
    before: ClusterMemory,
    after: ClusterMemory,
    version: int,
    changes: Iterable[tuple[int, RegistryChange]],
) -> None:
    """Writes what has changed, and (time, change) as events. Raises Crossed where the store is not at `version`."""
    place = {"through": after.through, "clustered": after.clustered, "changed": int(after.changed)}
    if version:
        advance(connection, scope, version, **place)
    else:
        if connection.execute(sa.select(t.clustering.c.version).where(scope.of(t.clustering))).first() is not None:
            raise Crossed(f"the clusters of {scope.scope} are made by somebody else too")
        connection.execute(sa.insert(t.clustering).values(**scope._asdict(), **place, version=1))
    _write(connection, scope, t.cluster, "name", before.clusters, after.clusters, _cluster_row)
    _write(connection, scope, t.cluster_member, "template", before.forms, after.forms, _form_row)
    for at, change in changes:
        note(connection, scope, change.cluster, at, SERVICE, change.kind, **change.detail)


def advance(connection: sa.Connection, scope: ErrorScope, version: int, **values: object) -> None:
    """Moves the version of a scope, and what else is given of its row. Raises Crossed where it is another one."""
    here = scope.of(t.clustering) & (t.clustering.c.version == version)
    moved = connection.execute(sa.update(t.clustering).where(here).values(version=version + 1, **values))
    if moved.rowcount != 1:
        raise Crossed(f"the clusters of {scope.scope} were changed meanwhile")


def note(
    connection: sa.Connection, scope: ErrorScope, cluster: str, at: int, by: str, kind: str, **detail: object
) -> None:
    """Adds an event to the history of a cluster."""
    said = {"cluster": cluster, "at": at, "by": by, "kind": kind, "detail": _json(detail)}
    connection.execute(sa.insert(t.cluster_event).values(**scope._asdict(), **said))


def _write(
    connection: sa.Connection,
    scope: ErrorScope,
    table: sa.Table,
    key: str,
    before: Mapping[str, Row],
    after: Mapping[str, Row],
    row_of: Any,
) -> None:
    gone = [name for name in before if before[name] != after.get(name)]
    for at in range(0, len(gone), AT_ONCE):
        connection.execute(sa.delete(table).where(scope.of(table), table.c[key].in_(gone[at : at + AT_ONCE])))
    new = [scope._asdict() | row_of(one) for name, one in sorted(after.items()) if before.get(name) != one]
    if new:
        connection.execute(sa.insert(table), new)


def _cluster_row(known: KnownCluster) -> dict[str, object]:
    plain = {name: getattr(known, name) for name in ("name", "title", "state", "into", "born", "last")}
    return plain | {"pinned": int(known.pinned), "joined": int(known.joined), "exemplars": _json(known.exemplars)}


def _cluster(row: Any) -> KnownCluster:
    exemplars = msgspec.json.decode(row.exemplars, type=list[tuple[str, str]])
    return KnownCluster(
        name=row.name,
        state=row.state,
        born=row.born,
        last=row.last,
        exemplars=tuple(Form(*exemplar) for exemplar in exemplars),
        title=row.title,
        pinned=bool(row.pinned),
        into=row.into,
        joined=bool(row.joined),
    )


def _form_row(form: RememberedForm) -> dict[str, object]:
    plain = msgspec.structs.asdict(form)
    return plain | {"hours": _json(form.hours), "hosts": _json(form.hosts)}


def _form(row: Any) -> RememberedForm:
    values: dict[str, Any] = {name: getattr(row, name) for name in RememberedForm.__struct_fields__}
    values["hours"] = tuple(map(tuple, msgspec.json.decode(row.hours, type=Sequence[tuple[int, int]])))
    values["hosts"] = msgspec.json.decode(row.hosts, type=tuple[str, ...])
    return RememberedForm(**values)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
