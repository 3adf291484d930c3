"""The console in a real headless Chromium. The `page` fixture fails a test in which anything is logged as an error, a
foreign script ran or the security policy was violated.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from seed import ANSI, HOSTILE, OVERRIDE, SITES, endpoint, finding, judge, pictured

from opintel.console.words import visible
from opintel.evidence import Axis
from opintel.picture import image
from opintel.store import Store, queries

HOSTILE_PAGES = ("/", "/map", "/streams", "/findings")


def titled(store: Store, word: str) -> dict[str, Any]:
    """The incident whose title has a word, in full."""
    told = queries.incident(store, next(i["id"] for i in queries.incidents(store) if word in i["title"]))
    assert told
    return told


def test_hostile_texts_are_text(url: str, page: Any, store: Store) -> None:
    paths = [*HOSTILE_PAGES, *(f"/incidents/{i['id']}" for i in queries.incidents(store))]
    paths += [f"/findings/{f['id']}" for f in queries.findings(store)[-2:]]
    for path in paths:
        page.goto(url + path)
        page.wait_for_timeout(300)
        assert page.evaluate("[...document.querySelectorAll('main img, main script, main svg[onload]')].length") == 0
    page.goto(f"{url}/incidents/{titled(store, HOSTILE[0])['id']}")
    shown = page.locator("#evidence .texts code").all_inner_texts()
    page.locator("#evidence .keep summary").first.click()
    shown = page.locator("#evidence .texts code").all_inner_texts()
    assert shown == [visible(text) for text in HOSTILE]
    assert "[U+202E]" in shown[HOSTILE.index(OVERRIDE)]
    assert shown[HOSTILE.index(ANSI)] == "[U+001B][31mred[U+001B][0m[U+0007]"
    page.goto(f"{url}/streams")
    assert page.locator(".dead pre").all_inner_texts() == [visible(text) for text in HOSTILE]


def test_evidence_is_drawn(url: str, page: Any, store: Store) -> None:
    page.goto(f"{url}/incidents/{titled(store, SITES[0])['id']}")
    page.wait_for_selector(".chart canvas")
    box = page.locator(".chart canvas").bounding_box()
    heat = page.locator(".heat").bounding_box()
    assert box["height"] > 150
    assert box["y"] < 500
    assert heat["y"] < 500, "chart and heat map stand above the fold"
    painted = """() => { const c = document.querySelector('.chart canvas');
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0); }"""
    assert page.evaluate(painted)
    assert page.locator(".heat td.h10, .heat td.h9, .heat td.h8").count() > 3
    assert page.locator(".heat th.own").inner_text() == SITES[0].removesuffix(".example")
    page.locator(".heat td.h10").first.hover()
    assert "% failed" in page.locator("figure:has(.heat) .readout").inner_text()
    page.locator(".chart").hover()
    assert "UTC" in page.locator("figure:has(.chart) .readout").inner_text()
    link = page.get_by_role("link", name="The site's page")
    assert link.get_attribute("rel") == "noopener noreferrer"


def lab(colour: list[int]) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of sRGB, 0 to 255."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    rows = ((0.4124, 0.3576, 0.1805, 0.9505), (0.2126, 0.7152, 0.0722, 1.0), (0.0193, 0.1192, 0.9505, 1.089))
    shares = [sum(m * c for m, c in zip(row, linear, strict=False)) / row[3] for row in rows]
    x, y, z = (s ** (1 / 3) if s > 0.008856 else 7.787 * s + 16 / 116 for s in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pulls_of_both_signs_are_equally_strong(url: str, page: Any, store: Store, scheme: str) -> None:
    """Their distance in CIELAB from black, as Moreland's maps define strength, and from the colour of zero."""
    values = np.zeros((3, 3))
    values[1] = [-5, 0, 5]
    axis = Axis("x", "", 0.0, 3.0)
    block = image("m", values, axis, axis, of="pull", unit="σ", diverging=True)
    judge(store, 16, 16, {16: [finding(16, "endpoint", {"endpoint": "m"}, -9.0, "warning", "m deviates", [block])]})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{url}/findings/{next(f['id'] for f in queries.findings(store) if f['summary'] == 'm deviates')}")
    page.wait_for_selector("[data-draw=image] canvas")
    # the three colours of the middle row, one after another
    middle = """(box) => { const c = box.querySelector('canvas'), y = 24 + (box.clientHeight - 64) / 2;
        const row = c.getContext('2d').getImageData(50, y, box.clientWidth - 118, 1).data;
        const at = [1, 3, 5].map((k) => 4 * Math.floor(row.length * k / 24));
        return at.map((from) => [...row.slice(from, from + 3)]); }"""
    below, zero, above = map(lab, page.locator("[data-draw=image]").evaluate(middle))
    assert math.dist(below, above) > 80
    assert math.hypot(*below) == pytest.approx(math.hypot(*above), rel=0.05)
    assert min(math.dist(zero, below), math.dist(zero, above)) > 60


