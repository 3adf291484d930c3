"""The one way in: messages of a source → stamped raw records, ticks and dead letters. Simulator and replay use
it too.

Ingest is a function of its source. A record carries where the source stood before and after its chunk; after a
crash the ingester reads the log's tails and goes on, and a chunk that had reached only some partitions is sent
to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from opintel.detector import Decoded, Message, Pipeline, Reject, Wire
from opintel.rows import Batch
from opintel.streams.log import Aside, AsideKind, Entry, Log
from opintel.streams.records import MAX_RECORD, NEVER, Control, Rows, Source, Stamp, Tick, raw_codec, shard_of
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.tail import tail_of

CHUNK = 2000
"""Messages that share a stamp. Fixed: another size would close windows elsewhere. Large enough that a partition's
columns are long; a live chunk is what has come since the last one, so it adds no delay, and in a backlog of 4 million
messages a day it spans 43 s, which is little beside the lateness."""
NOT_READ: dict[str, AsideKind] = {"refused": "dead", "gap": "gap"}
"""Forms of messages in whose place a source says what it did not read, and why: what becomes of them."""
log = logging.getLogger(__name__)


class Resume(NamedTuple):
    """Where to go on reading a source."""

    position: Any
    """Connector's position, None at the start."""
    messages: int
    """Messages taken before it."""


class Unfinished(NamedTuple):
    """The connector's positions around a chunk that may have reached only some partitions."""

    before: Any
    after: Any


