"""The side outputs in SQLite: a table of what workers could not use, by its place.

The embedded log keeps one; the Kafka log reads a topic into one of its own. Builds before
counts were kept know the table as `aside`, of eight columns: a view of that name serves them, so that processes of both
builds may share a file.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import cast

from opintel.streams.log import EXCERPT, Aside, AsideKind

_COLUMNS = "kind, topic, partition, position, line, reason, place, excerpt"
_TABLE = """
create table set_aside (
  kind text, topic text, partition integer, position integer, line integer, reason text, place text, excerpt blob,
  count integer not null default 1, at integer not null,
  primary key (kind, topic, partition, position, line)) without rowid
"""
_EARLIER = (
    "alter table aside rename to set_aside",
    "alter table set_aside add column count integer not null default 1",
    "alter table set_aside add column at integer not null default {now}",
)
"""What an earlier build left behind becomes the table; it counts as put now."""
_VIEW = (
    f"create view aside as select {_COLUMNS} from set_aside",
    f"""
create trigger aside_put instead of insert on aside begin
  insert or replace into set_aside ({_COLUMNS}, count, at)
  values (new.kind, new.topic, new.partition, new.position, new.line, new.reason, new.place, new.excerpt,
    1, strftime('%s', 'now') * 1000000000);
end
""",
    "create index set_aside_age on set_aside (topic, at)",
    "create table aside_dropped (topic text, kind text, count integer, primary key (topic, kind)) without rowid",
)


class AsideTable:
    """The table in an open database in autocommit; its user sees to locks and, after this, to transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.execute("begin immediate")  # another process may open the file at the same time
        try:
            there = dict(db.execute("select name, type from sqlite_master where name in ('aside', 'set_aside')"))
            if "set_aside" not in there:
                for statement in (*(_EARLIER if "aside" in there else (_TABLE,)), *_VIEW):
                    db.execute(statement.replace("{now}", str(time.time_ns())))
            db.execute("commit")
        except BaseException:
            db.execute("rollback")
            raise

    def put(self, asides: Sequence[Aside], at: int) -> None:
        """Upserts by `Aside.where`; `at` is when (ns UTC), or another number that grows."""
        self._db.executemany(
            f"insert or replace into set_aside ({_COLUMNS}, count, at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*a.where, a.reason, a.place, a.excerpt[:EXCERPT], a.count, at) for a in asides],
        )

    def find(self, topic: str | None, kind: AsideKind | None, limit: int) -> list[Aside]:
        """The first by place."""
        rows = self._db.execute(
            f"select {_COLUMNS}, count from set_aside where (?1 is null or topic = ?1) and (?2 is null or kind = ?2)"
            " order by kind, topic, partition, position, line limit ?3",
            (topic, kind, limit),
        ).fetchall()
        return [Aside(*row) for row in rows]

    def counts(self) -> dict[tuple[str, AsideKind], int]:
        """(topic, kind) → how many rows were set aside, also those that were trimmed."""
        rows = self._db.execute(
            "select topic, kind, sum(count) from (select topic, kind, count from set_aside union all"
            " select topic, kind, count from aside_dropped) group by topic, kind"
        ).fetchall()
        return {(topic, cast(AsideKind, kind)): count for topic, kind, count in rows}

    def trim(self, topic: str, older_than: int, limit: int) -> int:
        """Drops at most `limit` records of a topic that were put before `older_than`; returns how many."""
        old = self._db.execute(
            "select kind, topic, partition, position, line, count from set_aside where topic = ? and at < ?"
            " order by at limit ?",
            (topic, older_than, limit),
        ).fetchall()
        self._db.executemany(
            "delete from set_aside where kind = ? and topic = ? and partition = ? and position = ? and line = ?",
            [row[:-1] for row in old],
        )
        self._db.executemany(
            "insert into aside_dropped values (?, ?, ?) on conflict do update set count = count + excluded.count",
            [(row[1], row[0], row[-1]) for row in old],
        )
        return len(old)

    def clear(self) -> None:
        self._db.execute("delete from set_aside")
