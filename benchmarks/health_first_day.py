"""The first day of a fleet of which nothing is known, and of one that begins with a baseline: how often clean series
are as surprising as they say, and how many shifts of the first hours are found.

`python benchmarks/health_first_day.py`: the simulator's samples, counters as their rates, through
`MultiSeriesDetector`, a minute at a time. `metric`: prototypes of three days of another fleet, as hosts of other names
get them; `own`: three days of the same series before. Shifts are of eight standard deviations of the hour before, in
all series but the two metrics that never change, found where p ≤ 1e-4 within five minutes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from health_fleet import DAY, LEVELS, samples

from opintel.health import MultiSeriesDetector
from opintel.health.fleet import ERRORS, SECTORS
from opintel.health.warm_start import Learned, WarmStart, fitted

DETECTOR = ["benchmark", 1]
SPANS = ((10, 60), (60, 120), (120, 360), (360, 1440))
"""Minutes."""
SHIFTS, SIZE = (20, 45, 80, 120, 300), 8.0
PAST, FLEET, OTHERS = 3, 2, 1
"""Days; seeds."""


class Fleet(NamedTuple):
    """Samples in order of time."""

    metrics: list[str]
    key: np.ndarray
    time: np.ndarray
    value: np.ndarray

    def part(self, first: float, last: float) -> Fleet:
        """The samples from one time on to another, in s of the beginning."""
        chosen = (self.time >= self.time[0] + first) & (self.time < self.time[0] + last)
        return Fleet(self.metrics, self.key[chosen], self.time[chosen], self.value[chosen])

    def shifted(self, minute: int) -> Fleet:
        """From a minute on."""
        value, at = self.value.copy(), self.time[0] + 60 * minute
        for k in range(len(self.metrics)):
            mine = self.key == k
            usual = np.nanstd(value[mine & (self.time < at)])
            value[mine & (self.time >= at)] += SIZE * usual
        return self._replace(value=value)


def baseline(past: Fleet, names: str) -> WarmStart:
    """Of all its series, whose hosts have the names."""
    detector = MultiSeriesDetector(len(past.metrics))
    for at in range(0, len(past.key), 50_000):
        detector.update_many(*(column[at : at + 50_000] for column in (past.key, past.time, past.value)))
    keys = [key(metric, names, k) for k, metric in enumerate(past.metrics)]
    return WarmStart(fitted([Learned(keys, detector.state())], "health", DETECTOR).data, DETECTOR)


def key(metric: str, names: str, k: int) -> str:
    return f'node|{metric}{{instance="{names}{k}"}}'


def played(fleet: Fleet, warm: WarmStart | None) -> tuple[np.ndarray, np.ndarray]:
    """(minute, p) of each sample; a series begins with what the baseline knows behind its tenth."""
    n = len(fleet.metrics)
    detector, begun, p = MultiSeriesDetector(n), np.zeros(n, dtype=bool), np.empty(len(fleet.key))
    minute = ((fleet.time - fleet.time[0]) // 60).astype(int)
    edges = np.searchsorted(minute, np.arange(minute[-1] + 2))
    for first, last in pairwise(edges):
        young = np.flatnonzero((detector.rows(np.arange(n)) >= 10) & ~begun) if warm is not None else ()
        if warm is not None and len(young):
            starts = [warm.find(key(fleet.metrics[k], "a", k)) for k in young.tolist()]
            found = [(k, *start) for k, start in zip(young.tolist(), starts, strict=True) if start is not None]
            keys, places, own = map(list, zip(*found, strict=True))
            detector.begin(keys, warm.state, places, own)
            begun[young] = True
        some = slice(first, last)
        p[some] = detector.update_many(fleet.key[some], fleet.time[some], fleet.value[some]).p_value
    return minute, p


def main() -> None:
    fleet = Fleet(*samples(FLEET, PAST + 1))
    others = baseline(Fleet(*samples(OTHERS, PAST)), "b")
    own, day = baseline(fleet.part(0, PAST * DAY), "a"), fleet.part(PAST * DAY, (PAST + 1) * DAY)
    starts = {"cold": None, "metric": others, "own": own}
    print(
        "| minutes | begin | rows | "
        + " | ".join(f"{level:g}" for level in LEVELS)
        + " |\n|---|---|---|---|---|---|---|"
    )
    for name, warm in starts.items():
        minute, p = played(day, warm)
        for first, last in SPANS:
            here = (minute >= first) & (minute < last) & np.isfinite(p)
            if here.any():
                ratios = " | ".join(f"{np.mean(p[here] <= level) / level:.2f}" for level in LEVELS)
                print(f"| {first} to {last} | {name} | {here.sum():,} | {ratios} |", flush=True)
    moving = np.array([metric not in (ERRORS, SECTORS) for metric in fleet.metrics])
    print("| begin | " + " | ".join(f"minute {at}" for at in SHIFTS) + " |\n|---|---|---|---|---|---|")
    for name, warm in starts.items():
        shares = []
        for at in SHIFTS:
            shifted = day.part(0, 60 * (at + 6)).shifted(at)
            minute, p = played(shifted, warm)
            hit = shifted.key[(minute >= at) & (minute < at + 5) & (p <= 1e-4)]
            shares.append(np.isin(np.flatnonzero(moving), hit).mean())
        print(f"| {name} | " + " | ".join(f"{share:.2f}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
