"""The grid of windows: equal, half-open, so that every process cuts time at the same places, whatever it has read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.finding import Window


class Grid(NamedTuple):
    """Windows of `size` ns that start at `phase` + k · `size`."""

    size: int
    phase: int = 0

    def start(self, time: int) -> int:
        """Start of the window that holds `time`, ns."""
        return time - (time - self.phase) % self.size

    def at_or_after(self, time: int) -> int:
        """The first window start at or after `time`, ns.

        >>> Grid(60, 10).at_or_after(11)
        70
        """
        return -((self.phase - time) // self.size) * self.size + self.phase

    def window(self, start: int) -> Window:
        """The window that starts at `start`."""
        return Window(start, start + self.size)

    def starts(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) `start` of each time."""
        return time - (time - self.phase) % self.size
