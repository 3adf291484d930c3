"""The report of a day of transfers: one HTML page without script or anything to load, to be read, printed or mailed.

By VO, by site, the worst links and endpoints, families of causes, incidents, and CMS's rule beside our findings. All
texts are untrusted and escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

import sqlalchemy as sa
from markupsafe import Markup

from opintel import __version__
from opintel.console.matrix import TransferPlace, link_rows, site_rows
from opintel.console.render import environment
from opintel.console.rule_beside import beside
from opintel.console.transfers import DAY, Ends, Files, Traffic, TransferHours, added
from opintel.finding import NS, rfc3339
from opintel.fts.causes.families import Family
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.backfills import backfills
from opintel.store.queries import incidents_json

Json = dict[str, Any]
LISTED, ACTIVITIES, INCIDENTS = 25, 40, 100
STYLE = (files("opintel.console") / "static" / "report.css").read_text(encoding="utf-8")
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: its own style and nothing else."""


class Vo(NamedTuple):
    """Files of a VO."""

    name: str
    files: Files
    activities: list[tuple[str, Files]]


def day_of(text: str) -> int | None:
    """Start (ns UTC) of a day, YYYY-MM-DD; None for what is none.

    >>> day_of("1970-01-02"), day_of("1970-1-2"), day_of("tomorrow")
    (86400000000000, None, None)
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp()) * NS if len(text) == 10 and day.year >= 1970 else None


def report(
    store: Store, hours: TransferHours, place: TransferPlace, families: Sequence[Family], day: int, through: int
) -> Json:
    """What the template says of a day from `day` on (ns UTC), as far as it was judged."""
    until_next = hours.whole(place.stream, place.scope, day, day + 2 * DAY)
    said = [hour for hour in until_next if hour.window.end <= day + DAY]
    before = added(hours.small(place.stream, place.scope, day - DAY, day), {}).total
    traffic = added(said, hours.named)
    known = {family.name: family for family in families}
    links = [ends for ends, files in traffic.links.items() if files.failed]
    return {
        "style": Markup(STYLE),
        "scope": place.scope,
        "day": rfc3339(day),
        "until": rfc3339(min(through, day + DAY)) if through < day + DAY else None,
        "hours": len(said),
        "all": Files(traffic.total.ok, traffic.total.failed, traffic.total.bytes),
        "total": traffic.total,
        "before": Files(before.ok, before.failed, before.bytes),
        "vos": _vos(traffic),
        "sites": site_rows(traffic.sites),
        "endpoints": _worst(traffic.endpoints),
        "links": link_rows(traffic, place, links)[:LISTED],
        "causes": [(name, n, known.get(name)) for name, n in traffic.causes.most_common()],
        "errors": max(1, traffic.causes.total()),
        "incidents": _incidents(store, place, day),
        "beside": beside(store, place.stream, place.scope, until_next, traffic.site_of, day + DAY) if said else None,
    }


def latest_day(hours: TransferHours, place: TransferPlace, through: int) -> int:
    """Start of the last whole day with hours of traffic, where what is judged ends at `through`; else of the last."""
    last = max(0, through - 1) // DAY * DAY
    whole = last if through == last + DAY else last - DAY
    return whole if hours.small(place.stream, place.scope, whole, whole + DAY) else last


def report_page(store: Store, said: Json) -> str:
    """The report as a page that no console serves: it leads nowhere."""
    template = environment().get_template("transfer_report.html")
    return template.render(said, days=[], back="", version=__version__, backfills=backfills(store))


def _vos(traffic: Traffic) -> list[Vo]:
    by_vo: dict[str, dict[str, Files]] = {}
    for (vo, activity), moved in traffic.activities.items():
        by_vo.setdefault(vo, {})[activity] = moved
    found = [
        Vo(
            vo or "not said",
            sum(of.values(), Files()),
            sorted(((name or "not said", f) for name, f in of.items()), key=lambda one: (-one[1].all, one[0])),
        )
        for vo, of in by_vo.items()
    ]
    return sorted(found, key=lambda vo: (-vo.files.all, vo.name))[:ACTIVITIES]


def _worst(endpoints: dict[str, Ends]) -> list[tuple[str, Ends]]:
    """Those with most failed files in one of their roles."""
    failed = {host: max(ends.out.lost, ends.into.lost) for host, ends in endpoints.items()}
    ranked = sorted((host for host, n in failed.items() if n), key=lambda host: (-failed[host], host))
    return [(host, endpoints[host]) for host in ranked[:LISTED]]


def _incidents(store: Store, place: TransferPlace, day: int) -> list[Json]:
    """Those that were under way that day, the earliest first; what became part of another is left out."""
    i = t.incident.c
    query = sa.select(t.incident).where(i.stream == place.stream, i.scope == place.scope, i.merged_into.is_(None))
    query = query.where(i.start < day + DAY, i.last > day).order_by(i.start, i.id).limit(INCIDENTS)
    with store.read() as connection:
        rows = connection.execute(query).all()
        last = {row.id: rfc3339(row.last) for row in rows}
        return [one | {"last": last[one["id"]]} for one in incidents_json(connection, rows)]
