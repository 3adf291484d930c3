"""The map and the page of a thing: what they say of the store, and how they behave in a real Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from seed import HOSTILE, SETTINGS, SITES, endpoint, make_app
from seed import START as FTS_START
from starlette.testclient import TestClient

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, Budgets, Rate
from opintel.console import drawing, past
from opintel.console.app import serve
from opintel.evidence import Band, Series
from opintel.finding import NS, Effect, Finding, Severity, Window, finding_id, rfc3339
from opintel.store import Store, open_store, queries, sqlite_url
from opintel.streams.findings import Found, Judged

START = 1_772_431_200 * NS  # 2026-03-02T06:00:00Z
MINUTE = 60 * NS
SCOPE = "farm"
COLUMN = 3 * MINUTE  # of the map over three hours


def unusual(
    k: int, host: str, metric: str = "load", log10_p: float | None = -4.5, severity: Severity = "warning"
) -> Finding:
    """A finding of the k-th minute about a metric of a host, with the last 12 minutes of it drawn."""
    subject = {"scope": SCOPE, "metric": metric, "instance": host, "job": SCOPE}
    window = Window(START + k * MINUTE, START + (k + 1) * MINUTE)
    times = [START + j * MINUTE for j in range(k - 11, k + 1)]
    series = Series(metric, times, [float(j) for j in range(k - 11, k + 1)], "", Band([0.0] * 12, [1.0] * 12, 0.95))
    return Finding(
        id=finding_id("health.unusual", 1, "m", subject, window),
        detector="health.unusual",
        kind="unusual",
        subject=subject,
        window=window,
        log10_p=log10_p,
        basis="none" if log10_p is None else "ranked",
        effect=Effect(5.0, "standard deviations"),
        severity=severity,
        summary=f"{host}: {metric} has shifted in minute {k}",
        evidence=(series,),
        model="m",
    )


def watch(store: Store, last: int, found: list[Finding], settings: AlertSettings = SETTINGS) -> None:
    """Lets the alert service judge the minutes up to `last` in which there are findings, and `last`."""
    service = AlertService(store, settings)
    records: list[Found | Judged] = []
    for end in sorted({f.window.end for f in found} | {START + (last + 1) * MINUTE}):
        records += [Found("health", f) for f in found if f.window.end == end]
        records.append(Judged("health", SCOPE, Window(end - MINUTE, end), {"unusual": 100}, True))
    position = service.position()
    service.consume(position, records, position + len(records))


@pytest.fixture
def empty(tmp_path: Path) -> Any:
    opened = open_store(sqlite_url(tmp_path / "map.db"))
    yield opened
    opened.close()


def asking(store: Store) -> TestClient:
    return TestClient(make_app(store), "http://127.0.0.1:8095")


def rows(page: str) -> list[str]:
    """The rows of a map's page."""
    return re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", page, re.S)


def names(page: str) -> list[str]:
    return [unescape(re.findall(r'class="name".*?<bdi>(.*?)</bdi>', row)[0]) for row in rows(page)]


def cells(row: str) -> list[tuple[int, int]]:
    """(column, step) of a strip."""
    return [(int(x), int(step)) for step, x in re.findall(r'<rect class="s(\d)" x="(\d+)"', row)]


