"""What safe auxiliary channels saw, second by second: what the probability of a glitch is told from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from opintel.finding import NS, Window
from opintel.gw.engine import EDGES
from opintel.gw.glitch_probability import BESIDE, LEAST_SNR
from opintel.gw.records import ChannelWindow

FEATURES = 4
"""Of a channel in a second: whether it has a trigger, ln(its SNR / 7.75), ln(RMS in its loudest band / `LOUDER`),
ln(fringe frequency / `FRINGE`); 0 where there is none."""
LOUDER = 3.0
"""RMS in a band over the usual one, of a window: below that it is as usual."""
LOWEST_BAND = int(np.searchsorted(EDGES, 10.0))
"""Below 10 Hz the ground moves as it likes."""
FRINGE = 10.0
"""Hz: light that is scattered more slowly does not reach the band."""
ActiveSeconds = dict[int, dict[str, list[float]]]
"""Second (ns UTC / 1e9) → channel → its features, where one of them is not 0."""


class Activity:
    """Gathers windows. What it holds depends on the channels that it is given and on nothing else."""

    def __init__(self) -> None:
        self._seconds: ActiveSeconds = {}

    def take(self, window: Window, channels: Mapping[str, ChannelWindow], is_safe: Callable[[str], bool]) -> None:
        """A window of those channels that are safe."""
        beside = round(BESIDE * NS)
        for name, said in channels.items():
            loud = [one for one in said.triggers if one.snr >= LEAST_SNR]
            loudest = max((times for times in said.bands[LOWEST_BAND:] if math.isfinite(times)), default=0.0)
            moved = [one for one in said.fringes if one[1] > FRINGE]
            if not (loud or loudest > LOUDER or moved) or not is_safe(name):
                continue
            for one in loud:
                for second in {(one.time + shift) // NS for shift in (-beside, 0, beside)}:
                    self._put(second, name, 0, 1.0)
                    self._put(second, name, 1, math.log(one.snr / LEAST_SNR))
            if loudest > LOUDER:
                for second in range(window.start // NS, -(-window.end // NS)):
                    self._put(second, name, 2, math.log(loudest / LOUDER))
            for time, frequency in moved:
                self._put(time // NS, name, 3, math.log(frequency / FRINGE))

    def _put(self, second: int, name: str, which: int, value: float) -> None:
        features = self._seconds.setdefault(second, {}).setdefault(name, [0.0] * FEATURES)
        features[which] = max(features[which], value)

    def until(self, second: int) -> ActiveSeconds:
        """What was seen before a second, which is forgotten here."""
        early = {at: self._seconds.pop(at) for at in sorted(self._seconds) if at < second}
        return {at: dict(sorted(channels.items())) for at, channels in early.items()}

    def state(self) -> Any:
        """Plain values."""
        return [[second, sorted(channels.items())] for second, channels in sorted(self._seconds.items())]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._seconds = {second: {name: list(values) for name, values in channels} for second, channels in state}
