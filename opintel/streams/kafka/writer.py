"""Appending to Kafka topics, acknowledged by all in-sync replicas.

Entries come from the log; the producer is kafka-python's, idempotent, so that a batch sent again stands there once.
After a failure it is unknown what it still holds: it is thrown away, and the next append makes a new one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from opintel.streams.kafka.fetcher import PATIENCE, REQUEST_MS, TopicPartition
from opintel.streams.kafka.topics import MAX_BATCH
from opintel.streams.log import Entry, LogError, LogUnavailable

MAX_RECORD = MAX_BATCH - 4096
"""Bytes of key and value; the rest is for the batch around them."""
BRIEF = 1.0
"""Seconds that an append waits for a producer when the one before failed too."""
log = logging.getLogger(__name__)


class Writer:
    """Safe for use by several threads."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._client = dict(client)
        self._lock = threading.Lock()
        self._producer: Future[Any] | None = None
        """Ready, or still reaching for the cluster: what has begun is not thrown away, however slow the way there."""
        self._healthy = True

    def append(self, entries: Sequence[Entry]) -> dict[TopicPartition, int]:
        """Appends in order; returns, when all are acknowledged, where each partition ended behind its last entry.

        LogError where a record is refused or too large; LogUnavailable where not all were acknowledged.
        """
        for entry in entries:
            if len(entry.value) + len(entry.key) > MAX_RECORD:
                raise self._too_large(entry)
        producer = self._producer_now()
        until = time.monotonic() + PATIENCE + 2
        ends: dict[TopicPartition, int] = {}
        try:
            sent = [(e, producer.send(e.topic, e.value, e.key or None, partition=e.partition)) for e in entries]
            for entry, future in sent:
                stored = future.get(timeout=max(until - time.monotonic(), 0.1))
                ends[entry.topic, entry.partition] = stored.offset + 1
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            self._drop(producer)
            raise self._too_large(max(entries, key=lambda e: len(e.value))) from error
        except (AuthorizationError, InvalidRecordError) as error:
            self._drop(producer)
            raise LogError(f"appending to {entries[0].topic}: refused ({error})") from error
        except (KafkaError, AssertionError, RuntimeError) as error:  # it also asserts, and says so when it was closed
            self._drop(producer)
            raise LogUnavailable(f"appending to {entries[0].topic}: {error or type(error).__name__}") from error
        self._healthy = True
        return ends

    def close(self) -> None:
        with self._lock:
            made, self._producer = self._producer, None
        if made is not None:
            made.add_done_callback(lambda done: _end(done.result(), 1) if done.exception() is None else None)

    def _producer_now(self) -> Any:
        with self._lock:
            made = self._producer
            if made is None:
                made = self._producer = Future()
                threading.Thread(target=self._make, args=(made,), name="opintel-producer", daemon=True).start()
        try:
            return made.result(PATIENCE if self._healthy else BRIEF)
        except FutureTimeout:
            self._healthy = False
            raise LogUnavailable("no producer: no broker answers") from None
        except (KafkaError, OSError) as error:
            self._healthy = False
            raise LogUnavailable(f"no producer: {error or type(error).__name__}") from error

    def _make(self, made: Future[Any]) -> None:
        try:
            producer = KafkaProducer(
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                batch_size=1 << 20,
                max_request_size=MAX_BATCH,
                max_block_ms=int(PATIENCE * 1000),
                bootstrap_timeout_ms=int(PATIENCE * 1000),
                request_timeout_ms=REQUEST_MS,
                delivery_timeout_ms=int(PATIENCE * 1000),
                reconnect_backoff_max_ms=1000,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                **self._client,
            )
        except BaseException as error:  # handed to the waiting caller
            with self._lock:
                if self._producer is made:
                    self._producer = None
            made.set_exception(error)
        else:
            made.set_result(producer)

    def _drop(self, producer: Any) -> None:
        with self._lock:
            self._healthy = False
            made = self._producer
            if made is None or not made.done() or made.result() is not producer:
                return
            self._producer = None
        # what it holds must not arrive after what the caller will append when it begins again
        producer._sender.force_close()
        _end(producer, 0)

    def _too_large(self, entry: Entry) -> LogError:
        return LogError(f"topic {entry.topic}: a record of {len(entry.value)} bytes is more than the topic takes")


def _end(producer: Any, seconds: float) -> None:
    """Closes a producer; that it could not send everything first the callers of `append` learn from the futures."""
    try:
        producer.close(timeout=seconds)
    except (KafkaError, AssertionError, RuntimeError) as error:
        log.debug("closing a producer: %s", error or type(error).__name__)
        producer._sender.force_close()
