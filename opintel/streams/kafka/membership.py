"""A process's share of a topic's partitions, agreed by Kafka's group protocol.

A consumer in a thread of its own keeps the membership and reads nothing, so that work of minutes never gets a healthy
member thrown out. Rebalances are cooperative (KIP-429): only what moves is let go, for which the members wait a bounded
time. Correctness does not depend on it: who goes on with what is no longer his writes the same bytes again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    SaslAuthenticationFailedError,
)

from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.log import LogError

SESSION = 10.0
"""Seconds without a sign of life after which the others take over."""
REVOKE = 5.0
"""Seconds, at most half a session, that the others wait for us to let go of what moves to them."""
HEARTBEAT = 1.0
"""Seconds: how soon a member hears of a rebalance."""
REJOIN = 60.0
"""Seconds that the others wait for one who is alive and does not join again."""
LOOK = 0.5
"""Seconds between two looks whether we are to leave. Nothing may come between two polls: kafka-python throws away a
share that was agreed on while it was not polled, and asks for another round. Inside a poll that has nothing to fetch,
kafka-python goes round by its retry_backoff_ms; each round of each member costs a millisecond."""
LEAVE = 1.0
"""Seconds that the broker may take to hear that we leave; then it finds out by itself."""
CLOSE = 2.5
PAUSE = 1.0
"""Seconds until another try where the cluster could not be reached."""
REFUSALS = (AuthorizationError, SaslAuthenticationFailedError, InvalidGroupIdError, InvalidSessionTimeoutError)
log = logging.getLogger(__name__)


class GroupMembership:
    """Keeps `log.Membership`. While no broker answers, what was owned last stays so: no other member can know better.

    `owned` raises LogError where the cluster refuses us.
    """

    def __init__(
        self, settings: KafkaSettings, password: str | None, group: str, topic: str, *, session: float = SESSION
    ) -> None:
        self._settings, self._password, self._group, self._topic = settings, password, group, topic
        self._session = session
        self._changed = threading.Condition()
        self._owned: frozenset[int] = frozenset()
        self._returned: frozenset[int] = frozenset()
        self._held: frozenset[int] = frozenset()
        """What `owned` returned last; what it had returned when `released` was last called."""
        self._error: Exception | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"member of {group}", daemon=True)
        self._thread.start()

    def owned(self) -> frozenset[int]:
        with self._changed:
            if self._error is not None:
                raise LogError(f"group {self._group}: {self._error}") from self._error
            self._returned = self._owned
            return self._returned

    def released(self) -> None:
        with self._changed:
            self._held = self._returned
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._leaving.set()
            self._changed.notify_all()
        self._thread.join(CLOSE)

    def _run(self) -> None:
        logged = ""
        try:
            while not self._leaving.is_set():
                try:
                    self._take_part()
                except REFUSALS:
                    raise
                except KafkaError as error:
                    reason = str(error) or type(error).__name__
                    if reason != logged:
                        log.warning("group %s: %s; joining when it can be reached", self._group, reason)
                    logged = reason
                    self._lose(self._owned)
                    self._leaving.wait(PAUSE)
        except Exception as error:  # raised in the thread that asks
            with self._changed:
                self._error = error

    def _take_part(self) -> None:
        """A member until we leave or kafka-python gives up."""
        consumer = KafkaConsumer(
            group_id=self._group,
            client_id="opintel",
            session_timeout_ms=int(1000 * self._session),
            heartbeat_interval_ms=int(1000 * min(HEARTBEAT, self._session / 4)),
            max_poll_interval_ms=int(1000 * REJOIN),
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(1000 * LEAVE),
            retry_backoff_ms=int(1000 * LOOK),
            reconnect_backoff_max_ms=1000,
            metadata_max_age_ms=int(1000 * REJOIN),
            metrics_enabled=False,
            **self._settings.client(self._password),
        )
        try:
            consumer.subscribe([self._topic], listener=_Listener(self, consumer))
            # Waits until the partitions are known. A join that begins when they become known, and is answered after its
            # `poll` has timed out, is forgotten by kafka-python 3.0: a member without partitions and heartbeats.
            consumer.partitions_for_topic(self._topic)
            while not self._leaving.is_set():
                consumer.poll(timeout_ms=int(1000 * LOOK))
        finally:
            consumer.close(autocommit=False, timeout_ms=int(1000 * LEAVE))

    def _win(self, partitions: Collection[int]) -> None:
        with self._changed:
            self._owned = self._owned | frozenset(partitions)
            if partitions:
                log.info("group %s: partitions %s of %s are ours", self._group, sorted(self._owned), self._topic)

    def _lose(self, partitions: Collection[int], wait: float = 0.0) -> None:
        """They are ours no longer; waits until no service works on them."""
        lost = frozenset(partitions)
        with self._changed:
            self._owned = self._owned - lost

            def let_go() -> bool:
                return self._leaving.is_set() or not (self._returned | self._held) & lost

            if not self._changed.wait_for(let_go, wait) and wait:
                log.warning(
                    "group %s: partitions %s go to others while we still work on them", self._group, sorted(lost)
                )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs in the consumer's network thread, which a bounded wait keeps from its heartbeats: the session is longer."""

    def __init__(self, membership: GroupMembership, consumer: KafkaConsumer) -> None:
        self._membership, self._consumer = membership, consumer

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._consumer.pause(*assigned)  # nothing is ever fetched
        self._membership._win({place.partition for place in assigned})

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        wait = min(REVOKE, self._membership._session / 2)
        self._membership._lose({place.partition for place in revoked}, wait)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        log.warning("group %s: thrown out; joining again", self._membership._group)
        self._membership._lose({place.partition for place in lost})
