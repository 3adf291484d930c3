"""What operators do to clusters: it holds at once, and whatever the next clusterings make of the errors."""

from __future__ import annotations

from functools import partial

import pytest
from error_hours import SCOPE, by_first_word, errors, put, run, store

from opintel.alerts.actions import Refused
from opintel.fts.clusters import memory
from opintel.fts.judging.errors import HOUR
from opintel.site.clustering import actions
from opintel.site.clustering.service import Clustering
from opintel.site.settings import ClusterSettings
from opintel.store import Store
from opintel.store.clusters import cluster, cluster_events, clusters

__all__ = ["store"]

NOW = 1_000 * HOUR


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cluster_beside", by_first_word)


@pytest.fixture
def busy(store: Store) -> Store:
    """A store with the clusters `space` and `time`."""
    put(store, errors(0, {f"{word} {k}": 2 for word in ("space", "time") for k in "xyz"}))
    run(store)
    return store


def later(store: Store, hour: int, *texts: str) -> None:
    put(store, errors(hour, dict.fromkeys(texts, 1)))
    run(store)


def do(action: object, store: Store, *arguments: str) -> None:
    partial(action, store, "fts", SCOPE)(*arguments, "ada", now=NOW)  # type: ignore[call-overload]


def test_a_title_stays_with_the_cluster_and_its_name_too(busy: Store) -> None:
    do(actions.rename, busy, "space", "Disks are full")
    later(busy, 6, "space more", "space most")
    found = cluster(busy, "fts", SCOPE, "space")
    assert found is not None
    assert (found.name, found.title, len(found.members)) == ("space", "Disks are full", 5)
    [event] = [e for e in cluster_events(busy, "fts", SCOPE, "space") if e.kind == "renamed"]
    assert (event.by, event.detail) == ("ada", {"title": "Disks are full"})
    do(actions.rename, busy, "space", "")
    assert [c.title for c in clusters(busy, "fts", SCOPE)] == ["space", "time"]


def test_what_is_joined_is_one_at_once_and_after_the_next_clustering_until_it_is_parted(busy: Store) -> None:
    do(actions.join, busy, "time", "space")
    for hour in (None, 6):
        if hour is not None:
            later(busy, hour, "time more", "space more")
        [only] = clusters(busy, "fts", SCOPE)
        assert (only.name, only.joined, len({m.text.split()[0] for m in only.members})) == ("space", ["time"], 2)
    do(actions.part, busy, "time")
    assert [c.name for c in clusters(busy, "fts", SCOPE)] == ["space", "time"]


def test_a_pinned_cluster_keeps_its_members_until_it_is_unpinned(busy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    do(actions.pin, busy, "space")
    monkeypatch.setattr(memory, "cluster_beside", lambda texts, *_, **__: by_first_word(["odd"] * len(texts), []))
    later(busy, 6, "other")
    assert [(c.name, c.pinned, len(c.members)) for c in clusters(busy, "fts", SCOPE)] == [("space", True, 3)]
    do(actions.unpin, busy, "space")
    later(busy, 12)
    assert clusters(busy, "fts", SCOPE) == []


@pytest.mark.parametrize(
    ("action", "arguments", "why"),
    [
        (actions.rename, ("none", "x"), "there is no cluster 'none'"),
        (actions.rename, ("space", "time"), "another cluster is called 'time'"),
        (actions.rename, ("space", ""), "called 'space' already"),
        (actions.unpin, ("space",), "not pinned"),
        (actions.join, ("space", "space"), "part of this one"),
        (actions.join, ("space", "none"), "there is no cluster"),
        (actions.part, ("space",), "no operator"),
    ],
)
def test_what_is_not_possible_is_refused_in_words(
    busy: Store, action: object, arguments: tuple[str, ...], why: str
) -> None:
    before = cluster_events(busy, "fts", SCOPE)
    with pytest.raises(Refused, match=why):
        do(action, busy, *arguments)
    assert cluster_events(busy, "fts", SCOPE) == before


def test_circles_of_mergers_and_scopes_that_are_not_clustered_are_refused(busy: Store) -> None:
    do(actions.join, busy, "time", "space")
    with pytest.raises(Refused, match="part of this one"):
        do(actions.join, busy, "space", "time")
    with pytest.raises(Refused, match="part of that one already"):
        do(actions.join, busy, "time", "space")
    with pytest.raises(Refused, match="no errors of 'elsewhere' are clustered"):
        actions.pin(busy, "fts", "elsewhere", "space", "ada", now=NOW)


def test_an_action_while_clusters_are_made_wins(busy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(busy, errors(6, {"time more": 1}))

    def slow(*arguments: object, **more: object) -> object:
        monkeypatch.setattr(memory, "cluster_beside", by_first_word)
        do(actions.rename, busy, "space", "Disks")
        return by_first_word(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "cluster_beside", slow)
    service = Clustering(busy, ["fts"], ClusterSettings())
    while not service.idle():
        service.step()
    titles = {c.name: (c.title, len(c.members)) for c in clusters(busy, "fts", SCOPE)}
    assert titles == {"space": ("Disks", 3), "time": ("time", 4)}
