"""Findings of a backfill in a store of their own, which the console can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opintel.alerts.service import AlertService, keep
from opintel.alerts.settings import AlertSettings
from opintel.backfill.chain import DayOutcome
from opintel.finding import Finding
from opintel.store import Store
from opintel.streams.findings import Found, Judged

AT_ONCE = 500
"""Findings in a transaction."""


def put(store: Store, stream: str, findings: Sequence[Finding]) -> list[str]:
    """Stores what is not there yet; returns what a finding of the same id says otherwise. Nothing decides on them, so
    they open no incident.
    """
    conflicts: list[str] = []
    for at in range(0, len(findings), AT_ONCE):
        with store.write() as connection:
            conflicts += keep(connection, [Found(stream, finding) for finding in findings[at : at + AT_ONCE]])
    return conflicts


def decide(store: Store, settings: AlertSettings, stream: str, days: Iterable[DayOutcome]) -> None:
    """Decides on the findings of a whole backfill as the alert service does of a log: what incidents there are."""
    service, position = AlertService(store, settings, epoch="backfill"), 0
    for day in days:
        records: list[Found | Judged] = [*(Found(stream, finding) for finding in day.findings), *day.judged]
        service.consume(position, records, position + len(records))
        position += len(records)
