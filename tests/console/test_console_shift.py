"""The pages for shifters of data quality, over a store of two runs with faults."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import sqlalchemy as sa
from dqm.shift import DEAD, HOT, MAP, RUNS, SCRIPT, STREAM, open_shift
from seed import make_app
from starlette.testclient import TestClient

from opintel.console.app import serve
from opintel.console.lumisections import COLUMNS, JudgedRun, RunView, place_at, strips
from opintel.dqm.pipeline import PIPELINE
from opintel.dqm.quality.advice import FIRST_ACTION, TEST
from opintel.dqm.quality.certify import Flag, LumisectionQuality, standings
from opintel.site.certification import qualities, sign_offs
from opintel.store import Store
from opintel.store import schema as t

HERE = "http://127.0.0.1:8095"
PAGES = (
    "/dqm",
    "/dqm?run=381103&ls=13",
    f"/dqm/histogram?subsystem=Muon&path={quote(HOT, safe='')}",
    f"/dqm/histogram?subsystem=Muon&path={quote(MAP)}",
    "/dqm/summary",
)


@pytest.fixture
def shift(tmp_path: Path) -> Iterator[Store]:
    store = open_shift(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def shifter(shift: Store) -> TestClient:
    return TestClient(make_app(shift, shifts=[STREAM]), HERE, headers={"Origin": HERE}, follow_redirects=False)


def read(client: TestClient, path: str) -> str:
    """A page as people read it."""
    answer = client.get(path)
    assert answer.status_code == 200, path
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def sign(client: TestClient, **about: object) -> Any:
    key = re.search(r'name="key" value="([^"]+)"', client.get("/dqm").text)
    assert key
    said = {"stream": STREAM, "run": 381103, "subsystem": "Calo", "first": 9, "last": 10, "verdict": "good"}
    return client.post("/dqm/sign-off", data={"key": key[1], **said, **about})


def test_no_page_where_nothing_is_certified(client: TestClient) -> None:
    assert client.get("/dqm").status_code == 404
    assert "Data quality" not in client.get("/").text


@pytest.mark.parametrize("path", PAGES)
def test_hostile_names_are_text_under_the_policy(shifter: TestClient, path: str) -> None:
    answer = shifter.get(path)
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert "<script>window" not in answer.text


def test_the_newest_run_at_a_glance(shifter: TestClient) -> None:
    page = shifter.get("/dqm").text
    words = read(shifter, "/dqm")
    assert "Run 381103: 5 of 12 lumisections certified" in words
    assert "Certified: 1–4, 7." in words
    strip = dict(re.findall(r"<title>([^,<]+, [^<]+)</title><rect class=\"q-(\w+)\"", page))
    assert strip["Calo, 9 to 14: bad"] == "bad"
    assert strip["Muon, 13: insufficient"] == "insufficient"
    assert strip["all subsystems, 7: good"] == "good"
    assert "all subsystems, 5: good" not in strip, "it does not exist"
    assert "since run 381103 lumisection 9" in words
    assert words.count("See whether high voltage and read-out of the region are on") == 2
    assert words.index(HOT) < words.index(f"{DEAD} is dead"), "the most surprising first"
    assert "Run 381101: 7 of 12 lumisections certified" in read(shifter, "/dqm?run=381101")
    assert "No incident in this run." in read(shifter, "/dqm?run=381101")


@pytest.mark.parametrize("query", ["run=7", "run=x", "run=381103&ls=5", "stream=fts", "ls=99999999999"])
def test_what_does_not_exist_counts_as_not_given(shifter: TestClient, query: str) -> None:
    assert "Defects" in read(shifter, f"/dqm?{query}")


def test_a_lumisection_by_subsystem(shifter: TestClient) -> None:
    words = read(shifter, "/dqm?run=381103&ls=13")
    assert f"bad Calo 2 of 2 judged, 1 bad Flagged As By chance Spoils it {DEAD} dead" in words
    assert "insufficient Muon 0 of 3 judged" in words
    assert "Hits insufficient 1 2 0 0" in words


def test_a_page_that_has_not_changed_is_not_sent_again(shifter: TestClient) -> None:
    seen = re.search(r'"seen": "(\w+)"', shifter.get("/dqm").text)
    assert seen
    assert shifter.get("/dqm", params={"seen": seen[1]}, headers={"HX-Request": "true"}).status_code == 204
    assert sign(shifter).status_code == 303
    assert shifter.get("/dqm", params={"seen": seen[1]}, headers={"HX-Request": "true"}).status_code == 200


def test_a_histogram_with_its_ratio_and_history(shifter: TestClient) -> None:
    path = f"/dqm/histogram?{urlencode({'subsystem': 'Calo', 'path': DEAD})}"
    words = read(shifter, path)
    assert "Newest finding dead" in words
    assert f"{DEAD}: ratio" in words
    assert "flagged in 6 of 12 lumisections, from 9 to 14" in words
    assert "flagged in 0 of 12 lumisections" in words, "of the run before"
    assert shifter.get(path).text.count('data-draw="histogram"') == 2
    assert shifter.get(f"/dqm/histogram?{urlencode({'subsystem': 'Muon', 'path': MAP})}").text.count('"image"') == 2


def test_a_histogram_that_is_not_there(shifter: TestClient) -> None:
    assert shifter.get("/dqm/histogram?subsystem=Tracker&path=x").status_code == 404
    quiet = read(shifter, "/dqm/histogram?subsystem=Calo&path=Calo/Digis/time")
    assert "Newest finding" not in quiet
    assert "flagged in 0 of 12 lumisections" in quiet


def test_a_sign_off_changes_what_is_certified(shifter: TestClient, shift: Store) -> None:
    shifter.cookies.set("opintel_operator", "Ada%20L")
    answer = sign(shifter, first=9, last=14, comment=f"known {SCRIPT}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dqm?stream=dqm&run=381103")
    (said,) = sign_offs(shift, 381103)
    assert (said.by, said.verdict, said.first, said.last, said.comment) == ("Ada L", "good", 9, 14, f"known {SCRIPT}")
    words = read(shifter, "/dqm")
    assert "Run 381103: 6 of 12 lumisections certified" in words, "in 11 Muon is good too"
    assert "Calo 9–14 good" in words
    sign(shifter, first=9, last=14, verdict="as judged")
    assert "Run 381103: 5 of 12 lumisections certified" in read(shifter, "/dqm")
    assert len(sign_offs(shift)) == 2, "what was said stays"


@pytest.mark.parametrize(
    ("about", "status"),
    [
        ({"key": "guess"}, 403),
        ({"first": 11}, 409),
        ({"first": "x"}, 409),
        ({"last": "9" * 30}, 409),
        ({"subsystem": "Tracker"}, 409),
        ({"run": 7}, 409),
        ({"verdict": "fine"}, 409),
        ({"stream": "fts"}, 409),
        ({"comment": "x" * 20_000}, 413),
    ],
)
def test_a_sign_off_of_nothing_is_refused(
    shifter: TestClient, shift: Store, about: dict[str, object], status: int
) -> None:
    assert sign(shifter, **about).status_code == status
    assert sign_offs(shift) == []


def test_a_sign_off_of_another_site_is_refused(shifter: TestClient, shift: Store) -> None:
    shifter.headers["Origin"] = "http://attacker.example"
    assert sign(shifter).status_code == 403
    assert shifter.get("/dqm/sign-off").status_code == 405
    assert sign_offs(shift) == []


def test_a_finding_that_is_no_state_of_a_lumisection_hides_none(shifter: TestClient, shift: Store) -> None:
    with shift.write() as connection:
        row = connection.execute(sa.select(t.finding).where(t.finding.c.kind == "quality").limit(1)).one()
        content = row.content.replace('"lumisection":"', '"lumisection":"x')
        connection.execute(sa.insert(t.finding).values(**{**row._mapping, "id": "other", "content": content}))
    assert "Run 381103: 5 of 12 lumisections certified" in read(shifter, "/dqm")
    assert len(qualities(shift)) == 48


def test_the_summary_for_the_log_of_the_shift(shifter: TestClient) -> None:
    sign(shifter, comment="masked\nsince noon")
    text = html.unescape(re.search(r"<pre[^>]*>(.*?)</pre>", shifter.get("/dqm/summary").text, re.DOTALL)[1])  # type: ignore[index]
    lines = text.splitlines()
    assert lines[0].startswith("Shift summary, dqm, ")
    assert "Run 381101: " not in text, "it ended more than eight hours before"
    assert '  golden JSON: {"381103":[[1,4],[7,7]]}' in lines
    assert "  Muon: 6 good, 1 insufficient, 5 bad" in lines
    assert "  signed off good: Calo 9 to 10 by operator: masked since noon" in lines
    assert "Incidents: 3" in lines
    assert f"- warning, open since run 381103 lumisection 9: {DEAD} is dead at charge 16 to 24 ke" in lines
    assert "Run 381101: " in shifter.get("/dqm/summary?hours=168").text


def test_each_kind_of_finding_has_its_test_and_its_first_action() -> None:
    alarming = PIPELINE.kinds.keys() - {"quality", "insufficient"}
    assert alarming == TEST.keys() == FIRST_ACTION.keys()


def test_a_long_run_is_drawn_by_the_worst_of_neighbours() -> None:
    flag = Flag("x", "dead", -30.0, True)
    qualities = [LumisectionQuality("Calo", 5, n, "good", (flag,) * (n == 777), str(n), "m") for n in range(1, 2001)]
    run = JudgedRun(5, 0, 2000, {n: (n - 1, n) for n in range(1, 2001)}, qualities)
    drawn = strips(RunView(run, [], standings(qualities), [[1, 776], [778, 2000]], []))
    assert (drawn["columns"], drawn["width"]) == (COLUMNS, 5)
    whole, calo = drawn["rows"]
    assert [(c["x"], c["number"], c["to"]) for c in whole["cells"] if c["status"] == "bad"] == [(155, 776, 780)]
    assert [(c["x"], c["width"], c["status"]) for c in calo["cells"]] == [
        (0, 155, "good"),
        (155, 1, "bad"),
        (156, 244, "good"),
    ]
    assert len(drawn["ticks"]) < 15
    assert place_at({5: run}, 776) == (5, 777)
    assert place_at({5: run}, -1) is None


def test_in_a_browser(shift: Store, chromium: Any, request: pytest.FixtureRequest) -> None:
    console = serve(make_app(shift, shifts=[STREAM]))
    request.addfinalizer(console.stop)
    page = request.getfixturevalue("page")
    page.set_viewport_size({"width": 420, "height": 900})
    for path in PAGES:
        page.goto(console.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 420, path
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto(f"{console.url}/dqm")
    page.locator(".states .whole .strip a").nth(5).click()
    page.wait_for_selector("text=Lumisection 8")
    assert page.locator(".strip .chosen").count() == 3
    page.keyboard.press("Tab")
    page.locator("#ls-after").press("Enter")
    page.wait_for_selector("text=Lumisection 9")
    page.locator("#pop-sign summary").click()
    page.get_by_label("good").check()
    page.locator("#sign-comment").fill("masked")
    page.get_by_role("button", name="Sign off as operator").click()
    page.wait_for_selector("text=Signed off")
    assert page.locator(".strip .during").count() == 1
    assert [(said.first, said.last, said.comment) for said in sign_offs(shift)] == [(9, 9, "masked")]
    assert len(RUNS) == page.locator(".filters .pills a").count()
