"""The embedded log: one SQLite file in WAL mode, so that other processes may read and append at the same time.

A record's row id packs (topic, partition, position): a read is one range scan and needs no index.
`synchronous=FULL` makes an acknowledged append survive a power cut; the offsets for lag tools do not need that
and go without a sync.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from opintel.streams import trimming
from opintel.streams.asides import AsideTable
from opintel.streams.log import Aside, AsideKind, Entry, LogError, LogUnavailable, Membership, Stored, Topic

FORMAT = 1
POSITION_BITS, PARTITION_BITS = 40, 13
PAGE = 16384
"""Bytes of a page: half a megabyte costs two thirds of what it does in pages of 4096, a small record the same."""
WAL_BYTES = 16 << 20
"""The write-ahead log is taken over into the file at this size."""
BUSY = 30.0
"""Seconds that we wait for a lock of another process."""
MAX_READ_BYTES = 16 << 20
"""A read stops after the record that crosses this, whatever its limit."""

SCHEMA = """
create table if not exists topic (
  id integer primary key, name text unique not null, partitions integer not null, epoch text not null);
create table if not exists head (
  topic integer, partition integer, first integer not null, next integer not null,
  primary key (topic, partition)) without rowid;
create table if not exists record (id integer primary key, at integer not null, value blob not null);
create table if not exists offsets (
  reader text, topic text, partition integer, position integer, primary key (reader, topic, partition)) without rowid;
