"""The service `clusters`: from hours of errors in the store to clusters whose names stay, wherever it is killed."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from error_hours import SCOPE, Texts, by_first_word, content, errors, killed, put, run, store
from forked import exit_code

from opintel.finding import Finding, rfc3339
from opintel.fts.clusters import memory
from opintel.fts.judging.errors import HOUR
from opintel.site.clustering.service import Clustering
from opintel.site.settings import ClusterSettings
from opintel.store import Store, open_store, sqlite_url
from opintel.store.clusters import HOURS, cluster, cluster_events, clustered_scopes, clusters, unclustered

__all__ = ["store"]

SPACE = ["disk full", "no space left on device", "quota exceeded", "HTTP 507 Insufficient Storage"]
TIME = ["operation timed out", "idle timeout", "gave up: deadline exceeded"]


def hour(n: int, *words: str) -> Finding:
    """Three forms that begin with each of the words, one message more each hour."""
    return errors(n, {f"{word} {k}": n + 1 for word in words for k in "xyz"})


STORY = [
    hour(0, "space", "time"),
    hour(1, "space", "time"),
    hour(2, "space", "odd"),
    hour(5, "identity", "space"),
    hour(6, "space"),
    *(hour(n, "space", "absent" if n > 12 else "time") for n in range(11, 32)),
]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cluster_beside", by_first_word)


def test_errors_become_clusters_of_what_they_mean_with_their_counts(store: Store) -> None:
    texts: Texts = dict.fromkeys(SPACE, 3) | dict.fromkeys(TIME, 2) | {"a pipe organ": 1}
    put(store, errors(0, texts), errors(1, {"disk full": 40}))
    run(store)
    [scope] = clustered_scopes(store)
    assert (scope.stream, scope.scope, scope.live) == ("fts", SCOPE, 2)
    assert (scope.through, scope.clustered) == (rfc3339(2 * HOUR), rfc3339(HOUR))
    space, time = clusters(store, "fts", SCOPE)
    assert (space.name.split("-")[0], time.name.split("-")[0]) == ("space", "time")
    assert {member.text for member in space.members} == set(SPACE)
    assert (space.messages, len(space.counts), space.counts[-2:]) == (52, HOURS, [12, 40])
    assert (space.members[0].text, space.members[0].messages, space.members[0].last) == (
        "disk full",
        43,
        rfc3339(2 * HOUR),
    )
    assert (space.members[0].example, space.members[0].hosts) == ("disk full as sent", ["a.example", "b.example"])
    assert [member.text for member in unclustered(store, "fts", SCOPE)] == ["a pipe organ"]
    assert [event.kind for event in cluster_events(store, "fts", SCOPE)] == ["born", "born"]


@pytest.mark.usefixtures("cheap")
def test_clusters_are_made_with_the_first_errors_and_then_at_multiples_of_the_setting(store: Store) -> None:
    put(store, *STORY)
    run(store)
    times = {(event.at, event.cluster, event.kind) for event in cluster_events(store, "fts", SCOPE)}
    assert times == {
        (rfc3339(HOUR), "space", "born"),
        (rfc3339(HOUR), "time", "born"),
        (rfc3339(6 * HOUR), "identity", "born"),
        (rfc3339(18 * HOUR), "absent", "born"),
    }
    assert [member.text for member in unclustered(store, "fts", SCOPE)] == ["odd x", "odd y", "odd z"]
    assert cluster(store, "fts", SCOPE, "identity").last == rfc3339(30 * HOUR)  # type: ignore[union-attr]


@pytest.mark.usefixtures("cheap")
def test_one_hour_at_a_time_or_all_at_once_is_the_same(store: Store, tmp_path: Path) -> None:
    put(store, *STORY)
    run(store)
    other = open_store(sqlite_url(tmp_path / "other.db"))
    for finding in STORY:
        put(other, finding)
        run(other)
    assert content(other) == content(store)
    other.close()


@pytest.mark.usefixtures("cheap")
def test_sigkill_at_any_statement_changes_nothing(store: Store, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "killed.db")
    other = open_store(url)
    for each in (store, other):
        put(each, *STORY)
    run(store)
    chance, kills = random.Random(5), 0
    while (status := exit_code(killed, url, chance.randint(8, 45))) != 0:
        assert status == -signal.SIGKILL
        kills += 1
        assert kills < 60
    assert kills >= 5
    assert content(other) == content(store)
    other.close()


@pytest.mark.usefixtures("cheap")
def test_scopes_are_apart_and_what_is_malformed_is_an_hour_without_errors(store: Store) -> None:
    put(store, hour(0, "space"), errors(1, {"x": -1}), hour(2, "time"))
    put(store, errors(0, {"other 1": 1, "other 2": 1, "other 3": 1}, scope=SCOPE.upper()), scope=SCOPE.upper())
    run(store)
    assert [(s.scope, s.through) for s in clustered_scopes(store)] == [
        (SCOPE.upper(), rfc3339(HOUR)),
        (SCOPE, rfc3339(3 * HOUR)),
    ]
    assert {m.text for c in clusters(store, "fts", SCOPE) for m in c.members} == {"space x", "space y", "space z"}


@pytest.mark.usefixtures("cheap")
def test_memory_is_bounded_and_what_is_long_unseen_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "FORMS", 6)
    put(store, hour(0, "space"), hour(1, "time"), hour(2, "identity"), hour(800, "identity"))
    run(store)
    assert [c.name for c in clusters(store, "fts", SCOPE)] == ["identity"]
    gone = cluster(store, "fts", SCOPE, "space")
    assert gone is not None
    assert (gone.state, gone.members) == ("gone", [])
    put(store, errors(806, {"space new": 1, "space more": 1, "space most": 1}))
    run(store)
    assert cluster_events(store, "fts", SCOPE)[0].kind == "returned"


@pytest.mark.usefixtures("cheap")
def test_two_services_on_one_store_do_not_cross(store: Store) -> None:
    put(store, *STORY)
    services = [Clustering(store, ["fts"], ClusterSettings()) for _ in range(2)]
    while not all(service.idle() for service in services):
        for service in services:
            service.step()
    assert len(cluster_events(store, "fts", SCOPE)) == 4
    assert not Clustering(store, ["another"], ClusterSettings()).step()
