"""CMS's rule beside our findings, in the report of a day and on an endpoint's page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seed import SETTINGS, make_app
from starlette.testclient import TestClient

from opintel.alerts.service import AlertService
from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.fts.causes.families import Family
from opintel.fts.judging.traffic import HOUR, TrafficJudge, TrafficSettings
from opintel.fts.link_windows import LINK, LinkWindow
from opintel.store import Store, open_store, sqlite_url
from opintel.streams.findings import Found, Judged

START = 1_772_409_600 * NS  # 2026-03-02T00:00:00Z
SCOPE = "fts.example.org"
HOSTS = [f"se01.{name}.example" for name in "abcdef"]
FULL, USERS = 5, 9
"""Hours in which all that goes to the last host fails: it is full; the users' tokens have expired."""
OURS, LATE = 3, 6
"""Hours with a finding of ours about the first and the last host."""
FAMILIES = (
    Family("no-space", concepts=("space",), blame="destination"),
    Family("proxy", phrases=("token",), blame="user"),
)


def links_of(hour: int) -> Iterator[LinkWindow]:
    for source in HOSTS:
        for destination in HOSTS:
            if source != destination:
                lost = 20 if destination == HOSTS[-1] and hour in (FULL, LATE, USERS) else 0
                text = "token expired" if hour == USERS else "disk full"
                forms = [(text, text, lost, text)] if lost else []
                yield LinkWindow(source, destination, 20 - lost, lost, 0, 20, 10**9, [], (0, 0.0, 0.0), forms)


def failing(hour: int, host: str) -> Finding:
    window, subject = Window(START + hour * HOUR, START + (hour + 1) * HOUR), {"scope": SCOPE, "endpoint": host}
    about = {"id": finding_id("fts.failures", 1, "m", subject, window), "detector": "fts.failures", "kind": "endpoint"}
    why: Any = {"log10_p": -5.0, "basis": "exact", "effect": Effect(0.5, "failed share"), "severity": "info"}
    return Finding(**about, **why, subject={**subject, "role": "source"}, window=window, summary=f"{host} fails")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("rule") / "store.db"
    store, judge, settings = open_store(sqlite_url(path)), TrafficJudge(), TrafficSettings(families=FAMILIES)
    records: list[Found | Judged] = []
    for hour in range(24):
        window = Window(START + hour * HOUR, START + (hour + 1) * HOUR)
        of = [Record(window, LINK, f"{w.source}|{w.destination}", SCOPE, w) for w in links_of(hour)]
        closing = Closing(window, SCOPE, of, Controls(), settings, "m", complete=True)
        records += [Found("fts", finding) for finding in judge.judge(closing)]
        records += [Found("fts", failing(hour, HOSTS[0]))] if hour == OURS else []
        records += [Found("fts", failing(hour, HOSTS[-1]))] if hour == LATE else []
        records.append(Judged("fts", SCOPE, window, {"endpoint": 6, "link": 30}, True))
    service = AlertService(store, SETTINGS)
    service.consume(service.position(), records, service.position() + len(records))
    yield store
    store.close()


def read(store: Store, path: str) -> str:
    client = TestClient(make_app(store, transfers={"fts": FAMILIES}, reports={"traffic"}), "http://127.0.0.1:8095")
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def test_the_report_lists_disagreements_and_what_became_of_them(store: Store) -> None:
    text = read(store, "/fts/report?day=2026-03-02")
    said = text.partition("The rule of CMS beside our findings")[2].partition("Causes of failures")[0]
    assert f"In {24 * 6} hours of sites, bad are: by both 1, by the rule alone 1, by us alone 1." in said
    assert "2 Mar 03:00 04:00 a.example ok an endpoint fails an incident of that time" in said
    assert "2 Mar 05:00 06:00 f.example error as usual an incident 1 h later" in said
    assert said.count("f.example") == 1, "what only users did wrong is no site's"


def test_users_faults_are_in_the_report_and_in_no_share(store: Store) -> None:
    text = read(store, "/fts/report?day=2026-03-02")
    assert "What failed by users’ fault (100:" in text
    # to F: 24 h of 100 files, 300 lost of which 100 by users
    assert re.search(r"f\.example 2,400 0 % \S+ \S+ 2,400 8\.7 % \S+ \S+ 100 ", text)
    assert f"{HOSTS[-1]} 2,400 0 0 % 2,400 200 + 100 users’ 8.7 %" in text


def test_the_page_of_an_endpoint(store: Store) -> None:
    text = read(store, f"/things?stream=fts&scope={SCOPE}&about={HOSTS[-1]}")
    said = text.partition("The rule of CMS beside our findings")[2]
    assert "In 24 hours of this endpoint, bad are: by both 1, by the rule alone 1, by us alone 0." in said
    assert "an incident 1 h later" in said
    assert "Files to it 2,400 8.7 % failed (200 + 100 users’ )" in text
