"""What one backfill found, and the incidents that came of it, held against another one's: `here` against `there`.

Settings are part of a finding's model and so of its id, and so is the version of its detector: findings are compared by
what they are about. Incidents that are about the same at about the same time are one, however much earlier or later it
began in one of the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from opintel.backfill.decided import DecidedIncident
from opintel.finding import Finding, differing


class ChangedFinding(NamedTuple):
    """Findings about the same that say something else."""

    here: Finding
    there: Finding

    @property
    def what(self) -> list[str]:
        """The fields that differ."""
        return [field for field in differing(self.here, self.there) if field not in ("id", "model")]


class FindingsCompared(NamedTuple):
    """What one backfill found (`here`) against another one (`there`)."""

    only_here: list[Finding]
    only_there: list[Finding]
    changed: list[ChangedFinding]


def compare(here: Sequence[Finding], there: Sequence[Finding]) -> FindingsCompared:
    """By detector, kind, subject and window; each list by window end, then id. Several about the very same are held
    against each other in order of what they say.
    """
    ours, theirs = _by_matter(here), _by_matter(there)
    found = FindingsCompared([], [], [])
    for about in ours.keys() | theirs.keys():
        for mine, its in zip_longest(ours.get(about, ()), theirs.get(about, ())):
            if its is None:
                found.only_here.append(mine)
            elif mine is None:
                found.only_there.append(its)
            elif (change := ChangedFinding(mine, its)).what:
                found.changed.append(change)
    found.only_here.sort(key=_place)
    found.only_there.sort(key=_place)
    found.changed.sort(key=lambda change: _place(change.here))
    return found


class SameIncident(NamedTuple):
    """An incident that both have."""

    here: DecidedIncident
    there: DecidedIncident

    @property
    def started_later(self) -> int:
        """By how much its beginning is later here, ns."""
        return self.here.start - self.there.start

    @property
    def opened_later(self) -> int:
        """By how much later it is detected here, ns."""
        return self.here.opened - self.there.opened


class IncidentsCompared(NamedTuple):
    """The incidents of one against those of another, each in order of when it opened."""

    only_here: list[DecidedIncident]
    only_there: list[DecidedIncident]
    both: list[SameIncident]


def compare_incidents(
    here: Sequence[DecidedIncident], there: Sequence[DecidedIncident], near: int, *, across_scopes: bool = False
) -> IncidentsCompared:
    """Pairs of incidents about the same thing, or else with an alert about the same, that are not further apart in time
    than `near` (ns); each is in one pair at most, the nearest first. With `across_scopes` names mean the same in every
    scope.
    """
    theirs: dict[Hashable, list[int]] = defaultdict(list)
    for n, incident in enumerate(there):
        for key in _keys(incident, across_scopes):
            theirs[key].append(n)
    offers = sorted(
        (*_distance(mine, there[n]), k, n)
        for k, mine in enumerate(here)
        for n in {n for key in _keys(mine, across_scopes) for n in theirs.get(key, ())}
        if max(mine.start, there[n].start) - min(mine.end, there[n].end) <= near
    )
    ours_left, theirs_left = dict(enumerate(here)), dict(enumerate(there))
    both = []
    for *_, k, n in offers:
        if k in ours_left and n in theirs_left:
            both.append(SameIncident(ours_left.pop(k), theirs_left.pop(n)))
    return IncidentsCompared(
        sorted(ours_left.values(), key=_opened),
        sorted(theirs_left.values(), key=_opened),
        sorted(both, key=lambda pair: _opened(pair.here)),
    )


def _by_matter(found: Sequence[Finding]) -> dict[Hashable, list[Finding]]:
    matters: dict[Hashable, list[Finding]] = defaultdict(list)
    for finding in sorted(found, key=lambda finding: (finding.summary, finding.id)):
        window = finding.window
        subject = tuple(sorted(finding.subject.items()))
        matters[finding.detector, finding.kind, subject, window.start, window.end].append(finding)
    return matters


def _place(finding: Finding) -> tuple[int, str]:
    return (finding.window.end, finding.id)


def _keys(incident: DecidedIncident, across_scopes: bool) -> Iterator[Hashable]:
    """What it is about, and what each of its alerts is about."""
    yield "" if across_scopes else incident.scope, incident.about
    for subject in incident.plain["subjects"]:
        labels = {label: text for label, text in subject.items() if not (across_scopes and label == "scope")}
        yield tuple(sorted(labels.items()))


def _distance(here: DecidedIncident, there: DecidedIncident) -> tuple[Any, ...]:
    other = here.plain["id"] != there.plain["id"]
    return other, here.about != there.about, abs(here.opened - there.opened), abs(here.start - there.start)


def _opened(incident: DecidedIncident) -> tuple[int, str]:
    return (incident.opened, incident.plain["id"])
