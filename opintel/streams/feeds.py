"""Feeds join a connector to an ingester and take their turns in a process's loop: files, a live STOMP broker, the
topics of a Kafka cluster, the answers of a Prometheus server.

Files, topics and answers are read on where the log's tail says that they stood. A STOMP broker gets
acknowledgements for what the log has. Live sources tick.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from opintel.finding import NS, rfc3339
from opintel.streams.connectors import Acknowledged, Replayable
from opintel.streams.connectors.files import FileSource, is_further, position_of
from opintel.streams.connectors.merged import Chunk, MergedFiles
from opintel.streams.ingest import CHUNK, Ingester
from opintel.streams.log import LogUnavailable

LOOK_AGAIN = 1.0
"""Seconds between two looks at files that had nothing new."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""s between two tries at a cluster that cannot be reached, doubled each time: a try may take ten."""
LONGEST_WITHHELD = 3600 * NS
"""What is withheld for longer is not waited for: a broker ends a transaction after a quarter of an hour, and what other
partitions show meanwhile is held in memory."""
log = logging.getLogger(__name__)


class FileFeed:
    """Files and folders; `MergedFiles` are complete and their end closes the last window, others are tailed."""

    def __init__(self, source: FileSource, ingester: Ingester) -> None:
        self.name = f"ingest {ingester.stream.name}"
        self.source, self.ingester = source, ingester
        self.final = isinstance(source, MergedFiles)
        self._finished = False
        self._missed = False
        self._look_at = 0.0

    def step(self) -> bool:
        if self._finished or time.monotonic() < self._look_at:
            return False
        ingester = self.ingester
        if ingester.unfinished is not None:
            before, after = map(position_of, ingester.unfinished)
            assert after is not None
            if isinstance(self.source, MergedFiles):
                chunk = self.source.again(before, after)
            else:
                chunk = Chunk(self.source.between(before, after), after)
            ingester.take(chunk.messages, ingester.unfinished.after, time.time_ns(), *chunk.ahead)
            return True
        position = position_of(ingester.resume.position)
        try:
            if isinstance(self.source, MergedFiles):
                chunk = self.source.chunk(position, CHUNK)
            else:
                chunk = Chunk(*self.source.read(position, CHUNK))
        except (FileNotFoundError, PermissionError) as error:
            if self.final:
                raise
            if not self._missed:
                log.warning("%s; looking again until it is there", error)
            self._missed, self._look_at = True, time.monotonic() + LOOK_AGAIN
            return False
        self._missed = False
        if chunk.messages or is_further(position, chunk.after):
            ingester.take(chunk.messages, msgspec.to_builtins(chunk.after), time.time_ns(), *chunk.ahead)
            return True
        if self.final:
            ingester.finish(time.time_ns())
            self._finished = True
            return True
        self._look_at = time.monotonic() + LOOK_AGAIN
        return False

    def progress(self) -> tuple[int, int]:
        """Bytes taken and bytes present."""
        return self.source.progress(position_of(self.ingester.resume.position))

    def idle(self) -> bool:
        return self._finished or not self.final

    def close(self) -> None:
        """Nothing to do: where it stands is in the log."""


class BrokerFeed:
    """A live broker: messages are acknowledged once the log has them; ticks say that it was listened to."""

    def __init__(self, source: Acknowledged, ingester: Ingester, clock: Callable[[], int] = time.time_ns) -> None:
        self.name = f"ingest {ingester.stream.name}"
        self.source, self.ingester, self.clock = source, ingester, clock
        self._next_tick = 0
        """When a tick is due: one interval after the broker last had something for us, or was away."""

    def step(self) -> bool:
        received = self.source.read(CHUNK, 0.0)
        if received:
            first = self.ingester.resume.messages
            messages = [msgspec.structs.replace(m, index=first + i) for i, (_, m) in enumerate(received)]
            self.ingester.take(messages, first + len(messages), self.clock())
            self.source.acknowledge(token for token, _ in received)
        now = self.clock()
        if not self.source.connected or len(received) == CHUNK:
            # there was no connection, or there is a backlog: its messages must not become late by a tick
            self._next_tick = now + self.ingester.stream.interval
        elif not received and now >= self._next_tick:
            self.ingester.tick(now)
            self._next_tick = now + self.ingester.stream.interval
        return bool(received)

    def idle(self) -> bool:
        return False

    def close(self) -> None:
        self.source.close()


