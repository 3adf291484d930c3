"""Reading a Kafka topic by position: any partition, any place, by several threads, each as if it were alone.

What was fetched ahead is kept under the position at which it goes on, so the reader that goes on from there finds it,
and reading elsewhere in the partition disturbs no other; in all no more than a bound, the oldest goes first. At the end
of a partition one standing request a broker waits for news of all that are asked for. The log and the Kafka source use
it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from kafka.errors import KafkaError

from opintel.streams.kafka.batches import Batches, Item
from opintel.streams.kafka.fetcher import (
    EARLIEST,
    FETCH_BYTES,
    LATEST,
    OUT_OF_RANGE,
    PATIENCE,
    PAUSE,
    Fetched,
    Fetcher,
    TopicPartition,
    TopicRecreated,
)
from opintel.streams.log import LogError, LogUnavailable, Topic

BUFFER_BYTES = 64 << 20
"""Fetched records kept for who reads on; one batch being read may come on top."""
READ_BYTES = 16 << 20
"""A read stops behind the record that crosses this, whatever its limit."""
STANDING_MS = 500
"""How long a broker holds a request while there is no news."""
GATHER = 0.2
"""Seconds between news of a broker and the next standing request: under a steady flow what has come meanwhile travels
together, and a record waits so long at most. After a silence news comes at once; a backlog is read without waiting."""
FRESH = GATHER + 0.05
"""Seconds for which 'nothing there' is believed without a standing request."""
ASKED = 2.0
"""Seconds after its last idle read that a partition is still listened to."""
LOOK = 5.0
"""Seconds after which a topic is looked at again: is it still the same?"""
Key = tuple[TopicPartition, int]


class _End:
    """The end of a partition, where a reader waits."""

    def __init__(self, position: int, now: float) -> None:
        self.position = position
        self.empty = self.asked = now
        """When the broker said last that nothing is there; when a reader wanted to know."""
        self.listening = False


class Reader:
    """Reads topics of one cluster. Errors: LogError (no such topic, no such partition), LogUnavailable."""

    def __init__(self, client: Mapping[str, Any], *, buffer_bytes: int = BUFFER_BYTES) -> None:
        """`client` are keywords as of `KafkaSettings.client`."""
        self._fetcher = Fetcher(client)
        self._room = buffer_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Batches] = OrderedDict()
        self._coming: dict[Key, Future[None]] = {}
        self._ends: dict[TopicPartition, _End] = {}
        self._beyond: dict[TopicPartition, tuple[int, int]] = {}
        """Behind the last record positions may be missing (compaction, transactions): asked for → where it goes on."""
        self._known_end: dict[TopicPartition, int] = {}
        self._looking: dict[str, Future[None]] = {}
        self._standing: set[int] = set()

    def topic(self, name: str) -> Topic | None:
        """The topic as it is now; None where there is none. From here on it is this one that is read: only for who
        has no state over it, or drops it where the epoch is another."""
        found = self._fetcher.wait(self._fetcher.submit(self._fetcher.learn, name))
        with self._lock:
            was = self._fetcher.known.get(name)
            if was is None or found is None or found.id != was.id:
                self._forget(name)
            if found is None:
                return None
            self._fetcher.known[name] = found
            self._fetcher.recreated.pop(name, None)
        return Topic(name, len(found.leaders), found.id.hex)

    def known(self, name: str) -> Topic:
        """The topic that is read under this name, asked for where it is not known; LogError where there is none.

        LogUnavailable where it has been re-created since, until `topic` is called for the new one.
        """
        if (said := self._fetcher.recreated.get(name)) is not None:
            raise LogUnavailable(said)
        known = self._fetcher.known.get(name)
        if known is None:
            found = self.topic(name)
            if found is None:
                raise LogError(f"no topic {name!r}; `opintel topics apply` makes what is missing")
            return found
        if time.monotonic() - known.at > LOOK:
            self._look(name)
        return Topic(name, len(known.leaders), known.id.hex)

    def read(self, topic: str, partition: int, position: int, limit: int) -> list[Item]:
        """At most `limit` records from `position` on empty at the end only.

        What cannot be read is a value that begins with `log.REFUSED`. From the first record still there where
        `position` is below; LogUnavailable where it is beyond the end.
        """
        place = self._place(topic, partition)
        until = time.monotonic() + PATIENCE + 2
        position = max(position, 0)
        skip = self._beyond.get(place)
        at = skip[1] if skip is not None and skip[0] == position else position
        while limit > 0:
            with self._lock:
                batches = self._kept.pop((place, at), None)
            if batches is None:
                if self._is_end(place, at):
                    return []
                batches = self._fetch(place, at)
            items = batches.take(limit, READ_BYTES)
            if items:
                self._gone_on(place, at)
                self._keep(place, items[-1][0] + 1, batches)
                return items
            if batches.position == at and not batches.held:  # nothing there
                self._stand(place, at)
                return []
            if batches.position == at:  # a batch that was cut off: it was sent alone, so that should not be
                time.sleep(PAUSE)
            with self._lock:
                self._beyond[place] = (position, batches.position)
            at = batches.position
            if time.monotonic() > until:
                raise LogUnavailable(f"{topic}-{partition}: nothing readable from {position} to {at}")
        return []

    def start(self, topic: str, partition: int) -> int:
        """The first position still there."""
        return self._offset(self._place(topic, partition), EARLIEST)

    def end(self, topic: str, partition: int) -> int:
        """The position that the next record gets; a read after this sees all before it."""
        place = self._place(topic, partition)
        before = self.seen(topic, partition)
        end = self._offset(place, LATEST)
        self.appended(topic, partition, before, end)
        return end

    def ends(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """`end` of partitions that are known, asked for together."""
        asked = {
            place: (self.seen(*place), self._fetcher.submit(self._fetcher.offset, place, LATEST)) for place in places
        }
        found = {place: (before, self._fetcher.wait(end)) for place, (before, end) in asked.items()}
        for (topic, partition), (before, end) in found.items():
            self.appended(topic, partition, before, end)
        return {place: end for place, (_, end) in found.items()}

    def reached(self, topic: str, partition: int, position: int) -> int:
        """Where a reader who stands at a position goes on: between the two there is nothing for it (ends of
        transactions, what was compacted)."""
        with self._lock:
            asked, following = self._beyond.get((topic, partition), (position, position))
        return following if asked == position else position

    def since(self, topic: str, partition: int, at: int) -> int | None:
        """The first position of a record written at or after a time (ns UTC, to the ms); None where there is none."""
        found = self._offset(self._place(topic, partition), at // 1_000_000)
        return None if found < 0 else found

    def seen(self, topic: str, partition: int) -> int:
        """An end that the partition is known to have had."""
        return self._known_end.get((topic, partition), 0)

    def appended(self, topic: str, partition: int, before: int, end: int) -> None:
        """Says that records stand up to `end`, so that the next read does not take the partition for shorter.

        LogUnavailable where it is less than what was `seen` before: then it is another log.
        """
        place = (topic, partition)
        with self._lock:
            self._known_end[place] = max(self._known_end.get(place, 0), end)
        if end < before:
            self._look(topic, wait=True)
            with self._lock:
                self._known_end.pop(place, None)
            raise LogUnavailable(f"{topic}-{partition} ended at {before}, now at {end}: the log has lost its tail")

    @property
    def held(self) -> int:
        """Bytes kept for who reads on."""
        with self._lock:
            return sum(batches.held for batches in self._kept.values())

    def close(self) -> None:
        self._fetcher.close()

    def _place(self, topic: str, partition: int) -> TopicPartition:
        known = self.known(topic)
        if not 0 <= partition < known.partitions:
            raise LogError(f"topic {topic} has partitions 0 to {known.partitions - 1}, got {partition}")
        return topic, partition

    def _offset(self, place: TopicPartition, at: int) -> int:
        return self._fetcher.wait(self._fetcher.submit(self._fetcher.offset, place, at))

    def _look(self, topic: str, *, wait: bool = False) -> None:
        """Is it still the same topic? The answer comes with a later call, or now with `wait`."""
        with self._lock:
            looking = self._looking.get(topic)
            if looking is None:
                looking = self._looking[topic] = self._fetcher.submit(self._fetcher.check, topic)
        if not wait and not looking.done():
            return
        with self._lock:
            self._looking.pop(topic, None)
        try:
            self._fetcher.wait(looking)
        except TopicRecreated:
            raise
        except LogUnavailable:
            if wait:
                raise  # else it is old news, and the next call that needs the cluster will find out

    def _forget(self, topic: str) -> None:
        """What is known of a topic's content; called with the lock."""
        for key in [k for k in self._kept if k[0][0] == topic]:
            del self._kept[key]
        for key in [k for k in self._coming if k[0][0] == topic]:
            del self._coming[key]
        for held in (self._ends, self._beyond, self._known_end):
            for place in [p for p in held if p[0] == topic]:
                del held[place]
        self._looking.pop(topic, None)

    # what is there

    def _fetch(self, place: TopicPartition, at: int) -> Batches:
        """What stands at a position, already under way or asked for now."""
        with self._lock:
            coming = self._coming.get((place, at))
        if coming is not None:
            self._fetcher.wait(coming)
            with self._lock:
                found = self._kept.pop((place, at), None)
            if found is not None:
                return found
        answer = self._fetcher.wait(self._fetcher.submit(self._fetcher.fetch, place, at))
        if answer.code == OUT_OF_RANGE:
            start, end = self._offset(place, EARLIEST), self._offset(place, LATEST)
            if at > end:
                raise LogUnavailable(
                    f"{place[0]}-{place[1]} ends at {end}, {at} was asked for: the log has lost its tail"
                )
            at = max(at, start)
            answer = self._fetcher.wait(self._fetcher.submit(self._fetcher.fetch, place, at))
            if answer.code:
                raise LogUnavailable(f"{place[0]}-{place[1]}: records fall out of retention faster than they are read")
        return self._batches(place, at, answer)

    def _batches(self, place: TopicPartition, at: int, answer: Fetched) -> Batches:
        return Batches(f"{place[0]}-{place[1]}", answer.data, at, answer.end, answer.aborted)

    def _gone_on(self, place: TopicPartition, at: int) -> None:
        """What stood at a position has been read: news of it that is still under way would be kept for no reader."""
        with self._lock:
            end = self._ends.get(place)
            if end is not None and end.position == at:
                del self._ends[place]
            self._kept.pop((place, at), None)

    def _keep(self, place: TopicPartition, following: int, batches: Batches) -> None:
        """Keeps what is left for who reads on, or fetches what comes next."""
        if batches.more():
            with self._lock:
                self._put((place, following), batches)
            return
        at = batches.position
        if at > following:
            with self._lock:
                self._beyond[place] = (following, at)
        if at >= max(batches.end, self._known_end.get(place, 0)):
            self._stand(place, at)
            return
        with self._lock:
            if (place, at) not in self._coming and (len(self._coming) + 1) * FETCH_BYTES <= self._room:
                self._coming[place, at] = self._fetcher.submit(self._ahead, place, at)

    async def _ahead(self, place: TopicPartition, at: int) -> None:
        """Fetches what will be read next; what fails is fetched again by who reads it."""
        topic, answer = self._fetcher.known.get(place[0]), None
        try:
            answer = await self._fetcher.fetch(place, at)
        except (LogUnavailable, LogError):
            return
        finally:
            with self._lock:
                self._coming.pop((place, at), None)
                now = self._fetcher.known.get(place[0])
                if answer and answer.data and topic and now and topic.id == now.id:
                    self._put((place, at), self._batches(place, at, answer))

    def _put(self, key: Key, batches: Batches) -> None:
        """Keeps it, letting go of the oldest beyond the bound; called with the lock."""
        self._kept[key] = batches
        held = sum(b.held for b in self._kept.values())
        while held > self._room and len(self._kept) > 1:
            held -= self._kept.popitem(last=False)[1].held

    # the end

    def _is_end(self, place: TopicPartition, at: int) -> bool:
        """Whether nothing stands at a position, as far as is known without asking."""
        now = time.monotonic()
        with self._lock:
            end = self._ends.get(place)
            if end is None or end.position != at or at < self._known_end.get(place, 0):
                return False
            end.asked = now
            fresh = end.listening or now - end.empty < FRESH
        self._listen(place)
        return fresh

    def _stand(self, place: TopicPartition, at: int) -> None:
        """A reader has come to the end: listens there for what comes."""
        with self._lock:
            end = self._ends.get(place)
            if end is None or end.position != at:
                self._ends[place] = _End(at, time.monotonic())
            else:
                end.empty = end.asked = time.monotonic()
        self._listen(place)

    def _listen(self, place: TopicPartition) -> None:
        """Sees to it that the leader of a partition has a standing request."""
        known = self._fetcher.known.get(place[0])
        leader = -1 if known is None else known.leaders.get(place[1], -1)
        with self._lock:
            if leader < 0 or leader in self._standing:
                return
            self._standing.add(leader)
        self._fetcher.submit(self._stand_at, leader)

    async def _stand_at(self, leader: int) -> None:
        """Asks a broker for news, again and again while a reader waits for it."""
        try:
            while positions := self._wanted(leader):
                try:
                    news = await self._fetcher.news(positions, STANDING_MS)
                except (KafkaError, LogUnavailable, LogError):
                    news = {}  # the next read asks for itself and says what is wrong
                if self._hear(positions, news):
                    await self._fetcher.sleep(GATHER)
                if not news:
                    return
        finally:
            with self._lock:
                self._standing.discard(leader)

    def _wanted(self, leader: int) -> dict[TopicPartition, int]:
        now = time.monotonic()
        wanted = {}
        with self._lock:
            for place, end in self._ends.items():
                known = self._fetcher.known.get(place[0])
                if known is None or known.leaders.get(place[1]) != leader or now - end.asked > ASKED:
                    continue
                end.listening = True
                wanted[place] = end.position
        return wanted

    def _hear(self, asked: Mapping[TopicPartition, int], news: Mapping[TopicPartition, Fetched]) -> bool:
        """Keeps what a broker answered; whether there was anything."""
        now = time.monotonic()
        with self._lock:
            for place, position in asked.items():
                end, answer = self._ends.get(place), news.get(place)
                if end is None or end.position != position:
                    continue
                end.listening = False
                if answer is None or answer.code:
                    del self._ends[place]
                elif answer.data:
                    del self._ends[place]
                    batches = self._batches(place, position, answer)
                    if batches.more():  # of several partitions, a broker cuts all but the first anywhere
                        self._put((place, position), batches)
                else:
                    end.empty = now
        return any(answer.data for answer in news.values())
