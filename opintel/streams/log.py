"""The log's small contract: everything that happens is a record in a partition of a topic, and nothing is read
but that.

Two forms keep it: `log_sqlite` (embedded, this machine) and `log_kafka` (production). A reader asks by position and
waits for nothing that has not been written. Asides (side outputs) are what a worker could not use (late, dead,
refused, quarantined rows; gaps), upserted by their place so that a repeated step writes them once.

Traps: `append` may be repeated after a crash, so a reader must tolerate the same record twice; a position below
`start` has fallen out of retention and must become a visible gap, other positions may be missing for good (compaction);
`commit` is for lag tools only and never decides where a reader resumes; owning a partition keeps two processes from
doing the same work, correctness never depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Protocol

import msgspec

AsideKind = Literal["late", "dead", "refused", "quarantined", "gap"]
EXCERPT = 4096
"""Bytes that are kept of a row or record set aside."""
MAX_COUNT = 1 << 32
"""Rows that one `Aside` stands for at most."""
REFUSED = b"\xff"
"""First byte of a value that the log's reader puts in place of what it refused to read, at the last position of the
refused range; the rest says why (UTF-8). No record begins with it, so that it ends as a dead letter."""


Stored = tuple[int, bytes, int]
"""A record as it is read: position, value, and when it was appended (ns UTC), by the log's clock: not a reader's, nor
that of a message's author. So what depends on it is a function of the log, and an archive of a log keeps it."""


class Topic(NamedTuple):
    """A topic's identity: the number of partitions is fixed at creation, `epoch` tells a re-created topic from the
    old one.
    """

    name: str
    partitions: int
    epoch: str


class Entry(NamedTuple):
    """One record to append. `key`: of a compacted topic, only the newest record of a key is kept for ever."""

    topic: str
    partition: int
    value: bytes
    key: bytes = b""


class Aside(msgspec.Struct, frozen=True):
    """What was set aside, keyed (kind, topic, partition, position, row).

    One `Aside` may stand for `count` rows that were set aside for one reason; `row` is then the first of them. `place`
    says where they came from, for people: of several rows the first places.
    """

    kind: AsideKind
    topic: str
    partition: int
    position: int
    row: int
    reason: str
    place: str = ""
    excerpt: bytes = b""
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)] = 1

    @property
    def where(self) -> tuple[str, str, int, int, int]:
        """Its key."""
        return (self.kind, self.topic, self.partition, self.position, self.row)


class LogError(Exception):
    """The log refuses: an unknown topic, another number of partitions, a file that is not a log."""


class LogUnavailable(Exception):
    """The log cannot be reached now, or a topic was re-created; what was being appended may be there or not.

    A service that meets it drops its state and begins again from the log, as after a crash.
    """


class Membership(Protocol):
    """A process's share of a topic's partitions, agreed with the other members of its group."""

    def owned(self) -> frozenset[int]:
        """The partitions to work on now; asked between steps. One that is missing now is to be let go at once."""

    def released(self) -> None:
        """Says that nothing is worked on but what `owned` returned last."""

    def close(self) -> None:
        """Leaves the group: the others take over."""


class Log(Protocol):
    """Append with acknowledgement, read from a position, know both ends. All positions count records, from 0."""

    def create(self, name: str, partitions: int) -> Topic:
        """The topic, made if it is not there; LogError if it is there with another number of partitions."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends in order; returns when all are durable. After a crash any prefix (by partition) may be there."""

    def read(self, topic: str, partition: int, position: int, limit: int) -> list[Stored]:
        """At most `limit` records from `position` on; empty at the end only.

        From the first one still there, where `position` is below `start`.
        """

    def start(self, topic: str, partition: int) -> int:
        """The oldest position still there."""

    def end(self, topic: str, partition: int) -> int:
        """The position that the next record gets."""

    def trim(
        self, topic: str, older_than: int, most_bytes: int | None = None, keep: Sequence[int] | None = None
    ) -> int:
        """Retention: drops the oldest records, those appended before `older_than` (ns UTC) and those above `most_bytes`
        a topic, shared equally by its partitions; a piece of them, so that others can append. Returns how many: call
        it again until that is 0. `keep`: the position of each partition from which on nothing is dropped, as it is not
        archived yet. A cluster's brokers see to the bytes themselves.
        """

    def put_asides(self, asides: Sequence[Aside]) -> None:
        """Upserts by `Aside.where`."""

    def asides(self, topic: str | None = None, kind: AsideKind | None = None, limit: int = 100) -> list[Aside]:
        """What was set aside, by place."""

    def aside_counts(self) -> dict[tuple[str, AsideKind], int]:
        """(topic, kind) → how many rows were set aside, those dropped since too."""

    def trim_asides(self, topic: str, older_than: int) -> int:
        """Drops what was set aside of a topic before `older_than`, as `trim`. A cluster's topic of it has a
        retention of its own.
        """

    def commit(self, group: str, topic: str, partition: int, position: int) -> None:
        """Notes how far a reader is; for lag tools only, so it may be late or fail silently."""

    def committed(self) -> dict[tuple[str, str, int], int]:
        """(group, topic, partition) → position noted."""

    def join(self, group: str, topic: str) -> Membership:
        """Becomes a member of a group that shares a topic's partitions; group names are free of the topic's."""

    def close(self) -> None:
        """Frees the connection; appended records are durable already."""