class ReplayableFeed:
    """Topics of a Kafka cluster, or answers of a Prometheus server: live, and read again from a position after a crash.
    While the source is away nothing is lost and nothing ticks.

    A source gives messages only its `delay` after their time, so a tick says no more than 'listened to until then'. Nor
    do ticks and stamps say more than what the source has shown: what it withholds is not late when it comes.
    """

    def __init__(self, source: Replayable, ingester: Ingester, clock: Callable[[], int] = time.time_ns) -> None:
        self.name = f"ingest {ingester.stream.name}"
        self.source, self.ingester, self.clock = source, ingester, clock
        self._next_tick = 0
        self._until = ingester.listened
        """All that the source had then has been read, ns."""
        self._withheld = 0
        """Since when it has something that it does not show, ns; 0 where it shows all."""
        self._warned = False
        self._away = False
        self._pause, self._not_before = FIRST_PAUSE, 0.0

    def step(self) -> bool:
        if time.monotonic() < self._not_before:
            return False
        ingester = self.ingester
        (position, first), unfinished = ingester.resume, ingester.unfinished
        asked = self.clock()
        try:
            if unfinished is not None:
                messages, after = self.source.between(*unfinished, first), unfinished.after
            else:
                messages, after = self.source.read(position, CHUNK, first)
                self._listen(after, asked)
        except LogUnavailable as error:
            self._miss(error)
            return False
        if self._away:
            log.info("%s: its source is back", self.name)
            self._away, self._pause = False, FIRST_PAUSE
        now = self.clock()
        while len(messages) > CHUNK:  # read again it may be more, with messages about gaps
            ingester.take(messages[:CHUNK], ingester.resume.position, now, self._known())
            messages = messages[CHUNK:]
        if messages or after != position or unfinished is not None:
            ingester.take(messages, after, now, self._known())
            return True
        if asked >= self._next_tick:  # all that is shown was read: a backlog must not become late by a tick
            ingester.tick(min(self._until, asked) - self.source.delay, asked - self.source.delay)
            self._next_tick = asked + ingester.stream.interval
        return False

    def _listen(self, position: Any, asked: int) -> None:
        """Learns how much of what the source has was read; tells when it withholds something, and when no longer."""
        until, withheld = self.source.listened(position, asked)
        self._until = max(self._until or asked, until)
        before, self._withheld = self._withheld, (self._withheld or asked) if withheld else 0
        hidden = (asked - self._withheld if withheld else 0) > self.ingester.stream.interval
        if hidden and not self._warned:
            log.warning("%s: its source withholds %s: nothing after %s is judged", self.name, withheld, self._shown())
        elif before and not withheld and self._warned:
            log.info("%s: its source shows again all that it has", self.name)
        self._warned = hidden
        if withheld and asked - self._withheld > LONGEST_WITHHELD:
            if self._until < asked - self.ingester.stream.interval:
                log.error("%s: withheld for an hour: %s; going on without it, it will be late", self.name, withheld)
            self._until = asked

    def _shown(self) -> str:
        return rfc3339(self._until)

    def _known(self) -> int | None:
        """No stamp may claim more than this, ns."""
        return self._until if self._withheld else None

    def _miss(self, error: LogUnavailable) -> None:
        if not self._away:
            log.warning("%s: %s; looking again until it is there", self.name, error)
        self._away = True
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def idle(self) -> bool:
        return False

    def close(self) -> None:
        self.source.close()


def file_feed(ingester_of: Callable[[str], Ingester], paths: Sequence[Path], *, final: bool) -> FileFeed:
    """A feed of files; the source's name in the log is their absolute paths, so that a restart finds its place."""
    name = "files:" + "|".join(repr(os.fsencode(path.resolve()))[2:-1] for path in paths)
    ingester = ingester_of(name)
    if final:
        return FileFeed(MergedFiles(paths, ingester.times_of, csv=ingester.csv), ingester)
    return FileFeed(FileSource(paths, csv=ingester.csv), ingester)
