"""A grid of file transfers with faults whose truth is known: FTS messages in MONIT's envelope, in order of arrival.

`opintel simulate`, the demo, benchmarks and tests read it as they would read a broker. `grid` says who is there,
`story` what goes wrong, `wording` what errors say, `monit` how a message is written; here it happens, two minutes at
a time.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from opintel.finding import NS
from opintel.fts.simulated import grid, wording
from opintel.fts.simulated.monit import MS, RETRY_MAX, Attempt, Envelopes, FileTransfer, Queue
from opintel.fts.simulated.story import FAULT_KINDS, OTHER_KINDS, plan
from opintel.fts.transfers import ABORTED, FAILED, OK
from opintel.simulation import DEFAULT_START, HOUR, Fault, Stories

__all__ = ["DEFAULT_START", "FAULT_KINDS", "OTHER_KINDS", "Fault", "FtsSimulator"]

STEP = 120 * NS
RETRY_AFTER = 150.0
"""s at least until a failed file is tried again: more than a step."""
LATEST = 120.0
"""s of delivery delay at most; copies of a message may come later."""

DUPLICATES, STATES, QUEUES, ABORTS = 0.003, 0.03, 0.02, 0.003
"""Shares of messages that are copies, state and queue messages; share of attempts that are aborted."""
QUEUE_EVERY = 5
"""Steps between two queue messages of a link."""
SLOWED = 15.0
"""A slow link's throughput is divided by this."""

_VOS = ("atlas", "cms", "lhcb", "belle", "dune")
_VO_SHARE = (0.44, 0.36, 0.10, 0.05, 0.05)
_OF_SECOND = frozenset({"belle", "dune"})
"""VOs that use the second FTS, where there is one."""
QUEUE_TIMEOUT = "Job has been canceled because it stayed in the queue for too long (max-time-in-queue timeout)"
_ACTIVITIES = (
    "Production Input",
    "Production Output",
    "Data Consolidation",
    "Data Rebalancing",
    "T0 Export",
    "Staging",
)
_USERS = tuple(
    first + last
    for first in ("a", "m", "j", "s", "k")
    for last in ("novak", "silva", "rossi", "keller", "tanaka", "lindgren", "moreau", "kowalczyk")
)
_DATA = ("AOD", "DAOD_PHYS", "HITS", "RAW", "NANOAOD", "MINIAOD", "EVNT", "DST")


class _Effect(NamedTuple):
    """What a fault does to the attempts of a link."""

    start: int
    end: int
    cause: str
    probability: float
    slowed: float
    at_source: bool
    """Which side an error blames."""


_EFFECTS = {
    "endpoint-down": ("down", 1.0),
    "link-cut": ("cut", 1.0),
    "credentials-expired": ("credentials", 0.9),
    "disk-full": ("full", 0.85),
    "wrong-checksums": ("checksum", 0.5),
    "slow-link": ("slow", 0.2),
    "queue-timeouts": ("queue", 0.95),
}
"""Kind of fault → (cause of the errors, probability that an attempt fails)."""


