"""The wire of reading: which broker leads what, what stands at a position, where a partition begins and ends.

It speaks through kafka-python's connections (TLS, SASL, reconnecting), but sends fetches of its own in place of its
`Fetcher`: by topic id (KIP-516), so that the broker itself refuses a topic that was re-created; and it gives record
batches back unparsed, so that nothing is inflated but within `batches`' bounds. `reader` is the one user.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from kafka.errors import (
    AuthorizationError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailedError,
    for_code,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.consumer import FetchRequest, ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from opintel.streams.log import LogError, LogUnavailable

PATIENCE = 5.0
"""Seconds for which a failing call is tried again: a broker's restart or a new leader is not an outage …"""
BRIEF = 1.0
"""… unless the call before failed too and no broker is connected: then a process with many services still gets through
its turn."""
PAUSE = 0.1
REQUEST_MS = 3000
FETCH_BYTES = 2 << 20
RECEIVE_BYTES = 256 << 10
FETCH_VERSION = 13
"""The first with topic ids: Kafka 3.1."""
COMMITTED = 1
"""Isolation: records of aborted transactions never happened, those of open ones have not happened yet (KIP-98)."""
EARLIEST, LATEST = -2, -1
OUT_OF_RANGE, NO_TOPIC = 1, 3
T = TypeVar("T")
TopicPartition = tuple[str, int]
"""Topic and partition."""


class TopicRecreated(LogUnavailable):
    """A topic has gone, or another one has its name now."""


class KnownTopic(NamedTuple):
    """A topic as the cluster described it: its id, the leader of each partition, when (monotonic s)."""

    id: UUID
    leaders: dict[int, int]
    at: float


class Fetched(NamedTuple):
    """A fetch's result: batches as they are stored, the partition's first position and its end for readers, aborted
    transactions as (producer id, first offset). `code` is Kafka's error code, 0 for none.
    """

    data: bytes
    start: int
    end: int
    aborted: list[tuple[int, int]]
    code: int = 0


