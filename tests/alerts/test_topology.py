"""Incidents of different streams about one place of the topology point at each other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from alert_story import END_A, END_B, SCOPE, finding, outcome, play, settings, windows

from opintel.alerts.settings import AlertSettings, SiteTopology
from opintel.alerts.ticket import render
from opintel.store import Store, open_store, queries, sqlite_url

DISK = {"instance": "disk01:9100"}
DAY = 144
"""Windows of ten minutes."""


def topology(**places: dict[str, list[str]]) -> AlertSettings:
    """The test's settings with these places."""
    return msgspec.structs.replace(settings(), topology=SiteTopology(places=places))


STORAGE = topology(storage={"fts": ["a.example"], "health": ["disk01:9100"]})


def told(store: Store, fts: int, health: int, how: AlertSettings, endpoint: dict[str, str] = END_A) -> None:
    """An endpoint fails in one window, a machine in another."""
    health_says = windows({health: [finding(health, DISK, kind="down")]}, health + 1, health, stream="health")
    fts_says = windows({fts: [finding(fts, endpoint, kind="endpoint")]}, fts + 1, fts)
    play(store, [*health_says, *fts_says], how)


def related(store: Store) -> dict[str, list[str]]:
    """Stream → places over which its incident is related to others."""
    return {one["stream"]: [other["place"] for other in one["related"]] for one in queries.incidents(store)}


def test_a_disk_and_the_endpoint_that_it_serves_point_at_each_other(store: Store) -> None:
    told(store, fts=9, health=3, how=STORAGE)
    assert related(store) == {"fts": ["storage"], "health": ["storage"]}
    fts, health = sorted(queries.incidents(store), key=lambda one: one["stream"])
    assert [fts["related"][0]["id"], health["related"][0]["id"]] == [health["id"], fts["id"]]
    assert "Related, storage: health: down: " in render(fts, []).text


@pytest.mark.parametrize(
    ("fts", "how", "endpoint"),
    [
        (3 + 2 * DAY, STORAGE, END_A),
        (9, STORAGE, END_B),
        (9, topology(storage={"fts": ["a.example"]}, disks={"health": ["disk01:9100"]}), END_A),
        (9, settings(), END_A),
    ],
    ids=["days apart", "another endpoint", "two places", "no topology"],
)
def test_what_is_not_related(store: Store, fts: int, how: AlertSettings, endpoint: dict[str, str]) -> None:
    told(store, fts=fts, health=3, how=how, endpoint=endpoint)
    assert related(store) == {"fts": [], "health": []}


def test_incidents_of_one_stream_are_not_related_by_a_place(store: Store) -> None:
    found = [finding(3, END_A, kind="endpoint"), finding(3, END_B, kind="endpoint")]
    play(store, windows({3: found}, 5), topology(site={"fts": ["a.example", "b.example", SCOPE]}))
    assert related(store) == {"fts": []}
    assert len(queries.incidents(store)) == 2


def test_decisions_do_not_depend_on_a_topology(store: Store, tmp_path: Path) -> None:
    other = open_store(sqlite_url(tmp_path / "other.db"))
    told(store, fts=9, health=3, how=STORAGE)
    told(other, fts=9, health=3, how=settings())
    without_texts = [name for name in outcome(store) if name != "outbox"]
    assert [outcome(store)[name] for name in without_texts] == [outcome(other)[name] for name in without_texts]
    other.close()
