"""A grid of file transfers with faults whose truth is known: FTS messages in MONIT's envelope, in order of arrival.

`opintel simulate`, the demo, benchmarks and tests read it as they would read a broker. `grid` says who is there,
`traffic` what is moved, `story` what goes wrong and `faults` how, `attempts` and `wording` what comes of it, `senders`
and `monit` who says so and how a message is written; here it happens, two minutes at a time.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from opintel.finding import NS
from opintel.fts.simulated import grid, wording
from opintel.fts.simulated.attempts import Attempts
from opintel.fts.simulated.faults import FTS, KINDS, VO, effects
from opintel.fts.simulated.monit import MS, RETRY_MAX, FileTransfer, Queue
from opintel.fts.simulated.recalls import Recalls, recall_links
from opintel.fts.simulated.senders import LATEST, Post, Senders, instance_names
from opintel.fts.simulated.story import FAULT_KINDS, OTHER_KINDS, plan
from opintel.fts.simulated.traffic import QUEUES, STATES, STEP, USERS, BackgroundTraffic
from opintel.simulation import DEFAULT_START, HOUR, Fault, Stories

__all__ = ["DEFAULT_START", "FAULT_KINDS", "OTHER_KINDS", "Fault", "FtsSimulator"]

RETRY_AFTER = 150.0
"""s at least until a failed file is tried again: more than a step."""
QUEUE_EVERY = 5
"""Steps between two queue messages of a link."""
QUEUE_TIMEOUT = "Job has been canceled because it stayed in the queue for too long (max-time-in-queue timeout)"


class FtsSimulator:
    """A reproducible story: the same arguments give the same bytes, another `seed` gives another grid and other faults.

    `hours` of traffic from `start` (ns UTC), about `rate` messages an hour on the day's average, one fault of each
    kind in `faults` (of FAULT_KINDS and OTHER_KINDS) after the first `quiet_hours`. Of several FTS `instances` each has
    its organisations; those after the first, or all where `states`, send a state after each completion, as FTS does,
    besides the messages of `rate`. Raises ValueError for unknown kinds and spans without room.
    """

    def __init__(
        self,
        *,
        seed: int,
        hours: float,
        start: int = DEFAULT_START,
        faults: Sequence[str] = FAULT_KINDS,
        quiet_hours: float = 0.0,
        instance: str = "fts.example.org",
        instances: int = 1,
        states: bool = False,
        rate: float = 20_000.0,
    ) -> None:
        if not (hours > 0 and 0 <= quiet_hours < hours and rate > 0):
            raise ValueError(
                f"hours and rate are above 0 and quiet_hours below hours, got {hours=}, {quiet_hours=}, {rate=}"
            )
        self.start, self.end = start, start + int(hours * HOUR)
        self._seed, self._rate, self._states = seed, rate, states
        rng = np.random.default_rng([seed, 1])
        self.grid = grid.build(rng)
        self.instances = instance_names(instance, max(instances, 2 if "instance-dark" in faults else 1))
        self.truth: tuple[Fault, ...] = plan(
            rng, self.grid, faults, start + int(quiet_hours * HOUR), self.end, self.instances
        )

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""
        play = _Play(np.random.default_rng([self._seed, 2]), self, self._rate, states=self._states)
        pending: list[tuple[int, int, bytes]] = []
        for begin in range(self.start, self.end, STEP):
            end = min(begin + STEP, self.end)
            pending += play.step(begin, end)
            pending.sort()
            come = bisect_left(pending, (end,))
            yield from ((arrival, body) for arrival, _, body in pending[:come])
            del pending[:come]
        last = self.end + int(LATEST * NS)
        yield from ((arrival, body) for arrival, _, body in pending if arrival <= last)


class _Play:
    """The running simulation: what is still to be tried again, and the random state."""

    def __init__(self, rng: np.random.Generator, story: FtsSimulator, rate: float, *, states: bool) -> None:
        world, truth = story.grid, story.truth
        self._rng, self._grid = rng, world
        self._traffic = BackgroundTraffic(rng, world, rate)
        self._attempts = Attempts(world, effects(world, truth))
        self._post = Post(rng)
        links = world.links + recall_links(world)
        self._senders = Senders(story.instances, links, truth, self._post, states=states)
        self._recalls = Recalls(rng, world, truth, self._traffic, self._senders)
        self._sequence = 0
        self._steps = 0
        self._again: list[tuple[int, int, FileTransfer, int]] = []

    def step(self, begin: int, end: int) -> list[tuple[int, int, bytes]]:
        """(arrival, running number, message) of all that happens in [begin, end), in no order."""
        activity = self._traffic.activity(begin)
        tries = [(time, file, 0) for time, file in self._traffic.arrivals(begin, end, activity)]
        while self._again and self._again[0][0] < end:
            time, _, file, retry = heapq.heappop(self._again)
            tries.append((time, file, retry))
        self._attempts.hiccup = self._traffic.hiccup()
        self._complete(tries)
        self._state(begin, end)
        self._queue(begin, end, activity)
        self._recalls.step(begin, end)
        self._steps += 1
        return self._post.collect()

    def _complete(self, tries: list[tuple[int, FileTransfer, int]]) -> None:
        n = len(tries)
        draws = self._rng.random((n, 6)).tolist()
        normal = self._rng.standard_normal((n, 2)).tolist()
        waits = self._rng.exponential(200.0, n).tolist()
        ids, arrivals, copies = self._post.stamps(np.array([t for t, _, _ in tries], dtype=np.int64))
        for k, (time, file, retry) in enumerate(tries):
            sender = self._senders.of(file)
            attempt = self._attempts.outcome(time, file, retry, draws[k], normal[k], sender.envelopes)
            if attempt is None:
                at = time - time % MS
                sender.state(file, "CANCELED", QUEUE_TIMEOUT, at, at - HOUR, ids[k], arrivals[k], copies[k])
                continue
            again = attempt.wording is not None and attempt.wording.recoverable and retry < RETRY_MAX
            later = None if again else 1000 + int(2000 * draws[k][4])
            sender.complete(file, attempt, ids[k], arrivals[k], copies[k], later)
            if again:
                wait = RETRY_AFTER + min(waits[k], 1200.0)
                self._sequence += 1
                heapq.heappush(self._again, (time + int(wait * 1000) * MS, self._sequence, file, retry + 1))

    def _state(self, begin: int, end: int) -> None:
        """Files that time out or are cancelled in the queue, without an attempt; and states on the way."""
        rng, traffic = self._rng, self._traffic
        n = int(rng.poisson(traffic.rate * STATES * (end - begin) / HOUR))
        files = traffic.files(rng.choice(len(traffic.queued), n, p=traffic.queued))
        times = traffic.times(begin, end, n)
        ids, arrivals, copies = self._post.stamps(times)
        u = rng.random((n, 6)).tolist()
        for k, (file, time) in enumerate(zip(files, times.tolist(), strict=True)):
            state, reason, waited = "SUBMITTED", "", 0.0
            if u[k][0] < 0.40:
                text = wording.QUEUE_REASONS[int(u[k][1] * len(wording.QUEUE_REASONS))]
                link = self._grid.links[file.link]
                reason = text.format(
                    host=link.destination.host,
                    path=f"{link.source.folder(file.vo)}/{file.name}",
                    number=int(u[k][2] * 1e9),
                    short=24 + int(u[k][2] * 6) * 24,
                    user=file.user or USERS[int(u[k][3] * len(USERS))],
                )
                state, waited = "FAILED", 24 * 3600.0
            elif u[k][0] < 0.46:
                state, reason, waited = "CANCELED", "job canceled by the user", 3600 * u[k][2]
            elif u[k][0] < 0.75:
                state, waited = "ACTIVE", 600 * u[k][2]
            submitted = time - int(waited * NS)
            self._senders.of(file).state(file, state, reason, time, submitted, ids[k], arrivals[k], copies[k])

    def _queue(self, begin: int, end: int, activity: grid.Floats) -> None:
        """The optimiser of the first FTS looks at the busiest links in turn."""
        traffic, attempts, envelopes = self._traffic, self._attempts, self._senders.every[0].envelopes
        reporting = round(traffic.rate * QUEUES * QUEUE_EVERY * STEP / HOUR)
        links = range(self._steps % QUEUE_EVERY, min(reporting, len(traffic.queued)), QUEUE_EVERY)
        times = traffic.times(begin, end, len(links))
        ids, arrivals, copies = self._post.stamps(times)
        submitted = self._rng.poisson(traffic.first_tries * activity[: reporting or 1]).tolist()
        for k, (link, time) in enumerate(zip(links, times.tolist(), strict=True)):
            failing, slowed = attempts.optimised(link, time, envelopes.instance)
            queue = Queue(
                submitted[link], 2 + submitted[link] // 4, attempts.bandwidth[link] / slowed, 100 * (1 - failing)
            )
            body = envelopes.queue(link, queue, time=time, message_id=ids[k], arrival=arrivals[k])
            self._post.send(body, arrivals[k], copies[k])


def evaluated(seed: int) -> tuple[FtsSimulator, ...]:
    """The stories of a seed that `opintel evaluate fts` tells: the usual faults with one FTS; of whole FTS,
    organisations, queues and recalls with three that send states. Each has six hours of history."""
    one = partial(FtsSimulator, seed=seed, hours=12.0, quiet_hours=6.0, rate=12_000.0)
    three = partial(one, instances=3, states=True)
    dark = ("instance-dark", "authority-expired", "flapping-link", "queue-timeouts", "staging-timeouts")
    trouble = ("instance-trouble", "vo-credentials", "reworded", "endpoint-down", "disk-full")
    return one(), three(faults=dark), three(faults=trouble)


STORIES = Stories(
    FtsSimulator,
    FAULT_KINDS,
    6.0,
    4.0,
    "transfers of 60 sites",
    proposed=("slow",),
    demo=partial(FtsSimulator, rate=12_000.0),
    wide=tuple(name for name, kind in KINDS.items() if kind.reach in (FTS, VO) and not kind.harmless),
    harmless=tuple(name for name, kind in KINDS.items() if kind.harmless),
    evaluated=evaluated,
)
