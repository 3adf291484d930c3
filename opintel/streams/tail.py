"""The last stamp of a raw partition: where its sources stood, and how current it is.

Read backwards from the end, in growing blocks, past controls and what is no record. Ingest goes on from it, the vitals
show it.
"""

from __future__ import annotations

from typing import NamedTuple

from opintel.streams.log import Log
from opintel.streams.records import Stamp, stamp_of
from opintel.streams.stream import Stream

WITHIN = 200_000
"""Records that are looked at, at most."""
WITHIN_BYTES = 64 << 20
"""Bytes that are looked at, at most: with eight partitions it is still a matter of seconds."""
LARGEST_BLOCK = 1024


class Tail(NamedTuple):
    """What the end of a partition says."""

    stamp: Stamp | None
    """The last one, where one was found."""
    older: bool
    """Whether there are records that were not looked at."""


def tail_of(bus: Log, stream: Stream, partition: int, source: str | None = None, *, within: int = WITHIN) -> Tail:
    """The last stamp of a raw partition, or of a `source` in it, among its last `within` records; one that no worker
    believes is none.
    """
    topic = stream.topic
    start, upto = bus.start(topic, partition), bus.end(topic, partition)
    floor = max(start, upto - within)
    block, left = 1, WITHIN_BYTES
    while upto > floor and left > 0:
        below = max(floor, upto - block)
        found, size = _last(bus, stream, partition, below, upto, source)
        if found is not None:
            return Tail(found, False)
        upto, block, left = below, min(4 * block, LARGEST_BLOCK), left - size
    return Tail(None, upto > start)


def _last(
    bus: Log, stream: Stream, partition: int, position: int, upto: int, source: str | None
) -> tuple[Stamp | None, int]:
    """The last stamp of [position, upto), and the bytes read for it."""
    last, size = None, 0
    while position < upto and (batch := bus.read(stream.topic, partition, position, upto - position)):
        for at, value, appended in batch:
            if at >= upto:
                break
            size += len(value)
            try:
                stamp = stamp_of(value)
            except ValueError:
                continue  # its worker sets it aside; here only the place of the last sound one matters
            if stamp is None or stamp.wm > stream.closable(appended):
                continue
            if source in (None, stamp.source.name):
                last = stamp
        position = batch[-1][0] + 1
    return last, size
