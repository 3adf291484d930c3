"""Messages of topics that others write to a Kafka cluster, read by position: our own log knows it, no group does.

`KafkaSource` is for the ingester: `read`, append to the log, and go on where the log says that it stood; `between`
reads a stretch again. What cannot be read and what fell out of a topic's retention unread come as messages that say so.
A backlog of several partitions is read in step, so that none makes the others late.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from opintel.detector import Message
from opintel.streams.connectors import Listened, cut
from opintel.streams.kafka.batches import Item, Refusal
from opintel.streams.kafka.reader import Reader
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.log import LogError, LogUnavailable
from opintel.streams.stream import Stream

LOOK = 1.0
"""Seconds after which the ends of partitions with a backlog are asked for again."""


class Stand(msgspec.Struct, frozen=True, array_like=True):
    """How far a topic was read."""

    epoch: str
    """Which topic of this name: a re-created one is another."""
    following: list[int]
    """The next offset of each partition."""


Position = dict[str, Stand]
"""Topic → how far it was read."""


class KafkaSourceSettings(KafkaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster and the topics there that a stream's messages come from."""

    topics: Annotated[list[str], msgspec.Meta(min_length=1)]

    def open(self, secrets: Mapping[str, str], stream: Stream) -> KafkaSource:
        """The source; ValueError where a user has no password."""
        return KafkaSource(self, self.password(secrets))


