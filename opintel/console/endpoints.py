"""What the page of an endpoint or a link says beside its findings: its traffic by the hour, its links, the causes of
their failures, its site, and planned work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from opintel.alerts.settings import Maintenance
from opintel.console import drawing
from opintel.console.matrix import TransferPlace, link_rows
from opintel.console.past import Thing
from opintel.console.rule_beside import beside
from opintel.console.transfers import DAY, Ends, Files, LinkEnds, TransferHours, added, ends_of
from opintel.evidence import Series, block_json
from opintel.finding import rfc3339
from opintel.fts.traffic import HourTraffic
from opintel.store import Store

Json = dict[str, Any]
AHEAD = 14 * DAY
"""How far ahead planned work is named."""


class Portraits:
    """Of the things of `streams`, those with findings of kind `traffic`. `planned`: all planned work that is known."""

    def __init__(
        self,
        store: Store,
        hours: TransferHours,
        streams: Sequence[str],
        planned: Callable[[], Sequence[Maintenance]],
    ) -> None:
        self._store, self._hours, self._streams, self._planned = store, hours, list(streams), planned

    def of(self, thing: Thing, through: int) -> Json | None:
        """The last 24 hours up to `through` (ns UTC) of an endpoint or a link; None for other things."""
        if thing.stream not in self._streams or not 1 <= len(thing.about) <= 2:
            return None
        hours = self._hours.whole(thing.stream, thing.scope, through - DAY, through)
        traffic = added(hours, self._hours.named)
        place = TransferPlace(thing.stream, thing.scope)
        sites = [self._hours.named.get(host) or traffic.site_of.get(host, "") for host in thing.about]
        common = {
            "through": rfc3339(hours[-1].window.end) if hours else None,
            "given": place.query(),
            "sites": [
                (site, f"/fts/matrix{place.query(site=site)}", self._hours.support_units.get(site, ""))
                for site in sites
            ],
            "planned": self._work(thing, through),
        }
        if len(thing.about) == 2:
            source, destination = thing.about
            files = traffic.links.get((source, destination), Files())
            causes = traffic.causes_of.get((source, destination), Counter[str]())
            drawn = _link_series(hours, (source, destination))
            return common | {
                "files": [("", files)],
                "drawn": drawn,
                "causes": causes.most_common(),
                "links": [],
                "beside": None,
            }
        [host] = thing.about
        seen = traffic.endpoints.get(host, Ends())
        roles = [("from it", seen.out), ("to it", seen.into)]
        links = [
            (title, link_rows(traffic, place, [ends for ends in traffic.links if ends[role] == host]))
            for role, title in enumerate(("Links from it", "Links to it"))
        ]
        return common | {
            "files": roles,
            "drawn": _endpoint_series(hours, host),
            "causes": traffic.places.get(host, Counter[str]()).most_common(),
            "links": [(title, rows) for title, rows in links if rows],
            "beside": beside(self._store, thing.stream, thing.scope, hours, {host: host}, through),
        }

    def _work(self, thing: Thing, through: int) -> list[Json]:
        """Planned work about the thing that is not over, the next first."""
        found = [
            {"start": rfc3339(one.start), "end": rfc3339(one.end), "reason": one.reason, "now": one.start <= through}
            for one in sorted(self._planned(), key=lambda one: (one.start, one.end))
            if one.stream == thing.stream
            and through < one.end
            and one.start < through + AHEAD
            and set(one.subject.values()) & set(thing.about)
        ]
        return found


def _endpoint_series(hours: Sequence[HourTraffic], host: str) -> list[Json]:
    out: dict[int, Files] = {}
    into: dict[int, Files] = {}
    for hour in hours:
        for one in hour.endpoints:
            if one.endpoint == host:
                out[hour.window.start], into[hour.window.start] = ends_of(one)
    roles = (_series("from it", hours, out), _series("to it", hours, into))
    return _drawn([series for kind in zip_longest(*roles) for series in kind if series is not None])


def _link_series(hours: Sequence[HourTraffic], ends: LinkEnds) -> list[Json]:
    seen = {
        hour.window.start: Files(one.ok, one.failed, one.bytes, one.by_user)
        for hour in hours
        for one in hour.links
        if (one.source, one.destination) == ends
    }
    return _drawn(_series("", hours, seen))


def _series(what: str, hours: Sequence[HourTraffic], seen: dict[int, Files]) -> list[Series]:
    """Failed share and rate by the hour; an hour in which it is not listed has no value."""
    if not any(files.all for files in seen.values()):
        return []
    times = [hour.window.start for hour in hours]
    shares = [seen[time].share if time in seen else None for time in times]
    rates = [
        seen[hour.window.start].bytes * 1e9 / _length(hour) if hour.window.start in seen else None for hour in hours
    ]
    return [
        Series(f"Failed share {what}".strip(), times, shares, "failed share"),
        Series(f"Rate {what}".strip(), times, rates, "B/s"),
    ]


def _length(hour: HourTraffic) -> int:
    return hour.window.end - hour.window.start


def _drawn(series: Sequence[Series]) -> list[Json]:
    return drawing.blocks({"subject": {}, "evidence": [block_json(one) for one in series]})
