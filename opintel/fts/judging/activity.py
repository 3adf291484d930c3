"""How many links of an FTS instance are active in a window, against the instance's own habit.

`silent` asks it first: where most links rest at once it is the instance that is silent, or what it says does not come
through, and nothing can be said of single links.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

from scipy.special import stdtr

from opintel.finding import Window

HALF_LIFE = 86_400 * 10**9
"""ns after which what was learned counts half."""
LEAST_WINDOWS = 12.0
"""History without which nothing is said."""
FREEDOM = 5.0
"""Degrees of freedom of Student's t: activity has outliers that no history excludes."""
PRIOR_WINDOWS, PRIOR_VARIANCE = 6.0, 0.04
"""Weight, and variance of ln(active links) between windows, that are assumed before any was seen."""
CLIP = 2.5
"""Residuals are clipped at so many standard deviations before they teach (Huber)."""
FEW = 0.5
"""Most links are silent where fewer than this share of the usual number are active."""
GIVEN_UP = 144
"""Silent windows (a day of ten minutes) after which that is the new habit."""
DRAWN = 12


class Quiet(NamedTuple):
    """A window in which most of an instance's links are silent."""

    log10_p: float
    active: int
    usual: float
    windows: int
    """So many in a row, this one included."""
    earlier: list[int]
    """Active links of the windows before, at most `DRAWN`."""


class ActiveLinks:
    """The mean and variance of ln(active links + 1/2), decayed, and Student's prediction of the next window from them.

    >>> links = ActiveLinks()
    >>> windows = [Window(n * 600 * 10**9, (n + 1) * 600 * 10**9) for n in range(101)]
    >>> any(links.judge(80 + n % 7, windows[n], -4.0) for n in range(100))
    False
    >>> round(links.judge(0, windows[100], -4.0).usual)
    83
    """

    def __init__(self) -> None:
        self._weight = self._mean = self._squares = 0.0
        self._quiet = 0
        self._earlier: deque[int] = deque(maxlen=DRAWN)

    @property
    def usual(self) -> float:
        """Active links of a usual window."""
        return math.exp(self._mean) - 0.5 if self._weight else 0.0

    def judge(self, active: int, window: Window, emit: float) -> Quiet | None:
        """What is to be said of a window with so many active links where log10 p is at most `emit`; learns from it."""
        usual, earlier = self.usual, list(self._earlier)
        self._earlier.append(active)
        variance = (self._squares + PRIOR_WINDOWS * PRIOR_VARIANCE) / (self._weight + PRIOR_WINDOWS)
        # beside how windows differ, a small number varies as a Poisson number does
        scale = math.sqrt(variance * (1.0 + 1.0 / max(self._weight, 1.0)) + 1.0 / (usual + 1.0))
        residual = math.log(active + 0.5) - self._mean
        log_p = math.log10(max(float(stdtr(FREEDOM, residual / scale)), 1e-300))
        if self._weight >= LEAST_WINDOWS and active < FEW * usual and log_p <= emit:
            self._quiet += 1
            found = Quiet(log_p, active, usual, self._quiet, earlier)
            if self._quiet >= GIVEN_UP:
                self._weight = self._mean = self._squares = 0.0
            return found
        self._quiet = 0
        keep = 0.5 ** ((window.end - window.start) / HALF_LIFE)
        step = min(max(residual, -CLIP * scale), CLIP * scale) if self._weight else residual
        self._squares = keep * self._squares + (step**2 if self._weight else 0.0)
        self._weight = keep * self._weight + 1.0
        self._mean += step / self._weight
        return None

    def state(self) -> list[Any]:
        """Plain data."""
        return [self._weight, self._mean, self._squares, self._quiet, list(self._earlier)]

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`."""
        self._weight, self._mean, self._squares, self._quiet, earlier = state
        self._earlier = deque(earlier, maxlen=DRAWN)
