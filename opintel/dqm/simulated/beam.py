"""When a simulated detector takes data: fills of the machine, runs in them, and their lumisections.

In a fill luminosity decays, and pile-up with it; runs follow one another with gaps of minutes. At the end of a fill the
beams are not stable for a while, in which next to nothing is recorded; then there is no run until the next fill, which
begins with another trigger menu.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from opintel.dqm.simulated.detector_model import MENUS
from opintel.finding import NS

LENGTH = 23.31
"""s of a lumisection; the last one of a run is shorter."""
DECAY = 10 * 3600.0
"""s in which luminosity falls to 1 / e."""
PILEUP = 55.0
"""At luminosity 1, that of the start of a fill."""
AFTERGLOW = 0.002
"""Luminosity in units of that of stable beams, when they are not stable."""
MINUTE, HOUR = 60.0, 3600.0


class Lumisection(NamedTuple):
    """A lumisection and its conditions."""

    run: int
    number: int
    start: int
    end: int
    """ns UTC."""
    luminosity: float
    """Recorded: 1 in a whole lumisection at the start of a fill."""
    pileup: float
    stable: bool
    menu: int


def lumisections(rng: np.random.Generator, start: int, end: int, length: float = LENGTH) -> list[Lumisection]:
    """All of a story in [start, end) ns UTC, in order of time; `length` in s."""
    found: list[Lumisection] = []
    seconds = (end - start) / NS
    begin, run, fill = MINUTE, 381_100, 0
    while begin < seconds:
        stable_until = begin + rng.uniform(4.0 * HOUR, 6.0 * HOUR)
        over = stable_until + rng.uniform(4.0 * MINUTE, 7.0 * MINUTE)
        at = begin
        while at < min(over, seconds):
            stop = at + rng.uniform(40.0 * MINUTE, 80.0 * MINUTE)
            if over - stop < 20.0 * MINUTE:
                stop = over
            run += int(rng.integers(1, 5))
            found += _run(run, at, stop, begin, stable_until, min(fill, MENUS - 1), length)
            at = stop + rng.uniform(1.5 * MINUTE, 4.0 * MINUTE)
        begin, fill = over + rng.uniform(25.0 * MINUTE, 40.0 * MINUTE), fill + 1
    moved = [one._replace(start=start + one.start, end=start + one.end) for one in found]
    return [one for one in moved if one.end <= end]


def _run(
    run: int, at: float, stop: float, fill: float, stable_until: float, menu: int, length: float
) -> list[Lumisection]:
    found = []
    count = math.ceil((stop - at) / length)
    for n in range(count):
        begin = at + n * length
        over = min(begin + length, stop)
        stable = over <= stable_until
        level = math.exp(-(begin - fill) / DECAY) * (1.0 if stable else AFTERGLOW)
        span = (round(begin * 1000) * 10**6, round(over * 1000) * 10**6)
        if span[0] < span[1]:
            found.append(Lumisection(run, n + 1, *span, level * (over - begin) / LENGTH, PILEUP * level, stable, menu))
    return found
