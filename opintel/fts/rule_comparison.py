"""CMS's rule beside our findings: where they disagree about a site, and what became of it.

Takes hours of traffic, our findings of kind `endpoint` and `link`, and incidents; gives plain data for the console, the
daily report and the benchmark. A site is called bad by the rule where its verdict is `error`, by us where a finding is
about one of its endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from opintel.finding import NS, Window
from opintel.fts.cms_rule import Verdict, site_verdicts
from opintel.fts.traffic import HourTraffic

HOUR: Final = 3600 * NS
AFTER: Final = 24 * HOUR
"""How long after a disagreement what becomes of it is looked for."""
UNKNOWN_YET: Final = "not known yet"


class FoundFailing(NamedTuple):
    """One of our findings: the endpoint that fails, or the two ends of a link."""

    window: Window
    hosts: tuple[str, ...]


class IncidentSpan(NamedTuple):
    """An incident: when it was, and which hosts it is about."""

    window: Window
    hosts: tuple[str, ...]


class SiteHour(NamedTuple):
    """What both say of a site in an hour."""

    site: str
    start: int
    """ns UTC, of the hour's window; so is `end`."""
    end: int
    rule: Verdict
    ours: str
    """`endpoint`: one of its endpoints fails; `link`: one of its links does; empty: nothing."""

    @property
    def verdicts(self) -> tuple[bool, bool]:
        """(bad by the rule, bad by us)."""
        return self.rule == "error", self.ours == "endpoint"

    @property
    def agree(self) -> bool:
        """Whether both call the site bad, or neither."""
        return self.verdicts in ((True, True), (False, False))


class Disagreement(NamedTuple):
    """Hours on end in which one calls a site bad and the other does not."""

    site: str
    start: int
    end: int
    rule: Verdict
    """In the first hour; so is `ours`."""
    ours: str
    outcome: str
    """What became of it, in words."""


class Agreement(NamedTuple):
    """Hours of sites by who called them bad, and the disagreements in order of time."""

    both: int
    neither: int
    rule_only: int
    ours_only: int
    disagreements: list[Disagreement]

    @property
    def all(self) -> int:
        """Hours of sites."""
        return self.both + self.neither + self.rule_only + self.ours_only


def compared(
    hours: Sequence[HourTraffic],
    site_of: Mapping[str, str],
    found: Iterable[FoundFailing],
    incidents: Iterable[IncidentSpan],
    until: int,
) -> Agreement:
    """Both over the hours that begin before `until` (ns UTC), the sites that `site_of` (host → site) names; later hours
    say what became of what they disagree about.

    >>> from opintel.fts.traffic import HourTotal, LinkTraffic
    >>> def hour(n, failed):
    ...     links = [LinkTraffic(f"s{i}", "d", 20 - failed, failed, 0, by_destination=failed) for i in range(4)]
    ...     return HourTraffic(Window(n * HOUR, (n + 1) * HOUR), "fts1", HourTotal(), *[[]] * 6, links, *[[]] * 4)
    >>> hours = [hour(n, 20 if n in (1, 2, 5) else 0) for n in range(9)]
    >>> found = [FoundFailing(Window(2 * HOUR, 2 * HOUR + 600 * NS), ("d",))]
    >>> said = compared(hours, {"d": "SITE-D"}, found, [], 9 * HOUR)
    >>> said[:4], [(one.start // HOUR, one.outcome) for one in said.disagreements]
    ((1, 6, 2, 0), [(1, 'we found it 1 h later'), (5, 'recovered after 1 h')])
    """
    ours = _ours(hours, site_of, found)
    rows: dict[str, list[SiteHour]] = {}
    for hour in hours:
        for site, rule in site_verdicts(hour.links, site_of).items():
            row = SiteHour(site, hour.window.start, hour.window.end, rule, ours.get((site, hour.window.start), ""))
            rows.setdefault(site, []).append(row)
    spans: dict[str, list[Window]] = {}
    for one in incidents:
        for site in {site_of[host] for host in one.hosts if host in site_of}:
            spans.setdefault(site, []).append(one.window)
    runs = [run for site in rows for run in _runs(rows[site], spans.get(site, []), until)]
    counts = Counter(row.verdicts for of in rows.values() for row in of if row.start < until)
    return Agreement(
        counts[True, True],
        counts[False, False],
        counts[True, False],
        counts[False, True],
        sorted(runs, key=lambda one: (one.start, one.site)),
    )


def _ours(
    hours: Sequence[HourTraffic], site_of: Mapping[str, str], found: Iterable[FoundFailing]
) -> dict[tuple[str, int], str]:
    """(site, start of the hour) → what we found there."""
    said: dict[tuple[str, int], str] = {}
    for one in found:
        kind = "endpoint" if len(one.hosts) == 1 else "link"
        for site in {site_of[host] for host in one.hosts if host in site_of}:
            for hour in hours:
                if one.window.start < hour.window.end and hour.window.start < one.window.end:
                    key = site, hour.window.start
                    said[key] = min(kind, said.get(key, kind))  # an endpoint says more than a link
    return said


def _runs(rows: Sequence[SiteHour], incidents: Sequence[Window], until: int) -> list[Disagreement]:
    found, at = [], 0
    while at < len(rows) and rows[at].start < until:
        end = at
        while end < len(rows) and not rows[end].agree and rows[end].verdicts == rows[at].verdicts:
            end += 1
        if end > at:
            first, last = rows[at], rows[end - 1]
            outcome = _outcome(rows[at:end], rows[end] if end < len(rows) else None, incidents)
            found.append(Disagreement(first.site, first.start, last.end, first.rule, first.ours, outcome))
        at = max(end, at + 1)
    return found


def _outcome(run: Sequence[SiteHour], following: SiteHour | None, incidents: Sequence[Window]) -> str:
    start, end = run[0].start, run[-1].end
    if any(one.start < end and one.end > start for one in incidents):
        return "an incident of that time"
    later = [one.start for one in incidents if end <= one.start < start + AFTER]
    if later:
        return f"an incident {_hours(min(later) - start)} later"
    if following is None:
        return UNKNOWN_YET
    after = _hours(following.start - start)
    by_rule, by_us = following.verdicts
    if by_us and not run[0].verdicts[1]:
        return f"we found it {after} later"
    if by_rule and not run[0].verdicts[0]:
        return f"the rule said so {after} later"
    return f"recovered after {_hours(end - start)}"


def _hours(time: int) -> str:
    return f"{time / HOUR:.2g} h"
