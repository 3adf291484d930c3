"""The pages of clusters of error texts, and what operators do there."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from seed import IMAGE, SCOPE, SCRIPT, make_app
from starlette.testclient import TestClient

from opintel.store import Store, open_store, sqlite_url
from opintel.store import schema as t
from opintel.store.clusters import HOUR, cluster, cluster_events

HERE = "http://127.0.0.1:8095"
BEGIN, END = 491_000, 491_120
"""Hours since 1970."""
PLACE = {"stream": "fts", "scope": SCOPE}


def put(store: Store, table: sa.Table, **values: object) -> None:
    with store.write() as connection:
        connection.execute(sa.insert(table).values(**PLACE, **values))


@pytest.fixture
def clustered(tmp_path: Path) -> Iterator[Store]:
    store = open_store(sqlite_url(tmp_path / "store.db"))
    put(store, t.judged, through=END * HOUR)
    put(store, t.clustering, through=END * HOUR, clustered=(END - 3) * HOUR, changed=1, version=7)
    usual = {"pinned": 0, "joined": 0, "born": BEGIN * HOUR, "last": END * HOUR, "exemplars": "[]", "state": "live"}
    for name, more in {
        "no-space": {"title": f"Disks {SCRIPT}"},
        "timeout": {},
        "quota": {"into": "no-space", "joined": 1},
        "lost": {"state": "merged", "into": "timeout"},
    }.items():
        put(store, t.cluster, name=name, **usual | more)
    for template, name, text, hours in (
        ("f1", "no-space", "SOURCE TRANSFER ERROR: Copy failed (3rd pull). Last attempt: disk full", [(END - 1, 20)]),
        ("f2", "no-space", "no room left", [(END - 100, 1000)]),
        ("f3", "quota", "quota exceeded", [(END - 2, 3)]),
        ("f4", "timeout", "timed out", [(END - 30, 7)]),
        ("f5", None, f"odd {IMAGE}", [(END - 1, 5)]),
    ):
        put(
            store,
            t.cluster_member,
            **{"template": template, "cluster": name, "text": text, "strength": 0.5, "family": f"family-{name}"},
            **{"first": BEGIN * HOUR, "last": END * HOUR, "messages": sum(n for _, n in hours)},
            hours=msgspec.json.encode([(start * HOUR, n) for start, n in hours]).decode(),
            example=f"{text} as sent",
            hosts='["se01.a.example"]',
        )
    put(store, t.cluster_event, cluster="timeout", at=BEGIN * HOUR, by="opintel", kind="born", detail="{}")
    yield store
    store.close()


@pytest.fixture
def visitor(clustered: Store) -> TestClient:
    return TestClient(
        make_app(clustered, transfers={"fts": ()}), HERE, headers={"Origin": HERE}, follow_redirects=False
    )


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    assert SCRIPT not in answer.text
    assert IMAGE not in answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def of(name: str) -> str:
    return f"/fts/cluster?stream=fts&scope={SCOPE}&name={name}"


def do(client: TestClient, action: str, name: str, **more: str) -> int:
    key = re.search(r'name="key" value="([^"]*)"', client.get(of("timeout")).text)
    assert key is not None
    answer = client.post(f"/fts/cluster/{action}", data={"key": key[1], **PLACE, "name": name, **more})
    if answer.status_code == 303:
        assert client.get(answer.headers["location"]).status_code == 200
    return answer.status_code


def test_live_clusters_those_with_most_errors_of_the_week_first(visitor: TestClient) -> None:
    text = read(visitor, "/fts/clusters")
    assert "2 clusters of error texts" in text
    first, _, second = text.partition("errors in 24 h")
    assert f"Disks {SCRIPT}" in first
    assert "no room left" in first, "its most frequent form"
    assert second.startswith(" 23 in 7 days 1,023 forms 3 timeout"), "what was joined to it counts"
    assert "errors in 24 h 0 in 7 days 7 forms 1" in text
    assert f"Forms in no cluster 1 odd {IMAGE}" in text
    assert "Gone, or part of others now 1" in text
    assert "timeout : Born" in text


def test_a_cluster_with_its_forms_and_history(visitor: TestClient) -> None:
    text = read(visitor, of("no-space"))
    assert "called no-space at first" in text
    assert "with quota" in text
    assert "source: disk full" in text, "the cause first, without wrappers"
    assert "Last attempt: disk full as sent" in text
    assert "membership 50 %" in text
    drawn = re.search(r'data-chart="([^"]*)"', visitor.get(of("no-space")).text)
    assert drawn is not None
    assert sum(msgspec.json.decode(html.unescape(drawn[1]))["values"]) == 1023
    assert "Born" in read(visitor, of("timeout"))
    assert visitor.get(of("nobody")).status_code == 404


def test_operators_rename_pin_merge_and_take_apart(visitor: TestClient, clustered: Store) -> None:
    visitor.cookies.set("opintel_operator", "Ada")
    assert do(visitor, "rename", "timeout", title=f"Slow {IMAGE}") == 303
    assert do(visitor, "pin", "timeout") == 303
    assert do(visitor, "join", "timeout", into="no-space") == 303
    found = cluster(clustered, "fts", SCOPE, "timeout")
    assert found is not None
    assert (found.title, found.pinned, found.into) == (f"Slow {IMAGE}", True, "no-space")
    text = read(visitor, of("timeout"))
    assert "part of no-space" in text
    assert "Joined to another into no-space" in text
    assert "1 cluster of error texts" in read(visitor, "/fts/clusters")
    assert do(visitor, "part", "timeout") == 303
    assert do(visitor, "unpin", "timeout") == 303
    said = [(one.kind, one.by) for one in cluster_events(clustered, "fts", SCOPE, "timeout")]
    assert said[:-1] == [(kind, "Ada") for kind in ("unpinned", "parted", "joined", "pinned", "renamed")]


def test_what_cannot_be_done_is_said(visitor: TestClient) -> None:
    assert do(visitor, "pin", "nobody") == 409
    assert do(visitor, "unpin", "timeout") == 409
    assert do(visitor, "explode", "timeout") == 404
    forged = visitor.post("/fts/cluster/pin", data={"key": "no", **PLACE, "name": "timeout"})
    assert forged.status_code == 403


def test_only_what_can_be_done_is_offered(visitor: TestClient) -> None:
    page = visitor.get(of("quota")).text
    assert 'id="do-part"' in page
    assert 'id="do-pin"' in page
    assert 'id="do-part"' not in visitor.get(of("timeout")).text
    assert 'id="do-pin"' not in visitor.get(of("lost")).text
