"""The production log: topics of a Kafka cluster, for services on several machines.

A position is Kafka's offset, a topic's epoch its id. Records are read by `kafka.reader`, bounded and checked, written
by `kafka.writer`, acknowledged by all in-sync replicas. What was set aside is a compacted topic, its key the place; a
process that asks for them reads it into a table of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from kafka import KafkaAdminClient
from kafka.errors import AuthorizationError, InvalidReplicationFactorError, KafkaError, TopicAlreadyExistsError
from kafka.structs import TopicPartition

from opintel.streams.kafka.asides import AsidesView
from opintel.streams.kafka.fetcher import PATIENCE, REQUEST_MS
from opintel.streams.kafka.offsets import Offsets
from opintel.streams.kafka.reader import Reader
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.kafka.topics import ASIDES, MAX_BATCH, TopicSpec
from opintel.streams.kafka.writer import Writer
from opintel.streams.log import EXCERPT, Aside, AsideKind, Entry, LogError, LogUnavailable, Membership, Stored, Topic

PLAIN = {"max.message.bytes": str(MAX_BATCH), "message.timestamp.type": "LogAppendTime"}
"""Of a topic that is not in `topics.plan`; retention goes by the broker's time of append, not by senders' clocks."""
T = TypeVar("T")


class KafkaLog:
    """The log on a cluster. Safe for use by several threads. LogUnavailable within about ten seconds of an outage."""

    asides_topic = ASIDES

    def __init__(
        self, settings: KafkaSettings, password: str | None = None, *, specs: Mapping[str, TopicSpec] | None = None
    ) -> None:
        """`specs`: how missing topics are made. Connects when it is first asked for something."""
        self._settings, self._password, self._specs = settings, password, specs or {}
        self._client = settings.client(password)
        self._reader = Reader(self._client)
        self._writer = Writer(self._client)
        self._lock = threading.Lock()
        self._admin: Any = None
        self._offsets = Offsets(self._administrator, self._broken)
        self._view = AsidesView(self._reader, self.asides_topic)

    def create(self, name: str, partitions: int) -> Topic:
        until = time.monotonic() + PATIENCE + 2
        while True:
            topic = self._reader.topic(name)
            if topic is not None and topic.partitions == partitions:
                return topic
            if topic is not None and topic.partitions:
                raise LogError(
                    f"topic {name} has {topic.partitions} partitions, {partitions} are asked for: their number is fixed"
                    " when a topic is made; go back, or use other topics"
                )
            if time.monotonic() > until:
                raise LogUnavailable(f"topic {name} was made, but no broker leads it yet")
            if topic is None:
                self._make(name, partitions)
            time.sleep(0.02)

    def _make(self, name: str, partitions: int) -> None:
        spec = self._specs.get(name) or TopicSpec(name, partitions, -1, PLAIN)
        wanted = {"num_partitions": partitions, "replication_factor": spec.replication, "configs": dict(spec.configs)}
        try:
            self._ask(lambda admin: admin.create_topics({name: wanted}), f"making topic {name}")
        except TopicAlreadyExistsError:
            return  # by another process, just now
        except (AuthorizationError, InvalidReplicationFactorError) as error:
            raise LogError(
                f"no topic {name!r}, and it cannot be made here ({error}); `opintel topics apply`"
            ) from error

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        before = {}
        for topic, partition, _, _ in entries:
            known = self._reader.known(topic)
            if not 0 <= partition < known.partitions:
                raise LogError(f"topic {topic} has partitions 0 to {known.partitions - 1}, got {partition}")
            before[topic, partition] = self._reader.seen(topic, partition) + 1
        for (topic, partition), end in self._writer.append(entries).items():
            self._reader.appended(topic, partition, before[topic, partition], end)

    def read(self, topic: str, partition: int, position: int, limit: int) -> list[Stored]:
        return self._reader.read(topic, partition, position, limit)

    def start(self, topic: str, partition: int) -> int:
        return self._reader.start(topic, partition)

    def end(self, topic: str, partition: int) -> int:
        return self._reader.end(topic, partition)

    def trim(
        self, topic: str, older_than: int, most_bytes: int | None = None, keep: Sequence[int] | None = None
    ) -> int:
        cuts: dict[TopicPartition, int] = {}
        dropped = 0
        for partition in range(self._reader.known(topic).partitions):
            start = self._reader.start(topic, partition)
            end = self._reader.end(topic, partition)
            since = self._reader.since(topic, partition, older_than)
            cut = min(end if since is None else since, end if keep is None else keep[partition])
            if cut > start:
                cuts[TopicPartition(topic, partition)] = cut
                dropped += cut - start
        if cuts:
            try:
                self._ask(lambda admin: admin.delete_records(cuts, timeout_ms=REQUEST_MS), f"trimming {topic}")
            except AuthorizationError as error:
                raise LogError(f"topic {topic} may not be trimmed here ({error})") from error
        return dropped

    def put_asides(self, asides: Sequence[Aside]) -> None:
        if not asides:
            return
        self.create(self.asides_topic, 1)
        cut = [msgspec.structs.replace(a, excerpt=a.excerpt[:EXCERPT]) for a in asides]
        self.append([Entry(self.asides_topic, 0, msgspec.msgpack.encode(a), msgspec.json.encode(a.where)) for a in cut])

    def asides(self, topic: str | None = None, kind: AsideKind | None = None, limit: int = 100) -> list[Aside]:
        return self._view.look(lambda table: table.find(topic, kind, limit))

    def aside_counts(self) -> dict[tuple[str, AsideKind], int]:
        return self._view.look(lambda table: table.counts())

    def trim_asides(self, topic: str, older_than: int) -> int:
        return 0

    def commit(self, group: str, topic: str, partition: int, position: int) -> None:
        self._offsets.note(group, topic, partition, position)

    def committed(self) -> dict[tuple[str, str, int], int]:
        try:
            return self._offsets.committed()
        except (KafkaError, OSError, RuntimeError) as error:
            self._broken()
            raise LogUnavailable(f"asking for positions: {error or type(error).__name__}") from error

    def join(self, group: str, topic: str) -> Membership:
        from opintel.streams.kafka.membership import GroupMembership

        return GroupMembership(self._settings, self._password, group, topic)

    def close(self) -> None:
        self._offsets.close()
        self._writer.close()
        self._reader.close()
        self._view.close()
        self._broken()

    # administration

    def _administrator(self) -> Any:
        with self._lock:
            if self._admin is None:
                self._admin = KafkaAdminClient(
                    bootstrap_timeout_ms=REQUEST_MS,
                    request_timeout_ms=REQUEST_MS,
                    reconnect_backoff_max_ms=1000,
                    **self._client,
                )
            return self._admin

    def _broken(self) -> None:
        """The next one to ask makes a new client: what the old one cached (controller, coordinators) may be wrong."""
        with self._lock:
            admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _ask(self, what: Callable[[Any], T], doing: str) -> T:
        try:
            return what(self._administrator())
        except (TopicAlreadyExistsError, AuthorizationError, InvalidReplicationFactorError):
            raise
        except (KafkaError, OSError, RuntimeError) as error:
            self._broken()
            raise LogUnavailable(f"{doing}: {error or type(error).__name__}") from error
