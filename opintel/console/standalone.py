"""A report as one HTML page that needs no server: the console's style sheet, its drawing of evidence and its words,
all inside the page.

Texts in it are untrusted and escaped, as everywhere in the console; the page may load nothing and send nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

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
    """The page of a list of sections."""
    shown = [section._asdict() | {"blocks": drawn(section.blocks)} for section in sections]
    return standalone("standalone.html", title=title, lead=lead, sections=shown)


def standalone(template: str, **values: Any) -> str:
    """The page of a template that extends `standalone.html`; `title` and `lead` are among its values."""
    return environment().get_template(template).render(**values, styles=_inline(STYLES), scripts=_inline(SCRIPTS))


def drawn(blocks: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Blocks that are of no finding, ready to draw."""
    return [block_json(block) | {"draw": drawing.DRAWERS[type(block)](block, set())} for block in blocks]


def _inline(names: Sequence[str]) -> Markup:
    static = files("opintel.console") / "static"
    # no element ends inside: `</` stands in none of them but in strings, where `<\/` is the same
    return Markup("\n".join((static / name).read_text(encoding="utf-8") for name in names).replace("</", "<\\/"))
