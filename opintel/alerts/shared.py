"""Incidents that several scopes of a stream have a part in: a storage that fails is one, whichever FTS sees it.

Where a domain's names mean the same in every scope (`Naming.across_scopes`), an alert joins the incident that another
scope has about the same thing and that began about when it did: what begins much later is another fault, and deserves
to be said. The incident lasts until the alerts of all scopes are quiet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa

from opintel.alerts.incidents import Alert, Incident, load_alerts, load_incidents
from opintel.alerts.lifecycle import ALARMING, LIVE
from opintel.finding import NS
from opintel.store import schema as t

TOGETHER = 3600 * NS
"""Beginnings in two scopes at most so far apart are of one fault: an FTS with few files, or with trouble of its own,
sees it later."""


class SharedIncidents:
    """What other scopes have to do with the incidents of one scope; nothing, unless names mean the same `across`."""

    def __init__(self, connection: sa.Connection, stream: str, scope: str, *, across: bool) -> None:
        self._connection, self._stream, self._scope, self._across = connection, stream, scope, across
        self.alerts: dict[str, Alert] = {}
        """The other scopes' alerts, with a history, in the incidents that were loaded."""
        self._joined: frozenset[str] = frozenset()

    def of(self, alerts: Mapping[str, Alert], incidents: Mapping[str, Incident]) -> dict[str, Incident]:
        """The other scopes' incidents that these alerts are part of, where they are not closed; `incidents` are this
        scope's own."""
        if not self._across:
            return {}
        homes = {alert.incident for alert in alerts.values() if alert.incident is not None} - incidents.keys()
        found = self._loaded(t.incident.c.id.in_(sorted(homes))) if homes else {}
        self._joined = frozenset(found)
        self._add_alerts(incidents)
        return found

    def about(self, things: Iterable[tuple[str, ...]]) -> dict[str, Incident]:
        """The other scopes' incidents about one of these things, or about an end of one that lies between two."""
        if not self._across:
            return {}
        named = {named for thing in things for named in (thing, *((end,) for end in thing)) if named}
        about = sorted(msgspec.json.encode(one).decode() for one in named)
        return self._loaded(t.incident.c.about.in_(about)) if about else {}

    def may_join(self, alert: Alert, incident: Incident) -> bool:
        """Whether an alert of this scope may join: an incident that this scope has a part in, or another scope's that
        is live and began when the alert did."""
        if incident.scope == self._scope or incident.id in self._joined:
            return True
        return incident.state in LIVE and abs(alert.began - incident.start) <= TOGETHER

    def alarming(self, home: str) -> bool:
        """Whether an alert of another scope in this incident alarms."""
        return any(alert.incident == home and alert.state in ALARMING for alert in self.alerts.values())

    def _loaded(self, condition: sa.ColumnElement[bool]) -> dict[str, Incident]:
        here = t.incident.c
        others = (here.stream == self._stream) & (here.scope != self._scope) & (here.state != "closed")
        found = load_incidents(self._connection, others & condition)
        self._add_alerts(found)
        return found

    def _add_alerts(self, incidents: Mapping[str, Incident]) -> None:
        if incidents:
            here = t.alert.c
            theirs = here.incident.in_(sorted(incidents)) & (here.scope != self._scope) & (here.history != "")
            self.alerts |= load_alerts(self._connection, theirs)
