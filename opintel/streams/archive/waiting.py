"""What of a raw topic is not archived yet, as the log notes it: for its retention, metrics and alarms."""

from __future__ import annotations

from typing import NamedTuple

from opintel.streams.archive.archiver import GROUP
from opintel.streams.log import Log
from opintel.streams.stream import Stream


class Waiting(NamedTuple):
    """Records that are in the log only, or in a short last file."""

    records: int
    age: int
    """Of the oldest, ns by the log's clock."""


def archived(bus: Log, stream: Stream) -> list[int]:
    """The position of each raw partition before which all is archived for good."""
    noted = bus.committed()
    return [noted.get((GROUP, stream.topic, p), 0) for p in range(stream.partitions)]


def waiting(bus: Log, stream: Stream, now: int) -> Waiting:
    """What a raw topic has behind that; `now` in ns UTC."""
    records, oldest = 0, now
    for partition, position in enumerate(archived(bus, stream)):
        position = max(position, bus.start(stream.topic, partition))
        records += bus.end(stream.topic, partition) - position
        if first := bus.read(stream.topic, partition, position, 1):
            oldest = min(oldest, first[0][2])
    return Waiting(records, now - oldest)
