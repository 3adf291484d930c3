"""The page of a what-if: its parts, its numbers, and texts that try to break out of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from decisions import EMIT, PIPELINE, WIDTH, finding, report

from opintel.backfill.report import WhatIf, what_if_json
from opintel.cli.what_if_page import LISTED, what_if_page
from opintel.finding import NS

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, the cells of tables by id, and texts by id; complains of what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        id = dict(attrs).get("id") or ""
        table = next((name for kind, name in reversed(self._open) if kind == "table" and name), "")
        if tag == "tr" and table:
            self.tables.setdefault(table, []).append([])
        if tag in ("td", "th") and table:
            self.tables[table][-1].append("")
        if tag not in VOID:
            self._open.append((tag, id))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, id in self._open:
            if id:
                self.texts[id] = self.texts.get(id, "") + data
        table = next((name for kind, name in reversed(self._open) if kind == "table" and name), "")
        if table and any(kind in ("td", "th") for kind, _ in self._open):
            self.tables[table][-1][-1] += data

    def ids(self) -> list[str]:
        return [id for _, given in self.tags if (id := given.get("id"))]


def page(found: WhatIf) -> Page:
    return Page(what_if_page(found, PIPELINE.naming))


STORY = {
    "here": [*(finding(k) for k in range(4, 8)), finding(20, "new.example"), finding(20, "say.example", -3.0)],
    "there": [
        *(finding(k) for k in range(3, 8)),
        *(finding(12, f"gone{n}.example") for n in range(2)),
        finding(20, "say.example", -3.5),
    ],
}


@pytest.fixture(scope="module")
def told() -> WhatIf:
    return report(STORY["here"], STORY["there"], ticket="auto")


def test_the_page_has_each_part_and_loads_nothing(told: WhatIf) -> None:
    html = what_if_page(told, PIPELINE.naming)
    shown = Page(html)
    assert [tag for tag, _ in shown.tags].count("h1") == 1
    parts = {given.get("aria-labelledby") for tag, given in shown.tags if tag == "section"}
    assert parts == {f"{part}-h" for part in ("numbers", "p", "time", "detect", "each", "found")}
    assert len(shown.ids()) == len(set(shown.ids()))
    refers = {given.get(name) for _, given in shown.tags for name in ("aria-labelledby",) if given.get(name)}
    assert refers <= set(shown.ids())
    assert all(str(given["href"]).startswith("#") for _, given in shown.tags if given.get("href"))
    assert not any(given.get("src") for _, given in shown.tags)
    policy = [given["content"] for tag, given in shown.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy[0]).startswith("default-src 'none'")
    drawn = [given["data-draw"] for _, given in shown.tags if "data-draw" in given]
    assert drawn == ["histogram"] * 2 + ["series"] * 4  # p-values before and after; each incident's largest finding


def test_its_numbers_are_those_of_the_json(told: WhatIf) -> None:
    plain, shown = json.loads(json.dumps(what_if_json(told, PIPELINE))), page(told)
    rows = {row[0]: row[1:] for row in shown.tables["numbers"][1:]}
    here, there, changed = (len(plain[name]) for name in ("only_here", "only_there", "changed"))
    assert rows["findings"] == [str(n) for n in (8, 6, there, here)] + [f"{changed} changed"]
    assert (here, there, changed) == (1, 3, 1)
    both = plain["incidents"]["both"]
    new, gone = (len(plain["incidents"][name]) for name in ("only_here", "only_there"))
    assert rows["incidents"] == [str(n) for n in (gone + len(both), new + len(both), gone, new)] + [
        "1 detected earlier or later"
    ]
    assert [(p["started_later"], p["opened_later"]) for p in both] == [(WIDTH / NS, WIDTH / NS)]
    assert [row[-1] for row in shown.tables["moved"][1:]] == ["10 min later"]
    for name, row in zip(("log", "pager"), shown.tables["tickets"][1:], strict=True):
        [sink] = [one for one in plain["tickets"] if one["sink"] == name]
        order = [sink[side][what] for what in ("proposed", "sent", "messages") for side in ("there", "here")]
        assert row == [name, *map(str, order)]
        assert (sink["here"]["sent"], sink["there"]["sent"]) == (2, 3)
    for name in ("only-here", "only-there", "changed"):
        assert len(shown.tables[name]) - 1 == len(plain[name.replace("-", "_")])
    assert shown.tables["changed"][1][5] == "p-value"
    assert plain["pages_a_week"] == {"here": None, "there": None}
    assert "too short for a rate" in shown.texts["pages"]


def test_it_says_what_changes_and_draws_both_thresholds(told: WhatIf) -> None:
    shown = page(told)
    html = what_if_page(told, PIPELINE.naming)
    assert "What if fts.failures.emit were −9?" in html
    assert "detectors.fts.failures.emit from −4 to −9" in html
    assert "2 Mar 2026, 06:00 to 2 Mar 2026, 11:00 UTC (5 h), 1,234 rows judged, from /data/archive" in html
    assert shown.texts["verdict"] == (
        "2 incidents would not be there, 1 incident would be new, 1 incident would be detected later."
    )
    before, after = (json.loads(str(g["data-chart"])) for _, g in shown.tags if g.get("data-draw") == "histogram")
    assert [region["kind"] for drawn in (before, after) for region in drawn["regions"]] == [
        "emit −4",
        "emit −9",
    ]
    assert [drawn["edges"][drawn["regions"][0]["last"] + 1] for drawn in (before, after)] == [4.0, 9.0]
    assert [sum(drawn["observed"]) for drawn in (before, after)] == [8, 6]
    assert "only before" in shown.texts["timeline"]
    assert "same, detected 10 min later" in shown.texts["timeline"]


def test_what_differs_in_nothing_says_so() -> None:
    found = report(STORY["here"], STORY["here"])
    shown = page(found)
    assert not found.differs
    assert shown.texts["verdict"] == "Nothing differs: the same findings, the same incidents, the same tickets."
    assert "moved" not in shown.tables
    assert not any(name in shown.tables for name in ("only-here", "only-there", "changed"))


def test_nothing_at_all_is_a_page_too() -> None:
    shown = page(report([], [], windows=0))
    assert "no window that both judged" in shown.texts["main"]
    assert "No incident, before or after." in shown.texts["main"]


def test_another_build_is_held_against_the_archive() -> None:
    more = {"settings": [], "against_archive": True, "unread": 3}
    shown = page(report(STORY["here"], STORY["there"], more=more))
    assert "What this build finds in the archive of fts" in shown.texts["main"]
    assert "this build against what was found live" in shown.texts["main"]
    assert "3 records of the archived findings could not be read" in shown.texts["main"]


def test_a_week_gives_a_rate_of_pages() -> None:
    found = report([], [finding(3)], windows=1008)
    assert (found.pages_a_week(0), found.pages_a_week(1)) == (0.0, 1.0)
    assert "1 before, 0 after" in page(found).texts["pages"]


SCRIPT = "</script><script>window.pwned=1</script>"
IMAGE = '<img src=x onerror="window.pwned=1">\'">'


def test_hostile_texts_stay_texts_and_are_cut() -> None:
    """Of subjects, summaries, settings and the archive's name."""
    bad = [
        finding(k, f"{SCRIPT}{k}", summary=f"{IMAGE} \u202egnp.exe \u2067abc " + "x" * 10_000 if k % 2 else SCRIPT)
        for k in range(3, 9)
    ]
    other = [finding(k, f"{IMAGE}{k}" + "y" * 1000, -9.0 - k) for k in range(3, 9)]
    more = {"archive": SCRIPT, "settings": [EMIT._replace(was=[SCRIPT], now=IMAGE)]}
    html = what_if_page(report(bad, other, more=more), PIPELINE.naming)
    shown = Page(html)
    plain = [(tag, set(given)) for tag, given in page(report([], [])).tags if tag in ("script", "img")]
    assert [(tag, set(given)) for tag, given in shown.tags if tag in ("script", "img")] == plain
    assert not any(name.startswith("on") for _, given in shown.tags for name in given)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
    assert "[U+202E]gnp.exe" in html
    assert "x" * 400 not in html
    assert "y" * 400 not in html


def test_long_lists_are_cut_and_say_so() -> None:
    many = [finding(3 + n % 20, f"h{n}.example", -5.0) for n in range(LISTED + 5)]
    html = what_if_page(report(many, []), PIPELINE.naming)
    assert len(Page(html).tables["only-here"]) == LISTED + 1
    assert f"The first {LISTED} of {LISTED + 5}" in html
