"""What the store holds of an alert's findings, looked up where a decision needs more than this window."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from opintel.alerts.incidents import Alert, fingerprint
from opintel.finding import Finding
from opintel.store import schema as t
from opintel.store.queries import read_finding


def since(connection: sa.Connection, alert: Alert) -> list[Finding]:
    """The findings of an alert since it began, those that its incident holds."""
    link = t.incident_finding
    query = (
        sa.select(t.finding.c.content)
        .join(link, link.c.finding == t.finding.c.id)
        .where(
            link.c.incident == alert.incident,
            t.finding.c.kind == alert.kind,
            t.finding.c.window_end > alert.began,
            t.finding.c.window_end <= alert.last,
        )
    )
    found = map(read_finding, connection.execute(query).scalars())
    return [f for f in found if fingerprint(alert.stream, f) == alert.fingerprint]


def recovered(connection: sa.Connection, stream: str, alerts: Collection[Alert], now: int) -> bool:
    """Whether the last that was found of each of some alerts of a stream is of severity `info`: that it is back.

    What came after an alert's last sign counts too: that a thing is back may be too little of a surprise to be one.
    """
    if not alerts:
        return True
    query = (
        sa.select(t.finding.c.content)
        .where(
            t.finding.c.stream == stream,
            t.finding.c.kind.in_({a.kind for a in alerts}),
            t.finding.c.window_end >= min(a.last for a in alerts),
            t.finding.c.window_end <= now,
        )
        .order_by(t.finding.c.window_end)
    )
    found = (read_finding(row.content) for row in connection.execute(query))
    newest = {fingerprint(stream, f): f.severity for f in found}
    return all(newest.get(a.fingerprint) == "info" for a in alerts)
