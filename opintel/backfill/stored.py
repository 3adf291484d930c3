"""Findings of a backfill in a store of their own, which the console can show: nothing decides on them, so they open no
incident there.
"""

from __future__ import annotations

from collections.abc import Sequence

from opintel.alerts.service import keep
from opintel.finding import Finding
from opintel.store import Store
from opintel.streams.findings import Found

AT_ONCE = 500
"""Findings in a transaction."""


def put(store: Store, stream: str, findings: Sequence[Finding]) -> list[str]:
    """Stores what is not there yet; returns what a finding of the same id says otherwise."""
    conflicts: list[str] = []
    for at in range(0, len(findings), AT_ONCE):
        with store.write() as connection:
            conflicts += keep(connection, [Found(stream, finding) for finding in findings[at : at + AT_ONCE]])
    return conflicts
