"""The pages of transfers over a store of a day and a half of one FTS, whose hours the real judge has added up."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from seed import IMAGE, SCRIPT, SETTINGS, make_app
from starlette.testclient import TestClient

from opintel.alerts.service import AlertService
from opintel.alerts.settings import GridSite, Maintenance, SiteTopology, Timestamp
from opintel.console.app import serve
from opintel.console.causes import rule
from opintel.console.daily import POLICY, day_of
from opintel.detector import Closing, Controls, Judge, Record
from opintel.finding import NS, Effect, Finding, Window, finding_id, rfc3339
from opintel.fts.causes.families import Family, family_of
from opintel.fts.judging.cause_rates import CauseJudge, CauseSettings
from opintel.fts.judging.traffic import HOUR, TrafficJudge, TrafficSettings
from opintel.fts.link_windows import LINK, LinkWindow
from opintel.fts.texts.masking import mask
from opintel.store import Store, open_store, sqlite_url
from opintel.streams.findings import Found, Judged

HERE = "http://127.0.0.1:8095"
START = 1_772_409_600 * NS  # 2026-03-02T00:00:00Z
HOURS = 34
SCOPE = "fts.example.org"
A, B, C, D = "se01.a.example", "se02.a.example", "se01.b.example", "se01.c.example"
FAMILIES = (
    Family("no-space", "The destination is full.", "Stop sending there.", concepts=("space",)),
    Family("timeout", concepts=("time",)),
    Family("never-seen", "Nobody says so.", phrases=("never seen",)),
)
ODD = f"the frobnicator refused {SCRIPT}"
BROKEN = 30
"""Hour from which on C is full."""


def links_of(hour: int) -> list[LinkWindow]:
    full = 30 if hour >= BROKEN else 1
    rows = [
        (A, C, 60 - full, full, "disk full"),
        (B, C, 3, 0, ""),
        (B, D, 38, 2, "deadline exceeded"),
        (C, A, 20, 1, ODD),
        (D, D, 5, 0, ""),
    ]
    return [
        LinkWindow(
            *(source, destination, ok, failed, 0, ok + failed, 10**9 * ok, [], (0, 0.0, 0.0)),
            forms=[(text, mask(text), failed, text)] if failed else [],
            facets=[("atlas", "Production", ok, 0), ("cms", IMAGE, 0, failed)],
        )
        for source, destination, ok, failed, text in rows
    ]


def incident(hour: int) -> Finding:
    """An alarm about C."""
    window, subject = Window(START + hour * HOUR, START + (hour + 1) * HOUR), {"scope": SCOPE, "endpoint": C}
    about = {"id": finding_id("fts.failures", 1, "m", subject, window), "detector": "fts.failures", "kind": "endpoint"}
    why: Any = {"log10_p": -12.0, "basis": "exact", "effect": Effect(0.5, "failed share"), "severity": "critical"}
    return Finding(**about, **why, subject={**subject, "role": "destination"}, window=window, summary=f"{C} fails")


@cache
def told() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "store.db")
        store = open_store(sqlite_url(path))
        judges: list[tuple[Judge, Any]] = [
            (TrafficJudge(), TrafficSettings(families=FAMILIES)),
            (CauseJudge(), CauseSettings(families=FAMILIES, least=12)),
        ]
        records: list[Found | Judged] = []
        for hour in range(HOURS):
            window = Window(START + hour * HOUR, START + (hour + 1) * HOUR)
            of = [Record(window, LINK, f"{w.source}|{w.destination}", SCOPE, w) for w in links_of(hour)]
            for judge, settings in judges:
                closing = Closing(window, SCOPE, of, Controls(), settings, "m", complete=True)
                records += [Found("fts", finding) for finding in judge.judge(closing)]
            if hour >= BROKEN:
                records.append(Found("fts", incident(hour)))
            records.append(Judged("fts", SCOPE, window, {"endpoint": 4, "link": 5}, True))
        service = AlertService(store, SETTINGS)
        service.consume(service.position(), records, service.position() + len(records))
        store.close()
        return path.read_bytes()


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "store.db").write_bytes(told())
    store = open_store(sqlite_url(tmp_path / "store.db"))
    yield store
    store.close()


def visiting(store: Store, **more: Any) -> TestClient:
    return TestClient(make_app(store, transfers={"fts": FAMILIES}, reports={"traffic"}, **more), HERE)


@pytest.fixture
def visitor(moved: Store) -> TestClient:
    return visiting(moved)


def read(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def thing(*about: str) -> str:
    return f"/things?stream=fts&scope={SCOPE}" + "".join(f"&about={host}" for host in about)


def test_no_pages_without_transfers(client: TestClient) -> None:
    assert [client.get(f"/fts/{name}").status_code for name in ("matrix", "causes", "clusters", "report")] == [404] * 4
    assert "Transfers" not in client.get("/").text


def test_sites_of_the_last_day(visitor: TestClient) -> None:
    text = read(visitor, "/fts/matrix")
    files = 24 * 129
    failed = 24 * 4 + 4 * 29
    assert f"{files:,} files from site to site, {100 * failed / files:.1f} % failed" in text
    page = visitor.get("/fts/matrix").text
    shown = re.findall(r'<td class="(h\d+)[^"]*" title="(a\.example → b\.example: [^"]*)"', page)
    assert shown == [
        ("h1", f"a.example → b.example: {20 + 4 * 30} of {24 * 63:,} files failed (9.3 %), 1.37 TB arrived")
    ]
    assert page.count('<td class="none">') == 9 - 4
    assert "Transfers</a>" in visitor.get("/").text


def test_keys_reach_every_cell_that_has_files(visitor: TestClient) -> None:
    cells = re.findall(r'<td class="h\d[^>]*>.*?</td>', visitor.get("/fts/matrix").text)
    assert len(cells) == 4
    for cell in cells:
        stop = re.search(r'(?:<a href="[^"]+"|tabindex="0") aria-label="([^"]+)"', cell)
        assert stop is not None
        assert "files failed" in stop[1]
        assert 'tabindex="-1"' not in cell


def test_an_hour_is_chosen_from_the_strip(visitor: TestClient) -> None:
    page = visitor.get("/fts/matrix").text
    strip = re.findall(r'href="/fts/matrix\?([^"]*)" tabindex="-1"><title>([^<]*)', page)
    assert len(strip) == HOURS
    query, words = strip[BROKEN - 1], strip[BROKEN]
    assert "33 of 129 files failed (26 %)" in words[1]
    assert "4 of 129 files failed" in query[1]
    text = read(visitor, "/fts/matrix?" + html.unescape(words[0]))
    assert "129 files from site to site, 26 % failed" in text
    assert "3 Mar, 06:00 to 3 Mar, 07:00 UTC" in text


def test_a_cell_leads_to_the_link_or_to_the_links_of_two_sites(visitor: TestClient) -> None:
    page = visitor.get("/fts/matrix").text
    where = {
        html.unescape(title).partition(":")[0]: html.unescape(href)
        for title, href in re.findall(r'title="([^"]*)"><a href="([^"]*)"', page)
    }
    assert where["a.example → c.example"].startswith("/things?")
    pair = where["a.example → b.example"]
    assert pair.startswith("/fts/matrix?")
    text = read(visitor, pair.partition("#")[0])
    listed = text.partition("Links a.example → b.example")[2].partition("Sites")[0]
    assert f"{A} → {C}" in listed
    assert f"{B} → {C}" in listed
    assert D not in listed


def test_the_endpoints_of_a_site(visitor: TestClient) -> None:
    text = read(visitor, "/fts/matrix?site=a.example")
    assert "a.example : its endpoints and their partners" in text
    assert f"{A} → {C}" in text
    assert f"{D} → {D}" not in text


@pytest.mark.parametrize(
    "query", ["scope=no", "stream=no", "at=yesterday", "at=2199-01-01T00:00:00Z", f"site={SCRIPT}", "source=x"]
)
def test_what_is_asked_wrong_is_the_default(visitor: TestClient, query: str) -> None:
    answer = visitor.get(f"/fts/matrix?{query}")
    assert answer.status_code == 200
    assert SCRIPT not in answer.text
    assert "files from site to site" in answer.text


def test_causes_now_and_usually(visitor: TestClient) -> None:
    text = read(visitor, "/fts/causes")
    full = text.partition("no-space ")[2].partition("timeout")[0]
    assert "The destination is full. Stop sending there." in full
    assert "no-space: 30 of 129 attempts (23 %), usual" in full, "the finding that it jumped is linked"
    assert re.search(r"now 23 % usually 0\.8 % errors in 24 h 140", full)
    assert "An example as sent disk full" in full
    assert "Families without an error in these seven days 1" in text
    assert "Nobody says so." in text


def test_what_no_family_fits_waits_with_its_rule(visitor: TestClient) -> None:
    page = visitor.get("/fts/causes").text
    assert SCRIPT not in page
    text = read(visitor, "/fts/causes")
    assert "Texts that no family fits 1" in text
    assert f"{HOURS} errors in seven days · first 2 Mar, 00:00 UTC" in text.replace("days first", "days · first")
    written = html.unescape(re.search(r'<pre id="yaml-1">(.*?)</pre>', page, re.S)[1])  # type: ignore[index]
    [entry] = yaml.safe_load(f"families:\n{written}")["families"]
    assert family_of(ODD, [Family(name=entry["name"], phrases=tuple(entry["phrases"]))]) == entry["name"]


def test_a_text_that_a_new_rule_sorts_waits_no_more(moved: Store) -> None:
    families = (*FAMILIES, Family("ours", phrases=("frobnicator",)))
    client = TestClient(make_app(moved, transfers={"fts": families}), HERE)
    assert "All error texts of these seven days are sorted." in read(client, "/fts/causes")


@pytest.mark.parametrize(
    "text",
    [
        "a (b) [c] {d} e.f* g+ h? $i ^j | k\\l",
        'says "no" to <URL>',
        "x",
        "7 of 9 things",
        "größer als <NUM> Bytes",
        "%s",
    ],
)
def test_a_proposed_rule_sorts_its_text(text: str) -> None:
    [entry] = yaml.safe_load(rule(mask(text)))
    assert family_of(text, [Family(name="ours", phrases=tuple(entry["phrases"]))]) == "ours"


def test_an_endpoint_in_its_own_words(moved: Store) -> None:
    work = Maintenance(
        stream="fts",
        subject={"endpoint": C},
        start=Timestamp(START + (HOURS + 2) * HOUR),
        end=Timestamp(START + (HOURS + 4) * HOUR),
        reason=f"new disks {IMAGE}",
    )
    other = Maintenance(stream="fts", subject={"endpoint": A}, start=work.start, end=work.end, reason="elsewhere")
    topology = SiteTopology(sites={"SITE-B": GridSite(hosts=[C], support_unit="NGI_B")})
    client = visiting(moved, planned=lambda: [work, other], topology=topology)
    text = read(client, thing(C))
    assert "Site SITE-B GGUS support unit NGI_B" in text
    assert "Files from it 504 4.8 % failed (24), 480 GB arrived" in text
    assert "Files to it 1,512 9.3 % failed (140), 1.37 TB arrived" in text
    assert f"new disks {IMAGE} 3 Mar, 12:00 to 3 Mar, 14:00 UTC" in text
    assert "elsewhere" not in text
    assert f"Links to it 2 Link Files Failed Share Share Arrived Most errors {A} → {C} 1,440 140" in text
    assert "Failed share to it" in text
    assert "no-space 140" in text
    assert f"{C} fails" in text, "its incident is there"
    assert "SITE-B" in read(client, "/fts/matrix")


def test_a_link_in_its_own_words(visitor: TestClient) -> None:
    text = read(visitor, thing(A, C))
    assert "Site of the source a.example Site of the destination b.example" in text
    assert "1,440 9.7 % failed (140), 1.3 TB arrived" in text


def test_things_of_other_streams_stay_as_they_are(moved: Store) -> None:
    client = TestClient(make_app(moved), HERE)
    assert "Its transfers" not in read(client, thing(C))


def test_hours_of_traffic_do_not_stand_on_the_map(moved: Store) -> None:
    with_reports = TestClient(make_app(moved), HERE)
    assert f"all of {SCOPE}" in read(with_reports, "/map?span=3h")
    quiet = {"traffic", "unclassified", "cause"}
    assert f"all of {SCOPE}" not in read(TestClient(make_app(moved, reports=quiet), HERE), "/map?span=3h")


def test_the_report_of_a_day(visitor: TestClient) -> None:
    answer = visitor.get("/fts/report?day=2026-03-02")
    text = read(visitor, "/fts/report?day=2026-03-02")
    assert "Monday, 2 March 2026, UTC" in text
    assert f"{24 * 129:,} files 3.1 % failed" in text
    assert "Incidents None." in text
    assert "atlas 3,000 0 0 %" in text
    assert f"a.example {24 * 103:,} 2.9 %" in text
    assert "no-space 24" in text
    assert "The destination is full. Stop sending there." in text
    assert re.search(r"<(script|link|img|iframe)\b", answer.text) is None, "it stands alone"
    assert SCRIPT not in answer.text
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_the_report_of_a_day_that_goes_on(visitor: TestClient) -> None:
    assert "Monday, 2 March 2026" in read(visitor, "/fts/report"), "the last whole day is the default"
    text = read(visitor, "/fts/report?day=2026-03-03")
    assert "judged until 10:00" in text
    assert "(3.1 % the day before)" in text
    assert f"critical open {C} fails" in text
    assert "nothing was judged" in read(visitor, "/fts/report?day=2026-02-01")
    assert "Monday, 2 March 2026" in read(visitor, "/fts/report?day=2.3.2026"), "what is no day is not given"


@pytest.mark.parametrize("text", ["", "2026-13-01", "2026-3-2", "0001-01-01", "2026-03-02T00:00", "²026-03-02"])
def test_what_is_no_day(text: str) -> None:
    assert day_of(text) is None


def test_the_same_for_programs(visitor: TestClient) -> None:
    said = visitor.get("/api/fts/traffic?from=2026-03-02T00:00:00Z&to=2026-03-03T00:00:00Z").json()
    assert (said["scope"], said["hours"], said["total"]["ok"]) == (SCOPE, 24, 24 * 125)
    full = {"ok": 24 * 59, "failed": 24, "bytes": 24 * 59 * 10**9, "user": 0}
    assert {"source": A, "destination": C, **full} in said["links"]
    assert {"vo": "atlas", "activity": "Production", "ok": 24 * 125, "failed": 0} in said["activities"]
    assert sum(pair["ok"] for pair in said["sites"]) == 24 * 125
    assert visitor.get("/api/fts/traffic").json()["to"] == rfc3339(START + HOURS * HOUR)
    causes = visitor.get("/api/fts/causes").json()
    worst = causes["families"][0]
    assert (worst["name"], worst["errors"], worst["day"]) == ("no-space", 30, 140)
    assert visitor.get("/api/findings?limit=1000&stream=fts").text.count(worst["finding"]) == 1
    assert causes["waiting"] == len(causes["texts"]) == 1
    assert visitor.get("/api/fts/clusters").json()["clusters"] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("stream=no", 400),
        ("scope=no", 404),
        ("from=x", 400),
        ("to=2026-03-03", 400),
        ("from=2001-01-01T00:00:00Z", 400),
    ],
)
def test_what_a_program_asks_wrong_is_said(visitor: TestClient, query: str, status: int) -> None:
    answer = visitor.get(f"/api/fts/traffic?{query}")
    assert answer.status_code == status
    assert answer.json()["error"]


def test_before_anything_was_judged(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path / "store.db"))
    client = visiting(store)
    for name in ("matrix", "causes", "clusters"):
        assert "Waiting for the first" in read(client, f"/fts/{name}")
    assert "nothing was judged" in read(client, "/fts/report")
    store.close()


def test_what_is_no_hour_of_traffic_is_left_out(moved: Store, visitor: TestClient) -> None:
    """Who may write the findings topic may write anything."""
    window = Window(START + HOURS * HOUR, START + (HOURS + 1) * HOUR)
    odd: Any = {"detector": "x", "kind": "traffic", "subject": {"scope": SCOPE}, "summary": "", "model": ""}
    why: Any = {"log10_p": None, "basis": "none", "effect": Effect(0.0, ""), "severity": "info"}
    said = Finding(id="odd", **odd, **why, window=window)
    service = AlertService(moved, SETTINGS)
    service.consume(service.position(), [Found("fts", said), Judged("fts", SCOPE, window, {}, True)], 10**6)
    assert f"until {rfc3339(window.end)}" not in read(visitor, "/fts/causes")
    assert "files from site to site" in read(visitor, "/fts/matrix")


@pytest.fixture
def served(moved: Store) -> Iterator[str]:
    """Where a console of it is."""
    console = serve(make_app(moved, transfers={"fts": FAMILIES}))
    yield console.url
    console.stop()


def test_in_a_browser(served: str, page: Any) -> None:
    page.goto(f"{served}/fts/matrix")
    page.locator(".heat td a").first.hover()
    assert "files failed" in page.locator("figure.sites .readout").inner_text()
    box = page.locator(".heat.grid").bounding_box()
    assert box["width"] > 900
    page.locator(".heat tbody th a").first.focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.closest('.heat tbody td')?.title"
    words = page.evaluate(focused)
    assert "files failed" in words
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == words
    assert page.locator("figure.sites .readout").inner_text() == words
    page.locator("#h-before").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**at=2026-03-03T09**")
    page.locator(".volume a").nth(BROKEN).click()
    page.wait_for_url("**at=2026-03-03T06**")
    assert "26 % failed" in page.locator("h1").inner_text()
    page.goto(f"{served}/fts/causes")
    page.locator("#rule-1 summary").click()
    page.locator("[data-copy]").click()
    assert "frobnicator" in page.evaluate("document.getSelection().toString()")
    page.goto(f"{served}{thing(C)}")
    page.wait_for_selector(".hourly canvas")
    assert page.locator(".hourly canvas").count() == 4
    page.goto(f"{served}/fts/report")
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "900px", "its own style applies"
    page.set_viewport_size({"width": 400, "height": 800})
    for path in ("/fts/matrix", "/fts/causes", "/fts/clusters", "/fts/report", thing(C)):
        page.goto(served + path)
        assert page.evaluate("document.documentElement.scrollWidth") == 400, path
