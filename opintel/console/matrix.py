"""Source × destination, as the page of transfers draws it: a heat map of sites or endpoints, hours as bars, links in
rows.

Takes `transfers.Traffic`, gives plain data; colours and sizes belong to the style sheet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from opintel.console.drawing import HEAT_STEPS, common_tail
from opintel.console.past import Thing
from opintel.console.transfers import HOUR, Ends, Files, LinkEnds, Traffic
from opintel.console.words import moment
from opintel.finding import rfc3339
from opintel.fts.traffic import OTHERS, HourTraffic
from opintel.quantity import number, percent, quantity

Json = dict[str, Any]
SIDE = 40
"""Rows and columns at most."""
FEW = 5
"""Files from which on a share is drawn in full: of fewer it says little."""
LINKS_SHOWN = 40


class TransferPlace(NamedTuple):
    """Where the page stands."""

    stream: str
    scope: str
    at: str = ""
    """RFC 3339 start of the hour; empty: the last 24 hours."""
    site: str = ""
    """Whose endpoints are shown; empty: all sites."""
    source: str = ""
    destination: str = ""
    """Sites whose links are listed."""

    def query(self, **change: str) -> str:
        """The page's query string, with a change."""
        given = self._asdict() | change
        return f"?{urlencode({name: text for name, text in given.items() if text})}"

    def thing(self, *about: str) -> str:
        """The address of an endpoint's or a link's own page."""
        return f"/things{Thing(self.stream, self.scope, about).query()}"


def heat(traffic: Traffic, place: TransferPlace) -> Json:
    """The map of all sites, or of the endpoints of one and those they move files with: `names` [{name, label, href}] of
    rows and columns, `rows` [[{step, short, words, href, few} or None]], `tail`, `left` (how many names have no row).
    """
    site = place.site
    rest = "other endpoints" if site else OTHERS
    cells = _of_site(traffic, site) if site else traffic.pairs
    busy: dict[str, int] = {}
    for pair, files in cells.items():
        for name in pair:
            busy[name] = busy.get(name, 0) + files.all
    named = sorted(busy.keys() - {rest}, key=lambda name: (-busy[name], name))
    fits = len(named) + (rest in busy) <= SIDE
    names = [*named, *([rest] if rest in busy else [])] if fits else [*named[: SIDE - 1], rest]
    folded: dict[LinkEnds, Files] = {}
    for (source, destination), files in cells.items():
        key = (source if source in names else rest, destination if destination in names else rest)
        folded[key] = folded.get(key, Files()) + files
    tail = common_tail([name for name in names if name != rest])
    hosts, between = _hosts(traffic), _between(traffic)

    def leads(name: str) -> str:
        """Where a name leads: to the endpoint's page, where it is one or the only one of its site."""
        if name == rest:
            return ""
        if site or len(hosts.get(name, ())) == 1:
            return place.thing(name if site else hosts[name][0])
        return "/fts/matrix" + place.query(site=name, source="", destination="")

    def cell(source: str, destination: str) -> Json | None:
        files = folded.get((source, destination))
        if files is None or files.share is None:
            return None
        links = [(source, destination)] if site else between.get((source, destination), [])
        if len(links) == 1 and traffic.links.get(links[0], Files()).all == files.all:
            href = place.thing(*links[0])
        else:
            href = "" if site else f"/fts/matrix{place.query(source=source, destination=destination)}#links"
        return {
            "step": round(HEAT_STEPS * files.share),
            "short": f"{100 * files.share:.0f}" if files.share >= 0.005 else "",
            "words": f"{source} → {destination}: {in_words(files)}",
            "href": href,
            "few": files.all < FEW,
        }

    return {
        "names": [{"name": name, "label": name.removesuffix(tail), "href": leads(name)} for name in names],
        "rows": [[cell(source, destination) for destination in names] for source in names],
        "tail": tail,
        "left": len(named) - len([name for name in names if name != rest]),
        "steps": range(HEAT_STEPS + 1),
    }


def chosen_links(traffic: Traffic, place: TransferPlace) -> list[LinkEnds]:
    """The links that the page lists: of a pair of sites, of a site, or those that failed."""
    if place.source or place.destination:
        return _between(traffic).get((place.source, place.destination), [])
    if place.site:
        return list(_of_site(traffic, place.site))
    return [ends for ends, files in traffic.links.items() if files.failed]


def in_words(files: Files) -> str:
    """Files in words: how many failed of how many, and the bytes of the others."""
    share = "" if files.share is None else f" ({percent(files.share)})"
    users = f" and {number(files.user)} more by users' fault" if files.user else ""
    of = f"{number(files.lost)} of {number(files.all)} files failed{share}{users}"
    return f"{of}, {quantity(files.bytes, 'B')} arrived"


def bars(hours: Sequence[HourTraffic], end: int, columns: int) -> list[Json]:
    """The last `columns` hours as bars: x, `height` of all files and `lost` of those that failed (percent of the most
    in an hour), `at` (RFC 3339, its start), words."""
    most = max((hour.total.ok + hour.total.failed for hour in hours), default=0) or 1
    drawn = []
    for hour in hours:
        files = Files(hour.total.ok, hour.total.failed, hour.total.bytes)
        x = columns - 1 - (end - 1 - hour.window.start) // HOUR
        if 0 <= x < columns:
            at = rfc3339(hour.window.start // HOUR * HOUR)
            height, lost = (round(100 * n / most, 1) for n in (files.all, files.failed))
            words = f"{moment(at, '%-d %b %H:%M')} UTC: {in_words(files)}"
            drawn.append({"x": x, "height": height, "lost": lost, "at": at, "words": words})
    return drawn


def link_rows(traffic: Traffic, place: TransferPlace, chosen: Sequence[LinkEnds]) -> list[Json]:
    """These links in numbers, most failed files first; users' faults are no link's."""
    ranked = sorted(chosen, key=lambda ends: (-traffic.links[ends].lost, -traffic.links[ends].all, ends))
    return [
        {
            "source": ends[0],
            "destination": ends[1],
            "href": place.thing(*ends),
            "files": traffic.links[ends],
            "cause": next((name for name, _ in traffic.causes_of.get(ends, Counter()).most_common(1)), ""),
        }
        for ends in ranked[:LINKS_SHOWN]
    ]


def site_rows(sites: Mapping[str, Ends]) -> list[tuple[str, Ends]]:
    """Sites in order of name, those without one of their own last."""
    return sorted(sites.items(), key=lambda item: (item[0] == OTHERS, -item[1].all, item[0]))


def _of_site(traffic: Traffic, site: str) -> dict[LinkEnds, Files]:
    return {
        ends: files for ends, files in traffic.links.items() if site in [traffic.site_of.get(host, "") for host in ends]
    }


def _hosts(traffic: Traffic) -> dict[str, list[str]]:
    """Site → its endpoints."""
    found: dict[str, list[str]] = {}
    for host, site in traffic.site_of.items():
        found.setdefault(site, []).append(host)
    return found


def _between(traffic: Traffic) -> dict[LinkEnds, list[LinkEnds]]:
    """(site, site) → the links that are listed."""
    found: dict[LinkEnds, list[LinkEnds]] = {}
    for ends in traffic.links:
        source, destination = (traffic.site_of.get(host, OTHERS) for host in ends)
        found.setdefault((source, destination), []).append(ends)
    return found
