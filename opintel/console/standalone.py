"""A report as one HTML page that needs no server: the console's style sheet, its drawing of evidence and its words,
all inside the page.

Texts in it are untrusted and escaped, as everywhere in the console; the page may load nothing and send nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from markupsafe import Markup

from opintel.console import drawing
from opintel.console.render import environment
from opintel.evidence import Evidence, block_json

STYLES = ("vendor/uplot-1.6.32.min.css", "console.css")
SCRIPTS = ("vendor/uplot-1.6.32.min.js", "pictures.js", "console.js")


class PageSection(NamedTuple):
    """A part of a page."""

    heading: str
    lead: str
    """A sentence under the heading; may be empty."""
    blocks: Sequence[Evidence]
    """What is drawn there."""


def standalone_page(title: str, lead: str, sections: Sequence[PageSection]) -> str:
    """The page, with a list of its sections where there are several."""
    static = files("opintel.console") / "static"

    def inline(names: Sequence[str]) -> Markup:
        # no element ends inside: `</` stands in none of them but in strings, where `<\/` is the same
        return Markup("\n".join((static / name).read_text(encoding="utf-8") for name in names).replace("</", "<\\/"))

    drawn = [
        section._asdict()
        | {"blocks": [block_json(b) | {"draw": drawing.DRAWERS[type(b)](b, set())} for b in section.blocks]}
        for section in sections
    ]
    template = environment().get_template("standalone.html")
    return template.render(title=title, lead=lead, sections=drawn, styles=inline(STYLES), scripts=inline(SCRIPTS))