def test_histograms_and_maps_are_read_by_pointer_and_keys(url: str, page: Any, store: Store) -> None:
    judge(store, 16, 16, {16: [pictured(16)]})
    found = next(f for f in queries.findings(store) if "hot region" in f["summary"])
    page.goto(f"{url}/findings/{found['id']}")
    page.wait_for_selector("[data-draw=image] canvas")
    figures = page.locator("figure:has([data-draw])")
    assert figures.locator("canvas").count() == 5
    bins, cells = figures.nth(0), figures.nth(1)
    bins.locator("canvas").hover()
    assert re.fullmatch(
        r".*\ske: .*\sentries, expected .* \(.* to .*\), pull .*σ.*", bins.locator(".readout").inner_text()
    )
    bins.locator("[data-draw]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    was = bins.locator(".readout").inner_text()
    page.keyboard.press("ArrowRight")
    assert bins.locator(".readout").inner_text() not in ("", was)
    cells.locator("[data-draw]").focus()
    page.keyboard.press("ArrowUp")
    assert bins.locator(".readout").inner_text() == ""
    assert re.fullmatch(r"η .*, φ .*\srad: .*\sσ", cells.locator(".readout").inner_text())
    for picture in page.locator("[data-draw]").all():
        assert len(picture.get_attribute("aria-label")) > 60
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    fits = "(box) => box.querySelector('canvas').width === box.clientWidth * devicePixelRatio"
    assert all(picture.evaluate(fits) for picture in page.locator("[data-draw]").all())


def test_the_list_renews_itself(url: str, page: Any, store: Store) -> None:
    page.goto(url)
    assert page.locator(".incidents li.open").count() == 2
    page.evaluate("window.stayed = true")
    page.locator(".incidents a").last.focus()
    focused = page.evaluate("document.activeElement.id")
    judge(store, 16, 17, {k: [endpoint(k, SITES[5]), endpoint(k)] for k in (16, 17)})
    page.wait_for_selector(f".incidents li.open:has-text('{SITES[5]}')")
    assert page.evaluate("window.stayed"), "without a reload"
    assert page.evaluate("document.activeElement.id") == focused
    assert page.title().startswith("(3)")


def test_a_style_that_a_browser_sets_breaks_no_policy_when_the_page_renews_itself(
    url: str, page: Any, store: Store
) -> None:
    page.goto(f"{url}/incidents/{titled(store, SITES[0])['id']}")
    page.evaluate("document.querySelector('#note-confirm').style.height = '200px'")  # as dragging its corner does
    judge(store, 16, 16, {16: [endpoint(16)]})
    page.wait_for_selector("#note-confirm:not([style])", state="attached")


def test_what_is_being_written_is_kept(url: str, page: Any, store: Store) -> None:
    page.goto(f"{url}/incidents/{titled(store, SITES[0])['id']}")
    page.get_by_text("Known until", exact=True).click()
    page.locator("#pop-confirm summary").click()
    page.locator("#note-confirm").fill("asked the site")
    judge(store, 16, 16, {16: [endpoint(16)]})
    with page.expect_response(lambda answer: "seen=" in answer.url and answer.status == 200):
        pass
    page.wait_for_timeout(300)
    assert page.locator("#note-confirm").input_value() == "asked the site"
    page.keyboard.press("Escape")
    page.wait_for_selector("text=5 findings")


def test_operators_act_by_clicking(url: str, page: Any, store: Store) -> None:
    id = titled(store, SITES[0])["id"]

    def now() -> dict[str, Any]:
        told = queries.incident(store, id)
        assert told
        return told

    page.goto(f"{url}/incidents/{id}")
    page.locator("#who summary").click()
    page.locator("#by").fill("Ada <b>")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("#who .name:has-text('Ada <b>')")

    page.get_by_role("button", name="Acknowledge").click()
    page.wait_for_selector(".state.acknowledged")
    assert now()["state"] == "acknowledged"
    assert now()["events"][-1]["by"] == "Ada <b>"
    assert page.get_by_role("button", name="Acknowledge").count() == 0

    page.locator("#pop-confirm summary").click()
    page.locator("#note-confirm").fill("disk <i>full</i>")
    page.locator("#do-confirm").click()
    page.wait_for_selector(".chip.answer:has-text('confirmed')")
    assert now()["answer"] == "confirmed"
    assert now()["feedback"][-1]["note"] == "disk <i>full</i>"
    assert page.locator(".timeline q").first.inner_text().strip('“”"') == "disk <i>full</i>"

    page.locator("#pop-known summary").click()
    page.locator("#until").fill("2026-03-03T12:00")
    page.locator("#do-known-until").click()
    page.wait_for_selector(".notice:has-text('Known until 2026-03-03 12:00 UTC')")
    assert now()["known_until"] == "2026-03-03T12:00:00Z"

    page.get_by_text("What it says").click()
    assert "fails as destination" in page.locator("article.ticket pre").inner_text()
    page.get_by_role("button", name="Send this ticket").click()
    page.wait_for_selector(".chip.ticket.queued")
    assert [(t["sink"], t["state"]) for t in now()["tickets"]] == [("helpdesk", "queued")]
    assert [d["kind"] for d in now()["deliveries"]] == ["created"]

    page.locator("#pop-false summary").click()
    page.locator("#do-false-alarm").click()
    page.wait_for_selector(".state.closed")
    assert (now()["state"], now()["answer"]) == ("closed", "false-alarm")


def test_pages_renew_in_place(url: str, page: Any, store: Store) -> None:
    page.goto(f"{url}/incidents/{titled(store, SITES[0])['id']}")
    assert page.locator("#facts").get_by_text("Findings").first.inner_text() == "Findings 4"
    judge(store, 16, 16, {16: [endpoint(16)]})
    page.wait_for_selector("#facts h3:has-text('Findings 5')")
    assert page.locator(".chart canvas").count() == 1


def test_a_phone_needs_no_sideways_scrolling(url: str, page: Any, store: Store) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    paths = [*HOSTILE_PAGES, "/budgets"]
    paths += [f"/incidents/{i['id']}" for i in queries.incidents(store)]
    for path in paths:
        page.goto(url + path)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(200)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide == 0, (path, scheme)
