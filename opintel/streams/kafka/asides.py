"""What was set aside on a Kafka log (its side outputs), as a table to ask.

The records come from the log's compacted topic through its reader and go to the callers of `Log.asides`. Each process
has a table of its own and reads on at each look.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

from opintel.streams.asides import AsideTable
from opintel.streams.kafka.reader import Reader
from opintel.streams.log import Aside, LogError, LogUnavailable

AT_ONCE = 1000
"""Records read at a time."""
_aside = msgspec.msgpack.Decoder(Aside)
T = TypeVar("T")


class AsidesView:
    """The topic as a table, read on at each look; on disk where it grows large. Safe for several threads."""

    def __init__(self, reader: Reader, topic: str) -> None:
        self._reader, self._topic = reader, topic
        self._lock = threading.Lock()
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table = AsideTable(self._db)
        self._epoch, self._position = "", 0

    def look(self, at: Callable[[AsideTable], T]) -> T:
        """What a question finds in the table as it is now. Raises LogUnavailable."""
        with self._lock:
            self._read_on()
            return at(self._table)

    def _read_on(self) -> None:
        try:
            epoch = self._reader.known(self._topic).epoch
        except LogError:
            return  # nothing has been set aside yet
        except LogUnavailable:  # perhaps re-created; what is read of it is only here, so we need not wait for others
            topic = self._reader.topic(self._topic)
            if topic is None:
                return
            epoch = topic.epoch
        if epoch != self._epoch:
            self._table.clear()
            self._epoch, self._position = epoch, 0
        while batch := self._reader.read(self._topic, 0, self._position, AT_ONCE):
            asides = [aside for _, value, _ in batch if (aside := _decoded(value)) is not None]
            self._db.execute("begin")
            try:
                self._table.put(asides, self._position)
            finally:
                self._db.execute("commit")
            self._position = batch[-1][0] + 1

    def close(self) -> None:
        """Drops the table."""
        with self._lock:
            self._db.close()


def _decoded(value: bytes) -> Aside | None:
    """None for what is not ours, or what no table can hold: there is no aside of an aside."""
    try:
        aside = _aside.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    numbers = (aside.partition, aside.position, aside.row)
    return aside if all(-(1 << 63) <= n < 1 << 63 for n in numbers) else None
