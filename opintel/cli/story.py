"""A simulated story as a live source, its clock, and how incidents are held against its truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339, rfc3339
from opintel.fts.simulate import DEFAULT_START, Fault, Simulator
from opintel.streams.ingest import CHUNK, Ingester

EARLY, AFTERWARDS = 60 * NS, 3 * 3600 * NS
"""An incident belongs to a fault if it began at most so long before it, and at most so long after its end."""


class Story(msgspec.Struct, frozen=True):
    """What a demo tells. Its services, each a process, read it from a file."""

    stream: str
    seed: int
    hours: float
    """Length of all, the quiet history at its beginning included."""
    quiet_hours: float
    faults: tuple[str, ...]
    speed: float
    """Seconds of the story in one of the world's, once it is live."""
    mark: str
    """File that says when it went live."""

    def simulator(self) -> Simulator:
        """Its messages and its truth."""
        return Simulator(seed=self.seed, hours=self.hours, faults=self.faults, quiet_hours=self.quiet_hours)

    @property
    def live_from(self) -> int:
        """End of the history, ns UTC."""
        return DEFAULT_START + int(self.quiet_hours * 3600) * NS

    @property
    def source(self) -> str:
        """Its name in the log."""
        return f"story {self.seed}"

    def clock(self) -> StoryClock:
        """Its time."""
        return StoryClock(self.live_from, self.speed, Path(self.mark))


class StoryClock:
    """Event time that stands at `begin` (ns) until the story goes live, and then runs `speed` times as fast as the
    world's: the same in every process that knows the file.
    """

    def __init__(self, begin: int, speed: float, mark: Path) -> None:
        self.begin, self.speed, self._mark = begin, speed, mark
        self._started: float | None = None

    def start(self) -> None:
        """Lets it run."""
        beside = self._mark.with_suffix(".part")
        beside.write_text(repr(time.time()))
        beside.replace(self._mark)

    def started(self) -> float | None:
        """When it went live, s since 1970."""
        if self._started is None and self._mark.exists():
            self._started = float(self._mark.read_text())
        return self._started

    def now(self) -> int:
        """ns UTC of the story."""
        started = self.started()
        return self.begin if started is None else self.begin + int((time.time() - started) * self.speed * NS)


class StoryFeed:
    """The messages of a simulator, a tick interval at a time; what has arrived by the clock is ingested.

    Cut by the story's own time, so a slow machine ingests the same records as a fast one. Its position in the story is
    the number of messages told: after a crash the same story is told on from there.
    """

    def __init__(self, story: Story, ingester: Ingester) -> None:
        self.name = f"ingest {ingester.stream.name}"
        self.ingester, self.clock = ingester, story.clock()
        simulator = story.simulator()
        self._slices = self._cut(simulator)
        self._next = next(self._slices, None)
        self.through = simulator.start
        """Story time ingested so far, ns."""

    def _cut(self, simulator: Simulator) -> Iterator[tuple[int, int, list[bytes]]]:
        """(due, messages told before, messages), a tick interval each."""
        interval = self.ingester.stream.interval
        at, told = simulator.start, 0
        for number, group in groupby(simulator.messages(), lambda item: (item[0] - simulator.start) // interval):
            due = simulator.start + (number + 1) * interval
            while at + interval < due:  # nothing arrived, but it was listened to
                at += interval
                yield at, told, []
            at = due
            bodies = [body for _, body in group]
            yield due, told, bodies
            told += len(bodies)

    def step(self) -> bool:
        if self._next is None or self._next[0] > self.clock.now():
            return False
        due, told, bodies = self._next
        for at in range(0, len(bodies), CHUNK):
            part, first = bodies[at : at + CHUNK], told + at
            if first >= self.ingester.resume.messages:  # else the log has it from before a crash
                messages = [Message(body, "story", first + i, first + i) for i, body in enumerate(part)]
                self.ingester.take(messages, first + len(part), due)
        if told + len(bodies) >= self.ingester.resume.messages:
            self.ingester.tick(due)
        self.through = due
        self._next = next(self._slices, None)
        return True

    @property
    def over(self) -> bool:
        """Whether all has been told."""
        return self._next is None

    def idle(self) -> bool:
        return self._next is None or self._next[0] > self.clock.now()

    def close(self) -> None:
        """Nothing to do: where it stands is in the log."""


def injected(stream: str, faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """The truth in the report's form."""
    return [
        {
            "id": f.id,
            "stream": stream,
            "kind": f.kind,
            "subject": f.subject,
            "start": rfc3339(f.start),
            "end": rfc3339(f.end),
        }
        for f in faults
    ]


def match(faults: Sequence[dict[str, Any]], incidents: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Fault → the incidents about its subject, in its time."""
    found: dict[str, list[str]] = {f["id"]: [] for f in faults}
    for incident in incidents:
        about = {value for subject in incident["subjects"] for value in subject.values()}
        start = parse_rfc3339(incident["start"])
        for fault in faults:
            in_time = parse_rfc3339(fault["start"]) - EARLY <= start <= parse_rfc3339(fault["end"]) + AFTERWARDS
            if fault["stream"] in incident["streams"] and about & set(fault["subject"].values()) and in_time:
                found[fault["id"]].append(incident["id"])
    return found
