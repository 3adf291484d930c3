"""What stands in a log, without when it was appended: most tests are about positions and values."""

from __future__ import annotations

from collections.abc import Iterable

from opintel.streams.kafka.reader import Reader
from opintel.streams.log import Log, Stored


def read(log: Log | Reader, topic: str, partition: int, position: int, limit: int) -> list[tuple[int, bytes]]:
    """(position, value) of each record."""
    return [(at, value) for at, value, _ in log.read(topic, partition, position, limit)]


def stored(records: Iterable[tuple[int, bytes]]) -> list[Stored]:
    """The same as a log gives them, appended at the beginning of time."""
    return [(at, value, 0) for at, value in records]
