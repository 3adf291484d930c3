"""A baseline for the health case: promoted while its series are young, for half of the hosts their own."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import numpy as np

from opintel.health.reducer import HealthReducer
from opintel.health.series import MultiSeriesDetector
from opintel.health.series_names import key_of
from opintel.health.warm_start import BASELINE, Learned, fitted
from opintel.streams.artefacts import MODEL
from opintel.streams.records import NEVER, Control

USUAL = {"load0": (0.0, 1.0), "load1": (0.0, 1.0), "load2": (0.0, 1.0), "temperature": (40.0, 1.0)}
"""Metric → mean and standard deviation."""
HOSTS = ("h0", "h1", "h2")


@cache
def baseline() -> bytes:
    """Of 300 rows of each of these hosts' metrics, half a minute apart, long before."""
    keys = [key_of("node", metric, {"job": "node", "instance": host}) for metric in USUAL for host in HOSTS]
    rng, detector = np.random.default_rng(11), MultiSeriesDetector(len(keys))
    rows = np.repeat(np.arange(300), len(keys))
    mean, sigma = np.repeat(np.array(list(USUAL.values())), len(HOSTS), axis=0).T
    values = np.tile(mean, 300) + np.tile(sigma, 300) * rng.normal(size=len(rows))
    detector.update_many(np.tile(np.arange(len(keys)), 300), 30.0 * rows, values)
    return fitted([Learned(keys, detector.state())], "health", [HealthReducer.name, HealthReducer.version]).data


def baseline_controls() -> list[tuple[int, Control]]:
    """(messages before it, control): in force after some twenty minutes."""
    return [(240, Control("b1", MODEL, BASELINE, 1, NEVER, {"sha256": sha256(baseline()).hexdigest()}))]
