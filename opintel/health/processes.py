"""Processes of known law and faults of known size: what the detector's calibration and power are measured on.

Deterministic in the seed. `benchmarks/health_detection.py` and the tests read them; nothing in production does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from opintel.stats.counts import Floats

NAMES = ("gaussian", "t3", "ar1", "poisson", "season", "lognormal", "variance", "walk")
FAULTS = {"spike": 20, "level": 50, "spread": 50, "flatline": 50, "drift": 250}
"""Rows after its begin within which a fault must be found."""
SPIKE = 1.23
"""Size of a spike in one-in-a-million excursions."""
_EXCURSION = {
    "gaussian": 4.89,
    "t3": 103.3,
    "ar1": 8.15,
    "poisson": 11.0,
    "season": 4.89,
    "lognormal": 114.0,
    "variance": 6.5,
    "walk": 4.89,
}
_UPWARD = ("poisson", "lognormal")
"""A spike downward would be below zero, where it is not missed."""


class Process(NamedTuple):
    """K series of T rows."""

    times: Floats
    """(T,) s."""
    values: Floats
    """(T, K)."""
    center: Floats
    """(T, K) what a larger scatter is a scatter around."""
    sigma: float
    """Standard deviation around the centre; of one step for the walk."""
    excursion: float
    """Exceeded by one row in a million, on either side."""


def simulate(name: str, n_series: int, n_rows: int, seed: int) -> Process:
    """A process of `NAMES`; `season` has a row every five minutes, the others one a minute."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    shape = (n_rows, n_series)
    noise = rng.standard_normal(shape)
    row = np.arange(n_rows)[:, None]
    phase = rng.uniform(0.0, 2.0 * np.pi, n_series)
    center, sigma, values = np.zeros(shape), 1.0, noise
    if name == "t3":
        values, sigma = rng.standard_t(3, shape), 3.0**0.5
    elif name == "ar1":
        values, sigma = noise.copy(), 1.0 / 0.6
        values[0] *= sigma
        for i in range(1, n_rows):
            values[i] += 0.8 * values[i - 1]
    elif name == "poisson":
        values, center, sigma = rng.poisson(3.0, shape).astype(np.float64), center + 3.0, 3.0**0.5
    elif name == "season":
        center = 3.0 * np.sin(2.0 * np.pi * row / 288.0 + phase)
        values = noise + center
    elif name == "lognormal":
        values, center, sigma = np.exp(noise), center + np.exp(0.5), float(np.sqrt(np.exp(2.0) - np.exp(1.0)))
    elif name == "variance":
        values, sigma = noise * np.exp(0.5 * np.sin(2.0 * np.pi * row / 1000.0 + phase)), 1.125
    elif name == "walk":
        values = np.cumsum(noise, axis=0)
    times = 1.6e9 + (300.0 if name == "season" else 60.0) * np.arange(n_rows, dtype=np.float64)
    return Process(times, values, center, sigma, _EXCURSION[name])


def inject(name: str, process: Process, fault: str, begin: int, seed: int) -> Floats:
    """The rows (n, K) from `begin` on with a fault of `FAULTS`, up or down by chance.

    spike: one row; level: 3 σ; spread: 3 times the distance from the centre; flatline: the last value stays; drift: 3 σ
    over 200 rows, then it stays.
    """
    n = FAULTS[fault]
    values, center = process.values[begin : begin + n].copy(), process.center[begin : begin + n]
    sign = np.random.default_rng([seed, 7]).choice([-1.0, 1.0], values.shape[1])
    if fault == "spike":
        values[0] += (1.0 if name in _UPWARD else sign) * SPIKE * process.excursion
    elif fault == "level":
        values += sign * 3.0 * process.sigma
    elif fault == "spread":
        around = process.values[begin - 1] if name == "walk" else center
        values = around + 3.0 * (values - around)
    elif fault == "flatline":
        values[:] = process.values[begin - 1]
    elif fault == "drift":
        values += sign * 3.0 * process.sigma * np.minimum(np.arange(1, n + 1) / 200.0, 1.0)[:, None]
    return values
