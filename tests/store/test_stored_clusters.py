"""Reading the registry of error clusters; how it comes about is tested in tests/site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from opintel.finding import rfc3339
from opintel.store import Store, open_store, sqlite_url
from opintel.store import schema as t
from opintel.store.clusters import HOUR, HOURS, cluster, cluster_events, clustered_scopes, clusters, unclustered

HERE = {"stream": "fts", "scope": "fts1"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(sqlite_url(tmp_path / "store.db"))
    yield opened
    opened.close()


def put(store: Store, table: sa.Table, **values: object) -> None:
    with store.write() as connection:
        connection.execute(sa.insert(table).values(**HERE, **values))


def put_cluster(store: Store, name: str, **values: object) -> None:
    usual: dict[str, object] = {"state": "live", "pinned": 0, "joined": 0, "born": HOUR, "last": HOUR}
    put(store, t.cluster, name=name, exemplars="[]", **usual | values)


def put_member(store: Store, template: str, cluster: str | None, *hours: tuple[int, int], family: str = "full") -> None:
    put(
        store,
        t.cluster_member,
        template=template,
        cluster=cluster,
        strength=1.0,
        text=f"text of {template}",
        family=family,
        first=0,
        last=3 * HOUR,
        messages=sum(n for _, n in hours),
        hours=msgspec.json.encode([(start * HOUR, n) for start, n in hours]).decode(),
        example="as sent",
        hosts='["a.example"]',
    )


def test_a_cluster_has_its_members_counts_by_hour_and_what_operators_joined_to_it(store: Store) -> None:
    put(store, t.clustering, through=300 * HOUR, clustered=298 * HOUR, changed=1, version=7)
    put_cluster(store, "no-space", title="Disks are full", pinned=1)
    put_cluster(store, "quota", into="no-space", joined=1)
    put_cluster(store, "timeout", last=2 * HOUR)
    put_cluster(store, "lost", state="merged", into="timeout")
    put_member(store, "f1", "no-space", (100, 9), (132, 1), (299, 2))
    put_member(store, "f2", "quota", (299, 3), (298, 30), family="odd")
    put_member(store, "f3", "timeout", (299, 4))
    put_member(store, "f4", None, (299, 1))
    [first, second] = clusters(store, "fts", "fts1")
    assert (first.name, first.title, first.pinned, first.joined) == ("no-space", "Disks are full", True, ["quota"])
    assert [member.template for member in first.members] == ["f2", "f1"]
    assert first.families == [("odd", 33), ("full", 12)]
    assert (first.messages, len(first.counts), first.counts[0], first.counts[-2:]) == (45, HOURS, 1, [30, 5])
    assert (second.name, second.title, second.last) == ("timeout", "timeout", rfc3339(2 * HOUR))
    assert [c.name for c in clusters(store, "fts", "fts1", past=True)] == ["no-space", "timeout", "lost"]
    assert [member.template for member in unclustered(store, "fts", "fts1")] == ["f4"]
    joined = cluster(store, "fts", "fts1", "quota")
    assert joined is not None
    assert (joined.into, joined.messages) == ("no-space", 33)
    assert cluster(store, "fts", "fts1", "none") is None
    [scope] = clustered_scopes(store)
    assert (scope.through, scope.clustered, scope.live) == (rfc3339(300 * HOUR), rfc3339(298 * HOUR), 2)
    assert clusters(store, "fts", "another") == []


def test_events_come_newest_first(store: Store) -> None:
    for n, kind in enumerate(("born", "split")):
        detail = msgspec.json.encode({"from": "a"} if kind == "split" else {}).decode()
        put(store, t.cluster_event, cluster=f"c{n}", at=n * HOUR, by="opintel", kind=kind, detail=detail)
    split, born = cluster_events(store, "fts", "fts1")
    assert (split.cluster, split.kind, split.detail, born.at) == ("c1", "split", {"from": "a"}, rfc3339(0))
    assert cluster_events(store, "fts", "fts1", "c0") == [born]
