"""The traffic of FTS instances as the pages of transfers show it: the hourly `traffic` findings in the store, added up.

All texts are untrusted; the templates escape them.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from opintel.alerts.settings import SiteTopology
from opintel.finding import NS
from opintel.fts.traffic import EndpointTraffic, HourTotal, HourTraffic, traffic_of
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding

log = logging.getLogger(__name__)
HOUR = 3600 * NS
DAY = 24 * HOUR
WHOLE_KEPT, SMALL_KEPT = 60, 4000
"""Hours that are kept as a whole, and without their matrices, links and endpoints."""
LinkEnds = tuple[str, str]


class Files(NamedTuple):
    """What became of some files, and the bytes of those that arrived."""

    ok: int = 0
    failed: int = 0
    bytes: int = 0
    user: int = 0
    """Of the failed ones: those that a user or a VO is to blame for, where a place's quality is meant."""

    @property
    def all(self) -> int:
        """Files that ended."""
        return self.ok + self.failed

    @property
    def lost(self) -> int:
        """Failed, and not by a user's fault."""
        return self.failed - self.user

    @property
    def share(self) -> float | None:
        """`lost` of the files without those of a user's fault; None where there were none."""
        return self.lost / (self.all - self.user) if self.all > self.user else None

    def __add__(self, other: object) -> Files:
        if not isinstance(other, Files):
            return NotImplemented
        return Files(*map(sum, zip(self, other, strict=True)))


class Ends(NamedTuple):
    """Files of an endpoint or a site, as source and as destination."""

    out: Files = Files()
    into: Files = Files()

    @property
    def all(self) -> int:
        """Of both roles: what goes from it to itself counts twice."""
        return self.out.all + self.into.all


class Traffic(NamedTuple):
    """The traffic of some hours. What their lists left out is in `total` alone."""

    total: HourTotal
    pairs: dict[LinkEnds, Files]
    """(site, site), source first."""
    links: dict[LinkEnds, Files]
    causes_of: dict[LinkEnds, Counter[str]]
    """Link → families; each hour counts its failed files for the family of most of its errors."""
    endpoints: dict[str, Ends]
    site_of: dict[str, str]
    activities: dict[LinkEnds, Files]
    """(VO, activity); their bytes are not known."""
    causes: Counter[str]
    """Family → errors."""
    examples: dict[str, str]
    """Family → an error as it was sent, the newest."""
    places: dict[str, Counter[str]]
    """Endpoint → family → errors."""

    @property
    def sites(self) -> dict[str, Ends]:
        """Those that stand in the matrices."""
        found: dict[str, Ends] = {}
        for (source, destination), files in self.pairs.items():
            at = found.get(source, Ends())
            found[source] = at._replace(out=at.out + files)
            at = found.get(destination, Ends())
            found[destination] = at._replace(into=at.into + files)
        return found


class TransferHours:
    """The hours of streams with findings of kind `traffic`. Findings never change: what was read of one is kept."""

    def __init__(self, store: Store, topology: SiteTopology) -> None:
        self.named = {host: site for site, one in topology.sites.items() for host in one.hosts}
        """Host → its site, where the topology has it."""
        self.support_units = {site: one.support_unit for site, one in topology.sites.items()}
        """Site → GGUS's support unit, or empty."""
        self._store = store
        self._whole: dict[str, HourTraffic | None] = {}
        self._small: dict[str, HourTraffic | None] = {}
        self._lock = threading.Lock()

    def scopes(self, stream: str) -> dict[str, int]:
        """FTS instance → up to when (ns UTC) it has been judged, in order of name."""
        query = sa.select(t.judged.c.scope, t.judged.c.through).where(t.judged.c.stream == stream)
        with self._store.read() as connection:
            return {row.scope: row.through for row in connection.execute(query.order_by(t.judged.c.scope))}

    def whole(self, stream: str, scope: str, begin: int, end: int) -> list[HourTraffic]:
        """The hours that end in (begin, end], in order of time."""
        with self._lock:
            self._whole, hours = self._read(self._whole, WHOLE_KEPT, stream, scope, begin, end)
        return hours

    def small(self, stream: str, scope: str, begin: int, end: int) -> list[HourTraffic]:
        """The same without matrices, links and endpoints."""
        with self._lock:
            self._small, hours = self._read(self._small, SMALL_KEPT, stream, scope, begin, end, small=True)
        return hours

    def _read(
        self,
        kept: dict[str, HourTraffic | None],
        most: int,
        stream: str,
        scope: str,
        begin: int,
        end: int,
        *,
        small: bool = False,
    ) -> tuple[dict[str, HourTraffic | None], list[HourTraffic]]:
        """What is kept from now on, and the hours."""
        f = t.finding.c
        written = f'"subject":{msgspec.json.encode({"scope": scope}).decode()}'  # a sieve, so that few are read
        ours = (f.stream == stream) & (f.kind == "traffic") & (f.window_end > begin) & (f.window_end <= end)
        ours &= f.content.contains(written, autoescape=True)
        found: dict[str, HourTraffic | None] = {}
        with self._store.read() as connection:
            ids = connection.execute(sa.select(f.id).where(ours).order_by(f.window_end, f.id)).scalars().all()
            found = {id: kept[id] for id in ids if id in kept}
            missing = [id for id in ids if id not in kept]
            for at in range(0, len(missing), 50):
                query = sa.select(f.id, f.content).where(f.id.in_(missing[at : at + 50]))
                found |= {row.id: _hour(row.content, small) for row in connection.execute(query)}
        kept = dict([*((id, said) for id, said in kept.items() if id not in found), *found.items()][-most:])
        # where the input ended inside an hour and went on later, the hour was said twice: the later one has it all
        hours = {said.window.start: said for id in ids if (said := found.get(id)) and said.scope == scope}
        return kept, list(hours.values())


