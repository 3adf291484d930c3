"""A store that a backfill wrote: what it may be put into, and what the console shows of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from decisions import START, WIDTH, finding, said
from starlette.testclient import TestClient

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, Grouping
from opintel.backfill.report import judged_in
from opintel.backfill.stored import StoreTaken, put
from opintel.console.app import create_app
from opintel.fts.naming import NAMING
from opintel.store import Store, open_store, sqlite_url
from opintel.store.backfills import BackfillNote, backfills
from opintel.store.queries import incident_counts

FOUND = [finding(3, "<b>a.example"), finding(4)]
JUDGED = judged_in(said(FOUND, 12))
NOTE = BackfillNote(
    stream="fts",
    archive="/data/<i>archive",
    begin=START,
    end=START + 12 * WIDTH,
    settings={"detectors.fts.failures.emit": -9},
    rows=4321,
    build="9.8.7",
    at=START + 10**15,
)
PATHS = ("/", "/map", "/streams", "/findings", "/budgets", "/fts/matrix", "/fts/report")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(sqlite_url(tmp_path / "store.db"))
    yield opened
    opened.close()


def console(store: Store) -> TestClient:
    app = create_app(
        store,
        grouping=Grouping(entities={"fts": list(NAMING.entities)}),
        names={"fts": NAMING},
        streams=list,
        metrics=lambda: b"",
        healthy=lambda: (True, "ok"),
        ready=lambda: (True, "ok"),
        now=lambda: START,
        transfers={"fts": []},
    )
    return TestClient(app, "http://127.0.0.1:8095")


def test_each_page_says_that_it_shows_a_backfill(store: Store) -> None:
    assert put(store, NOTE, FOUND, JUDGED) == []
    client = console(store)
    for path in PATHS[:-1]:
        text = client.get(path).text
        assert text.count("A backfill, nothing live.") == 1, path
        assert "/data/&lt;i&gt;archive" in text
        assert "<code>detectors.fts.failures.emit</code> = <code>-9</code>" in text
        assert "9.8.7" in text
    assert "Of a backfill" in client.get(PATHS[-1]).text


def test_what_is_live_is_not_there_and_what_was_found_is(store: Store) -> None:
    put(store, NOTE, FOUND, JUDGED)
    client = console(store)
    home, streams = client.get("/").text, client.get("/streams").text
    assert "2 findings of" in home
    assert "All is quiet" not in home
    assert "4,321" in streams
    assert "records behind" not in streams
    assert "a.example" in client.get("/map").text
    assert "spends no budget" in client.get("/budgets").text
    assert "data-draw=" in client.get(f"/findings/{FOUND[1].id}").text
    thing = client.get("/things", params={"stream": "fts", "scope": "fts.example", "about": "a.example"})
    assert thing.status_code == 200
    assert incident_counts(store) == {}


def test_a_store_of_a_running_system_has_no_banner_and_takes_no_backfill(store: Store) -> None:
    AlertService(store, AlertSettings()).consume(0, said(FOUND, 12)[0], 14)
    assert "A backfill" not in console(store).get("/").text
    with pytest.raises(StoreTaken, match="of a running system"):
        put(store, NOTE, FOUND, JUDGED)
    assert backfills(store) == []


def test_the_same_again_is_one_and_another_setting_is_refused(store: Store) -> None:
    for _ in range(2):
        assert put(store, NOTE, FOUND, JUDGED) == []
    assert backfills(store) == [NOTE]
    with pytest.raises(StoreTaken, match="under other settings"):
        put(store, msgspec.structs.replace(NOTE, settings={}), FOUND, JUDGED)
    assert backfills(store) == [NOTE]
