"""Certification: which lumisections of a run are good, from the `quality` findings of its subsystems and from what
shifters signed off.

The product that people exchange is the golden JSON of CMS: `{"381103": [[1, 21], [40, 52]]}`, both ends counted. Beside
it stand the defects: what was wrong, where, from which lumisection to which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

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


Verdict = Literal["good", "bad", "as judged"]


class SignOff(msgspec.Struct, frozen=True):
    """What a shifter says of a subsystem in a range of lumisections. Of those about a lumisection the last one counts;
    `as judged` takes back what was said before."""

    subsystem: str
    run: int
    first: int
    last: int
    """Included."""
    verdict: Verdict
    by: str
    at: str
    """RFC 3339."""
    comment: str


class Standing(NamedTuple):
    """A subsystem in a lumisection as certification takes it."""

    status: str
    """good, minor, bad or insufficient. A critical flag that does not last is minor."""
    signed: SignOff | None
    """Who said so, where it was not the judge."""
    finding: str
    """Id of the `quality` finding; empty where the subsystem has none in this lumisection."""


SEVERITY = ("good", "minor", "insufficient", "bad")
"""States, from the one that spoils least; good and minor are certified."""
CERTIFIED = SEVERITY[:2]


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
    """Hash of the settings and the versions of references in force."""
    overrides: list[SignOff] = []
    """What shifters signed off about the subsystem in this range, the oldest first."""


def quality_of(finding: Finding) -> LumisectionQuality:
    """What a `quality` finding says. Raises ValueError for one that does not say it, and for another one."""
    if finding.kind != "quality":
        raise ValueError(f"expected a finding of kind quality, got one of kind {finding.kind}")
    subject = finding.subject
    rows = [row for b in finding.evidence if isinstance(b, Table) and b.title == FLAGGED for row in b.rows]
    try:
        flags = tuple(
            Flag(str(name), str(kind), None if p is None else float(p), critical == "yes")
            for name, kind, p, critical in rows
        )
        place = subject["scope"], int(subject["run"]), int(subject["lumisection"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"finding {finding.id}: expected the state of a lumisection, got {error}") from error
    status = finding.summary.rpartition(": ")[2].partition(",")[0]
    return LumisectionQuality(*place, status, flags, finding.id, finding.model)


def standings(
    qualities: Iterable[LumisectionQuality], sign_offs: Iterable[SignOff] = ()
) -> dict[tuple[int, int, str], Standing]:
    """(run, lumisection, subsystem) → its standing. Sign-offs, the oldest first, change what exists only."""
    judged: dict[tuple[int, int, str], Standing] = {}
    numbers: dict[int, list[int]] = {}
    for run, of_run in _by_run(qualities).items():
        lasting = _lasting(of_run)
        numbers[run] = sorted({one.lumisection for one in of_run})
        for one in of_run:
            status = "minor" if one.flags else "good"
            if any(flag.critical and (one, flag) in lasting for flag in one.flags):
                status = "bad"
            elif one.status == "insufficient":
                status = "insufficient"
            known = judged.get(place := (run, one.lumisection, one.subsystem))
            if known is None or SEVERITY.index(status) > SEVERITY.index(known.status):
                judged[place] = Standing(status, None, one.finding)
    found = dict(judged)
    for sign_off in sign_offs:
        for number in numbers.get(sign_off.run, ()):
            if not sign_off.first <= number <= sign_off.last:
                continue
            place = (sign_off.run, number, sign_off.subsystem)
            before = judged.get(place)
            if sign_off.verdict != "as judged":
                found[place] = Standing(sign_off.verdict, sign_off, before.finding if before else "")
            elif before:
                found[place] = before
            else:
                found.pop(place, None)
    return found


def certified(qualities: Iterable[LumisectionQuality], sign_offs: Iterable[SignOff] = ()) -> dict[str, list[list[int]]]:
    """The golden JSON: run → ranges of lumisections in which every subsystem of the run was judged, or signed off, and
    none is bad.
    """
    known = list(qualities)
    subsystems: dict[int, set[str]] = {}
    for one in known:
        subsystems.setdefault(one.run, set()).add(one.subsystem)
    good: dict[int, dict[int, set[str]]] = {run: {} for run in sorted(subsystems)}
    for (run, number, subsystem), standing in standings(known, sign_offs).items():
        if standing.status in CERTIFIED:
            good[run].setdefault(number, set()).add(subsystem)
    return {
        str(run): ranges(number for number, these in of_run.items() if these >= subsystems[run])
        for run, of_run in good.items()
    }


def defects(qualities: Iterable[LumisectionQuality], sign_offs: Iterable[SignOff] = ()) -> list[Defect]:
    """What was wrong, in order of run, subsystem, histogram and lumisection. Neither a lumisection that does not exist
    nor another kind of trouble with the same histogram ends a defect. Where a shifter signed off a subsystem as bad,
    that is a defect of no histogram.
    """
    known, signed = list(qualities), list(sign_offs)
    found = _signed_bad(known, signed)
    for _, of_run in sorted(_by_run(known).items()):
        lasting = _lasting(of_run)
        numbers = {
            subsystem: sorted({one.lumisection for one in of_run if one.subsystem == subsystem})
            for subsystem in {one.subsystem for one in of_run}
        }
        hits: dict[tuple[str, str, bool], list[tuple[LumisectionQuality, Flag]]] = {}
        for one in of_run:
            for flag in one.flags:
                if (one, flag) in lasting:
                    hits.setdefault((one.subsystem, flag.histogram, flag.kind == "missing"), []).append((one, flag))
        for (subsystem, histogram, _), these in sorted(hits.items()):
            order = {number: at for at, number in enumerate(numbers[subsystem])}
            stretch: list[tuple[LumisectionQuality, Flag]] = []
            for hit in [*sorted(these, key=lambda h: h[0].lumisection), None]:
                if stretch and (hit is None or order[hit[0].lumisection] - order[stretch[-1][0].lumisection] > NEAR):
                    found.append(_defect(subsystem, histogram, stretch))
                    stretch = []
                if hit is not None:
                    stretch.append(hit)
    found.sort(key=lambda one: (one.run, one.subsystem, one.histogram, one.bit, one.first))
    return [msgspec.structs.replace(one, overrides=[s for s in signed if _meet(one, s)]) for one in found]


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


def _defect(subsystem: str, histogram: str, stretch: Sequence[tuple[LumisectionQuality, Flag]]) -> Defect:
    """Of the kind that was the most surprising in the stretch."""
    kind = min(stretch, key=lambda hit: hit[1].log10_p or 0.0)[1].kind
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


def _signed_bad(qualities: Sequence[LumisectionQuality], sign_offs: Sequence[SignOff]) -> list[Defect]:
    """One for each sign-off as bad that is in force somewhere."""
    numbers: dict[int, list[int]] = {}
    for (_, number, _), standing in standings(qualities, sign_offs).items():
        if standing.signed is not None and standing.status == "bad":
            numbers.setdefault(sign_offs.index(standing.signed), []).append(number)
    found = []
    for at, these in numbers.items():
        said = sign_offs[at]
        bit = f"{said.subsystem}: signed off bad"
        found.append(Defect(bit, said.subsystem, "", said.run, min(these), max(these), None, True, [], ""))
    return found


def _meet(defect: Defect, sign_off: SignOff) -> bool:
    same = (defect.subsystem, defect.run) == (sign_off.subsystem, sign_off.run)
    return same and sign_off.first <= defect.last and defect.first <= sign_off.last