def added(hours: Sequence[HourTraffic], named: Mapping[str, str]) -> Traffic:
    """The sum of some hours. A domain goes by the site of most files of those of its hosts that are `named`."""
    sites = _sites(hours, named)
    pairs: dict[LinkEnds, Files] = {}
    links: dict[LinkEnds, Files] = {}
    causes_of: dict[LinkEnds, Counter[str]] = {}
    endpoints: dict[str, Ends] = {}
    activities: dict[LinkEnds, Files] = {}
    places: dict[str, Counter[str]] = {}
    causes = Counter[str]()
    for hour in hours:
        called = [sites.get(domain, domain) for domain in hour.sites]
        for source, *rows in zip(called, hour.ok, hour.failed, hour.bytes, hour.user, strict=True):
            for destination, *cells in zip(called, *rows, strict=True):
                numbers = [int(cell) for cell in cells if cell is not None]
                if len(numbers) == len(cells):
                    files = Files(*numbers)
                    pairs[source, destination] = pairs.get((source, destination), Files()) + files
        for link in hour.links:
            ends = (link.source, link.destination)
            links[ends] = links.get(ends, Files()) + Files(link.ok, link.failed, link.bytes, link.by_user)
            if link.cause and link.failed:
                causes_of.setdefault(ends, Counter())[link.cause] += link.failed
        for one in hour.endpoints:
            before, now = endpoints.get(one.endpoint, Ends()), ends_of(one)
            endpoints[one.endpoint] = Ends(before.out + now.out, before.into + now.into)
        for vo, activity, ok_, failed_ in hour.activities:
            activities[vo, activity] = activities.get((vo, activity), Files()) + Files(ok_, failed_)
        for cause in hour.causes:
            causes[cause.family] += cause.errors
        for place in hour.places:
            places.setdefault(place.endpoint, Counter())[place.family] += place.errors
    totals = [hour.total for hour in hours]
    links_, endpoints_ = [total.links for total in totals], [total.endpoints for total in totals]
    sums = HourTotal(*map(sum, zip(HourTotal(), *totals, strict=True)))
    return Traffic(
        sums._replace(links=max([0, *links_]), endpoints=max([0, *endpoints_])),
        pairs,
        links,
        causes_of,
        endpoints,
        {e.endpoint: named.get(e.endpoint, sites.get(e.site, e.site)) for hour in hours for e in hour.endpoints},
        activities,
        causes,
        {cause.family: cause.example for hour in hours for cause in hour.causes},
        places,
    )


def ends_of(one: EndpointTraffic) -> Ends:
    """An endpoint's hour."""
    return Ends(
        Files(one.ok_out, one.failed_out, one.bytes_out, one.user_out),
        Files(one.ok_in, one.failed_in, one.bytes_in, one.user_in),
    )


def _sites(hours: Sequence[HourTraffic], named: Mapping[str, str]) -> dict[str, str]:
    """Domain → site, of the domains of which a host is named."""
    files: dict[str, Counter[str]] = {}
    for hour in hours:
        for e in hour.endpoints if named else ():
            if e.endpoint in named:
                votes = files.setdefault(e.site, Counter())
                votes[named[e.endpoint]] += e.ok_out + e.failed_out + e.ok_in + e.failed_in
    return {domain: max(sorted(votes), key=lambda site: votes[site]) for domain, votes in files.items()}


def _hour(content: str, small: bool) -> HourTraffic | None:
    """An hour from a finding's column; None, and a line in the log, where it says none."""
    try:
        said = traffic_of(read_finding(content))
    except ValueError as error:
        log.warning("left out: %s", error)
        return None
    if said is None or not small:
        return said
    return said._replace(sites=[], ok=[], failed=[], bytes=[], user=[], endpoints=[], links=[], places=[])
