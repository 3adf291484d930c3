"""A fleet of machines with faults whose truth is known: metric samples as JSON, in order of arrival.

`opintel simulate`, the demo, benchmarks and tests read it as they would read a broker. `fleet` says who is there and
what is usual, `story` what goes wrong; here it happens, an hour at a time. A message holds the samples of one scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from opintel.finding import NS
from opintel.health import fleet
from opintel.health.fleet import BLOCK, COUNTERS, LABELS, MINUTE, Block, Floats, HealthyFleet, Host
from opintel.health.story import FAULT_KINDS, plan
from opintel.simulation import DEFAULT_START, HOUR, Fault, Stories

__all__ = ["DEFAULT_START", "FAULT_KINDS", "Fault", "HealthSimulator"]

MS = NS // 1000
LATEST = 5.0
"""s from a scrape to its arrival at most."""
QUANTUM = {
    fleet.LOAD: 0.01,
    fleet.BUSY: 1e-4,
    fleet.MEMORY: 4096.0,
    fleet.DISK: 4096.0,
    fleet.TEMPERATURE: 1.0,
    fleet.FAN: 15.0,
    fleet.CLOCK: 1e-7,
    fleet.SECTORS: 1.0,
    fleet.LATENCY: 1e-6,
}
"""Metric → the step in which it is shown; a finer temperature sensor's is `FINE`."""
FINE = 0.125
WHOLE = frozenset({fleet.MEMORY, fleet.DISK, fleet.FAN, fleet.SECTORS, *COUNTERS})


