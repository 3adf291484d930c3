"""`Judge`: an FTS's traffic, once an hour of event time: a fact that explains, for the console and the daily report.

It adds up the links' windows and says who sent how much to whom, what failed, by whose fault, of which family of
causes, and which error texts no family fits. Nothing is tested; no p-value, no alarm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from opintel.detector import Closing, Judge
from opintel.evidence import capped
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.fts.causes.blame import apportioned, blame
from opintel.fts.causes.families import UNCLASSIFIED, Blame, Family, family_of
from opintel.fts.judging.explain import percent
from opintel.fts.link_windows import LinkWindow, link_windows
from opintel.fts.traffic import (
    OTHERS,
    ActivityTraffic,
    CauseTraffic,
    EndpointTraffic,
    HourTotal,
    HourTraffic,
    LinkTraffic,
    OddText,
    PlaceTraffic,
    SiteValues,
    domain_of,
)

HOUR: Final = 3600 * NS
SITES: Final = 40
"""Rows and columns of the matrices, the last for all other sites."""
LINKS: Final = 300
"""Links listed: the third that failed most, and the busiest of the others."""
ENDPOINTS, ACTIVITIES, PLACES, ODD_TEXTS, ODD_KEPT = 200, 60, 150, 20, 1000
TEXT: Final = 300
"""Characters of a text or an example."""
LinkEnds = tuple[str, str]
T = TypeVar("T")


class TrafficSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Settings of `TrafficJudge`."""

    families: tuple[Family, ...] = ()
    """`{include: ../models/fts-causes.yaml}` in the shipped stream; without any, causes are not listed."""


class _Sample(msgspec.Struct, array_like=True):
    """The text of a family, or of none, that the most errors of one link and window have."""

    most: int
    text: str
    example: str


class _Sums(msgspec.Struct, array_like=True):
    """Files of a link; the last three are of the failed ones, by whose fault."""

    ok: int = 0
    failed: int = 0
    aborted: int = 0
    attempts: int = 0
    bytes: int = 0
    user: int = 0
    source: int = 0
    destination: int = 0


class _Hour(msgspec.Struct, array_like=True):
    """What is added up since `start` (ns UTC), in order of appearance."""

    start: int
    links: dict[LinkEnds, _Sums] = {}
    """By (source, destination)."""
    activities: dict[LinkEnds, list[int]] = {}
    """(VO, activity) → ok, failed."""
    errors: int = 0
    causes: dict[tuple[str, str, str], int] = {}
    """(family, source, destination) → errors."""
    samples: dict[str, _Sample] = {}
    odd: dict[str, tuple[int, str]] = {}
    """Text of no family → errors, example."""


class TrafficJudge(Judge):
    """`Judge`: a finding of kind `traffic` a scope and hour in which there were files; its effect is the failed share.

    A window belongs to the hour in which it starts; longer windows make one finding each. Where the input ends, what
    there is of the hour is said. State: the sums of the hour so far.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.fts.link_windows import LINK
    >>> judge, found, ten = TrafficJudge(), [], 600 * NS
    >>> for at in range(6):
    ...     link = LinkWindow("se.a.example", "se.b.example", 9, 1, 0, 10, 500, [], (0, 0.0, 0.0), [])
    ...     records = [Record(Window(at * ten, (at + 1) * ten), LINK, "a|b", "fts1", link)]
    ...     closing = Closing(records[0].window, "fts1", records, Controls(), TrafficSettings(), "", complete=True)
    ...     found += judge.judge(closing)
    >>> [(f.window.end // HOUR, f.summary) for f in found]
    [(1, '60 files on 1 link in 1 h, 10 % failed')]
    """

    name = "fts.traffic"
    version = 2
    Settings = TrafficSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._hour: _Hour | None = None

    def judge(self, closing: Closing) -> list[Finding]:
        """The finding, where the hour or the input ends; windows come in order of time."""
        window = closing.window
        if self._hour is None or self._hour.start // HOUR != window.start // HOUR:
            self._hour = _Hour(window.start)
        hour = self._hour
        for link in link_windows(closing.records):
            _add(hour, link, closing.settings.families)
        if closing.complete and window.end // HOUR == hour.start // HOUR:
            return []
        self._hour = None if closing.complete else hour
        return [_finding(self, closing, hour)] if any(sums.ok + sums.failed for sums in hour.links.values()) else []

    def state(self) -> Any:
        """Plain values; keys of several texts are lists."""
        hour = self._hour
        if hour is None:
            return None
        links = [[*ends, *msgspec.structs.astuple(sums)] for ends, sums in hour.links.items()]
        causes = [[*key, count] for key, count in hour.causes.items()]
        samples = [[family, *msgspec.structs.astuple(one)] for family, one in hour.samples.items()]
        odd = [[text, count, example] for text, (count, example) in hour.odd.items()]
        activities = [[*names, *counts] for names, counts in hour.activities.items()]
        return [hour.start, links, activities, hour.errors, causes, samples, odd]

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        if state is None:
            return
        start, links, activities, errors, causes, samples, odd = state
        self._hour = _Hour(
            start,
            {(source, destination): _Sums(*counts) for source, destination, *counts in links},
            {(vo, activity): list(counts) for vo, activity, *counts in activities},
            errors,
            {(family, source, destination): count for family, source, destination, count in causes},
            {family: _Sample(*one) for family, *one in samples},
            {text: (count, example) for text, count, example in odd},
        )


