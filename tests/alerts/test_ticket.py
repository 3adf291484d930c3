from __future__ import annotations

from typing import Any

from alert_story import A_B, finding
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from opintel.alerts.ticket import LINE, clean, escape, render

HOSTILE = (
    "<script>alert(1)</script> [click](javascript:x) ![i](http://e/x.png) `code` **b** # h\n- item | a@b www.e.com"
)


def incident(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": "i1",
        "title": "Transfers fail",
        "severity": "warning",
        "state": "open",
        "quiet": False,
        "related": [],
        "sites": [],
        "stream": "fts",
        "start": "2020-01-01T00:00:00Z",
        "subjects": [A_B],
    }
    return plain | more


def test_a_ticket_says_what_where_since_when_and_shows_the_errors() -> None:
    ticket = render(incident(), [finding(1, A_B, texts=["TIMEOUT of 10 s"])])
    assert ticket.title == "[warning] Transfers fail"
    for part in ("2020-01-01T00:00:00Z", "source a.example, destination b.example", "3 x TIMEOUT of 10 s"):
        assert part in ticket.text


def test_hostile_text_stays_text_in_markdown() -> None:
    f = finding(1, {"source": HOSTILE, "destination": "b"}, summary=HOSTILE.replace("\n", " "), texts=[HOSTILE])
    ticket = render(incident(title=HOSTILE, subjects=[f.subject]), [f])
    html = MarkdownIt("commonmark", {"html": True, "linkify": False}).render(ticket.markdown)
    for tag in ("<script", "<a ", "<img", "<code"):
        assert tag not in html
    assert html.count("<strong>") == 4  # our own four headings of facts
    assert "\n" not in ticket.title


@given(st.text())
def test_clean_is_one_bounded_line_without_controls(text: str) -> None:
    line = clean(text)
    assert len(line) <= LINE
    assert line == " ".join(line.split())
    assert line.isprintable() or all(c.isprintable() or c.isspace() or ord(c) > 127 for c in line)
    assert not set(line) & {"\u202e", "\u2066", "\x1b", "\x00", "\u200b", "\ufeff"}


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=80))
def test_escaped_text_renders_as_itself(text: str) -> None:
    tokens = MarkdownIt("commonmark").parseInline(escape(text))
    shown = "".join(t.content for t in tokens[0].children or [] if t.type in ("text", "text_special"))
    assert shown == clean(text)


def test_a_ticket_is_bounded() -> None:
    findings = [finding(k, A_B, summary="x" * 5000, texts=["y" * 5000] * 50) for k in range(100)]
    ticket = render(incident(title="t" * 9000, subjects=[{"source": f"h{i}"} for i in range(500)]), findings)
    assert len(ticket.text) < 20_000
    assert "and 492 more" in ticket.text
