"""The text of a ticket: an incident in words, as plain text and as Markdown.

Everything in it may have been written by anyone whose messages reach a stream, so control characters and bidirectional
overrides go, Markdown and HTML signs are escaped, and all is capped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from opintel.alerts import explained
from opintel.finding import Finding, rfc3339

LINE = 300
"""Characters of one untrusted text."""
FINDINGS_LISTED = 8
RELATED_LISTED = 4
STAYS = "there are no more findings, but none says that it is back; it may stay at a new level, so a person closes it"
"""Of an incident that is live though none of its alerts fires."""
BLOCKS = 12
"""Blocks of evidence in one ticket."""

_MARKDOWN = frozenset("\\`*_{}[]()#+-.!|~<>&@:/=^$\"'")


class Ticket(NamedTuple):
    """`title` is one line; `text` is plain, `markdown` says the same."""

    title: str
    text: str
    markdown: str


def render(incident: dict[str, Any], findings: Sequence[Finding]) -> Ticket:
    """The ticket of an incident (in its JSON form), explained by `findings`, the most telling first."""
    title = clean(f"[{incident['severity']}] {incident['title']}")
    facts = [
        ("State", f"{incident['state']}: {STAYS}" if incident["quiet"] else incident["state"]),
        ("Stream", incident["stream"]),
        ("Began", incident["start"]),
        ("Incident", incident["id"]),
        *(("Site", _site(owner)) for owner in incident["sites"]),
        *(
            (
                f"Related, {other['place']}",
                f"{other['stream']}: {other['title']} (since {other['start']}, {other['id']})",
            )
            for other in incident["related"][:RELATED_LISTED]
        ),
    ]
    subjects = [", ".join(f"{k} {v}" for k, v in s.items()) for s in incident["subjects"][:FINDINGS_LISTED]]
    more = len(incident["subjects"]) - len(subjects)
    plain = [title, "", *(f"{name}: {clean(value)}" for name, value in facts), "", "About:"]
    marked = [
        f"# {escape(title)}",
        "",
        *(f"- **{name}:** {escape(value)}" for name, value in facts),
        "",
        "## About",
        "",
    ]
    for subject in subjects:
        plain.append(f"  {clean(subject)}")
        marked.append(f"- {escape(subject)}")
    if more > 0:
        plain.append(f"  and {more} more")
        marked.append(f"- and {more} more")
    plain += ["", "What was found:"]
    marked += ["", "## What was found", ""]
    for finding in findings[:FINDINGS_LISTED]:
        line = f"{rfc3339(finding.window.start)} to {rfc3339(finding.window.end)}: {finding.summary}"
        plain.append(f"  {clean(line)}")
        marked.append(f"- {escape(line)}")
    for heading, lines in _explained(findings):
        plain += ["", f"{clean(heading)}:", *(f"  {clean(line)}" for line in lines)]
        marked += ["", f"## {escape(heading)}", "", *(f"- {escape(line)}" for line in lines)]
    return Ticket(title, "\n".join(plain) + "\n", "\n".join(marked) + "\n")


def _site(owner: dict[str, str]) -> str:
    unit = f", GGUS support unit {owner['support_unit']}" if owner["support_unit"] else ""
    return f"{owner['site']} ({owner['host']}{unit})"


def clean(text: str, limit: int = LINE) -> str:
    """One line of untrusted text: no control, format or surrogate characters, at most `limit` characters.

    >>> clean("a\\x1b[31m\\u202eb\\nc")
    'a [31m b c'
    """
    head = text[: 4 * limit]
    shown = "".join(" " if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c for c in head)
    line = " ".join(shown.split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def escape(text: str) -> str:
    """The same, with every sign that Markdown or HTML reads escaped.

    >>> escape("<b> [x](http://e)")
    '&lt;b\\\\> \\\\[x\\\\]\\\\(http\\\\:\\\\/\\\\/e\\\\)'
    """
    signs = {"<": "&lt;", "&": "&amp;"}
    return "".join(signs.get(c, "\\" + c if c in _MARKDOWN else c) for c in clean(text))


def _explained(findings: Sequence[Finding]) -> list[tuple[str, list[str]]]:
    """What the evidence says: the first block of each title, and none that says nothing."""
    said: dict[str, list[str]] = {}
    for block in (block for finding in findings for block in finding.evidence):
        if len(said) < BLOCKS and block.title not in said and (lines := explained.lines(block)):
            said[block.title] = lines
    return list(said.items())