def _add(hour: _Hour, link: LinkWindow, families: Sequence[Family]) -> None:
    sums = hour.links.setdefault((link.source, link.destination), _Sums())
    sums.ok += link.ok
    sums.failed += link.failed
    sums.aborted += link.aborted
    sums.attempts += link.attempts
    sums.bytes += link.bytes
    for vo, activity, ok, failed in link.facets:
        files = hour.activities.setdefault((vo, activity), [0, 0])
        files[0], files[1] = files[0] + ok, files[1] + failed
    hour.errors += sum(count for _, _, count, _ in link.forms) + link.other_forms
    errors = Counter[Blame]()
    errors["link"] = link.other_forms
    for _, text, count, example in link.forms if families else ():
        errors[blame(text, example, link.source, link.destination, families)] += count
        family = family_of(text, families)
        key = (family, link.source, link.destination)
        hour.causes[key] = hour.causes.get(key, 0) + count
        if family not in hour.samples or hour.samples[family].most < count:
            hour.samples[family] = _Sample(count, text[:TEXT], example[:TEXT])
        if family == UNCLASSIFIED and (text[:TEXT] in hour.odd or len(hour.odd) < ODD_KEPT):
            before, first = hour.odd.get(text[:TEXT], (0, example[:TEXT]))
            hour.odd[text[:TEXT]] = (before + count, first)
    user, source, destination, _ = apportioned(link.failed, errors)
    sums.user += user
    sums.source += source
    sums.destination += destination


def _finding(judge: TrafficJudge, closing: Closing, hour: _Hour) -> Finding:
    window, subject = Window(hour.start, closing.window.end), {"scope": closing.scope}
    said = _said(hour, window, closing.scope)
    total = said.total
    files = total.ok + total.failed
    share = total.failed / files if files else 0.0
    links = f"{total.links:,} link{'s' if total.links > 1 else ''}"
    users = f", {total.user:,} of them by users' fault" if total.user else ""
    lasted = (window.end - window.start) / HOUR
    return Finding(
        id=finding_id(judge.name, judge.version, closing.model, subject, window),
        detector=judge.name,
        kind="traffic",
        subject=subject,
        window=window,
        log10_p=None,
        basis="none",
        effect=Effect(share, "failed share"),
        severity="info",
        summary=f"{files:,} files on {links} in {lasted:.2g} h, {percent(share)} failed{users}",
        evidence=capped(said.evidence()),
        model=closing.model,
    )


def _said(hour: _Hour, window: Window, scope: str) -> HourTraffic:
    """The lists, each bounded."""
    links = {ends: sums for ends, sums in hour.links.items() if sums != _Sums()}
    ends = {host for pair in links for host in pair}
    site = {host: domain_of(host) for host in sorted(ends)}
    ok, failed, aborted, attempts, size, user, *_ = map(
        sum, zip(*map(msgspec.structs.astuple, links.values()), strict=True)
    )
    retries = attempts - ok - failed - aborted
    total = HourTotal(ok, failed, aborted, retries, hour.errors, size, len(links), len(ends), user)
    sites, arrived, lost, sizes, users = _matrices(links, site)
    return HourTraffic(
        window,
        scope,
        total,
        sites,
        arrived,
        lost,
        sizes,
        users,
        endpoints=_endpoints(links, site),
        links=_links(links, hour.causes),
        activities=_activities(hour),
        causes=_causes(hour),
        places=_places(hour),
        odd=_most([OddText(text, *seen) for text, seen in hour.odd.items()], lambda odd: odd.errors, ODD_TEXTS),
    )


