"""Which alerts are one incident: pure rules on what their subjects name.

A subject names entities: one thing (an endpoint, a channel, a machine) or two things, with what lies between them (a
link, source first). The same entities are the same incident, whatever is wrong with them. A link's alert joins the
incident of its endpoint; an endpoint's alert takes over the incidents of its links that began shortly before. Two links
that only share an endpoint stay apart: which of the two endpoints is to blame is for the endpoint's own test to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from opintel.alerts.incidents import Alert, Incident
from opintel.alerts.lifecycle import LIVE
from opintel.alerts.settings import Grouping


class Placement(NamedTuple):
    """Where an alert belongs: the incident it joins (None: one of its own) and those that become part of that one."""

    joins: str | None
    takes_over: list[str]


def entities(subject: Mapping[str, str], stream: str, scope: str, grouping: Grouping) -> tuple[str, ...]:
    """The things a subject names, in the order in which the settings list their labels; all labels but the scope's
    where they list none."""
    labels = grouping.entities.get(stream)
    if labels is None:
        return tuple(text for label, text in sorted(subject.items()) if text != scope)
    return tuple(subject[label] for label in labels if label in subject)


def covers(wanted: Mapping[str, str], subject: Mapping[str, str], stream: str, grouping: Grouping) -> bool:
    """Whether what is said of the subjects with these labels holds for `subject`: it carries them, or is a link of the
    thing that they name.

    >>> grouping = Grouping(entities={"fts": ["endpoint", "source", "destination"]})
    >>> link = {"scope": "fts1", "source": "a", "destination": "b"}
    >>> [covers({"endpoint": host}, link, "fts", grouping) for host in "abc"]
    [True, True, False]
    """
    labels = grouping.entities.get(stream, ())
    ends = [subject[label] for label in labels if label in subject]
    return all(
        subject.get(label) == text or (label in labels and label not in subject and len(ends) > 1 and text in ends)
        for label, text in wanted.items()
    )


def place(alert: Alert, incidents: Iterable[Incident], now: int, grouping: Grouping) -> Placement:
    """The place of an alert that fires, among the incidents of its stream and scope that are not closed."""
    named = entities(alert.subject, alert.stream, alert.scope, grouping)
    known = sorted(incidents, key=lambda i: (not _live(i), i.start, i.id))
    same = [i.id for i in known if named and i.about == named]
    if len(named) > 1:
        return Placement(next(iter(same + [i.id for i in known if _blamed(i, named, now, grouping)]), None), [])
    earliest = alert.began - grouping.endpoint_absorbs_links
    links = [
        i.id for i in known if named and _live(i) and len(i.about) > 1 and named[0] in i.about and i.start >= earliest
    ]
    ordered = same + links
    return Placement(next(iter(ordered), None), [id for id in ordered[1:] if id in links])


def explains(incident: Incident, named: tuple[str, ...], now: int, grouping: Grouping) -> bool:
    """Whether a finding about `named`, which raises no alarm by itself, helps to explain a live incident."""
    if not named or not _live(incident):
        return False
    return incident.about == named or (len(named) > 1 and _blamed(incident, named, now, grouping))


def _blamed(incident: Incident, named: tuple[str, ...], now: int, grouping: Grouping) -> bool:
    about_one = len(incident.about) == 1 and incident.about[0] in named
    return about_one and _live(incident) and incident.last >= now - grouping.link_joins_endpoint


def _live(incident: Incident) -> bool:
    return incident.state in LIVE