class KafkaSource:
    """Topics of one cluster. Not for several threads.

    Its methods raise LogUnavailable where the cluster cannot be reached, LogError where it has no such topic.
    """

    delay = 0

    def __init__(self, settings: KafkaSourceSettings, password: str | None = None) -> None:
        self._reader = Reader(settings.client(password))
        self._topics = sorted(set(settings.topics))
        self._name = f"Kafka source {', '.join(settings.bootstrap)}"
        self._ends: dict[tuple[str, int], int] = {}
        self._looked = 0.0
        self._full = False
        self._turn = 0
        """Of more partitions than fit into a read, the one to begin with."""
        self._shown: set[tuple[str, int]] = set()
        """Partitions that had something at the last read of them."""
        self._mark: tuple[int, dict[tuple[str, int], int]] | None = None
        """When the ends of all partitions were asked for, and what they were: once they are passed, all was read that
        was there then."""
        self._marked = 0.0
        self._until = 0

    def read(self, position: Any, limit: int, first: int = 0) -> tuple[list[Message], Any]:
        """At most `limit` messages from `position` (plain data; None: the earliest), by topic, partition and offset,
        and the position behind them. None where all has been read. `first`: index of the first.
        """
        try:
            return self._read(position, limit, first)
        except LogUnavailable as error:
            raise self._lost(error) from error

    def _read(self, position: Any, limit: int, first: int) -> tuple[list[Message], Any]:
        stands, messages = self._begin(position, first)
        places = [(topic, p) for topic, stand in stands.items() for p in range(len(stand.following))]
        group = max(1, limit // 4)  # each may have to tell of a gap, and room for its messages remains
        turn = self._turn % max(len(places), 1)
        places = places[turn:] + places[:turn]
        for at in range(0, len(places), group):
            some = sorted(places[at : at + group])
            self._read_some(stands, messages, first, some, limit - len(messages) - len(some))
            if messages:
                self._turn = turn + at + group
                break
        return messages, msgspec.to_builtins(stands)

    def _read_some(
        self, stands: Position, messages: list[Message], first: int, places: list[tuple[str, int]], room: int
    ) -> None:
        """Adds what is new in some partitions: at most `room` messages, and one of a gap for each partition."""
        room = max(room, 1)
        for (topic, p), share in self._shares(stands, places, room).items():
            at = stands[topic].following[p]
            items = self._reader.read(topic, p, at, min(share, room)) if room > 0 else []
            room -= len(items)
            (self._shown.add if items or room <= 0 else self._shown.discard)((topic, p))
            stands[topic].following[p] = self._tell(messages, first, topic, p, at, items)
        self._full = room <= 0

    def listened(self, position: Any, now: int) -> Listened:
        """A broker shows nothing behind the first record of an open transaction, of any writer: what lies there has
        not been read, though a read says that nothing is left. So it is the ends of partitions that count.
        """
        try:
            return self._listened(msgspec.convert(position, Position), now)
        except LogUnavailable as error:
            raise self._lost(error) from error

    def _listened(self, stands: Position, now: int) -> Listened:
        at = {(t, p): following for t, stand in stands.items() for p, following in enumerate(stand.following)}
        if self._mark is None and time.monotonic() - self._marked > LOOK:
            self._mark, self._marked = (now, self._reader.ends(at)), time.monotonic()
        if self._mark is None:
            return Listened(self._until)
        marked, ends = self._mark
        unread = [
            (t, p, end) for (t, p), end in ends.items() if (t, p) in at and self._reader.reached(t, p, at[t, p]) < end
        ]
        if not unread:
            self._until, self._mark = marked, None
            return Listened(marked)
        hidden = [f"{t}-{p} offsets {at[t, p]} to {end - 1}" for t, p, end in unread if (t, p) not in self._shown]
        return Listened(self._until, ", ".join(hidden[:5]))

    def between(self, before: Any, after: Any, first: int = 0) -> list[Message]:
        """The messages between two positions once more; a gap where they are there no longer."""
        try:
            return self._between(before, after, first)
        except LogUnavailable as error:
            raise self._lost(error) from error

    def _between(self, before: Any, after: Any, first: int) -> list[Message]:
        stands, messages = self._begin(before, first)
        for topic, end in msgspec.convert(after, Position).items():
            stand = stands.get(topic)
            if stand is None or stand.epoch != end.epoch:
                continue
            for p, (at, stop) in enumerate(zip(stand.following, end.following, strict=False)):
                while at < stop:
                    items = [item for item in self._reader.read(topic, p, at, stop - at) if item[0] < stop]
                    at = self._tell(messages, first, topic, p, at, items, stop)
                    if not items:
                        break
        return messages

    def close(self) -> None:
        """Leaves the cluster."""
        self._reader.close()

    def _begin(self, position: Any, first: int) -> tuple[Position, list[Message]]:
        """The position in the topics as they are now, and a message about each one that changed."""
        known: Position = {} if position is None else msgspec.convert(position, Position)
        stands: Position = {}
        messages: list[Message] = []
        for name in self._topics:
            topic = self._topic(name)
            before = known.get(name)
            following: list[int] = []
            if before is not None and before.epoch == topic[0]:
                following = before.following[: topic[1]]
            elif before is not None:
                text = "the topic was re-created; what was unread in the old one is lost"
                messages.append(Message(text.encode(), name, -1, first + len(messages), "gap"))
            following += [self._reader.start(name, p) for p in range(len(following), topic[1])]
            stands[name] = Stand(topic[0], following)
        if not self._ends:
            self._look(stands)
            for name, stand in stands.items():
                lost = []
                for p, at in enumerate(stand.following):
                    if at > (end := self._ends[name, p]):
                        lost.append(f"{end} to {at - 1} of partition {p}")
                        stand.following[p] = end
                if lost:
                    text = f"the topic has lost its tail: offsets {', '.join(lost[:10])} had been read and are gone"
                    more = f"; so it is with {len(lost) - 10} more partitions" if lost[10:] else ""
                    messages.append(Message((text + more).encode(), name, -1, first + len(messages), "gap"))
        return stands, messages

    def _topic(self, name: str) -> tuple[str, int]:
        """Its epoch and its number of partitions."""
        try:
            known = self._reader.known(name)
        except LogError as error:
            raise LogError(f"{self._name} has no topic {name!r}, or does not show it to us") from error
        return known.epoch, known.partitions

    def _look(self, stands: Position) -> None:
        self._ends = {(t, p): self._reader.end(t, p) for t, s in stands.items() for p in range(len(s.following))}
        self._looked = time.monotonic()

    def _shares(self, stands: Position, places: list[tuple[str, int]], room: int) -> dict[tuple[str, int], int]:
        """How many messages to read of each partition: of a backlog in proportion, so that all end together."""
        if self._full and time.monotonic() - self._looked > LOOK:
            self._look(stands)
        backlog = {(t, p): max(self._ends.get((t, p), 0) - stands[t].following[p], 0) for t, p in places}
        total = sum(backlog.values())
        if total <= room:
            return {place: max(n, room // len(places), 1) for place, n in backlog.items()}
        return {place: 1 + max(room - len(places), 0) * n // total for place, n in backlog.items()}

    def _lost(self, error: LogUnavailable) -> LogUnavailable:
        """The error with the cluster's name. What comes back may have lost what it had: its ends are unknown."""
        self._ends, self._mark = {}, None
        return LogUnavailable(f"{self._name}: {error}")

    def _tell(
        self,
        messages: list[Message],
        first: int,
        topic: str,
        partition: int,
        at: int,
        items: list[Item],
        stop: int | None = None,
    ) -> int:
        """Adds the messages of what was read at an offset, a gap ahead of them where there is one; the next offset."""
        place = f"{topic}-{partition}"
        upto = items[0][0] if items else stop
        if upto is not None and upto > at and (start := self._reader.start(topic, partition)) > at:
            start = min(start, upto)
            text = f"offsets {at} to {start - 1} fell out of the topic's retention unread"
            messages.append(Message(text.encode(), place, -1, first + len(messages), "gap"))
            at = start
        for offset, value, _ in items:
            index = first + len(messages)
            if isinstance(value, Refusal):
                messages.append(Message(value[1:], f"{place} offsets {at} to {offset}", -1, index, "refused"))
            else:
                messages.append(Message(cut(value), f"{place} offset {offset}", -1, index))
            at = offset + 1
        return at
