"""Lines of the strain against their own past: which grew, which moved, and which have sidebands now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Line = tuple[float, float, float]
"""(Hz, RMS amplitude, sides), see `opintel.gw.channels.lines`."""
SAME = 0.75
"""Hz within which a line is the one that it was."""
SEEN = 0.5
"""Of a minute's windows in which it stands out; noise does so now and then."""
KEPT, LEAST = 60, 3
"""Minutes of a line's past, and those that are needed to judge it."""
MOST = 64
"""Lines that are remembered, the longest known ones."""
SIGMAS = 6.0
"""Standard deviations of a line's past minutes (from their MAD) …"""
GROWTH, MOTION, SIDES = 0.25, 0.05, 0.35
"""… and ln of the amplitude, Hz, and ln of the density beside it, that are worth a word."""


class LineMinute(NamedTuple):
    """A line in a minute beside its past."""

    frequency: float
    """Hz"""
    amplitude: float
    """RMS, in the strain's unit."""
    sides: float
    times: float | None = None
    """Amplitude over the usual one; None where its past is too short, as in what follows."""
    moved: float | None = None
    """Hz from the usual frequency."""
    beside: float | None = None
    """ln of the density beside it over the usual one."""
    grew: bool = False
    wandered: bool = False
    sidebands: bool = False


class LineHistory:
    """Takes windows of science time, says a minute."""

    def __init__(self) -> None:
        self._windows: list[list[Line]] = []
        self._past: list[list[Line]] = []
        """Of each line its minutes."""

    def take(self, lines: Sequence[Line]) -> None:
        """The lines of a window."""
        self._windows.append([(float(f), float(a), float(s)) for f, a, s in lines])

    def minute(self) -> list[LineMinute]:
        """The lines of the windows since the last call, in order of frequency."""
        windows, self._windows = self._windows, []
        found: list[LineMinute] = []
        for line in _joined(windows):
            past = min(self._past, key=lambda one: abs(_usual(one, 0) - line[0]), default=None)
            if past is None or abs(_usual(past, 0) - line[0]) > SAME:
                past = []
                self._past.append(past)
            found.append(_judged(line, past))
            past.append(line)
            del past[:-KEPT]
        if len(self._past) > MOST:
            self._past = sorted(self._past, key=len, reverse=True)[:MOST]
        return sorted(found)

    def state(self) -> Any:
        """Plain values."""
        return [self._windows, self._past]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        windows, past = state
        self._windows = [[(f, a, s) for f, a, s in lines] for lines in windows]
        self._past = [[(f, a, s) for f, a, s in lines] for lines in past]


def _joined(windows: Sequence[Sequence[Line]]) -> list[Line]:
    """Lines that stand out in most of the windows: medians of what is said of them."""
    every = sorted(line for lines in windows for line in lines)
    groups: list[list[Line]] = []
    for line in every:
        if groups and line[0] - groups[-1][-1][0] <= SAME:
            groups[-1].append(line)
        else:
            groups.append([line])
    return [
        (_usual(group, 0), _usual(group, 1), _usual(group, 2)) for group in groups if len(group) >= SEEN * len(windows)
    ]


def _judged(line: Line, past: Sequence[Line]) -> LineMinute:
    if len(past) < LEAST:
        return LineMinute(*line)
    frequency, amplitude, sides = (np.array([one[n] for one in past]) for n in range(3))
    logs = np.log(np.maximum(amplitude, 1e-300))
    growth = math.log(max(line[1], 1e-300)) - float(np.median(logs))
    moved = line[0] - float(np.median(frequency))
    beside = line[2] - float(np.median(sides))
    return LineMinute(
        *line,
        times=math.exp(growth),
        moved=moved,
        beside=beside,
        grew=growth >= max(GROWTH, SIGMAS * _spread(logs)),
        wandered=abs(moved) >= max(MOTION, SIGMAS * _spread(frequency)),
        sidebands=beside >= max(SIDES, SIGMAS * _spread(sides)),
    )


def _usual(lines: Sequence[Line], n: int) -> float:
    return float(np.median([line[n] for line in lines]))


def _spread(values: Any) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
