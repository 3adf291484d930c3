"""The page of interferometers, over a store of two of them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from seed import SCRIPT, make_app
from starlette.testclient import TestClient

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings
from opintel.evidence import Evidence, Series, Table
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.store import Store, open_store, sqlite_url
from opintel.streams.findings import Found

HERE = "http://127.0.0.1:8095"
START = 1_772_431_200 * NS
STRAIN, WITNESS = "L1:GDS-CALIB_STRAIN", f"L1:PEM-{SCRIPT}"


def found(kind: str, minute: int, subject: dict[str, str], text: str, evidence: Sequence[Evidence] = ()) -> Finding:
    window = Window(START + minute * 60 * NS, START + (minute * 60 + 2) * NS)
    about = {"id": finding_id(f"gw.{kind}", 1, "m", subject, window), "detector": f"gw.{kind}", "kind": kind}
    why = {"log10_p": None, "basis": "none", "effect": Effect(9.0, "SNR"), "severity": "info"}
    return Finding(**about, **why, subject=subject, window=window, summary=text, evidence=tuple(evidence), model="m")  # type: ignore[arg-type]


def range_of(minute: int, value: float) -> Series:
    return Series("Range (BNS)", [START + minute * 60 * NS], [value], "Mpc")


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Store]:
    store = open_store(sqlite_url(tmp_path / "store.db"))
    peak = Table("Trigger (Hz, s)", ["", "value"], [["SNR", 9.0], ["frequency of its peak", 120.0]])
    said = [
        found("observing", 5, {"scope": "L1"}, "L1: 4 min of science", [range_of(4, 120.0)]),
        found("observing", 10, {"scope": "L1"}, "L1: 5 min of science", [range_of(9, 121.5)]),
        found("observing", 10, {"scope": "H1"}, "H1: nothing", [range_of(9, 99.0)]),
        found("trigger", 3, {"scope": "L1", "channel": STRAIN}, f"{STRAIN}: SNR 9", [peak]),
        found("trigger", 7, {"scope": "L1", "channel": STRAIN}, f"{STRAIN}: SNR 9", [peak]),
        found("witness", 5, {"scope": "L1", "channel": STRAIN, "witness": "L1:OLD"}, "an old witness"),
        found("witness", 10, {"scope": "L1", "channel": STRAIN, "witness": WITNESS}, f"{WITNESS} witnesses"),
    ]
    service = AlertService(store, AlertSettings())
    service.consume(service.position(), [Found("gw", one) for one in said], service.position() + len(said))
    yield store
    store.close()


@pytest.fixture
def visitor(observed: Store) -> TestClient:
    return TestClient(make_app(observed, interferometers=["gw"]), HERE)


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def test_no_page_without_interferometers(client: TestClient) -> None:
    assert client.get("/gw").status_code == 404
    assert "Interferometers" not in client.get("/").text


def test_an_interferometer_at_a_glance(visitor: TestClient) -> None:
    text = read(visitor, "/gw?scope=L1")
    assert "L1: 2 triggers of the strain in 6 hours" in text
    assert "Triggers of the strain: 2" in text
    assert f"{WITNESS} witnesses" in text
    assert "an old witness" not in text, "only the last ranking is shown"
    drawn = visitor.get("/gw?scope=L1").text
    assert re.search(r"120(\.0)?, ?121\.5", drawn), "the series of two findings are one"


def test_the_first_interferometer_is_shown_and_the_others_are_a_click_away(visitor: TestClient) -> None:
    assert "H1: 0 triggers" in read(visitor, "/gw")
    assert "No safe channel witnessed" in read(visitor, "/gw?scope=H1&hours=24")
    assert 'href="/gw?stream=gw&amp;scope=L1&amp;hours=6"' in visitor.get("/gw").text.replace("&scope", "&amp;scope")


@pytest.mark.parametrize("query", ["stream=no", "scope=%3Cscript%3E", "hours=99", "hours=", "scope=L1&hours=1"])
def test_what_is_asked_wrong_is_the_default(visitor: TestClient, query: str) -> None:
    answer = visitor.get(f"/gw?{query}")
    assert answer.status_code == 200
    assert SCRIPT not in answer.text


def test_before_anything_was_judged(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path / "store.db"))
    assert "Waiting for the first minutes" in read(TestClient(make_app(store, interferometers=["gw"]), HERE), "/gw")
    store.close()