class Fetcher:
    """Connections to a cluster's brokers and a thread that serves them."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        _quieten()
        config = {
            "request_timeout_ms": REQUEST_MS,
            "receive_message_max_bytes": 1 << 28,  # one batch may be larger than what was asked for
            "reconnect_backoff_max_ms": 1000,
            "socket_connection_setup_timeout_ms": 3000,
            "socket_connection_setup_timeout_max_ms": 3000,
            "max_in_flight_requests_per_connection": 1000,
            "metadata_max_age_ms": 60_000,
            **client,
        }
        self._net = NetworkSelector(client_id="opintel", slow_task_threshold_secs=0)
        # a broker answers one connection's requests in order: those that wait for news have one of their own
        self._manager, self._waiting = (_Connections(self._net, **config) for _ in range(2))
        self.known: dict[str, KnownTopic] = {}
        self.recreated: dict[str, str] = {}
        """Topics that were found to be gone or others, and how that is said to all who ask: each has state to drop."""
        self._healthy = True
        self._closed = False
        self._net.start()

    def submit(self, work: Callable[..., Awaitable[T]], *args: Any) -> Future[T]:
        """Starts a coroutine in the connections' thread."""
        done: Future[T] = Future()

        async def go() -> None:
            try:
                done.set_result(await work(*args))
            except BaseException as error:  # handed to the waiting caller
                done.set_exception(error)

        self._net.call_soon_threadsafe(go)
        return done

    def wait(self, started: Future[T]) -> T:
        """The result of what was submitted; LogUnavailable where it takes too long."""
        try:
            return started.result(PATIENCE + 4)
        except FutureTimeout:
            raise LogUnavailable("the connection to Kafka does not answer") from None

    async def sleep(self, seconds: float) -> None:
        """Lets other coroutines go on meanwhile."""
        await self._net.sleep(seconds)

    async def patiently(self, once: Callable[[], Awaitable[T]], doing: str) -> T:
        """Tries until it works; LogUnavailable, saying why, when the patience ends."""
        began = time.monotonic()
        while True:
            left = max(began + self._patience() - time.monotonic(), 0.05)
            try:
                await self._connected(self._manager, left)
                result: T = await self._manager.wait_for(self._manager.call_soon(once), left * 1000)
            except IncompatibleBrokerVersion as error:
                raise LogError(f"{doing}: Kafka 3.1 or newer is needed ({error})") from error
            except AuthorizationError as error:
                raise LogError(f"{doing}: not allowed ({error})") from error
            except SaslAuthenticationFailedError as error:
                # kafka-python remembers a refusal for ever, and would never ask again
                self._manager._auth_failures.clear()
                self._waiting._auth_failures.clear()
                reason = str(error)
            except KafkaError as error:
                reason = str(error) or type(error).__name__
            else:
                self._healthy = True
                return result
            if time.monotonic() + PAUSE >= began + self._patience():
                self._healthy = False
                raise LogUnavailable(f"{doing}: {reason}")
            await self._net.sleep(PAUSE)

    def _patience(self) -> float:
        """Connections in the making outlive a call: on a slow way a later call finds them."""
        answering = any(connection.connected for connection in self._manager._conns.values())
        return PATIENCE if self._healthy or answering else BRIEF

    async def _connected(self, manager: Any, seconds: float) -> None:
        if not manager.bootstrapped:
            await manager.wait_for(manager.bootstrap_async(PATIENCE * 1000), seconds * 1000)

    async def learn(self, topic: str) -> KnownTopic | None:
        """The topic as it is now, None where there is none; it does not become `known` by this."""

        async def once() -> KnownTopic | None:
            request = MetadataRequest(
                topics=[MetadataRequest.MetadataRequestTopic(name=topic)],
                allow_auto_topic_creation=False,
                include_cluster_authorized_operations=False,
                include_topic_authorized_operations=False,
            )
            response = await self._manager.send(request)
            (answer,) = response.topics
            if answer.error_code == NO_TOPIC:
                return None
            if answer.error_code:
                raise for_code(answer.error_code)(f"topic {topic}")
            leaders = {p.partition_index: p.leader_id for p in answer.partitions}
            return KnownTopic(answer.topic_id, leaders, time.monotonic())

        return await self.patiently(once, f"asking for topic {topic}")

    async def check(self, topic: str) -> None:
        """Looks at a known topic again; TopicRecreated where it is not the same, and then it is not known any more."""
        now = await self.learn(topic)
        was = self._known(topic)
        if now is not None and now.id == was.id:
            self.known[topic] = now
            return
        said = f"topic {topic} is gone" if now is None else f"topic {topic} was re-created: {now.id.hex}"
        self.recreated[topic] = said
        self.known.pop(topic, None)
        raise TopicRecreated(said)

    def _known(self, topic: str) -> KnownTopic:
        known = self.known.get(topic)
        if known is None:
            raise TopicRecreated(self.recreated.get(topic) or f"topic {topic} is not what it was")
        return known

    async def _leader(self, place: TopicPartition) -> int:
        """The node that leads a known partition, after a look around where there is none."""
        if self._known(place[0]).leaders.get(place[1], -1) < 0:
            await self.check(place[0])
        leader = self._known(place[0]).leaders.get(place[1], -1)
        if leader < 0:
            raise KafkaError(f"{place[0]}-{place[1]} has no leader")
        if self._manager.cluster.broker_metadata(leader) is None:
            await self._manager.cluster.refresh_metadata()
        return leader

    async def fetch(self, place: TopicPartition, position: int) -> Fetched:
        """What stands at a position now; a code of 0 or OUT_OF_RANGE."""

        async def once() -> Fetched:
            leader = await self._leader(place)
            response = await self._manager.send(self._request({place: position}, 0), leader)
            answer = self._answers(response).get(place)
            if answer is None:
                raise for_code(response.error_code or -1)("an empty answer")
            if answer.code not in (0, OUT_OF_RANGE):
                await self.check(place[0])
                raise for_code(answer.code)(f"{place[0]}-{place[1]}")
            return answer

        return await self.patiently(once, f"reading {place[0]}-{place[1]}")

    async def news(self, positions: Mapping[TopicPartition, int], wait_ms: int) -> dict[TopicPartition, Fetched]:
        """Waits at one broker until something stands at one of the positions, all in partitions that it leads.

        An empty answer says that nothing does; KafkaError where it cannot be asked.
        """
        leader = await self._leader(next(iter(positions)))
        await self._connected(self._waiting, REQUEST_MS / 1000)
        if self._waiting.cluster.broker_metadata(leader) is None:
            await self._waiting.cluster.refresh_metadata()
        request = self._request(positions, wait_ms)
        response = await self._waiting.send(request, leader, request_timeout_ms=wait_ms + 3000)
        return self._answers(response)

    def _request(self, positions: Mapping[TopicPartition, int], wait_ms: int) -> Any:
        topics: dict[str, list[Any]] = {}
        for (topic, partition), position in positions.items():
            topics.setdefault(topic, []).append(
                FetchRequest.FetchTopic.FetchPartition(
                    partition=partition,
                    current_leader_epoch=-1,
                    fetch_offset=position,
                    last_fetched_epoch=-1,
                    log_start_offset=-1,
                    partition_max_bytes=FETCH_BYTES,
                )
            )
        return FetchRequest(
            version=FETCH_VERSION,
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=FETCH_BYTES,
            isolation_level=COMMITTED,
            session_id=0,
            session_epoch=-1,
            topics=[FetchRequest.FetchTopic(topic_id=self._known(t).id, partitions=p) for t, p in topics.items()],
            forgotten_topics_data=[],
            rack_id="",
        )

    def _answers(self, response: Any) -> dict[TopicPartition, Fetched]:
        names = {known.id: topic for topic, known in list(self.known.items())}
        answers = {}
        for answer in response.responses:
            topic = names.get(answer.topic_id)
            if topic is None:
                continue  # forgotten meanwhile
            for part in answer.partitions:
                aborted = [(a.producer_id, a.first_offset) for a in part.aborted_transactions or ()]
                answers[topic, part.partition_index] = Fetched(
                    part.records or b"", part.log_start_offset, part.last_stable_offset, aborted, part.error_code
                )
        return answers

    async def offset(self, place: TopicPartition, at: int) -> int:
        """EARLIEST, LATEST or the first position of a record at or after a time (ms UTC), −1 where there is none."""

        async def once() -> int:
            leader = await self._leader(place)
            asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                partition_index=place[1], current_leader_epoch=-1, timestamp=at
            )
            request = ListOffsetsRequest(
                isolation_level=0,  # the end is where the next record goes, whatever transaction is open
                topics=[ListOffsetsRequest.ListOffsetsTopic(name=place[0], partitions=[asked])],
                min_version=4,
            )
            response = await self._manager.send(request, leader)
            answer = response.topics[0].partitions[0]
            if answer.error_code:
                await self.check(place[0])
                raise for_code(answer.error_code)(f"{place[0]}-{place[1]}")
            return int(answer.offset)

        return await self.patiently(once, f"asking where {place[0]}-{place[1]} stands")

    def close(self) -> None:
        """Closes all connections; waiting calls fail."""
        if self._closed:
            return
        self._closed = True
        for manager in (self._manager, self._waiting):
            manager.call_soon(manager.close)
        self._net.stop(2000)
        if self._net._io_thread is None:
            self._net.close()


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Connections that receive in large pieces: kafka-python's 4 KiB each let go of the interpreter's lock and wait for
    it again, which costs more than all parsing.
    """

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        if type(transport) is KafkaTCPTransport:
            transport.__class__ = _Transport
        return transport


class _Transport(KafkaTCPTransport):  # type: ignore[misc]
    def _sock_recv(self) -> tuple[bytes, KafkaConnectionError | None]:
        pieces: list[bytes] = []
        while True:
            try:
                piece = self._sock.recv(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                return b"".join(pieces), KafkaConnectionError(str(error))
            pieces.append(piece)
            if not piece:
                return b"".join(pieces), KafkaConnectionError("socket disconnected")
            if len(piece) < RECEIVE_BYTES:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), None


_quiet = threading.Lock()


def _quieten() -> None:
    """kafka-python logs each attempt to connect as an error; we say once, in an exception, what it came to."""
    with _quiet:
        for name, level in (
            ("kafka", logging.WARNING),
            ("kafka.net", logging.CRITICAL),
            ("kafka.cluster", logging.CRITICAL),
        ):
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(level)
