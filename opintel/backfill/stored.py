"""Findings of a backfill in a store of their own, which the console can show."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from opintel.alerts.service import keep
from opintel.finding import Finding
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.backfills import BackfillNote, note_backfill
from opintel.streams.findings import Found, Judged

AT_ONCE = 500
"""Findings in a transaction."""


class StoreTaken(Exception):
    """A store that holds something else: what a running system has decided, or another backfill of the stream."""


def put(store: Store, note: BackfillNote, findings: Sequence[Finding], judged: Sequence[Judged]) -> list[str]:
    """Stores what is not there yet, and how far it was judged; returns what a finding of the same id says otherwise.
    Nothing decides on them, so they open no incident. Raises StoreTaken.
    """
    with store.write() as connection:
        if connection.execute(sa.select(t.position.c.consumer)).first() is not None:
            raise StoreTaken("is that of a running system: expected one of its own")
        earlier = note_backfill(connection, note)
        if earlier is not None and earlier.settings != note.settings:
            raise StoreTaken(f"holds a backfill of {note.stream} under other settings: expected one of its own")
        through = {one.scope: one.window.end for one in sorted(judged, key=lambda one: one.window.end)}
        connection.execute(sa.delete(t.judged).where(t.judged.c.stream == note.stream))
        rows = [{"stream": note.stream, "scope": scope, "through": end} for scope, end in through.items()]
        if rows:
            connection.execute(sa.insert(t.judged), rows)
    conflicts: list[str] = []
    for at in range(0, len(findings), AT_ONCE):
        with store.write() as connection:
            conflicts += keep(connection, [Found(note.stream, finding) for finding in findings[at : at + AT_ONCE]])
    return conflicts