class Ingester:
    """Stamps the messages of one source of one stream. `live` sources may have ticks, and a cap on event times;
    complete files have none. A live source that can be read again by position is `replayable`; another one sends again
    by itself what was not acknowledged.
    """

    def __init__(
        self,
        bus: Log,
        stream: Stream,
        pipeline: Pipeline,
        wire: Wire[Any],
        source: str,
        *,
        live: bool,
        replayable: bool = False,
    ) -> None:
        self.log, self.stream, self.wire, self.source, self.live = bus, stream, wire, source, live
        self.csv = pipeline.csv
        self._codec = raw_codec(pipeline.payload)
        self._aside_topic, self._aside_partition = f"{stream.name}.ingest", crc32(source.encode())
        create_topics(bus, stream)
        latest = [tail_of(bus, stream.topic, p).stamp for p in range(stream.partitions)]
        by_position = replayable or not live
        of_source = self._tails(latest) if by_position else latest
        tails = {p: t for p, t in enumerate(of_source) if t is not None and t.source.name == source}
        # whoever wrote a record knew that all before its chunk is in the log: of several writers (one that was cut off
        # may still write, and cuts its chunks elsewhere) each can be believed, and the one that was furthest is
        mine = max((t.source for t in tails.values()), key=lambda s: (s.count_before, s.count), default=None)
        others = (t.source.seen for t in latest if t is not None and t.source.name != source)
        self._chunk, self._count, self._position, self._seen = 0, 0, None, max(others, default=NEVER)
        self._have: dict[int, tuple[int, int]] = {}
        """Of the chunk that is sent again: partition → how many of how many records are there."""
        self._again: tuple[Any, int] | None = None
        """Where it ends: position and messages."""
        self.taken = 0
        """Rows appended since the start of the process."""
        self.unfinished: Unfinished | None = None
        """The last chunk, where a crash may have kept it from some partitions: to be taken again before all else."""
        if mine is None:
            return
        have = {p: (t.part + 1, t.parts) for p, t in tails.items() if t.listened is None and _same(t.source, mine)}
        cut = len(have) < stream.partitions or any(there < parts for there, parts in have.values())
        if by_position and mine.before != mine.after and cut:
            self._chunk, self._count, self._position = mine.chunk, mine.count_before, mine.before
            self._seen, self._have = mine.seen_before, have
            self._again = (mine.after, mine.count)
            self.unfinished = Unfinished(mine.before, mine.after)
        else:
            self._chunk, self._count, self._position = mine.chunk + 1, mine.count, mine.after
            self._seen = max(self._seen, mine.seen)

    @property
    def resume(self) -> Resume:
        """Where the source is to be read on."""
        return Resume(self._position, self._count)

    @property
    def seen(self) -> int:
        """Largest event time so far, ns; NEVER at the start."""
        return self._seen

    def _tails(self, latest: Sequence[Stamp | None]) -> list[Stamp | None]:
        """The last stamp of our source in each partition: others may have written since."""
        found: list[Stamp | None] = []
        older = False
        for partition, last in enumerate(latest):
            if last is not None and last.source.name == self.source:
                found.append(last)
                continue
            tail = tail_of(self.log, self.stream.topic, partition, self.source)
            found.append(tail.stamp)
            older |= tail.older
        if older and not any(found):
            said = "%s: nothing of source %s at the end of %s, and not all was looked at: beginning at its start"
            log.warning(said, self.stream.name, self.source, self.stream.topic)
        return found

    def take(self, messages: Sequence[Message], after: Any, arrival: int) -> None:
        """Appends one chunk (at most CHUNK messages), the source then standing at `after`.

        `arrival` in ns. What cannot be decoded, or is dated later than arrival + skew at a live source, becomes a
        dead letter.
        """
        if len(messages) > CHUNK:
            raise ValueError(f"a chunk has at most {CHUNK} messages, got {len(messages)}")
        count = self._count + len(messages)
        unread = [message for message in messages if message.form in NOT_READ]
        dead = [self._dead(message, 0, message.body.decode("utf-8", "replace"), b"") for message in unread]
        if unread:
            messages = [message for message in messages if message.form not in NOT_READ]
        decoded = self.wire.decode(messages)
        dead += [self._rejected(messages, reject) for reject in decoded.rejects]
        batch = decoded.rows
        if self.live and len(batch) and batch.time.max() > arrival + self.stream.skew:
            batch = self._in_time(messages, decoded, arrival, dead)
        seen = max(self._seen, int(batch.time.max())) if len(batch) else self._seen
        source = Source(self.source, self._chunk, self._position, after, self._seen, seen, self._count, count)
        wm = self._stamp(arrival)
        have = self._have if self._again == (after, count) else {}  # what is cut otherwise has other rows
        self.log.put_asides(dead)
        self.log.append(
            [
                Entry(self.stream.topic, partition, value)
                for partition, rows in self._partitions(batch)
                for value in _missing(self._records(wm, arrival, source, rows), have.get(partition))
            ]
        )
        self._chunk, self._count, self._position, self._seen = self._chunk + 1, source.count, after, seen
        self._have, self._again, self.unfinished = {}, None, None
        self.taken += len(batch)

    def _in_time(
        self, messages: Sequence[Message], decoded: Decoded[Any], arrival: int, dead: list[Aside]
    ) -> Batch[Any]:
        """The rows that are not dated beyond the skew; the others become dead letters."""
        early = decoded.rows.time > arrival + self.stream.skew
        for row in np.flatnonzero(early).tolist():
            ahead = (int(decoded.rows.time[row]) - arrival) / 1e9
            reason = f"event time {ahead:.0f} s after its arrival: check the sender's clock"
            reject = Reject(int(decoded.message[row]), int(decoded.n[row]), reason)
            dead.append(self._rejected(messages, reject))
        return decoded.rows.take(np.flatnonzero(~early))

    def _partitions(self, batch: Batch[Any]) -> list[tuple[int, Batch[Any]]]:
        """The rows of each partition that has some; without a row the first, so that the source's place is kept."""
        shards, partitions = self.stream.shards, self.stream.partitions
        of_key = [shard_of(key, shards) % partitions for key in batch.key.values]
        used = sorted(set(of_key))
        if len(used) <= 1:
            return [(used[0] if used else 0, batch)]
        of_row = np.array(of_key, dtype=np.int32)[batch.key.code]
        order = np.argsort(of_row, kind="stable")
        ends = np.searchsorted(of_row[order], used, side="right").tolist()
        return [
            (partition, batch.take(order[begin:end]))
            for partition, begin, end in zip(used, [0, *ends], ends, strict=False)
            if begin < end
        ]

    def _records(self, wm: int, arrival: int, source: Source, batch: Batch[Any]) -> list[bytes]:
        """The encoded rows: one record, or several of half the size where one would be too large."""
        whole = self._codec.encode(Rows(wm, arrival, source, batch))
        if len(whole) <= MAX_RECORD or len(batch) == 1:
            return [whole]
        size = max(1, len(batch) * MAX_RECORD // (2 * len(whole)))
        pieces = [batch.take(np.arange(at, min(at + size, len(batch)))) for at in range(0, len(batch), size)]
        return [self._codec.encode(Rows(wm, arrival, source, p, n, len(pieces))) for n, p in enumerate(pieces)]

    def tick(self, now: int) -> None:
        """'The live sources were listened to until `now`' (ns), in every partition."""
        self._append_tick(Tick(now - self.stream.lateness, now, self._here(), now - self.stream.lateness))

    def finish(self, arrival: int) -> None:
        """The end of the files: closes every window with a row, and declares nothing missing after the last one."""
        if self._seen != NEVER:
            boundary = self.stream.grid.at_or_after(self._seen + 1)
            self._append_tick(Tick(boundary, arrival, self._here(), self._seen))

    def control(self, control: Control) -> None:
        """Appends a control to every partition."""
        value = self._codec.encode(control)
        self.log.append([Entry(self.stream.topic, p, value) for p in range(self.stream.partitions)])

    def _append_tick(self, tick: Tick) -> None:
        value = self._codec.encode(tick)
        self.log.append([Entry(self.stream.topic, p, value) for p in range(self.stream.partitions)])

    def _here(self) -> Source:
        last = max(self._chunk - 1, 0)
        return Source(
            self.source,
            last,
            self._position,
            self._position,
            self._seen,
            self._seen,
            self._count,
            self._count,
        )

    def _stamp(self, arrival: int) -> int:
        if self._seen == NEVER:
            return NEVER
        seen = min(self._seen, arrival + self.stream.skew) if self.live else self._seen
        return seen - self.stream.lateness

    def _rejected(self, messages: Sequence[Message], reject: Reject) -> Aside:
        message = messages[reject.message]
        return self._dead(message, reject.n, reject.reason, self.wire.redacted(message.body))

    def _dead(self, message: Message, n: int, reason: str, excerpt: bytes) -> Aside:
        place = f"{message.file}:{message.row + 1}" if message.file else f"message {message.index + 1}"
        topic, partition = self._aside_topic, self._aside_partition
        kind = NOT_READ.get(message.form, "dead")
        where = message.file if message.row < 0 else place
        return Aside(kind, topic, partition, message.index, n, reason, where, excerpt)


def _same(one: Source, other: Source) -> bool:
    """Whether two records are of the same messages."""
    return (one.chunk, one.before, one.after, one.count_before, one.count) == (
        other.chunk,
        other.before,
        other.after,
        other.count_before,
        other.count,
    )


def _missing(records: list[bytes], have: tuple[int, int] | None) -> list[bytes]:
    """Those behind the ones that a partition has, if it has some of just so many."""
    return records if have is None or have[1] != len(records) else records[have[0] :]


def create_topics(bus: Log, stream: Stream) -> None:
    """Makes a stream's topics where they are missing; LogError if one is there with other partitions."""
    bus.create(stream.topic, stream.partitions)
    bus.create(stream.derived, 1)
    bus.create(FINDINGS, 1)