def test_a_row_is_a_thing_and_a_column_a_time(empty: Store) -> None:
    watch(empty, 179, [unusual(0, "a"), unusual(100, "a", "disk", -7.0), unusual(101, "a"), unusual(170, "b")])
    page = asking(empty).get("/map?span=3h").text
    assert names(page) == ["b", "a"], "lately goes before more"
    b, a = rows(page)
    assert cells(b) == [(170 // 3, 3)]
    assert cells(a) == [(0, 3), (100 // 3, 5)]
    assert "findings in 2 of 60 columns, the most surprising 1 in 10⁷, the last at 2 Mar 07:39 UTC" in a
    assert "2 Mar 07:39 UTC: 2 findings, up to 1 in 10⁷" in a
    [link] = re.findall(r'<a href="([^"]+)"[^>]*><title>2 Mar 07:39', a)
    asked = parse_qs(urlsplit(unescape(link)).query)
    assert asked == {
        "stream": ["health"],
        "scope": [SCOPE],
        "about": ["a"],
        "span": ["3h"],
        "at": ["2026-03-02T07:39:00Z"],
    }


@pytest.mark.parametrize(
    ("log10_p", "severity", "step"),
    [
        (-0.5, "critical", 1),
        (-3.0, "info", 2),
        (-5.9, "warning", 4),
        (-6.0, "warning", 5),
        (-400.0, "info", 7),
        (None, "info", 2),
        (None, "warning", 4),
        (None, "critical", 6),
    ],
)
def test_the_colour_says_how_surprising(empty: Store, log10_p: float | None, severity: Severity, step: int) -> None:
    watch(empty, 5, [unusual(2, "a", log10_p=log10_p, severity=severity)])
    [row] = rows(asking(empty).get("/map?span=3h").text)
    assert [s for _, s in cells(row)] == [step]
    assert ("no p-value" in row) == (log10_p is None)


def test_a_window_fills_all_columns_that_it_touches(store: Store) -> None:
    page = asking(store).get("/map?span=3h").text
    [row] = [row for row in rows(page) if f'title="{SITES[0]} (' in row]
    columns = [x for x, _ in cells(row)]
    assert columns == list(range(columns[0], columns[0] + len(columns)))
    # four windows of ten minutes from 08:00 on, seen in columns of three minutes; judged through 08:40
    end = -(-(FTS_START + 16 * 600 * NS) // COLUMN) * COLUMN
    begin = end - 60 * COLUMN
    assert columns[0] == (FTS_START + 12 * 600 * NS - begin) // COLUMN
    assert columns[-1] == (FTS_START + 16 * 600 * NS - 1 - begin) // COLUMN


def test_what_is_not_known_differs_from_what_is_usual(empty: Store) -> None:
    watch(empty, 100, [unusual(40, "a"), unusual(50, "b")])
    through = START + 101 * MINUTE
    end = -(-through // COLUMN) * COLUMN
    page = asking(empty).get("/map?span=3h").text
    assert len(rows(page)) == 2
    for row in rows(page):
        [(x, width)] = re.findall(r'<rect class="usual" x="([\d.]+)" width="([\d.]+)"', row)
        begins = 60 - (end - START - 40 * MINUTE) / COLUMN
        assert float(x) == pytest.approx(begins, abs=0.01), "the earliest finding is the first that is known"
        assert float(x) + float(width) == pytest.approx(60 - (end - through) / COLUMN, abs=0.02)


def test_the_worst_are_shown_and_the_rest_is_counted(empty: Store) -> None:
    found = [unusual(10, f"host{k:03d}", log10_p=-4.0 - k / 100) for k in range(97)]
    watch(empty, 12, found)
    page = asking(empty).get("/map?span=12h").text
    assert names(page) == [f"host{k:03d}" for k in range(96, 36, -1)]
    assert "37 more things had findings" in page


def test_live_incidents_are_marked(empty: Store) -> None:
    watch(empty, 30, [unusual(k, "a", log10_p=-12.0) for k in range(20, 31)] + [unusual(5, "b")])
    [incident] = queries.incidents(empty)
    a, b = rows(asking(empty).get("/map?span=3h").text)
    assert f'href="/incidents/{incident["id"]}"' in a
    assert 'class="during"' in a
    assert "in a live incident" in a
    assert "incident" not in b


def test_what_comes_late_into_an_hour_that_was_read_is_seen(empty: Store) -> None:
    client = asking(empty)
    watch(empty, 10, [unusual(10, "a")])
    assert names(client.get("/map").text) == ["a"]
    watch(empty, 12, [unusual(12, "b")])
    assert set(names(client.get("/map").text)) == {"a", "b"}


def test_of_an_hour_with_too_many_findings_the_most_surprising_are_read(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "MOST_AN_HOUR", 3)
    watch(empty, 10, [unusual(k, f"h{k}", log10_p=-4.0 - k) for k in (9, 0, 8, 1, 7, 2)])
    assert set(names(asking(empty).get("/map").text)) == {"h9", "h8", "h7"}


def test_streams_are_told_apart_and_chosen(store: Store) -> None:
    watch(store, 100, [unusual(90, "a")])
    client = asking(store)
    assert "a" in names(client.get("/map?span=12h").text)
    assert names(client.get("/map?span=12h&stream=health").text) == ["a"]
    assert names(client.get("/map?span=12h&stream=odd").text) == names(client.get("/map?span=12h").text)
    assert "a" not in names(client.get("/map?span=12h&stream=fts").text)


def test_a_map_of_nothing_says_so(empty: Store) -> None:
    client = asking(empty)
    assert "Nothing has been judged yet" in client.get("/map").text
    watch(empty, 10, [])
    assert "All is quiet" in client.get("/map?span=odd").text


def test_a_thing_shows_the_latest_of_each_matter(empty: Store) -> None:
    found = [unusual(k, "a", metric) for k, metric in ((1, "fan"), (3, "load"), (5, "disk"), (9, "load"), (20, "net"))]
    watch(empty, 30, [*found, unusual(21, "b")])
    client = asking(empty)

    def told(query: str) -> list[str]:
        page = client.get(f"/things?stream=health&scope={SCOPE}&about=a{query}").text
        return re.findall(r'<h3>.*?<a href="/findings/[^"]+"><bdi>(.*?)</bdi>', page)

    assert told("") == [
        f"a: {m} has shifted in minute {k}" for k, m in ((20, "net"), (9, "load"), (5, "disk"), (1, "fan"))
    ]
    at = rfc3339(START + 4 * MINUTE)
    assert told(f"&span=3h&at={at}") == ["a: disk has shifted in minute 5", "a: load has shifted in minute 3"]
    for odd in ("x", "2026-03-02", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "-1", ""):
        assert told(f"&span=odd&at={odd}") == told("")
    early = rfc3339(START - 40 * 3600 * NS)
    assert told(f"&span=3h&at={early}") == []


def test_a_thing_of_many_matters_is_cut_visibly(empty: Store) -> None:
    watch(empty, 30, [unusual(k, "a", f"m{k}") for k in range(15)])
    page = asking(empty).get(f"/things?stream=health&scope={SCOPE}&about=a").text
    assert "12 of 15" in page
    assert len(re.findall(r'<section class="matter">', page)) == 12


def test_a_thing_lists_its_incidents(store: Store) -> None:
    client = asking(store)
    [own] = [i for i in queries.incidents(store) if SITES[0] in i["title"]]
    page = client.get(f"/things?stream=fts&scope={endpoint(1).subject['scope']}&about={SITES[0]}").text
    assert re.findall(r'href="/incidents/([^"]+)"', page) == [own["id"]]
    link = client.get(f"/things?stream=fts&scope={endpoint(1).subject['scope']}&about={SITES[2]}&about={SITES[3]}").text
    assert f"{SITES[2]} → {SITES[3]}" in link
    assert "resolved" in link


@pytest.mark.parametrize("query", ["", "?stream=fts", "?stream=health&scope=none&about=a"])
def test_a_thing_that_was_never_judged_is_404(store: Store, query: str) -> None:
    answer = asking(store).get(f"/things{query}")
    assert answer.status_code == 404
    assert "There is no such thing" in answer.text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_and_lead_to_their_page(empty: Store, name: str) -> None:
    watch(empty, 12, [unusual(10, name)])
    client = asking(empty)
    page = client.get("/map").text
    [link] = re.findall(r'class="name" href="([^"]+)"', page)
    told = client.get(unescape(link))
    assert told.status_code == 200
    assert "has shifted in minute 10" in told.text
    for text in (page, told.text):
        assert not any(tag in text for tag in ("<script>", "<img src=x", "<svg onload"))
        assert not set(text) & set("\u202e\x1b\x07")


def test_a_long_incident_is_drawn_from_its_beginning_on(empty: Store) -> None:
    watch(empty, 1020, [unusual(k, "a", log10_p=-12.0) for k in range(20, 1020)])
    [incident] = queries.incidents(empty)
    assert incident["findings"] > 900
    page = asking(empty).get(f"/incidents/{incident['id']}").text
    [chart] = [json.loads(unescape(text)) for text in re.findall(r'data-chart="([^"]+)"', page)]
    assert chart["times"][0] <= START / NS + 20 * 60
    assert chart["times"][-1] == START / NS + 1019 * 60
    assert chart["times"] == sorted(set(chart["times"]))
    assert len(chart["times"]) <= drawing.POINTS + drawing.JOINED
    known = {t: v for t, v in zip(chart["times"], chart["values"], strict=True) if v is not None}
    assert all(v == (t - START / NS) / 60 for t, v in known.items())
    assert len(chart["low"]) == len(chart["times"])


def piece(first: int, last: int, values: list[float | None] | None = None) -> drawing.Json:
    """A finding whose series holds the times from `first` to before `last`."""
    times = [*range(first, last)]
    block = {"type": "series", "title": "t", "times": times, "values": values or [1.0] * len(times), "unit": ""}
    return {"subject": {}, "evidence": [block | {"expected": None, "marked": (last - 1, last)}]}


def test_a_gap_between_pieces_is_no_line() -> None:
    [block] = drawing.blocks(piece(0, 5), [piece(0, 5), piece(5, 8), piece(20, 22)])
    assert block["times"] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21]
    assert block["values"] == [*[1.0] * 8, None, 1.0, 1.0]
    assert block["marked"] == (4, 22)


def test_thinning_keeps_the_extremes() -> None:
    values: list[float | None] = [0.0] * 5000
    values[1234], values[4321], values[2500] = 9.0, -9.0, None
    [block] = drawing.blocks(piece(0, 5000, values), [piece(0, 5000, values)])
    assert len(block["times"]) <= drawing.POINTS
    told = dict(zip(block["times"], block["values"], strict=True))
    assert (told[1234], told[4321], told[2500]) == (9.0, -9.0, None)
    assert {0, 4999} <= told.keys()


@pytest.fixture
def empty_url(empty: Store) -> Iterator[str]:
    console = serve(make_app(empty))
    yield console.url
    console.stop()


def test_a_cell_leads_to_the_thing(empty_url: str, page: Any, empty: Store) -> None:
    watch(empty, 179, [unusual(k, "a", log10_p=-12.0) for k in range(100, 140)] + [unusual(170, "b")])
    page.goto(f"{empty_url}/map?span=3h")
    row = page.locator(".map tbody tr", has_text="a").first
    row.locator(".strip a").first.click()
    page.wait_for_url("**/things?**at=2026-03-02T07%3A39%3A00Z")
    assert page.locator("h1").inner_text() == "a"
    page.wait_for_selector(".chart canvas")
    assert page.locator(".strip .chosen").count() == 1
    page.get_by_title("Show all of the 3 hours").click()
    page.wait_for_url(lambda url: "at=" not in url)
    page.locator(".back").click()
    page.wait_for_url("**/map?span=3h")
    page.locator(".map .name").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/things?**")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_scale_grows_steadily_in_greyscale(url: str, page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{url}/map")
    read = "all => all.map(i => getComputedStyle(i).backgroundColor)"
    colors = [re.findall(r"\d+", text)[:3] for text in page.locator(".key i").evaluate_all(read)]
    grey = [0.2126 * int(r) + 0.7152 * int(g) + 0.0722 * int(b) for r, g, b in colors]
    steps = [b - a if scheme == "dark" else a - b for a, b in pairwise(grey)]
    assert len(grey) == 7
    assert min(steps) > 8


def test_map_and_thing_fit_a_phone(url: str, page: Any, store: Store) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/map?span=3h", f"/things?stream=fts&scope={endpoint(1).subject['scope']}&about={SITES[0]}"):
        page.goto(url + path)
        assert page.locator(".strip").count() > 0
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_a_forecast_is_marked_from_where_its_incident_began() -> None:
    [block] = drawing.blocks(piece(0, 40), since=12)
    assert block["marked"] == (12, 40)
    [block] = drawing.blocks(piece(20, 40), since=12)
    assert block["marked"] == (20, 40)
    [block] = drawing.blocks(piece(0, 40))
    assert block["marked"] == (39, 40)


def test_of_an_alarm_without_a_p_value_the_time_before_is_drawn_and_of_a_forecast_only_the_newest(empty: Store) -> None:
    silent = [msgspec.structs.replace(unusual(k, "a", log10_p=None), kind="down") for k in range(60, 90)]
    ahead = [msgspec.structs.replace(_ahead(k, "b"), kind="forecast") for k in range(60, 90)]
    budgets = Budgets(default=Rate(unranked_a_week=9))
    watch(empty, 89, [*silent, *ahead], msgspec.structs.replace(SETTINGS, budgets=budgets))
    client = asking(empty)
    drawn = {}
    for incident in queries.incidents(empty):
        page = client.get(f"/incidents/{incident['id']}").text
        chart = json.loads(unescape(re.findall(r'data-draw="series"[^>]*data-chart="([^"]*)"', page)[0]))
        drawn[incident["subjects"][0]["instance"]] = [round((t * NS - START) / MINUTE) for t in chart["times"]]
    assert drawn == {"a": [*range(49, 90)], "b": [*range(78, 90), 92]}


def test_an_incident_that_goes_on_as_something_odd_keeps_the_newest_forecast(empty: Store) -> None:
    ahead = [msgspec.structs.replace(_ahead(k, "b"), kind="forecast") for k in range(60, 70)]
    odd = [unusual(k, "b", log10_p=-12.0) for k in range(64, 90)]
    budgets = Budgets(default=Rate(unranked_a_week=9))
    watch(empty, 89, [*ahead, *odd], msgspec.structs.replace(SETTINGS, budgets=budgets))
    [incident] = queries.incidents(empty)
    assert incident["title"].startswith("b: load has shifted")
    page = asking(empty).get(f"/incidents/{incident['id']}").text
    titles = re.findall(r"<figcaption><h3>([^<]*)</h3>", page)
    assert titles == ["load", "load, foreseen on 2 Mar 2026, 07:10 UTC"]


def _ahead(k: int, host: str) -> Finding:
    """A forecast: its picture ends three minutes from now."""
    found = unusual(k, host, log10_p=None)
    (series,) = found.evidence
    assert isinstance(series, Series)
    times, band = [*series.times, START + (k + 3) * MINUTE], Band([0.0] * 13, [1.0] * 13, 0.95)
    later = msgspec.structs.replace(series, times=times, values=[*series.values, None], expected=band)
    return msgspec.structs.replace(found, evidence=(later,))


def test_what_all_names_of_a_stream_end_in_is_said_once(empty: Store) -> None:
    hosts = [f"n{k}.farm.example:9100" for k in range(3)]
    watch(empty, 179, [unusual(170 + k, host) for k, host in enumerate(hosts)])
    page = asking(empty).get("/map").text
    names = re.findall(r'class="name"[^>]*title="([^"]+)"><bdi>(.*?)</bdi>', page)
    assert sorted(short for _, short in names) == ["n0", "n1", "n2"]
    assert sorted(long for long, _ in names) == [f"{host} (health, {SCOPE})" for host in hosts]
    assert "All names end in <bdi>.farm.example:9100</bdi>." in page
