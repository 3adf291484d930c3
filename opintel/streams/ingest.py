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
from numpy.typing import NDArray

from opintel.detector import Decoded, Message, Pipeline, Wire
from opintel.rejects import Reject, Rejects
from opintel.rows import Batch, Index, coded
from opintel.streams.ahead import Following, too_far_ahead
from opintel.streams.connectors.framing import FileForms
from opintel.streams.decoding import decode, excerpt_of
from opintel.streams.log import Aside, AsideKind, Entry, Log
from opintel.streams.records import MAX_RECORD, NEVER, Control, Rows, SourcePosition, Stamp, Tick, raw_codec, shard_of
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.tail import tail_of
from opintel.streams.windows import cut_of
from opintel.tables import NOTHING_READ, ColumnsRead, columns_joined

CHUNK = 2000
"""Messages that share a stamp. Fixed: another size would close windows elsewhere. Large enough that a partition's
columns are long; a live chunk is what has come since the last one, so it adds no delay, and in a backlog of 4 million
messages a day it spans 43 s, which is little beside the lateness."""
HEAD = 4096
"""Bytes of a record that its stamp and source may take; a position of files may take more."""
MAX_ROW = 4 << 20
"""Bytes of one row; a record of it must pass Kafka's 8 MiB."""
PLACES = 5
"""Places that a dead letter of several records names."""
MAX_BEHIND = 100
"""Files that are named because their rows are out of order."""
MAX_KEYS = 1 << 20
"""Keys that are counted."""
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
        self.forms = FileForms.of(pipeline, wire)
        self._payload, self._codec = pipeline.payload, raw_codec(pipeline.payload)
        self._cut = cut_of(stream, pipeline)
        self._aside_topic, self._aside_partition = f"{stream.name}.ingest", crc32(source.encode())
        create_topics(bus, stream)
        latest = [tail_of(bus, stream, p).stamp for p in range(stream.partitions)]
        by_position = replayable or not live
        of_source = self._tails(latest) if by_position else latest
        tails = {p: t for p, t in enumerate(of_source) if t is not None and t.source.name == source}
        # the writer of a record knew that all before its chunk is in the log: of several writers (one that was cut off
        # may still write, and cuts its chunks elsewhere) each can be believed, and the one that was furthest is
        mine = max((t.source for t in tails.values()), key=lambda s: (s.count_before, s.count), default=None)
        others = (t.source.seen for t in latest if t is not None and t.source.name != source)
        self._chunk, self._count, self._position, self._seen = 0, 0, None, max(others, default=NEVER)
        self._wm = max((t.wm for t in latest if t is not None), default=NEVER)
        """Of the log, at the start of the process."""
        self._have: dict[int, tuple[int, int]] = {}
        """Of the chunk that is sent again: partition → how many of how many records are there."""
        self._again: tuple[Any, int] | None = None
        """Where it ends: position and messages."""
        self.taken = 0
        """Rows appended since the start of the process …"""
        self.keys: set[int] = set()
        """… hashes of their keys, of MAX_KEYS at most …"""
        self.columns = NOTHING_READ
        """… and the columns of the tables that they came in."""
        self.behind: dict[str, tuple[int, int]] = {}
        """File whose rows are not in order of time → the first message that lies before its chunk's stamp, and how many
        rows do; of MAX_BEHIND files at most."""
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
            tail = tail_of(self.log, self.stream, partition, self.source)
            found.append(tail.stamp)
            older |= tail.older
        if older and not any(found):
            said = "%s: nothing of source %s at the end of %s, and not all was looked at: beginning at its start"
            log.warning(said, self.stream.name, self.source, self.stream.topic)
        return found

    @property
    def listened(self) -> int:
        """Until when the log says that all was read, ns; 0 at the start."""
        return 0 if self._wm == NEVER else self._wm + self.stream.lateness

    def take(
        self,
        messages: Sequence[Message],
        after: Any,
        arrival: int,
        known: int | None = None,
        following: Following | None = None,
    ) -> None:
        """Appends one chunk (at most CHUNK messages), the source then standing at `after`.

        `arrival` in ns. What cannot be decoded becomes a dead letter, and what is dated too far ahead: of a live source
        later than arrival + skew, of complete files beyond what is `following` it. `known`: the source withholds what
        came after this (ns), or has it in other files, so the chunk's stamp claims no more.
        """
        if len(messages) > CHUNK:
            raise ValueError(f"a chunk has at most {CHUNK} messages, got {len(messages)}")
        count = self._count + len(messages)
        unread = [message for message in messages if message.form in NOT_READ]
        dead = [self._dead(message, 0, message.body.decode("utf-8", "replace"), b"") for message in unread]
        if unread:
            messages = [message for message in messages if message.form not in NOT_READ]
        decoded = decode(self.wire, messages, self._payload)
        weight = decoded.rows.weights()
        rejects = Rejects(decoded.rejects)
        last, refused = self._refused(messages, decoded, weight, arrival, following, rejects)
        batch = decoded.rows
        if refused.any():
            kept = ~refused
            batch, weight, last = batch.take(np.flatnonzero(kept)), weight[kept], last[kept]
        dead += self._rejected(messages, rejects.found())
        seen = max(self._seen, int(last.max())) if len(batch) else self._seen
        source = SourcePosition(self.source, self._chunk, self._position, after, self._seen, seen, self._count, count)
        wm = self._stamp(arrival, known)
        if not self.live and len(last) and last.min() < wm:
            message = decoded.message if not refused.any() else decoded.message[~refused]
            self._note_behind([messages[at] for at in message[last < wm].tolist()])
        have = self._have if self._again == (after, count) else {}  # what is cut otherwise has other rows
        self.log.put_asides(dead)
        self.log.append(
            [
                Entry(self.stream.topic, partition, value)
                for partition, index in self._partitions(batch)
                for value in _missing(self._records(wm, arrival, source, batch, weight, index), have.get(partition))
            ]
        )
        self._chunk, self._count, self._position, self._seen = self._chunk + 1, source.count, after, seen
        self._have, self._again, self.unfinished = {}, None, None
        self.taken += len(batch)
        if len(self.keys) < MAX_KEYS:
            self.keys.update(map(hash, batch.key.values))
        texts = {message.table for message in messages if message.form == "text" and message.table is not None}
        read = [ColumnsRead(frozenset(table.used), frozenset(table.dropped)) for table in texts]
        self.columns = columns_joined([self.columns, decoded.columns, *read])

    def _note_behind(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.file in self.behind or len(self.behind) < MAX_BEHIND:
                first, rows = self.behind.get(message.file, (message.row, 0))
                self.behind[message.file] = (first, rows + 1)

    def times_of(self, messages: Sequence[Message]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows,) which of the messages each row is in, and (rows,) the latest event time (ns) that it stands for."""
        decoded = decode(self.wire, messages, self._payload)
        return decoded.message, self._cut.last(decoded.rows, self._cut(decoded.rows)[1])

    def _refused(
        self,
        messages: Sequence[Message],
        decoded: Decoded[Any],
        weight: NDArray[np.int64],
        arrival: int,
        following: Following | None,
        rejects: Rejects,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(rows,) the latest event time that each row stands for, ns, and which rows cannot be taken."""
        start, end = self._cut(decoded.rows)
        last = self._cut.last(decoded.rows, end)
        reasons = (
            f"expected at most {MAX_ROW} bytes a row, got more",
            f"event time more than {self.stream.skew // 10**9} s after its arrival: check the sender's clock",
            self._cut.expected,
            f"event time more than {self.stream.skew // 10**9} s beyond the rows that follow it: a wrong date",
        )
        live = last > arrival + self.stream.skew if self.live else np.zeros(len(last), dtype=bool)
        far = np.zeros(len(last), dtype=bool)
        if following is not None:
            names, of_message = coded(message.file for message in messages)
            file = of_message.astype(np.int64)[decoded.message] if len(last) else decoded.message
            far = too_far_ahead(names, file, last, following, self._seen, self.stream.skew)
        wrong = np.stack([weight > MAX_ROW, live, self._cut.refused(start, end), far])
        refused = np.logical_or.reduce(wrong)
        index = np.flatnonzero(refused)
        code = wrong[:, index].argmax(axis=0)
        rejects.add_rows(decoded.message[index], decoded.n[index], code, reasons.__getitem__)
        return last, refused

    def _partitions(self, batch: Batch[Any]) -> list[tuple[int, Index]]:
        """The rows of each partition that has some; without a row the first, so that the source's place is kept."""
        shards, partitions = self.stream.shards, self.stream.partitions
        of_key = np.array([shard_of(key, shards) % partitions for key in batch.key.values], dtype=np.int64)
        of_row = of_key[batch.key.code] if len(batch) else of_key[:0]
        return [(p, np.flatnonzero(of_row == p)) for p in np.unique(of_row).tolist()] or [(0, np.arange(0))]

    def _records(
        self, wm: int, arrival: int, source: SourcePosition, batch: Batch[Any], weight: NDArray[np.int64], index: Index
    ) -> list[bytes]:
        """The encoded rows of these places: one record, or several; only a row alone is larger than MAX_RECORD."""
        cuts = _cuts(weight[index].tolist())
        pieces = zip([0, *cuts], [*cuts, len(index)], strict=True)
        return [
            self._codec.encode(Rows(wm, arrival, source, batch.take(index[begin:end]), n, len(cuts) + 1))
            for n, (begin, end) in enumerate(pieces)
        ]

    def tick(self, listened: int, now: int | None = None) -> None:
        """'The live sources were listened to until `listened`' (ns), in every partition; said at `now`, else then."""
        wm = listened - self.stream.lateness
        self._append_tick(Tick(wm, listened if now is None else now, self._here(), wm))

    def finish(self, arrival: int) -> None:
        """The end of the files: closes every window with a row, and declares nothing missing after the last one."""
        if self._seen != NEVER:
            after = self._seen + 1
            boundary = after if self._cut.ends is not None else self.stream.grid.at_or_after(after)
            self._append_tick(Tick(boundary, arrival, self._here(), self._seen))

    def control(self, control: Control) -> None:
        """Appends a control to every partition."""
        value = self._codec.encode(control)
        self.log.append([Entry(self.stream.topic, p, value) for p in range(self.stream.partitions)])

    def _append_tick(self, tick: Tick) -> None:
        value = self._codec.encode(tick)
        self.log.append([Entry(self.stream.topic, p, value) for p in range(self.stream.partitions)])

    def _here(self) -> SourcePosition:
        last = max(self._chunk - 1, 0)
        return SourcePosition(
            self.source,
            last,
            self._position,
            self._position,
            self._seen,
            self._seen,
            self._count,
            self._count,
        )

    def _stamp(self, arrival: int, known: int | None) -> int:
        if self._seen == NEVER:
            return NEVER
        seen = min(self._seen, arrival + self.stream.skew) if self.live else self._seen
        seen = seen if known is None else min(seen, known)
        return seen - self.stream.lateness

    def _rejected(self, messages: Sequence[Message], rejects: Sequence[Reject]) -> list[Aside]:
        """One dead letter for each message and reason; the first of a message shows how it begins."""
        asides = []
        shown: int | None = None
        for at, records, reason in rejects:
            excerpt = b"" if at == shown else excerpt_of(self.wire, messages[at].body)
            asides.append(self._dead(messages[at], records[0], reason, excerpt, records))
            shown = at
        return asides

    def _dead(self, message: Message, n: int, reason: str, excerpt: bytes, records: Sequence[int] = ()) -> Aside:
        place = f"{message.file}:{message.row + 1}" if message.file else f"message {message.index + 1}"
        topic, partition = self._aside_topic, self._aside_partition
        kind = NOT_READ.get(message.form, "dead")
        where = message.file if message.row < 0 else place
        if len(records) > 1:
            where += f", records {', '.join(str(record + 1) for record in records[:PLACES])}"
        return Aside(kind, topic, partition, message.index, n, reason, where, excerpt, max(1, len(records)))


def _same(one: SourcePosition, other: SourcePosition) -> bool:
    """Whether two records are of the same messages."""
    return (one.chunk, one.before, one.after, one.count_before, one.count) == (
        other.chunk,
        other.before,
        other.after,
        other.count_before,
        other.count,
    )


def _cuts(weights: Sequence[int]) -> list[int]:
    """Where rows of these weights are cut into pieces of MAX_RECORD at most; a heavier row is a piece by itself."""
    cuts, size = [], 0
    for n, weight in enumerate(weights):
        if n and size + weight > MAX_RECORD - HEAD:
            cuts.append(n)
            size = 0
        size += weight
    return cuts


def _missing(records: list[bytes], have: tuple[int, int] | None) -> list[bytes]:
    """Those behind the ones that a partition has, if it has some of just so many."""
    return records if have is None or have[1] != len(records) else records[have[0] :]


def create_topics(bus: Log, stream: Stream) -> None:
    """Makes a stream's topics where they are missing; LogError if one is there with other partitions."""
    bus.create(stream.topic, stream.partitions)
    bus.create(stream.derived, 1)
    bus.create(FINDINGS, 1)
