"""The one way in: messages of a source → stamped raw records, ticks and dead letters. Simulator and replay use
it too.

Ingest is a function of its source. A record carries where the source stood before and after its chunk; after a
crash the ingester reads the log's tails and goes on, and a chunk that had reached only some partitions is sent
to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from opintel.detector import Message, Pipeline, Row, Wire
from opintel.streams.log import Aside, AsideKind, Entry, Log
from opintel.streams.records import NEVER, Control, Rows, Source, Tick, raw_codec, shard_of
from opintel.streams.stream import FINDINGS, Stream

CHUNK = 500
"""Messages that share a stamp. Fixed: another size would close windows elsewhere."""
NOT_READ: dict[str, AsideKind] = {"refused": "dead", "gap": "gap"}
"""Forms of messages in whose place a source says what it did not read, and why: what becomes of them."""


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
    """Stamps the messages of one source of one stream. `live` sources have ticks and a cap on event times, files
    have none. `replayable`: a live source that can be read again from a position, as files can.
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
        self._codec = raw_codec(pipeline.payload)
        self._aside_topic, self._aside_partition = f"{stream.name}.ingest", crc32(source.encode())
        self._position: Any = None
        create_topics(bus, stream)
        latest = [self._tail(p) for p in range(stream.partitions)]
        newest = max((t.seen for t in latest if t is not None), default=NEVER)
        again = replayable or not live
        tails = [self._tail(p, source) for p in range(stream.partitions)] if again else latest
        mine = max((t for t in tails if t is not None and t.name == source), key=lambda t: t.chunk, default=None)
        self._seen = newest
        self._chunk, self._count, self._position = (
            (0, 0, None) if mine is None else (mine.chunk + 1, mine.count, mine.after)
        )
        self._have: frozenset[int] = frozenset()
        """Partitions that have the chunk that is sent again."""
        self.taken = 0
        """Rows appended since the start of the process."""
        self.unfinished: Unfinished | None = None
        """The last chunk, where a crash may have kept it from some partitions: to be taken again before all else."""
        if mine is not None and mine.before != mine.after and again:
            # a STOMP broker, in contrast, sends again by itself what was not acknowledged
            have = {p for p, t in enumerate(tails) if t is not None and t.name == source and t.chunk == mine.chunk}
            if len(have) < stream.partitions:
                self._chunk, self._count, self._position = mine.chunk, mine.count_before, mine.before
                self._seen, self._have = mine.seen_before, frozenset(have)
                self.unfinished = Unfinished(mine.before, mine.after)

    @property
    def resume(self) -> Resume:
        """Where the source is to be read on."""
        return Resume(self._position, self._count)

    @property
    def seen(self) -> int:
        """Largest event time so far, ns; NEVER at the start."""
        return self._seen

    def _tail(self, partition: int, source: str | None = None) -> Source | None:
        """Source of the last stamped record, or of the last one of `source`: others may have written since."""
        topic = self.stream.topic
        start, position = self.log.start(topic, partition), self.log.end(topic, partition) - 1
        while position >= start:
            for _, value in self.log.read(topic, partition, position, 1):
                try:
                    record = self._codec.decode(value)
                except ValueError:
                    break
                if isinstance(record, Rows | Tick) and source in (None, record.source.name):
                    return record.source
            position -= 1
        return None

    def take(self, messages: Sequence[Message], after: Any, arrival: int) -> None:
        """Appends one chunk (at most CHUNK messages), the source then standing at `after`.

        `arrival` in ns. What cannot be decoded, or is dated later than arrival + skew at a live source, becomes a
        dead letter.
        """
        if len(messages) > CHUNK:
            raise ValueError(f"a chunk has at most {CHUNK} messages, got {len(messages)}")
        by_partition: dict[int, list[Row[Any]]] = {}
        dead: list[Aside] = []
        latest = arrival + self.stream.skew if self.live else None
        seen = self._seen
        shards, partitions = self.stream.shards, self.stream.partitions
        for message in messages:
            if message.form in NOT_READ:
                dead.append(self._dead(message, 0, message.body.decode("utf-8", "replace")))
                continue
            for n, row in enumerate(self.wire.decode(message)):
                if not isinstance(row, Row):
                    dead.append(self._dead(message, n, row.reason))
                    continue
                if latest is not None and row.time > latest:
                    late_by = (row.time - arrival) / 1e9
                    dead.append(
                        self._dead(
                            message,
                            n,
                            f"event time {late_by:.0f} s after its arrival: check the sender's clock",
                        )
                    )
                    continue
                if row.time > seen:
                    seen = row.time
                by_partition.setdefault(shard_of(row.key, shards) % partitions, []).append(row)
                self.taken += 1
        source = Source(
            self.source,
            self._chunk,
            self._position,
            after,
            self._seen,
            seen,
            self._count,
            self._count + len(messages),
        )
        wm = self._stamp(arrival)
        # a chunk without a row still moves the source on: its position goes into the first partition
        places = sorted(by_partition) or [0]
        entries = [
            Entry(self.stream.topic, p, self._codec.encode(Rows(wm, arrival, source, by_partition.get(p, []))))
            for p in places
            if p not in self._have
        ]
        self.log.put_asides(dead)
        self.log.append(entries)
        self._chunk, self._count, self._position, self._seen = self._chunk + 1, source.count, after, seen
        self._have, self.unfinished = frozenset(), None

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

    def _dead(self, message: Message, n: int, reason: str) -> Aside:
        place = f"{message.file}:{message.row + 1}" if message.file else f"message {message.index + 1}"
        return Aside(
            NOT_READ.get(message.form, "dead"),
            self._aside_topic,
            self._aside_partition,
            message.index,
            n,
            reason,
            message.file if message.row < 0 else place,
            b"" if message.form in NOT_READ else self.wire.redacted(message.body),
        )


def create_topics(bus: Log, stream: Stream) -> None:
    """Makes a stream's topics where they are missing; LogError if one is there with other partitions."""
    bus.create(stream.topic, stream.partitions)
    bus.create(stream.derived, 1)
    bus.create(FINDINGS, 1)
