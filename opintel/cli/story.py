"""A simulated story as a live source, its clock, and how incidents are held against its truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339, rfc3339
from opintel.fts.simulate import Fault, Simulator
from opintel.streams.ingest import CHUNK, Ingester

EARLY, AFTERWARDS = 60 * NS, 3 * 3600 * NS
"""An incident belongs to a fault if it began at most so long before it, and at most so long after its end."""


class StoryClock:
    """Event time that runs `speed` times as fast as the world's once it has been started at `begin` (ns)."""

    def __init__(self, begin: int, speed: float) -> None:
        self.begin, self.speed = begin, speed
        self._started: float | None = None

    def start(self) -> None:
        """Lets it run."""
        self._started = time.monotonic()

    def now(self) -> int:
        """ns UTC of the story."""
        return (
            self.begin
            if self._started is None
            else self.begin + int((time.monotonic() - self._started) * self.speed * NS)
        )


class StoryFeed:
    """The messages of a simulator, a tick interval at a time; what has arrived by the clock is ingested.

    Cut by the story's own time, so a slow machine ingests the same records as a fast one.
    """

    def __init__(self, simulator: Simulator, ingester: Ingester, clock: StoryClock) -> None:
        self.name = f"ingest {ingester.stream.name}"
        self.ingester, self.clock = ingester, clock
        self.begin, self.end = simulator.start, simulator.end
        self._slices = self._cut(simulator)
        self._next = next(self._slices, None)
        self.through = simulator.start
        """Story time ingested so far, ns."""

    def _cut(self, simulator: Simulator) -> Iterator[tuple[int, list[bytes]]]:
        interval = self.ingester.stream.interval
        at = simulator.start
        for number, group in groupby(simulator.messages(), lambda item: (item[0] - simulator.start) // interval):
            due = simulator.start + (number + 1) * interval
            while at + interval < due:  # nothing arrived, but it was listened to
                at += interval
                yield at, []
            at = due
            yield due, [body for _, body in group]

    def step(self) -> bool:
        if self._next is None or self._next[0] > self.clock.now():
            return False
        due, bodies = self._next
        first = self.ingester.resume.messages
        for at in range(0, len(bodies), CHUNK):
            part = bodies[at : at + CHUNK]
            messages = [Message(body, "story", first + at + i, first + at + i) for i, body in enumerate(part)]
            self.ingester.take(messages, first + at + len(part), due)
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
        """Nothing to do: a story is not gone on with."""


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
