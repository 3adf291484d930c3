"""CMS's rule beside our findings, as the report of a day and an endpoint's page show it: reads what the store has of
our findings and incidents in those hours; `opintel.fts.rule_comparison` compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from opintel.finding import Window, rfc3339
from opintel.fts.rule_comparison import AFTER, FoundFailing, IncidentSpan, compared
from opintel.fts.traffic import HourTraffic
from opintel.store import Store
from opintel.store import schema as t

Json = dict[str, Any]
FOUND_READ, INCIDENTS_READ = 5000, 500


class _About(msgspec.Struct):
    subject: dict[str, str]


_about = msgspec.json.Decoder(_About)


def beside(
    store: Store, stream: str, scope: str, hours: Sequence[HourTraffic], site_of: Mapping[str, str], until: int
) -> Json | None:
    """What both say of the sites that `site_of` (host → site) names, in the hours that begin before `until` (ns UTC);
    later hours tell what became of disagreements: an `Agreement`, times in RFC 3339. None without hours."""
    if not hours:
        return None
    begin, end = hours[0].window.start, hours[-1].window.end
    f, i = t.finding.c, t.incident.c
    written = f'"scope":{msgspec.json.encode(scope).decode()}'  # a sieve, so that few are decoded
    ours = sa.select(f.window_start, f.window_end, f.content).where(
        f.kind.in_(("endpoint", "link")), f.stream == stream
    )
    ours = ours.where(f.window_end > begin, f.window_end <= end, f.content.contains(written, autoescape=True))
    of_time = sa.select(i.about, i.start, i.last).where(i.stream == stream, i.scope == scope, i.merged_into.is_(None))
    of_time = of_time.where(i.start < end + AFTER, i.last > begin)
    found, incidents = list[FoundFailing](), list[IncidentSpan]()
    with store.read() as connection:
        for row in connection.execute(ours.order_by(f.window_end, f.id).limit(FOUND_READ)):
            subject = _about.decode(row.content).subject
            hosts = [subject[label] for label in ("endpoint", "source", "destination") if label in subject]
            if subject.get("scope") == scope:
                found.append(FoundFailing(Window(row.window_start, row.window_end), tuple(hosts)))
        for row in connection.execute(of_time.order_by(i.start, i.id).limit(INCIDENTS_READ)):
            about = tuple(msgspec.json.decode(row.about, type=list[str]))
            incidents.append(IncidentSpan(Window(row.start, row.last), about))
    said = compared(hours, site_of, found, incidents, until)
    times = [{"start": rfc3339(one.start), "end": rfc3339(one.end)} for one in said.disagreements]
    rows = [one._asdict() | when for one, when in zip(said.disagreements, times, strict=True)]
    return said._asdict() | {"all": said.all, "disagreements": rows}
