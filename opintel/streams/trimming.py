"""Retention of the embedded log, a piece at a time: the oldest records of a partition, by age and by weight.

`log_sqlite` calls it with its database. A transaction of hundreds of megabytes would keep every other writer waiting
for its length; a piece takes a tenth of a second.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

PIECE_BYTES, PIECE_ROWS = 8 << 20, 10_000
"""What is dropped in one transaction; the record that crosses the bytes still goes."""

SCHEMA = """
create table if not exists weight (
  topic integer, partition integer, first integer not null, next integer not null, bytes integer not null,
  primary key (topic, partition)) without rowid;
"""
"""The bytes of a partition's records from `first` to before `next`, as they were counted last."""


class Partition(NamedTuple):
    """A partition: its key in `head` and `weight`, and the row id of its position 0."""

    topic: int
    partition: int
    base: int


def weigh(db: sqlite3.Connection, part: Partition) -> None:
    """Counts the bytes of a partition's records: those that came since it was counted last.

    All of them where another build or a trim by age alone has dropped some meanwhile.
    """
    first, following = _head(db, part)
    counted = db.execute(
        "select next, bytes from weight where topic = ? and partition = ? and first = ? and next <= ?",
        (part.topic, part.partition, first, following),
    ).fetchone()
    begin, known = counted or (first, 0)
    more = db.execute(
        "select coalesce(sum(length(value)), 0) from record where id >= ? and id < ?",
        (part.base | begin, part.base | following),
    ).fetchone()[0]
    if more or not counted:
        row = (part.topic, part.partition, first, following, known + more)
        db.execute("insert or replace into weight values (?, ?, ?, ?, ?)", row)


def drop(
    db: sqlite3.Connection, part: Partition, older_than: int, most_bytes: int | None, upto: int | None = None
) -> tuple[int, int]:
    """In a transaction of its caller's: drops the oldest records that were appended before `older_than` (ns UTC), or
    that make the partition heavier than `most_bytes` as `weigh` left it; a piece of them, and of those before position
    `upto` only. (records, bytes) dropped.
    """
    first, following = _head(db, part)
    following = following if upto is None else min(following, upto)
    excess = 0
    if most_bytes is not None:
        weight = db.execute(
            "select bytes from weight where topic = ? and partition = ? and first = ?",
            (part.topic, part.partition, first),
        ).fetchone()
        excess = 0 if weight is None else weight[0] - most_bytes
    rows = dropped = 0
    oldest = db.execute(
        "select at, length(value) from record where id >= ? and id < ? order by id limit ?",
        (part.base | first, part.base | following, PIECE_ROWS),
    )
    for at, length in oldest:
        if dropped >= PIECE_BYTES or (at >= older_than and dropped >= excess):
            break
        rows, dropped = rows + 1, dropped + length
    oldest.close()
    if rows:
        keep = first + rows
        db.execute("delete from record where id >= ? and id < ?", (part.base | first, part.base | keep))
        place = (part.topic, part.partition)
        db.execute("update head set first = ? where topic = ? and partition = ?", (keep, *place))
        db.execute(
            "update weight set first = ?, bytes = bytes - ? where topic = ? and partition = ? and first = ?",
            (keep, dropped, *place, first),
        )
    return rows, dropped


def _head(db: sqlite3.Connection, part: Partition) -> tuple[int, int]:
    """(position of the oldest record, position that the next one gets)."""
    first, following = db.execute(
        "select first, next from head where topic = ? and partition = ?", (part.topic, part.partition)
    ).fetchone()
    return first, following
