"""Certification: which lumisections of a run are good, from the `quality` findings of its subsystems.

The product that people exchange is the golden JSON of CMS: `{"381103": [[1, 21], [40, 52]]}`, both ends counted. Beside
it stand the defects: what was wrong, where, from which lumisection to which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from opintel.evidence import Table
from opintel.finding import Finding

FLAGGED = "Flagged"
"""Title of the table in a `quality` finding that lists what is bad: columns histogram, kind, log10 p, critical."""
NEAR = 2
"""A histogram is bad where it is flagged in a lumisection and in another one at most so many away: 2 of 3."""
AT_ONCE = -12.0
"""log10 p at which one lumisection alone is enough."""


class Flag(NamedTuple):
    """A bad histogram in a lumisection."""

    histogram: str
    kind: str
    log10_p: float | None
    """None: a fact without a p-value, such as a missing histogram."""
    critical: bool


class LumisectionQuality(NamedTuple):
    """A subsystem in one lumisection."""

    subsystem: str
    run: int
    lumisection: int
    status: str
    flags: tuple[Flag, ...]
    finding: str
    """Id of the `quality` finding."""
    model: str


class Defect(msgspec.Struct, frozen=True):
    """Something wrong in a range of lumisections."""

    bit: str
    """`SUBSYSTEM: KIND`, in the way of a defect bit."""
    subsystem: str
    histogram: str
    run: int
    first: int
    last: int
    log10_p: float | None
    """The least."""
    critical: bool
    evidence: list[str]
    """Ids of findings."""
    model: str
    """Hash of the settings and references in force."""


def quality_of(finding: Finding) -> LumisectionQuality:
    """What a `quality` finding says. Raises ValueError for another one."""
    if finding.kind != "quality":
        raise ValueError(f"expected a finding of kind quality, got one of kind {finding.kind}")
    subject = finding.subject
    flags = tuple(
        Flag(str(row[0]), str(row[1]), None if row[2] is None else float(row[2]), row[3] == "yes")
        for block in finding.evidence
        if isinstance(block, Table) and block.title == FLAGGED
        for row in block.rows
    )
    status = finding.summary.rpartition(": ")[2].partition(",")[0]
    number = int(subject["lumisection"])
    return LumisectionQuality(subject["scope"], int(subject["run"]), number, status, flags, finding.id, finding.model)


def certified(qualities: Iterable[LumisectionQuality]) -> dict[str, list[list[int]]]:
    """The golden JSON: run → ranges of lumisections in which every subsystem of the run was judged and none is bad."""
    found: dict[str, list[list[int]]] = {}
    for run, of_run in _by_run(qualities).items():
        subsystems = {one.subsystem for one in of_run}
        lasting = _lasting(of_run)
        good: dict[int, set[str]] = {}
        for one in of_run:
            bad = any(flag.critical and (one, flag) in lasting for flag in one.flags)
            if not bad and one.status != "insufficient":
                good.setdefault(one.lumisection, set()).add(one.subsystem)
        found[str(run)] = ranges(number for number, these in good.items() if these == subsystems)
    return found


def defects(qualities: Iterable[LumisectionQuality]) -> list[Defect]:
    """What was wrong, in order of run, subsystem, histogram and lumisection; a lumisection that does not exist does not
    end a defect.
    """
    found: list[Defect] = []
    for _, of_run in sorted(_by_run(qualities).items()):
        lasting = _lasting(of_run)
        numbers = {
            subsystem: sorted({one.lumisection for one in of_run if one.subsystem == subsystem})
            for subsystem in {one.subsystem for one in of_run}
        }
        hits: dict[tuple[str, str, str], list[tuple[LumisectionQuality, Flag]]] = {}
        for one in of_run:
            for flag in one.flags:
                if (one, flag) in lasting:
                    hits.setdefault((one.subsystem, flag.histogram, flag.kind), []).append((one, flag))
        for (subsystem, histogram, kind), these in sorted(hits.items()):
            order = {number: at for at, number in enumerate(numbers[subsystem])}
            stretch: list[tuple[LumisectionQuality, Flag]] = []
            for hit in [*sorted(these, key=lambda h: h[0].lumisection), None]:
                if stretch and (hit is None or order[hit[0].lumisection] - order[stretch[-1][0].lumisection] > NEAR):
                    found.append(_defect(subsystem, histogram, kind, stretch))
                    stretch = []
                if hit is not None:
                    stretch.append(hit)
    return found


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as ascending ranges, both ends counted.

    >>> ranges([5, 1, 2, 3, 9])
    [[1, 3], [5, 5], [9, 9]]
    """
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _by_run(qualities: Iterable[LumisectionQuality]) -> dict[int, list[LumisectionQuality]]:
    found: dict[int, list[LumisectionQuality]] = {}
    for one in sorted(qualities, key=lambda q: (q.run, q.lumisection, q.subsystem)):
        found.setdefault(one.run, []).append(one)
    return found


def _lasting(of_run: Sequence[LumisectionQuality]) -> set[tuple[LumisectionQuality, Flag]]:
    """The flags that count: without a p-value, of a tiny one, or with another one of the histogram near."""
    order: dict[str, dict[int, int]] = {}
    for one in of_run:
        places = order.setdefault(one.subsystem, {})
        places.setdefault(one.lumisection, len(places))
    where: dict[tuple[str, str], list[int]] = {}
    for one in of_run:
        for flag in one.flags:
            where.setdefault((one.subsystem, flag.histogram), []).append(order[one.subsystem][one.lumisection])
    return {
        (one, flag)
        for one in of_run
        for flag in one.flags
        if flag.log10_p is None
        or flag.log10_p <= AT_ONCE
        or any(
            0 < abs(at - order[one.subsystem][one.lumisection]) <= NEAR for at in where[one.subsystem, flag.histogram]
        )
    }


def _defect(subsystem: str, histogram: str, kind: str, stretch: Sequence[tuple[LumisectionQuality, Flag]]) -> Defect:
    p = [flag.log10_p for _, flag in stretch if flag.log10_p is not None]
    return Defect(
        f"{subsystem}: {kind}",
        subsystem,
        histogram,
        stretch[0][0].run,
        stretch[0][0].lumisection,
        stretch[-1][0].lumisection,
        min(p, default=None),
        any(flag.critical for _, flag in stretch),
        [one.finding for one, _ in stretch],
        stretch[-1][0].model,
    )
