"""A table of asides in SQLite: what workers could not use, by its place.

The embedded log keeps its asides in one; the Kafka log reads them from their topic into one of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import cast

from opintel.streams.log import EXCERPT, Aside, AsideKind

SCHEMA = """
create table if not exists aside (
  kind text, topic text, partition integer, position integer, line integer, reason text, place text, excerpt blob,
  primary key (kind, topic, partition, position, line)) without rowid;
"""


class AsideTable:
    """The table in an open database that has `SCHEMA`; its user sees to locks and transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, asides: Sequence[Aside]) -> None:
        """Upserts by `Aside.where`."""
        self._db.executemany(
            "insert or replace into aside values (?, ?, ?, ?, ?, ?, ?, ?)",
            [(*a.where, a.reason, a.place, a.excerpt[:EXCERPT]) for a in asides],
        )

    def find(self, topic: str | None, kind: AsideKind | None, limit: int) -> list[Aside]:
        """The first by place."""
        rows = self._db.execute(
            "select * from aside where (?1 is null or topic = ?1) and (?2 is null or kind = ?2)"
            " order by kind, topic, partition, position, line limit ?3",
            (topic, kind, limit),
        ).fetchall()
        return [Aside(*row) for row in rows]

    def counts(self) -> dict[tuple[str, AsideKind], int]:
        """(topic, kind) → how many."""
        rows = self._db.execute("select topic, kind, count(*) from aside group by topic, kind").fetchall()
        return {(topic, cast(AsideKind, kind)): count for topic, kind, count in rows}

    def clear(self) -> None:
        self._db.execute("delete from aside")
