"""The documentation as tests read it: sections, tables, fenced code, code spans and sentences of a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "deploy").glob("*/README.md")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")


class Fence(NamedTuple):
    """A fenced block of code."""

    language: str
    code: str
    line: int


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def fences(text: str) -> list[Fence]:
    return [Fence(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """The page without its fenced code."""
    return _FENCE.sub("", text)


def spans(text: str) -> list[str]:
    return _SPAN.findall(prose(text))


def links(text: str) -> list[str]:
    """The targets of its links and pictures."""
    return _LINK.findall(prose(text))


def sections(text: str) -> dict[str, str]:
    """Heading → what stands below it, up to the next heading of any level. Headings without their backticks."""
    found = re.split(r"^#+ (.*)$", re.sub(_FENCE, lambda m: m[0].replace("\n#", "\n\\#"), text), flags=re.MULTILINE)
    return {head.replace("`", ""): body for head, body in zip(found[1::2], found[2::2], strict=True)}


def anchors(text: str) -> set[str]:
    """What a link to one of its headings says behind `#`, as GitHub makes it."""
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in sections(text)}


def tables(text: str) -> list[list[dict[str, str]]]:
    """Its tables: rows of column → cell."""
    found = []
    for lines in re.findall(r"(?:^\|.*\|$\n?)+", prose(text), flags=re.MULTILINE):
        head, _, *rows = (_cells(line) for line in lines.strip().splitlines())
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def sentences(text: str) -> Iterator[str]:
    """Its sentences; one in a list or a table ends with its item or row."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) ?)", prose(text)):
        yield from re.split(r"(?<=[.:;?!])\s+(?=[A-Z`\[(])", " ".join(block.split()))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