class FtsSimulator:
    """A reproducible story: the same arguments give the same bytes, another `seed` gives another grid and other faults.

    `hours` of traffic from `start` (ns UTC), about `rate` messages an hour on the day's average, one fault of each
    kind in `faults` (of FAULT_KINDS and OTHER_KINDS) after the first `quiet_hours`. Raises ValueError for unknown kinds
    and spans without room.
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
        rate: float = 20_000.0,
    ) -> None:
        if not (hours > 0 and 0 <= quiet_hours < hours and rate > 0):
            raise ValueError(
                f"hours and rate are above 0 and quiet_hours below hours, got {hours=}, {quiet_hours=}, {rate=}"
            )
        self.start, self.end = start, start + int(hours * HOUR)
        self._seed, self._rate = seed, rate
        rng = np.random.default_rng([seed, 1])
        self.grid = grid.build(rng)
        second = f"fts-b.{instance.partition('.')[2]}"
        self._instances = (instance, second) if "instance-dark" in faults else (instance,)
        self.truth: tuple[Fault, ...] = plan(rng, self.grid, faults, start + int(quiet_hours * HOUR), self.end, second)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""
        play = _Play(np.random.default_rng([self._seed, 2]), self.grid, self.truth, self._instances, self._rate)
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

    def __init__(
        self,
        rng: np.random.Generator,
        world: grid.Topology,
        truth: Sequence[Fault],
        instances: Sequence[str],
        rate: float,
    ) -> None:
        self._rng, self._grid, self._rate = rng, world, rate
        self._envelopes, *others = (Envelopes(instance, world.links) for instance in instances)
        self._second = others[0] if others else None
        self._dark = [(f.start, f.end) for f in truth if f.kind == "instance-dark"]
        self._effects = _effects(world, truth)
        self._bandwidth, self._failure = world.bandwidth.tolist(), world.failure.tolist()
        # What fails is tried again: every day a little, which is reckoned exactly enough, and some 5 % more by faults.
        mean_failure = float((world.share * world.failure).sum())
        self._first_tries = 0.97 * rate * (1.0 - DUPLICATES - STATES - QUEUES) / (1.0 + 0.8 * mean_failure)
        queued = world.share * rng.gamma(0.5, 2.0, len(world.links))
        self._queued = queued / queued.sum()
        self._mood = rng.standard_normal(len(world.links))
        self._next_file = int(rng.integers(10**9, 2 * 10**9))
        self._sequence = 0
        self._steps = 0
        self._again: list[tuple[int, int, FileTransfer, int]] = []
        self._hiccup: dict[int, int] = {}

    def step(self, begin: int, end: int) -> list[tuple[int, int, bytes]]:
        """(arrival, running number, message) of all that happens in [begin, end), in no order."""
        rng = self._rng
        out: list[tuple[int, int, bytes]] = []
        activity = self._activity(begin)
        counts = rng.poisson(self._first_tries * (end - begin) / HOUR * activity)
        links = np.repeat(np.arange(len(counts)), counts)
        times = begin + rng.integers(0, (end - begin) // MS, len(links)) * MS
        tries = [(t, f, 0) for t, f in zip(times.tolist(), self._files(links), strict=True)]
        while self._again and self._again[0][0] < end:
            time, _, file, retry = heapq.heappop(self._again)
            tries.append((time, file, retry))
        self._hiccup = self._draw_hiccup()
        self._complete(tries, out)
        self._state(begin, end, out)
        self._queue(begin, end, activity, out)
        self._steps += 1
        return out

    def _activity(self, time: int) -> grid.Floats:
        """Each link's share of new files now: habit, time of day and week, and a mood of some 40 minutes' memory."""
        keep = math.exp(-STEP / (2400 * NS))
        self._mood = keep * self._mood + math.sqrt(1 - keep**2) * self._rng.standard_normal(len(self._mood))
        hour = time / HOUR % 24
        day = 1.0 + 0.2 * np.cos((hour - self._grid.peak_hour) * (2 * math.pi / 24))
        weekday = (time // (24 * HOUR) + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
        week = (0.9 if weekday >= 5 else 1.0) / ((5 + 2 * 0.9) / 7)
        now: grid.Floats = self._grid.share * day * week * np.exp(0.3 * self._mood - 0.045)
        return now

    def _files(self, links: npt.NDArray[np.int64]) -> list[FileTransfer]:
        rng, n = self._rng, len(links)
        sizes = np.clip(rng.lognormal(math.log(1.2e9), 1.3, n), 2e4, 4e10).astype(np.int64).tolist()
        vos = rng.choice(len(_VOS), n, p=_VO_SHARE).tolist()
        activities, data = rng.integers(0, len(_ACTIVITIES), n).tolist(), rng.integers(0, len(_DATA), n).tolist()
        owners = rng.integers(0, len(_USERS) * 8, n).tolist()
        sets, parts = rng.integers(10**6, 10**8, n).tolist(), rng.integers(1, 9000, n).tolist()
        digits = rng.bytes(20 * n).hex()
        files = []
        for k, link in enumerate(links.tolist()):
            d = digits[40 * k : 40 * k + 40]
            kind = _DATA[data[k]]
            owner = _USERS[owners[k]] if owners[k] < len(_USERS) else ""
            if owner:
                name = f"user/{owner}/{d[:2]}/{d[2:4]}/user.{owner}.{sets[k]}.{kind}._{parts[k]:06d}.root"
            else:
                name = f"rucio/data26/{d[:2]}/{d[2:4]}/{kind}.{sets[k]}._{parts[k]:06d}.pool.root.1"
            job = f"{d[:8]}-{d[8:12]}-11f1-{d[12:16]}-{d[16:28]}"
            activity = "User Subscriptions" if owner else _ACTIVITIES[activities[k]]
            self._next_file += 1
            files.append(
                FileTransfer(link, job, self._next_file, _VOS[vos[k]], activity, name, owner, sizes[k], d[32:])
            )
        return files

    def _draw_hiccup(self) -> dict[int, int]:
        """Now and then the next few transfers of some link fail, and that is all: what a judge must bear."""
        if self._rng.random() > 0.12:
            return {}
        return {int(self._rng.choice(len(self._queued), p=self._grid.share)): int(self._rng.integers(2, 4))}

    def _complete(self, tries: list[tuple[int, FileTransfer, int]], out: list[tuple[int, int, bytes]]) -> None:
        n = len(tries)
        draws = self._rng.random((n, 6)).tolist()
        normal = self._rng.standard_normal((n, 2)).tolist()
        waits = self._rng.exponential(200.0, n).tolist()
        ids, arrivals, copies = self._deliveries(np.array([t for t, _, _ in tries], dtype=np.int64))
        for k, (time, file, retry) in enumerate(tries):
            attempt = self._attempt(time, file, retry, draws[k], normal[k])
            if attempt is None:
                self._state_of(file, "CANCELED", QUEUE_TIMEOUT, time, ids[k], arrivals[k], copies[k], out)
                continue
            again = attempt.wording is not None and attempt.wording.recoverable and retry < RETRY_MAX
            if not self._silent(file, time):
                body = self._writer(file).complete(file, attempt, ids[k], arrivals[k])
                self._send(body, arrivals[k], copies[k], out)
                if self._writer(file) is self._second and not again:
                    words = attempt.wording
                    reason = f"{words.scope or 'TRANSFER'} [{words.code}] {attempt.error}" if words else ""
                    later = 1000 + int(2000 * draws[k][4])
                    self._state_of(
                        file,
                        {OK: "FINISHED", FAILED: "FAILED", ABORTED: "CANCELED"}[attempt.outcome],
                        reason,
                        time + later * MS,
                        ids[k][::-1],
                        arrivals[k] + later * MS,
                        0,
                        out,
                    )
            if again:
                wait = RETRY_AFTER + min(waits[k], 1200.0)
                self._sequence += 1
                heapq.heappush(self._again, (time + int(wait * 1000) * MS, self._sequence, file, retry + 1))

    def _writer(self, file: FileTransfer) -> Envelopes:
        """What writes the messages of the FTS that has a file."""
        return self._envelopes if self._second is None or file.vo not in _OF_SECOND else self._second

    def _silent(self, file: FileTransfer, time: int) -> bool:
        """Whether the FTS that has a file says nothing then."""
        return self._writer(file) is self._second and any(start <= time < end for start, end in self._dark)

    def _state_of(
        self,
        file: FileTransfer,
        state: str,
        reason: str,
        time: int,
        message_id: str,
        arrival: int,
        copy: int,
        out: list[tuple[int, int, bytes]],
    ) -> None:
        """A file's final state, where its FTS speaks."""
        if not self._silent(file, time):
            at = time - time % MS
            body = self._writer(file).state(
                file, state, reason, submitted=at - HOUR, time=at, message_id=message_id, arrival=arrival
            )
            self._send(body, arrival, copy, out)

    def _attempt(self, time: int, file: FileTransfer, retry: int, u: list[float], z: list[float]) -> Attempt | None:
        """What comes of a try; None: FTS gives the file up while it is queued."""
        link = file.link
        slowed, cause, blame_source = 1.0, "", u[3] < 0.5
        for effect in self._effects.get(link, ()):
            if effect.start <= time < effect.end:
                slowed = effect.slowed
                if u[0] < effect.probability:
                    cause, blame_source = effect.cause, effect.at_source
                    break
        if not cause:
            if self._hiccup.get(link, 0) > 0:
                self._hiccup[link] -= 1
                cause = "usual"
            elif u[1] < (max(self._failure[link], 0.25) if retry else self._failure[link]):
                cause = "usual"
            elif u[2] < ABORTS:
                cause = "abort"
        if cause == "queue":
            return None
        prepare = 3.0 + 5.0 * math.exp(0.6 * z[0])
        flow = 0.2 + file.size / (self._bandwidth[link] * math.exp(0.4 * z[1])) * slowed
        if not cause:
            finish = 0.5 + u[4]
            return _timed(time, prepare, flow, finish, OK, retry, None, "")
        words, error = self._error(file, cause, blame_source, u)
        outcome = ABORTED if cause == "abort" else FAILED
        if words.code == 110:
            flow = 60.0 + 540.0 * u[4]
        elif words.phase == "TRANSFER":
            flow *= u[4]
        if words.phase == "TRANSFER_PREPARATION":
            return _timed(time, prepare + (flow if words.code == 110 else 0.0), 0.0, 0.0, outcome, retry, words, error)
        return _timed(time, prepare, flow, 1.0, outcome, retry, words, error)

    def _error(self, file: FileTransfer, cause: str, blame_source: bool, u: list[float]) -> tuple[wording.Wording, str]:
        link = self._grid.links[file.link]
        options = wording.choices(cause, link.protocol)
        words = options[int(u[5] * len(options))]
        if words.scope == "SIDE":
            words = words._replace(scope="SOURCE" if blame_source else "DESTINATION")
        side = "destination" if words.scope == "DESTINATION" else "source"
        storage = link.destination if side == "destination" else link.source
        chance = int(u[4] * 2**32)
        text = words.text.format(
            host=storage.host,
            port=storage.port(link.protocol),
            ipv4=storage.ipv4,
            ipv6=storage.ipv6,
            path=f"{storage.folder(file.vo)}/{file.name}",
            url=self._envelopes.url(file, side),
            size=file.size,
            number=int(file.size * u[4]),
            short=30 + chance % 570,
            door=20000 + chance % 5000,
            sum_a=file.adler32,
            sum_b=f"{chance:08x}",
            user=file.user or _USERS[chance % len(_USERS)],
            vo=file.vo,
        )
        return words, text[:1024]

    def _state(self, begin: int, end: int, out: list[tuple[int, int, bytes]]) -> None:
        """Files that time out or are cancelled in the queue, without an attempt; and states on the way."""
        rng = self._rng
        n = int(rng.poisson(self._rate * STATES * (end - begin) / HOUR))
        files = self._files(rng.choice(len(self._queued), n, p=self._queued))
        times = begin + rng.integers(0, (end - begin) // MS, n) * MS
        ids, arrivals, copies = self._deliveries(times)
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
                    user=file.user or _USERS[int(u[k][3] * len(_USERS))],
                )
                state, waited = "FAILED", 24 * 3600.0
            elif u[k][0] < 0.46:
                state, reason, waited = "CANCELED", "job canceled by the user", 3600 * u[k][2]
            elif u[k][0] < 0.75:
                state, waited = "ACTIVE", 600 * u[k][2]
            if self._silent(file, time):
                continue
            body = self._writer(file).state(
                file,
                state,
                reason,
                submitted=time - int(waited * NS),
                time=time,
                message_id=ids[k],
                arrival=arrivals[k],
            )
            self._send(body, arrivals[k], copies[k], out)

    def _queue(self, begin: int, end: int, activity: grid.Floats, out: list[tuple[int, int, bytes]]) -> None:
        """The optimiser looks at the busiest links in turn."""
        reporting = round(self._rate * QUEUES * QUEUE_EVERY * STEP / HOUR)
        links = range(self._steps % QUEUE_EVERY, min(reporting, len(self._queued)), QUEUE_EVERY)
        times = begin + self._rng.integers(0, (end - begin) // MS, len(links)) * MS
        ids, arrivals, copies = self._deliveries(times)
        submitted = self._rng.poisson(self._first_tries * activity[: reporting or 1]).tolist()
        for k, (link, time) in enumerate(zip(links, times.tolist(), strict=True)):
            failing, slowed = self._failure[link], 1.0
            for effect in self._effects.get(link, ()):
                if effect.start <= time < effect.end:
                    failing, slowed = max(failing, effect.probability), effect.slowed
            queue = Queue(
                submitted[link], 2 + submitted[link] // 4, self._bandwidth[link] / slowed, 100 * (1 - failing)
            )
            body = self._envelopes.queue(link, queue, time=time, message_id=ids[k], arrival=arrivals[k])
            self._send(body, arrivals[k], copies[k], out)

    def _deliveries(self, times: npt.NDArray[np.int64]) -> tuple[list[str], list[int], list[int]]:
        """For messages of these times: ids, times of arrival, and of the arrival of a copy (0 = none)."""
        rng, n = self._rng, len(times)
        digits = rng.bytes(20 * n).hex()
        delay = np.minimum(1.0 + rng.lognormal(math.log(4.0), 0.9, n), LATEST)
        arrivals = times + (delay * 1000).astype(np.int64) * MS
        copied = rng.random(n) < DUPLICATES
        copies = np.where(copied, arrivals + rng.integers(20_000, 600_000, n) * MS, 0)
        return [digits[i : i + 40] for i in range(0, 40 * n, 40)], arrivals.tolist(), copies.tolist()

    def _send(self, body: bytes, arrival: int, copy: int, out: list[tuple[int, int, bytes]]) -> None:
        self._sequence += 2
        out.append((arrival, self._sequence, body))
        if copy:
            out.append((copy, self._sequence + 1, body))


def _timed(
    end: int,
    prepare: float,
    flow: float,
    finish: float,
    outcome: int,
    retry: int,
    words: wording.Wording | None,
    error: str,
) -> Attempt:
    """An attempt that ends at `end`, from the seconds that its phases took; no flow means that no bytes moved."""
    stop = end - int(finish * 1000) * MS
    begin = stop - int(flow * 1000) * MS
    start = begin - int(prepare * 1000) * MS
    return Attempt(start, begin if flow else 0, stop if flow else 0, end, outcome, retry, words, error)


def _effects(world: grid.Topology, truth: Sequence[Fault]) -> dict[int, list[_Effect]]:
    """Link → what the faults of the story do to it."""
    found: dict[int, list[_Effect]] = {}
    for fault in truth:
        if fault.kind not in _EFFECTS:
            continue
        cause, probability = _EFFECTS[fault.kind]
        slowed = SLOWED if fault.kind == "slow-link" else 1.0
        only_in = fault.kind in ("disk-full", "wrong-checksums", "queue-timeouts")
        host = fault.subject.get("endpoint")
        for index, link in enumerate(world.links):
            source, destination = link.source.host, link.destination.host
            if host is None:
                hit = (source, destination) == (fault.subject["source"], fault.subject["destination"])
            else:
                hit = host == destination or (host == source and not only_in)
            if hit:
                effect = _Effect(fault.start, fault.end, cause, probability, slowed, source == host)
                found.setdefault(index, []).append(effect)
    return found


STORIES = Stories(
    FtsSimulator,
    FAULT_KINDS,
    6.0,
    4.0,
    "transfers of 60 sites",
    proposed=("slow",),
    demo=partial(FtsSimulator, rate=12_000.0),
)