def _matrices(
    links: dict[LinkEnds, _Sums], site: dict[str, str]
) -> tuple[list[str], SiteValues, SiteValues, SiteValues, SiteValues]:
    """Sites, the busiest first, and ok, failed, bytes, failed by a user's fault by (source, destination); None where
    there was no file."""
    files = Counter[str]()
    for (source, destination), one in links.items():
        files[site[source]] += one.ok + one.failed
        files[site[destination]] += one.ok + one.failed
    named = [name for name, _ in _most(files.items(), lambda item: item[1], len(files))]
    sites = named if len(named) <= SITES else [*named[: SITES - 1], OTHERS]
    place = {name: min(at, len(sites) - 1) for at, name in enumerate(named)}
    sums = np.zeros((4, len(sites), len(sites)), dtype=np.float64)
    for (source, destination), one in links.items():
        sums[:, place[site[source]], place[site[destination]]] += (one.ok, one.failed, one.bytes, one.user)
    there = sums[0] + sums[1] > 0
    arrived, lost, sizes, users = (np.where(there, plane, np.array(None)).tolist() for plane in sums)
    return sites, arrived, lost, sizes, users


def _endpoints(links: dict[LinkEnds, _Sums], site: dict[str, str]) -> list[EndpointTraffic]:
    sums = {host: [0] * 8 for host in site}
    for pair, one in links.items():
        for role, host in enumerate(pair):
            counted = (3 * role, one.ok), (3 * role + 1, one.failed), (3 * role + 2, one.bytes), (6 + role, one.user)
            for n, more in counted:
                sums[host][n] += more
    found = [EndpointTraffic(host, site[host], *counts) for host, counts in sums.items()]
    return _most(found, lambda e: e.ok_out + e.failed_out + e.ok_in + e.failed_in, ENDPOINTS)


def _links(links: dict[LinkEnds, _Sums], causes: dict[tuple[str, str, str], int]) -> list[LinkTraffic]:
    main: dict[LinkEnds, tuple[int, str]] = {}
    for (family, source, destination), count in sorted(causes.items()):
        if count > main.get((source, destination), (0, ""))[0]:
            main[source, destination] = (count, family)
    every = [
        LinkTraffic(*ends, s.ok, s.failed, s.bytes, main.get(ends, (0, ""))[1], s.user, s.source, s.destination)
        for ends, s in links.items()
    ]
    worst = [link for link in _most(every, lambda link: link.failed, LINKS // 3) if link.failed]
    rest = _most(every, lambda link: link.ok + link.failed, LINKS)
    return [*worst, *(link for link in rest if link not in worst)][:LINKS]


def _activities(hour: _Hour) -> list[ActivityTraffic]:
    found = [ActivityTraffic(vo, activity, ok, failed) for (vo, activity), (ok, failed) in hour.activities.items()]
    return _most(found, lambda one: one.ok + one.failed, ACTIVITIES)


def _causes(hour: _Hour) -> list[CauseTraffic]:
    errors, links = Counter[str](), Counter[str]()
    for (family, _, _), count in hour.causes.items():
        errors[family] += count
        links[family] += 1
    found = [CauseTraffic(family, errors[family], links[family], hour.samples[family].example) for family in errors]
    return _most(found, lambda cause: cause.errors, len(found))


def _places(hour: _Hour) -> list[PlaceTraffic]:
    errors = Counter[tuple[str, str]]()
    for (family, *ends), count in hour.causes.items():
        for host in dict.fromkeys(ends):
            errors[host, family] += count
    return _most([PlaceTraffic(*key, count) for key, count in errors.items()], lambda place: place.errors, PLACES)


def _most(found: Iterable[T], size: Callable[[T], int], limit: int) -> list[T]:
    """The largest, ties in order of their texts."""
    return sorted(sorted(found, key=repr), key=size, reverse=True)[:limit]
