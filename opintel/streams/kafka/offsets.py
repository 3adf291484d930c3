"""Offsets for lag tools: how far each stage has read, committed to consumer groups without members.

They come from the log a record batch at a time and go to the brokers at most once a second, in a thread of their own; a
failure is told once and changes nothing, for nobody resumes by them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka.errors import KafkaError, NoError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata, TopicPartition

PREFIX = "opintel."
EVERY = 1.0
TRIES = 10
log = logging.getLogger(__name__)
Noted = dict[tuple[str, str, int], int]
"""(group, topic, partition) → position."""


class Offsets:
    """Notes and tells positions. `admin` gives the client to use, `broken` is told when it did not work."""

    def __init__(self, admin: Callable[[], Any], broken: Callable[[], None]) -> None:
        self._admin, self._broken = admin, broken
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._noted: Noted = {}
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

    def told(self) -> Noted:
        """What the brokers know, of all groups of ours."""
        for _ in range(TRIES):
            if self._send():
                break
            time.sleep(0.2)
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
        while not self._closed.is_set():
            self._wake.wait()
            self._closed.wait(EVERY)
            self._wake.clear()
            self._send()

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
            return True
