"""Reading the store; how incidents come about is tested in tests/alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, Route, Routes
from opintel.alerts.sinks.log import LogSink
from opintel.evidence import Table, Texts
from opintel.finding import NS, Effect, Finding, Window, finding_id, finding_json
from opintel.store import Store, open_store, queries, sqlite_url
from opintel.store import schema as t
from opintel.streams.findings import Found, Judged

KEYS = ["id", "fingerprint", "stream", "streams", "title", "severity", "state", "start", "opened", "subjects"]
KEYS += ["findings", "evidence", "tickets", "quiet", "related", "sites"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(sqlite_url(tmp_path / "store.db"))
    yield opened
    opened.close()


def finding(k: int, name: str, log10_p: float = -20.123456789012345) -> Finding:
    span = Window(k * 600 * NS, (k + 1) * 600 * NS)
    subject = {"scope": "s", "endpoint": name}
    return Finding(
        id=finding_id("d", 1, "m", subject, span),
        detector="d",
        kind="endpoint",
        subject=subject,
        window=span,
        log10_p=log10_p,
        basis="exact",
        effect=Effect(0.1 + 0.2, "failed share"),
        severity="warning",
        summary=f"{name} fails \x00 é",
        evidence=(Texts("Errors", [("boom \x00", 2)]), Table("T", ["a"], [[1]])),
        onset=span.start + 1,
    )


def play(store: Store, found: dict[int, list[Finding]], last: int) -> None:
    routes = Routes(sinks={"log": LogSink()}, routes=[Route(sinks=["log"], ticket="auto")])
    service = AlertService(store, AlertSettings(routes=routes))
    records: list[Found | Judged] = []
    for k in range(last + 1):
        records += [Found("fts", f) for f in found.get(k, [])]
        records.append(Judged("fts", "s", Window(k * 600 * NS, (k + 1) * 600 * NS), {"endpoint": 10}, True))
    service.consume(service.position(), records, service.position() + len(records))


def test_findings_come_back_exactly_sorted_by_window_end_and_id(store: Store) -> None:
    found = {k: [finding(k, name) for name in ("c", "a", "b")] for k in (2, 0, 1)}
    play(store, found, 2)
    expected = sorted((f for fs in found.values() for f in fs), key=lambda f: (f.window.end, f.id))
    told = queries.findings(store)
    assert told == [finding_json(f) for f in expected]
    assert queries.findings(store, limit=2) == told[-2:]
    assert queries.findings(store, stream="other") == []
    assert queries.finding(store, expected[0].id) == ("fts", expected[0])
    assert queries.finding(store, "nothing") is None


def test_an_incident_has_the_agreed_form(store: Store) -> None:
    play(store, {1: [finding(1, "a")], 2: [finding(2, "a")]}, 2)
    [told] = queries.incidents(store)
    assert list(told) == KEYS
    assert told["findings"] == 2
    assert told["evidence"] == 4
    assert told["start"] == "1970-01-01T00:10:00.000000001Z"
    assert told["streams"] == ["fts"]
    assert list(told["tickets"][0]) == ["sink", "key", "state", "updates"]
    full = queries.incident(store, told["id"])
    assert full is not None
    assert {key: full[key] for key in KEYS} == told
    assert len(full["evidence_findings"]) == 2
    assert full["alerts"][0]["history"] == "Ss"
    assert [e["kind"] for e in full["events"]] == ["opened", "alert"]
    assert full["deliveries"][0]["body"]["data"]["incident"]["id"] == told["id"]
    assert json.loads(json.dumps(full))["id"] == told["id"]
    assert queries.incident(store, "nothing") is None


def test_incidents_are_the_newest_first_and_can_be_chosen(store: Store) -> None:
    play(store, {1: [finding(1, "a")], 3: [finding(3, "b")]}, 5)
    told = queries.incidents(store)
    assert [i["subjects"][0]["endpoint"] for i in told] == ["b", "a"]
    assert queries.incidents(store, limit=1) == told[:1]
    assert queries.incidents(store, states=["resolved"]) == told[1:]
    assert queries.incidents(store, states=[]) == []
    assert queries.incidents(store, stream="dqm") == []


def test_an_incident_page_is_bounded(store: Store) -> None:
    play(store, {k: [finding(k, "a")] for k in range(100)}, 99)
    [told] = queries.incidents(store)
    full = queries.incident(store, told["id"])
    assert full is not None
    assert told["findings"] == 100
    assert len(full["evidence_findings"]) == queries.FINDINGS_SHOWN


def test_an_old_row_of_a_finding_can_be_read(store: Store) -> None:
    """A column holds JSON of the finding's own form; what a later build adds has defaults."""
    play(store, {1: [finding(1, "a")]}, 1)
    with store.write() as connection:
        content = json.loads(connection.execute(sa.select(t.finding.c.content)).scalar_one())
        content["new field"] = 1
        connection.execute(sa.update(t.finding).values(content=msgspec.json.encode(content).decode()))
    assert queries.findings(store)[0]["id"] == finding(1, "a").id


def test_the_outbox_is_empty_when_nothing_waits(store: Store) -> None:
    assert queries.outbox_empty(store)
    play(store, {1: [finding(1, "a")]}, 1)
    assert not queries.outbox_empty(store)
    with store.write() as connection:
        connection.execute(sa.update(t.outbox).values(state="failed"))
    assert queries.outbox_empty(store)
