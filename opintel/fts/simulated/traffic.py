"""Background traffic of a simulated grid: how many files a link gets, what they are, what fails now and then."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from opintel.finding import NS
from opintel.fts.simulated.grid import Floats, Topology
from opintel.fts.simulated.monit import MS, FileTransfer
from opintel.simulation import HOUR

STEP = 120 * NS
DUPLICATES, STATES, QUEUES = 0.003, 0.03, 0.02
"""Shares of messages that are copies, state and queue messages."""

VOS = ("atlas", "cms", "lhcb", "belle", "dune")
_VO_SHARE = (0.44, 0.36, 0.10, 0.05, 0.05)
HOMES: tuple[dict[str, int], ...] = ({}, {"belle": 1, "dune": 1}, {"belle": 1, "dune": 1, "cms": 2})
"""Which FTS an organisation uses where there are one, two and three; the first, if it is not named."""
_ACTIVITIES = (
    "Production Input",
    "Production Output",
    "Data Consolidation",
    "Data Rebalancing",
    "T0 Export",
    "Staging",
)
USERS = tuple(
    first + last
    for first in ("a", "m", "j", "s", "k")
    for last in ("novak", "silva", "rossi", "keller", "tanaka", "lindgren", "moreau", "kowalczyk")
)
_DATA = ("AOD", "DAOD_PHYS", "HITS", "RAW", "NANOAOD", "MINIAOD", "EVNT", "DST")


class BackgroundTraffic:
    """New files by link, about `rate` messages an hour on the day's average. Draws from `rng` in a fixed order."""

    def __init__(self, rng: np.random.Generator, world: Topology, rate: float) -> None:
        self._rng, self._world, self.rate = rng, world, rate
        # What fails is tried again: every day a little, which is reckoned exactly enough, and some 5 % more by faults.
        mean_failure = float((world.share * world.failure).sum())
        self.first_tries = 0.97 * rate * (1.0 - DUPLICATES - STATES - QUEUES) / (1.0 + 0.8 * mean_failure)
        """Files an hour."""
        queued = world.share * rng.gamma(0.5, 2.0, len(world.links))
        self.queued: Floats = queued / queued.sum()
        """Each link's share of the files that wait."""
        self._mood = rng.standard_normal(len(world.links))
        self._next_file = int(rng.integers(10**9, 2 * 10**9))

    def activity(self, time: int) -> Floats:
        """Each link's share of new files now: habit, time of day and week, and a mood of some 40 minutes' memory."""
        keep = math.exp(-STEP / (2400 * NS))
        self._mood = keep * self._mood + math.sqrt(1 - keep**2) * self._rng.standard_normal(len(self._mood))
        hour = time / HOUR % 24
        day = 1.0 + 0.2 * np.cos((hour - self._world.peak_hour) * (2 * math.pi / 24))
        weekday = (time // (24 * HOUR) + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
        week = (0.9 if weekday >= 5 else 1.0) / ((5 + 2 * 0.9) / 7)
        now: Floats = self._world.share * day * week * np.exp(0.3 * self._mood - 0.045)
        return now

    def arrivals(self, begin: int, end: int, activity: Floats) -> list[tuple[int, FileTransfer]]:
        """(time, file) of the first tries that end in [begin, end)."""
        counts = self._rng.poisson(self.first_tries * (end - begin) / HOUR * activity)
        links = np.repeat(np.arange(len(counts)), counts)
        times = self.times(begin, end, len(links))
        return list(zip(times.tolist(), self.files(links), strict=True))

    def times(self, begin: int, end: int, n: int) -> npt.NDArray[np.int64]:
        """`n` times, ns, in [begin, end)."""
        times: npt.NDArray[np.int64] = begin + self._rng.integers(0, (end - begin) // MS, n) * MS
        return times

    def files(self, links: npt.NDArray[np.int64]) -> list[FileTransfer]:
        """A new file for each of these links."""
        rng, n = self._rng, len(links)
        sizes = np.clip(rng.lognormal(math.log(1.2e9), 1.3, n), 2e4, 4e10).astype(np.int64).tolist()
        vos = rng.choice(len(VOS), n, p=_VO_SHARE).tolist()
        activities, data = rng.integers(0, len(_ACTIVITIES), n).tolist(), rng.integers(0, len(_DATA), n).tolist()
        owners = rng.integers(0, len(USERS) * 8, n).tolist()
        sets, parts = rng.integers(10**6, 10**8, n).tolist(), rng.integers(1, 9000, n).tolist()
        digits = rng.bytes(20 * n).hex()
        files = []
        for k, link in enumerate(links.tolist()):
            d = digits[40 * k : 40 * k + 40]
            kind = _DATA[data[k]]
            owner = USERS[owners[k]] if owners[k] < len(USERS) else ""
            if owner:
                name = f"user/{owner}/{d[:2]}/{d[2:4]}/user.{owner}.{sets[k]}.{kind}._{parts[k]:06d}.root"
            else:
                name = f"rucio/data26/{d[:2]}/{d[2:4]}/{kind}.{sets[k]}._{parts[k]:06d}.pool.root.1"
            job = f"{d[:8]}-{d[8:12]}-11f1-{d[12:16]}-{d[16:28]}"
            activity = "User Subscriptions" if owner else _ACTIVITIES[activities[k]]
            self._next_file += 1
            files.append(FileTransfer(link, job, self._next_file, VOS[vos[k]], activity, name, owner, sizes[k], d[32:]))
        return files

    def hiccup(self) -> dict[int, int]:
        """Link → how many of its next transfers fail, and that is all: what a judge must bear."""
        if self._rng.random() > 0.12:
            return {}
        return {int(self._rng.choice(len(self.queued), p=self._world.share)): int(self._rng.integers(2, 4))}