class HealthSimulator:
    """A reproducible story: the same arguments give the same bytes, another `seed` gives other habits and other faults.

    `hours` of a fleet's metrics from `start` (ns UTC), a scrape a minute and host, one fault of each kind in `faults`
    after the first `quiet_hours`; hosts without a fault are the same with and without it. Raises ValueError for unknown
    kinds (`story.plan`).
    """

    def __init__(
        self,
        *,
        seed: int,
        hours: float,
        start: int = DEFAULT_START,
        faults: Sequence[str] = FAULT_KINDS,
        quiet_hours: float = 0.0,
    ) -> None:
        if not (hours > 0 and 0 <= quiet_hours < hours):
            raise ValueError(f"hours are above 0 and quiet_hours below hours, got {hours=}, {quiet_hours=}")
        self.start, self.end = start, start + int(hours * HOUR)
        self._seed = seed
        rng = np.random.default_rng([seed, 1])
        self.hosts = fleet.hosts(rng)
        self.truth: tuple[Fault, ...] = plan(rng, self.hosts, faults, start + int(quiet_hours * HOUR), self.end)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""
        play = _Play(self._seed, self.hosts, self.truth, self.start, self.end)
        pending: list[tuple[int, int, bytes]] = []
        for begin in range(self.start // MINUTE * MINUTE, self.end, BLOCK * MINUTE):
            pending += play.hour()
            pending.sort()
            come = bisect_left(pending, (begin + BLOCK * MINUTE,))
            yield from ((arrival, body) for arrival, _, body in pending[:come])
            del pending[:come]
        yield from ((arrival, body) for arrival, _, body in pending)


class _Play:
    """The running simulation: counters, and how far the faults are."""

    def __init__(self, seed: int, hosts: Sequence[Host], truth: Sequence[Fault], start: int, end: int) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self._healthy = HealthyFleet(self._rng, tuple(hosts), start)
        self._start, self._end = start, end
        self._templates = [_template(host) for host in hosts]
        self._fine = np.array([host.fine for host in hosts])[:, None]
        self._counted = {
            fleet.RECEIVED: self._rng.uniform(1e11, 1e13, (len(hosts), 1)).round(),
            fleet.ERRORS: np.zeros((len(hosts), 1)),
        }
        """Counter → (H, 1) where it is."""
        place = {host.instance: n for n, host in enumerate(hosts)}
        self._faults = [
            _Running(fault, place[fault.subject["instance"]], np.random.default_rng([seed, 10 + n]))
            for n, fault in enumerate(truth)
        ]

    def hour(self) -> list[tuple[int, int, bytes]]:
        """(arrival, host, message) of the next hour's scrapes, host by host."""
        block = self._healthy.hour()
        delay = np.minimum(0.2 + self._rng.exponential(0.4, block.time.shape), LATEST)
        arrival = block.time + (delay * 1000).astype(np.int64) * MS
        for fault in self._faults:
            fault.play(block)
        columns = self._shown(block)
        block.scraped[:] &= (block.time >= self._start) & (block.time < self._end)
        written = np.datetime_as_string(block.time.astype("datetime64[ns]"), unit="ms")
        out: list[tuple[int, int, bytes]] = []
        for host, template in enumerate(self._templates):
            there = np.flatnonzero(block.scraped[host])
            times = written[host, there].tolist()
            shown = [part for metric in LABELS for part in (times, columns[metric][host, there].tolist())]
            arrivals = arrival[host, there].tolist()
            out += [
                (come, host, (template % row).encode())
                for come, row in zip(arrivals, zip(*shown, strict=True), strict=True)
            ]
        return out

    def _shown(self, block: Block) -> dict[str, Floats]:
        """Metric → the values as exporters show them: counters counted, all in their steps."""
        passed = np.diff(block.time, axis=1, prepend=block.time[:, :1] - MINUTE) / NS
        shown = {}
        for metric, value in block.values.items():
            if metric in COUNTERS:
                shown[metric] = self._count(metric, np.round(value * passed), block.restarted)
                continue
            step = np.where(self._fine, FINE, 1.0) if metric == fleet.TEMPERATURE else QUANTUM[metric]
            shown[metric] = np.round(value / step) * step
        return shown

    def _count(self, metric: str, gained: Floats, restarted: npt.NDArray[np.bool_]) -> Floats:
        """A counter (H, T) that gains so much before each scrape; it begins at 0 half-way to one after a restart."""
        total = self._counted[metric] + np.cumsum(gained, axis=1)
        from_zero = np.where(restarted, total - np.floor(gained / 2), 0.0)
        counted: Floats = total - np.maximum.accumulate(from_zero, axis=1)
        self._counted[metric] = counted[:, -1:]
        return counted


class _Running:
    """A fault, and what it does to the values of its host."""

    def __init__(self, fault: Fault, host: int, rng: np.random.Generator) -> None:
        self._host, self._fault = host, fault
        self._effect = _EFFECTS[fault.kind]
        self.lasts = (fault.end - fault.start) / MINUTE
        self.size = float(rng.random())
        """Where in the usual range of such faults it lies."""
        self.turns: Floats = np.cumsum(rng.uniform(2.0, 5.0, int(self.lasts) + 1))
        """Minutes after its beginning at which what comes and goes does so."""
        self.held: float | None = None
        """What a stuck sensor shows."""

    def play(self, block: Block) -> None:
        """Writes the effect into a block."""
        since = (block.time[self._host] - self._fault.start) / MINUTE
        if since[-1] >= 0:
            inside = (since >= 0) & (since < self.lasts)
            self._effect(self, _Part(since, inside, block, self._host))


class _Part:
    """The block of one host: minutes (T,) since the fault began, which of them are in it, and its values."""

    def __init__(self, since: Floats, inside: npt.NDArray[np.bool_], block: Block, host: int) -> None:
        self.since, self.inside = since, inside
        self.scraped, self.restarted = block.scraped[host], block.restarted[host]
        self._values, self._host = block.values, host

    def __getitem__(self, metric: str) -> Floats:
        values: Floats = self._values[metric][self._host]
        return values

    def __setitem__(self, metric: str, values: Floats) -> None:
        self._values[metric][self._host] = values


def _disk_filling(fault: _Running, part: _Part) -> None:
    """Full 6 to 18 hours after it began, written in waves; cleaned up in ten minutes."""
    written = np.clip(part.since, 0.0, fault.lasts)
    share = np.minimum((written + 4.0 * np.sin(written / 17.0)) / (60.0 * (6.0 + 12.0 * fault.size)), 1.0)
    left = np.clip(1.0 - (part.since - fault.lasts) / 10.0, 0.0, 1.0)
    part[fleet.DISK] = part[fleet.DISK] * (1.0 - share * left)


def _memory_leak(fault: _Running, part: _Part) -> None:
    """Killed when next to nothing is left, once or twice, and it leaks again."""
    period = fault.lasts * (0.4 + 0.3 * fault.size)
    part[fleet.MEMORY] = part[fleet.MEMORY] * (1.0 - part.inside * 0.985 * (part.since % period) / period)


def _fan_failure(fault: _Running, part: _Part) -> None:
    """It runs down in four minutes; what it cooled is 15 to 25 degrees warmer half an hour later."""
    part[fleet.FAN] = part[fleet.FAN] * np.where(part.inside, np.clip(1.0 - part.since / 4.0, 0.0, 1.0), 1.0)
    warmer = -np.expm1(-np.clip(part.since, 0.0, fault.lasts) / 12.0)
    cooled = np.exp(-np.maximum(part.since - fault.lasts, 0.0) / 8.0)
    part[fleet.TEMPERATURE] = part[fleet.TEMPERATURE] + (17.0 + 8.0 * fault.size) * warmer * cooled


def _sensor_stuck(fault: _Running, part: _Part) -> None:
    if part.inside.any():
        if fault.held is None:
            fault.held = float(part[fleet.TEMPERATURE][part.inside][0])
        part[fleet.TEMPERATURE] = np.where(part.inside, fault.held, part[fleet.TEMPERATURE])


def _clock_drift(fault: _Running, part: _Part) -> None:
    """1.5 to 4 ms a minute to one side; stepped back at the end."""
    speed = (1.5e-3 + 5e-3 * abs(fault.size - 0.5)) * (1.0 if fault.size < 0.5 else -1.0)
    part[fleet.CLOCK] = part[fleet.CLOCK] + part.inside * speed * part.since


def _network_flaps(fault: _Running, part: _Part) -> None:
    """The link is down and up again every few minutes, and what comes through is damaged."""
    down = part.inside & (np.searchsorted(fault.turns, part.since) % 2 == 0)
    part[fleet.ERRORS] = part[fleet.ERRORS] + down * (1.0 + 3.0 * fault.size) * 1e-8 * part[fleet.RECEIVED]
    part[fleet.RECEIVED] = part[fleet.RECEIVED] * np.where(down, 0.03, 1.0)


def _host_down(fault: _Running, part: _Part) -> None:
    """It is booted at the end."""
    part.scraped[:] &= ~part.inside
    part.restarted[:] |= part.inside


def _disk_wear(fault: _Running, part: _Part) -> None:
    """Eight sectors more at every turn, requests up to three times as slow; a new disk at the end."""
    part[fleet.SECTORS] = part[fleet.SECTORS] + part.inside * 8.0 * np.searchsorted(fault.turns, part.since)
    part[fleet.LATENCY] = part[fleet.LATENCY] * (1.0 + part.inside * (1.0 + fault.size) * part.since / fault.lasts)


_EFFECTS: dict[str, Callable[[_Running, _Part], None]] = {
    "disk-filling": _disk_filling,
    "memory-leak": _memory_leak,
    "fan-failure": _fan_failure,
    "sensor-stuck": _sensor_stuck,
    "clock-drift": _clock_drift,
    "network-flaps": _network_flaps,
    "host-down": _host_down,
    "disk-wear": _disk_wear,
}


def _template(host: Host) -> str:
    """A message of a host; times and values are to be filled in."""
    samples = []
    for metric, own in LABELS.items():
        labels = {"job": "node", "instance": host.instance, **own}
        if metric == fleet.DISK:
            labels["mountpoint"] = host.mountpoint
        form = "%d" if metric in WHOLE else "%.9g"
        sample = {"timestamp": "%sZ", "value": form, "name": metric, "labels": labels}
        samples.append(msgspec.json.encode(sample).decode())
    return f"[{','.join(samples)}]"


STORIES = Stories(HealthSimulator, FAULT_KINDS, 24.0, 6.0, "metrics of 24 machines")
