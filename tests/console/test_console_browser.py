"""The console in a real headless Chromium. The `page` fixture fails a test in which anything is logged as an error, a
foreign script ran or the security policy was violated.
"""

from __future__ import annotations

from typing import Any

import pytest
from seed import ANSI, HOSTILE, OVERRIDE, SITES, endpoint, judge

from opintel.console.words import visible
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(url: str, page: Any, store: Store, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    paths = [*HOSTILE_PAGES, "/budgets"]
    paths += [f"/incidents/{i['id']}" for i in queries.incidents(store)]
    for path in paths:
        page.goto(url + path)
        page.wait_for_timeout(200)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, path