"""


class SqliteLog:
    """The log in one file. Safe for use by several threads (one at a time) and several processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        self._topics: dict[str, tuple[int, Topic]] = {}
        try:
            self._db = self._connect("FULL")
            version = self._db.execute("pragma user_version").fetchone()[0]
            if version not in (0, FORMAT):
                raise LogError(f"{path}: written by a newer version (log format {version}, this one reads {FORMAT})")
            self._db.executescript(SCHEMA + trimming.SCHEMA)
            self._asides = AsideTable(self._db)
            self._db.execute(f"pragma user_version={FORMAT}")
            self._check_heads()
            self._unsynced = self._connect("OFF")
        except sqlite3.DatabaseError as error:
            if "full" in str(error) or "locked" in str(error):
                raise
            raise LogError(f"{path}: not an opintel log ({error})") from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Alone among the threads. A file that another process (a backup) keeps locked is a log that is away."""
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                raise LogUnavailable(f"{self.path}: {error}") from error

    def _check_heads(self) -> None:
        """The heads agree with the records, or the file is damaged and must not be written on."""
        for topic, partition, first, following in self._db.execute("select * from head"):
            base = (topic << PARTITION_BITS | partition) << POSITION_BITS
            row = self._db.execute(
                "select max(id) from record where id >= ? and id < ?", (base, base + (1 << POSITION_BITS))
            ).fetchone()
            last = first - 1 if row[0] is None else row[0] - base
            if following != last + 1 and not (row[0] is None and following >= first):
                raise LogError(
                    f"{self.path}: damaged: partition {partition} ends at {last + 1}, its head says {following}"
                )

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        db.execute(f"pragma page_size={PAGE}")  # of a file that is not there yet
        db.execute("pragma journal_mode=wal")
        db.execute(f"pragma synchronous={synchronous}")
        # a checkpoint of the WAL must sync, so the connection that does not sync never makes one
        db.execute(f"pragma wal_autocheckpoint={WAL_BYTES // PAGE if synchronous == 'FULL' else 0}")
        return db

    def create(self, name: str, partitions: int) -> Topic:
        if not 1 <= partitions < 1 << PARTITION_BITS:
            raise LogError(f"topic {name}: 1 to {(1 << PARTITION_BITS) - 1} partitions, got {partitions}")
        with self._turn(), _Transaction(self._db):
            self._db.execute(
                "insert into topic (name, partitions, epoch) values (?, ?, ?) on conflict (name) do nothing",
                (name, partitions, uuid.uuid4().hex),
            )
            topic_id, *found = self._db.execute(
                "select id, name, partitions, epoch from topic where name = ?", (name,)
            ).fetchone()
            topic = Topic(*found)
            self._db.executemany(
                "insert into head values (?, ?, 0, 0) on conflict do nothing",
                [(topic_id, p) for p in range(topic.partitions)],
            )
        if topic.partitions != partitions:
            raise LogError(
                f"topic {name} has {topic.partitions} partitions, {partitions} are asked for: their number is fixed"
                " when a topic is made; go back, or start with a new data folder"
            )
        return topic

    def _topic(self, name: str) -> tuple[int, Topic]:
        if name not in self._topics:
            with self._turn():
                query = "select id, name, partitions, epoch from topic where name = ?"
                row = self._db.execute(query, (name,)).fetchone()
            if row is None:
                raise LogError(f"{self.path}: no topic {name!r}")
            self._topics[name] = (row[0], Topic(*row[1:]))
        return self._topics[name]

    def _base(self, topic: str, partition: int) -> int:
        topic_id, known = self._topic(topic)
        if not 0 <= partition < known.partitions:
            raise LogError(f"topic {topic} has partitions 0 to {known.partitions - 1}, got {partition}")
        return (topic_id << PARTITION_BITS | partition) << POSITION_BITS

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        now = time.time_ns()
        with self._turn(), _Transaction(self._db):
            ends: dict[tuple[str, int], int] = {}
            rows = []
            for topic, partition, value, _ in entries:
                place = (topic, partition)
                if place not in ends:
                    ends[place] = self.end(topic, partition)
                rows.append((self._base(topic, partition) | ends[place], now, value))
                ends[place] += 1
            self._db.executemany("insert into record values (?, ?, ?)", rows)
            self._db.executemany(
                "update head set next = ? where topic = ? and partition = ?",
                [(end, self._topic(topic)[0], partition) for (topic, partition), end in ends.items()],
            )

    def read(self, topic: str, partition: int, position: int, limit: int) -> list[Stored]:
        base = self._base(topic, partition)
        found: list[Stored] = []
        size = 0
        with self._turn():
            cursor = self._db.execute(
                "select id, value, at from record where id >= ? and id < ? order by id limit ?",
                (base | max(position, 0), base + (1 << POSITION_BITS), limit),
            )
            for row_id, value, at in cursor:
                found.append((row_id - base, value, at))
                size += len(value)
                if size >= MAX_READ_BYTES:
                    break
            cursor.close()
        return found

    def start(self, topic: str, partition: int) -> int:
        return self._head("first", topic, partition)

    def end(self, topic: str, partition: int) -> int:
        return self._head("next", topic, partition)

    def _head(self, column: str, topic: str, partition: int) -> int:
        self._base(topic, partition)
        with self._turn():
            row = self._db.execute(
                f"select {column} from head where topic = ? and partition = ?",
                (self._topic(topic)[0], partition),
            ).fetchone()
        return int(row[0])

    def trim(
        self, topic: str, older_than: int, most_bytes: int | None = None, keep: Sequence[int] | None = None
    ) -> int:
        topic_id, known = self._topic(topic)
        parts = [trimming.Partition(topic_id, p, self._base(topic, p)) for p in range(known.partitions)]
        share = None if most_bytes is None else most_bytes // known.partitions
        dropped = size = 0
        for part in parts:
            upto = None if keep is None else keep[part.partition]
            with self._turn():
                if share is not None:
                    trimming.weigh(self._db, part)
                with _Transaction(self._db):
                    rows, its_bytes = trimming.drop(self._db, part, older_than, share, upto)
            dropped, size = dropped + rows, size + its_bytes
            if size >= trimming.PIECE_BYTES or dropped >= trimming.PIECE_ROWS:
                break
        return dropped

    def put_asides(self, asides: Sequence[Aside]) -> None:
        if not asides:
            return
        with self._turn(), _Transaction(self._db):
            self._asides.put(asides, time.time_ns())

    def asides(self, topic: str | None = None, kind: AsideKind | None = None, limit: int = 100) -> list[Aside]:
        with self._turn():
            return self._asides.find(topic, kind, limit)

    def aside_counts(self) -> dict[tuple[str, AsideKind], int]:
        with self._turn():
            return self._asides.counts()

    def trim_asides(self, topic: str, older_than: int) -> int:
        with self._turn(), _Transaction(self._db):
            return self._asides.trim(topic, older_than, trimming.PIECE_ROWS)

    def commit(self, group: str, topic: str, partition: int, position: int) -> None:
        with self._turn():
            self._unsynced.execute(
                "insert or replace into offsets values (?, ?, ?, ?)", (group, topic, partition, position)
            )

    def committed(self) -> dict[tuple[str, str, int], int]:
        with self._turn():
            rows = self._db.execute("select reader, topic, partition, position from offsets").fetchall()
        return {(reader, topic, partition): position for reader, topic, partition, position in rows}

    def join(self, group: str, topic: str) -> Membership:
        return _Alone(frozenset(range(self._topic(topic)[1].partitions)))

    def close(self) -> None:
        with self._turn():
            self._unsynced.close()
            self._db.close()


class _Alone:
    """The only member of a group: an embedded log has one process a service."""

    def __init__(self, partitions: frozenset[int]) -> None:
        self._partitions = partitions

    def owned(self) -> frozenset[int]:
        return self._partitions

    def released(self) -> None:
        """Nothing to do: there is no other member."""

    def close(self) -> None:
        """Nothing to do: there is no other member."""


class _Transaction:
    """`begin immediate … commit`, rolled back on any error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("begin immediate")

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.db.execute("commit")
        finally:
            if self.db.in_transaction:  # the body or the commit failed, for instance on a full disk
                self.db.execute("rollback")
