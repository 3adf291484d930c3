"""The simulator's fleet: hosts of a fictional computing centre, their metrics, and how these go on when all is well.

`simulate` takes an hour at a time from a `HealthyFleet`, `story` picks the subjects of faults in it. Metrics have the
names of Prometheus' node, smartctl and blackbox exporters and of its node mixin. All names are under `.example.org`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from opintel.finding import NS

Floats = npt.NDArray[np.float64]

MINUTE = 60 * NS
BLOCK = 60
"""Minutes that are made at once."""

LOAD, BUSY = "node_load1", "instance:node_cpu_utilisation:rate1m"
MEMORY, DISK = "node_memory_MemAvailable_bytes", "node_filesystem_avail_bytes"
RECEIVED, ERRORS = "node_network_receive_bytes_total", "node_network_receive_errs_total"
TEMPERATURE, FAN = "node_hwmon_temp_celsius", "node_hwmon_fan_rpm"
CLOCK, SECTORS, LATENCY = "node_timex_offset_seconds", "smartctl_device_attribute", "probe_duration_seconds"
LABELS: Final[dict[str, dict[str, str]]] = {
    LOAD: {},
    BUSY: {},
    MEMORY: {},
    DISK: {"device": "/dev/md0", "fstype": "xfs"},
    RECEIVED: {"device": "eth0"},
    ERRORS: {"device": "eth0"},
    TEMPERATURE: {"chip": "platform_coretemp_0", "sensor": "temp1"},
    FAN: {"chip": "platform_nct6775_656", "sensor": "fan1"},
    CLOCK: {},
    SECTORS: {"attribute_name": "Reallocated_Sector_Ct", "attribute_value_type": "raw", "device": "sda"},
    LATENCY: {},
}
"""Metric → its labels besides `job`, `instance` and `mountpoint`."""
COUNTERS = (RECEIVED, ERRORS)

MISSED = 0.001
"""Share of scrapes that fail."""
RESTARTS = 1.0 / 4320
"""Deployments a minute and host: one in three days."""
BURSTS = 1.0 / 40
"""Bursts of work a minute and host; few of them are large."""
REALLOCATIONS = 1.0 / (5 * 365 * 1440)
"""Times a minute and host that a sound disk replaces a few sectors: one in five years."""


class Role(NamedTuple):
    """What the hosts of one kind have in common."""

    prefix: str
    hosts: int
    mountpoint: str
    cores: int
    memory: float
    """Bytes."""
    disk: float
    """Bytes."""
    receives: float
    """Bytes/s where half of the cores are busy."""
    busy: float
    """Usual share of busy cores."""
    daily: float
    """How far the day moves it, in log odds, from the mean to the peak."""
    weekend: float
    """How far the weekend does."""
    latency: float
    """s of a request to its service."""


ROLES = {
    "storage": Role("disk", 8, "/data", 32, 128 * 2.0**30, 24e12, 400e6, 0.22, 0.35, -0.30, 0.020),
    "worker": Role("work", 9, "/scratch", 64, 256 * 2.0**30, 4e12, 40e6, 0.68, 0.12, -0.08, 0.008),
    "gateway": Role("gate", 4, "/var", 16, 64 * 2.0**30, 0.5e12, 150e6, 0.20, 0.60, -0.70, 0.035),
    "database": Role("db", 3, "/data", 48, 384 * 2.0**30, 8e12, 30e6, 0.28, 0.45, -0.50, 0.004),
}


class Host(NamedTuple):
    """One machine."""

    name: str
    role: str
    fine: bool
    """Whether its temperature sensor shows eighths of a degree, not whole ones only."""

    @property
    def instance(self) -> str:
        """Where its node exporter is scraped."""
        return f"{self.name}.example.org:9100"

    @property
    def mountpoint(self) -> str:
        """Of the file system that is watched."""
        return ROLES[self.role].mountpoint


class Block(NamedTuple):
    """One hour of H hosts; arrays are (H, BLOCK), and effects of faults are written into them."""

    time: npt.NDArray[np.int64]
    """Scrapes, ns UTC in whole ms."""
    values: dict[str, Floats]
    """Metric → values, those of counters as rates a second; not rounded."""
    scraped: npt.NDArray[np.bool_]
    restarted: npt.NDArray[np.bool_]
    """Whether counters began at 0 since the scrape before."""


def hosts(rng: np.random.Generator) -> tuple[Host, ...]:
    """The machines, always of the same names; which have the finer sensors is drawn."""
    names = [(f"{role.prefix}{n:02d}", kind) for kind, role in ROLES.items() for n in range(1, role.hosts + 1)]
    fine = rng.random(len(names)) < 0.6
    return tuple(Host(name, kind, bool(good)) for (name, kind), good in zip(names, fine, strict=True))


class _Memory:
    """A first-order filter of memory `tau` minutes on H rows, which goes on from block to block."""

    def __init__(self, tau: float) -> None:
        self._keep = math.exp(-1.0 / tau)
        self._last: Floats | None = None

    def smooth(self, x: Floats) -> Floats:
        """The moving average of x (H, T)."""
        return self._run((1.0 - self._keep) * x, x[:, 0])

    def fade(self, x: Floats) -> Floats:
        """What is left of impulses x (H, T)."""
        return self._run(x, np.zeros(len(x)))

    def wander(self, white: Floats) -> Floats:
        """An AR(1) of unit variance from white noise (H, T)."""
        return self._run(math.sqrt(1.0 - self._keep**2) * white, white[:, 0])

    def _run(self, x: Floats, start: Floats) -> Floats:
        at = start if self._last is None else self._last
        out = np.empty_like(x)
        for minute in range(x.shape[1]):  # for these few, scipy.signal would cost a second of imports
            out[:, minute] = at = x[:, minute] + self._keep * at
        self._last = at
        return out


class HealthyFleet:
    """The fleet with nothing wrong, hour by hour from `start` (ns UTC).

    Load drives processors, network, temperature and latency together; each has noise of its own. There are bursts of
    work, restarts, scrapes that fail, and sectors that a disk replaces now and then: what a judge must bear.
    """

    def __init__(self, rng: np.random.Generator, fleet: tuple[Host, ...], start: int) -> None:
        self._rng, self._minute = rng, start // MINUTE
        n = len(fleet)
        roles = [ROLES[host.role] for host in fleet]

        def column(values: list[float], scatter: float = 0.0) -> Floats:
            return (np.array(values) * np.exp(scatter * rng.standard_normal(n)))[:, None]

        self._cores, self._total = column([r.cores for r in roles]), column([r.memory for r in roles])
        self._size = column([r.disk for r in roles])
        self._receives, self._latency = (
            column([r.receives for r in roles], 0.3),
            column([r.latency for r in roles], 0.3),
        )
        self._usual = logit(np.array([r.busy for r in roles]))[:, None] + 0.2 * rng.standard_normal((n, 1))
        self._daily, self._weekend = column([r.daily for r in roles], 0.2), column([r.weekend for r in roles], 0.2)
        self._peak = rng.normal(14.0, 1.0, (n, 1))
        self._free, self._used = rng.uniform(0.3, 0.6, (n, 1)), rng.uniform(0.3, 0.5, (n, 1))
        self._tide, self._tide_days = rng.uniform(0.0, 2 * math.pi, (n, 1)), rng.uniform(20.0, 40.0, (n, 1))
        self._cool, self._heat = rng.uniform(30.0, 36.0, (n, 1)), rng.uniform(18.0, 28.0, (n, 1))
        self._fan, self._offset = rng.uniform(2800.0, 4200.0, (n, 1)), rng.lognormal(math.log(3e-4), 0.4, (n, 1))
        self._sectors = np.where(rng.random(n) < 0.15, 8.0 * rng.integers(1, 4, n), 0.0)[:, None]
        self._scrape = rng.integers(1000, 59_000, (n, 1))  # ms after the minute

        self._mood, self._burst, self._fresh = _Memory(25.0), _Memory(3.0), _Memory(4.0)
        self._queue, self._busy, self._flow = _Memory(1.0), _Memory(2.0), _Memory(1.5)
        self._pages, self._work, self._files = _Memory(40.0), _Memory(15.0), _Memory(300.0)
        self._room, self._mass, self._air = _Memory(90.0), _Memory(6.0), _Memory(3.0)
        self._drift, self._wait = _Memory(12.0), _Memory(2.0)

    def hour(self) -> Block:
        """The next hour."""
        rng, shape = self._rng, (len(self._usual), BLOCK)
        normal = rng.standard_normal((13, *shape))
        chance = rng.random((4, *shape))
        minutes = self._minute + np.arange(BLOCK)
        self._minute += BLOCK
        restarted = chance[0] < RESTARTS
        fresh = self._fresh.fade(restarted * 1.0)
        load = self._usual + self._habit(minutes) + 0.18 * self._mood.wander(normal[0]) + 0.35 * fresh
        load += self._burst.fade((chance[1] < BURSTS) * rng.exponential(0.13, shape))
        busy = expit(load)
        demand = busy / 0.5
        heat = self._mass.smooth(busy) * self._heat + 0.5 * self._room.wander(np.tile(normal[1, :1], (shape[0], 1)))
        heat += self._cool + 0.3 * self._air.wander(normal[2])
        used = self._used + 0.12 * self._work.smooth(busy) + 0.006 * self._pages.wander(normal[3]) - 0.015 * fresh
        tide = 0.04 * np.cos(self._tide + 2 * math.pi * minutes / (1440 * self._tide_days))
        free = self._free + tide + 8e-4 * self._files.wander(normal[4]) + 2e-5 * normal[5]
        self._sectors = self._sectors + np.cumsum((chance[2] < REALLOCATIONS) * 8.0 * rng.integers(1, 3, shape), axis=1)
        sectors = self._sectors
        self._sectors = sectors[:, -1:].copy()
        waits = rng.gamma(2.0, 0.7, shape) - 1.4  # a request has a least time, and no longest
        values = {
            LOAD: self._cores * self._queue.smooth(busy * np.exp(0.15 * normal[6])),
            BUSY: np.clip(busy + 0.012 * self._busy.wander(normal[7]), 0.002, 0.998),
            MEMORY: self._total * np.clip(1.0 - used + 2e-3 * normal[8], 0.05, 1.0),
            DISK: self._size * free,
            RECEIVED: self._receives * demand * np.exp(0.2 * self._flow.wander(normal[9])),
            ERRORS: np.zeros(shape),
            TEMPERATURE: heat,
            FAN: self._fan + 45.0 * np.maximum(heat - self._cool, 0.0) + 15.0 * normal[10],
            CLOCK: self._offset * (self._drift.wander(normal[11]) + 0.4 * normal[12]),
            SECTORS: sectors,
            LATENCY: self._latency * (1.0 + busy**3) * np.exp(0.08 * self._wait.wander(waits)),
        }
        jitter = np.clip(rng.normal(0.0, 150.0, shape), -600.0, 600.0).astype(np.int64)
        time = minutes * MINUTE + (self._scrape + jitter) * (NS // 1000)
        return Block(time, values, chance[3] >= MISSED, restarted)

    def _habit(self, minutes: npt.NDArray[np.int64]) -> Floats:
        """How far time of day and week move the load (H, T), in log odds."""
        hour = minutes / 60
        day = (hour - self._peak) * (2 * math.pi / 24)
        week = (hour + 72) % 168  # since Monday; 1970-01-01 was a Thursday
        weekend = np.interp(week, (0, 6, 117, 125, 168), (1.0, 0.0, 0.0, 1.0, 1.0))
        out: Floats = self._daily * (np.cos(day) + 0.25 * np.cos(2 * day)) / 1.25 + self._weekend * weekend
        return out
