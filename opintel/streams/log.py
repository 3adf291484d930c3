"""The log's small contract: everything that happens is a record in a partition of a topic, and nothing is read
but that.

Two forms keep it: `log_sqlite` (embedded, this machine) and, in production, Kafka. A reader asks by position
and never waits. Asides are what a worker could not use (late, dead, refused, quarantined rows; gaps), upserted
by their place so that a repeated step writes them once.

Traps: `append` may be repeated after a crash, so a reader must tolerate the same record twice; a position below
`start` has fallen out of retention and must become a visible gap; `commit` is for lag tools only and never
decides where a reader resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

AsideKind = Literal["late", "dead", "refused", "quarantined", "gap"]
EXCERPT = 4096
"""Bytes of an aside's content that are kept."""


class Topic(NamedTuple):
    """A topic's identity: the number of partitions is fixed at creation, `epoch` tells a re-created topic from the
    old one.
    """

    name: str
    partitions: int
    epoch: str


class Entry(NamedTuple):
    """One record to append."""

    topic: str
    partition: int
    value: bytes


class Aside(msgspec.Struct, frozen=True):
    """What was set aside, keyed (kind, topic, partition, position, row); `place` says where it came from, for
    people.
    """

    kind: AsideKind
    topic: str
    partition: int
    position: int
    row: int
    reason: str
    place: str = ""
    excerpt: bytes = b""

    @property
    def where(self) -> tuple[str, str, int, int, int]:
        """Its key."""
        return (self.kind, self.topic, self.partition, self.position, self.row)


class LogError(Exception):
    """The log refuses: an unknown topic, another number of partitions, a file that is not a log."""


class Log(Protocol):
    """Append with acknowledgement, read from a position, know both ends. All positions count records, from 0."""

    def create(self, name: str, partitions: int) -> Topic:
        """The topic, made if it is not there; LogError if it is there with another number of partitions."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends in order; returns when all are durable. After a crash any prefix (by partition) may be there."""

    def read(self, topic: str, partition: int, position: int, limit: int) -> list[tuple[int, bytes]]:
        """At most `limit` records from `position` on, as (position, value); empty at the end. Never waits."""

    def start(self, topic: str, partition: int) -> int:
        """The oldest position still there."""

    def end(self, topic: str, partition: int) -> int:
        """The position that the next record gets."""

    def trim(self, topic: str, older_than: int) -> int:
        """Retention: drops records appended before `older_than` (ns UTC); returns how many."""

    def put_asides(self, asides: Sequence[Aside]) -> None:
        """Upserts by `Aside.where`."""

    def asides(self, topic: str | None = None, kind: AsideKind | None = None, limit: int = 100) -> list[Aside]:
        """The asides, by place."""

    def aside_counts(self) -> dict[tuple[str, AsideKind], int]:
        """(topic, kind) → how many."""

    def commit(self, group: str, topic: str, partition: int, position: int) -> None:
        """Notes how far a reader is; for lag tools only."""

    def committed(self) -> dict[tuple[str, str, int], int]:
        """(group, topic, partition) → position noted."""

    def close(self) -> None:
        """Frees the connection; appended records are durable already."""
