"""Two backfills of one stream compared: what only one of them finds, and what both find and say otherwise.

A finding's id depends on the settings in force, so findings are paired by what they are about: detector, kind, subject
and window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from opintel.finding import Finding, Window, same_content

_About = tuple[str, str, tuple[tuple[str, str], ...], Window, int]


class FindingsCompared(NamedTuple):
    """By window end, then what they are about."""

    only_here: list[Finding]
    only_there: list[Finding]
    changed: list[tuple[Finding, Finding]]
    """(here, there): other content, ids and models apart."""


def compare(here: Iterable[Finding], there: Iterable[Finding]) -> FindingsCompared:
    """What two backfills say.

    >>> from opintel.finding import Effect, Window
    >>> said = dict(detector="d", kind="k", subject={"key": "a"}, log10_p=-5.0, basis="exact", severity="warning",
    ...             summary="", evidence=())
    >>> one, two = (Finding(id=m, model=m, window=Window(0, 60), effect=Effect(2.0, "s"), **said) for m in "mn")
    >>> compare([one], [two])
    FindingsCompared(only_here=[], only_there=[], changed=[])
    >>> compared = compare([one], [])
    >>> compared.only_here == [one], compared.only_there
    (True, [])
    """
    mine, others = _by_subject(here), _by_subject(there)
    return FindingsCompared(
        [mine[about] for about in sorted(mine.keys() - others.keys(), key=_order)],
        [others[about] for about in sorted(others.keys() - mine.keys(), key=_order)],
        [
            (mine[about], others[about])
            for about in sorted(mine.keys() & others.keys(), key=_order)
            if not _same(mine[about], others[about])
        ],
    )


def _by_subject(findings: Iterable[Finding]) -> dict[_About, Finding]:
    """Several about the same are numbered, in order of onset."""
    found: dict[_About, Finding] = {}
    seen: Counter[tuple[str, str, tuple[tuple[str, str], ...], Window]] = Counter()
    for finding in sorted(findings, key=lambda f: (f.window.end, f.onset or 0, f.summary)):
        about = (finding.detector, finding.kind, tuple(sorted(finding.subject.items())), finding.window)
        found[*about, seen[about]] = finding
        seen[about] += 1
    return found


def _order(about: _About) -> tuple[int, _About]:
    return about[3].end, about


def _same(one: Finding, other: Finding) -> bool:
    return same_content(msgspec.structs.replace(one, id=other.id, model=other.model), other, tolerance=0.0)
