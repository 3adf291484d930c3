"""Offsets for lag tools: how far each stage has read, committed to consumer groups without members.

They come from the log a record batch at a time and go to the brokers at most once a second, in a thread of their own; a
failure is logged once and changes nothing, for no service resumes by them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from kafka.errors import KafkaError, NoError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata, TopicPartition

from opintel.streams.kafka.fetcher import PATIENCE
from opintel.streams.log import LogUnavailable

PREFIX = "opintel."
EVERY = 1.0
AGAIN = 3600.0
"""Seconds after which all is committed again: a broker forgets what is not (offsets.retention.minutes, 7 days)."""
log = logging.getLogger(__name__)
Noted = dict[tuple[str, str, int], int]
"""(group, topic, partition) → position."""


class Offsets:
    """Notes and commits positions. `admin` gives the client to use, `broken` is called when it did not work."""

    def __init__(self, admin: Callable[[], Any], broken: Callable[[], None]) -> None:
        self._admin, self._broken = admin, broken
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._noted: Noted = {}
        self._sent: Noted = {}
        self._asking: Future[Noted] | None = None
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = self._warned = False

    def note(self, group: str, topic: str, partition: int, position: int) -> None:
        """Takes note; sent within about a second."""
        with self._lock:
            self._noted[group, topic, partition] = position
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="opintel-offsets", daemon=True)
                self._thread.start()
        self._wake.set()

    def committed(self) -> Noted:
        """What the brokers know, of all groups of ours, what was noted before included.

        Raises LogUnavailable where no broker answers within PATIENCE seconds, else what kafka-python raises.
        """
        with self._lock:
            asking = self._asking
            if asking is None or asking.done():
                asking = self._asking = Future()
                threading.Thread(target=self._ask, args=(asking,), name="opintel-positions", daemon=True).start()
        try:
            return asking.result(PATIENCE)
        except FutureTimeout:
            raise LogUnavailable("asking for positions: no broker answers") from None

    def _ask(self, asking: Future[Noted]) -> None:
        until = time.monotonic() + PATIENCE
        try:
            while not self._send() and time.monotonic() < until and not self._closed.wait(0.2):
                pass
            asking.set_result(self._known())
        except BaseException as error:  # handed to the waiting caller
            asking.set_exception(error)

    def _known(self) -> Noted:
        admin = self._admin()
        groups = [g["group_id"] for g in admin.list_groups() if g["group_id"].startswith(PREFIX)]
        if not groups:
            return {}
        return {
            (group.removeprefix(PREFIX), place.topic, place.partition): noted.offset
            for group, places in admin.list_group_offsets(groups).items()
            for place, noted in places.items()
            if noted.offset >= 0
        }

    def close(self) -> None:
        """Sends what is left, within a few seconds."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(3)

    def _run(self) -> None:
        again = time.monotonic() + AGAIN
        while not self._closed.is_set():
            self._wake.wait(max(again - time.monotonic(), 0))
            self._closed.wait(EVERY)
            self._wake.clear()
            try:
                if time.monotonic() >= again:
                    again += AGAIN
                    self._note_again()
                self._send()
            except Exception:
                log.exception("committing positions for lag tools; going on")

    def _note_again(self) -> None:
        """What we committed once, as it stands now: another process may have gone on from there."""
        known = self._known()
        with self._lock:
            self._noted = {key: known.get(key, position) for key, position in self._sent.items()} | self._noted

    def _send(self) -> bool:
        """Sends what is noted; what could not be sent stays noted, unless a newer position has come."""
        with self._sending:
            with self._lock:
                noted, self._noted = self._noted, {}
            groups: dict[str, dict[TopicPartition, OffsetAndMetadata]] = {}
            for (group, topic, partition), position in noted.items():
                place = TopicPartition(topic, partition)
                groups.setdefault(PREFIX + group, {})[place] = OffsetAndMetadata(position, "", -1)
            try:
                for group, offsets in groups.items():
                    for error in self._admin().alter_group_offsets(group, offsets).values():
                        if error not in (NoError, UnknownTopicOrPartitionError):  # of a topic that is gone: no loss
                            raise error(group)
            except (KafkaError, OSError, RuntimeError) as error:
                if self._failing and not self._warned:  # the first of a new cluster has no coordinator yet
                    self._warned = True
                    log.warning("positions for lag tools cannot be committed: %s", error or type(error).__name__)
                self._failing = True
                self._broken()
                with self._lock:
                    self._noted = noted | self._noted
                self._wake.set()
                return False
            self._failing = self._warned = False
            self._sent |= noted
            return True
