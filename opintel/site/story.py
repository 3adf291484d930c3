"""A simulated story as the live source of streams, its clock, and how incidents are held against its truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339, rfc3339
from opintel.simulation import DEFAULT_START, HOUR, Fault, Simulation, Stories
from opintel.site.domains import stories_of
from opintel.site.errors import UserError
from opintel.site.settings import Site
from opintel.streams.ingest import CHUNK, Ingester

PAUSE = 30 * NS
"""While nothing arrives, time comes in steps of so long at least: of a stream that ticks each second, a second of the
demo's would be 480 ticks."""
EARLY, AFTERWARDS = 60 * NS, 3 * 3600 * NS
"""An incident belongs to a fault if it began at most so long before it, and at most so long after its end."""


class Chapter(msgspec.Struct, frozen=True):
    """A stream's part in a story."""

    stream: str
    domain: str
    """Whose simulator tells it."""
    quiet_hours: float
    """Length of the history before the story goes live, in which nothing goes wrong."""
    faults: tuple[str, ...]


class Story(msgspec.Struct, frozen=True):
    """The story of a demo. Its services, each a process, read it from a file."""

    seed: int
    hours: float
    """Length of what is played live."""
    chapters: tuple[Chapter, ...]
    speed: float
    """Seconds of the story in one of the world's, once it is live."""
    mark: str
    """File that says when it went live."""
    live_from: int = DEFAULT_START + 4 * HOUR
    """End of the histories, ns UTC."""

    def chapter(self, stream: str) -> Chapter | None:
        """A stream's part; None where it has none."""
        return next((c for c in self.chapters if c.stream == stream), None)

    def simulation(self, chapter: Chapter) -> Simulation:
        """A chapter's messages and its truth. Raises UserError where the story is too short for its faults."""
        stories = stories_of(chapter.domain)
        try:
            return (stories.demo or stories.simulator)(
                seed=self.seed,
                hours=chapter.quiet_hours + self.hours,
                start=self.live_from - int(chapter.quiet_hours * HOUR),
                faults=chapter.faults,
                quiet_hours=chapter.quiet_hours,
            )
        except ValueError as problem:
            raise UserError(f"the story of {chapter.stream} is too short or cannot be: {problem}") from problem

    @property
    def source(self) -> str:
        """Its name in the log."""
        return f"story {self.seed}"

    @property
    def clean(self) -> bool:
        """Whether nothing goes wrong in it."""
        return not any(chapter.faults for chapter in self.chapters)

    def clock(self) -> StoryClock:
        """Its time."""
        return StoryClock(self.live_from, self.speed, Path(self.mark))


def stories_for(site: Site, stream: str) -> Stories:
    """What the simulator of a stream's domain tells. Raises UserError where the site has no such stream, or where its
    domain has no simulator."""
    if stream not in site.streams:
        raise UserError(f"no stream {stream!r} is configured; there are: {', '.join(sorted(site.streams))}")
    return stories_of(site.streams[stream].domain)


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
    the number of messages sent: after a crash the same story goes on from there.
    """

    def __init__(self, story: Story, chapter: Chapter, ingester: Ingester) -> None:
        self.name = f"ingest {ingester.stream.name}"
        self.ingester, self.clock = ingester, story.clock()
        simulation = story.simulation(chapter)
        self._slices = self._cut(simulation)
        self._next = next(self._slices, None)
        self.begin = self.through = simulation.start
        """Story time ingested so far, ns."""

    def _cut(self, simulation: Simulation) -> Iterator[tuple[int, int, list[bytes]]]:
        """(due, messages sent before, messages), a tick interval each."""
        interval, start = self.ingester.stream.interval, simulation.start
        pause = -(-PAUSE // interval) * interval
        at, sent = start, 0
        for number, group in groupby(simulation.messages(), lambda item: (item[0] - start) // interval):
            due = start + (number + 1) * interval
            while at + pause < due:  # nothing arrived, but it was listened to
                at += pause
                yield at, sent, []
            at = due
            bodies = [body for _, body in group]
            yield due, sent, bodies
            sent += len(bodies)

    def step(self) -> bool:
        if self._next is None or self._next[0] > self.clock.now():
            return False
        due, sent, bodies = self._next
        for at in range(0, len(bodies), CHUNK):
            part, first = bodies[at : at + CHUNK], sent + at
            if first >= self.ingester.resume.messages:  # else the log has it from before a crash
                messages = [Message(body, "story", first + i, first + i) for i, body in enumerate(part)]
                self.ingester.take(messages, first + len(part), due)
        if sent + len(bodies) >= self.ingester.resume.messages:
            self.ingester.tick(due)
        self.through = due
        self._next = next(self._slices, None)
        return True

    @property
    def history(self) -> float:
        """Share of the history that has been played."""
        return min(1.0, (self.through - self.begin) / max(1, self.clock.begin - self.begin))

    @property
    def over(self) -> bool:
        """Whether all has been played."""
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
        start = parse_rfc3339(incident["start"])
        for fault in faults:
            in_time = parse_rfc3339(fault["start"]) - EARLY <= start <= parse_rfc3339(fault["end"]) + AFTERWARDS
            about = any(_is_about(subject, fault["subject"]) for subject in incident["subjects"])
            if fault["stream"] in incident["streams"] and about and in_time:
                found[fault["id"]].append(incident["id"])
    return found


def _is_about(subject: Mapping[str, str], fault: Mapping[str, str]) -> bool:
    """Whether both name a thing, under whatever label, and no label of both has two values. A scope is a thing only
    where a fault names nothing else."""
    same = all(subject[label] == text for label, text in fault.items() if label in subject)
    things = {text for label, text in fault.items() if label != "scope"} or set(fault.values())
    return same and not things.isdisjoint(subject.values())
