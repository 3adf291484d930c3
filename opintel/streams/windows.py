"""The grid of windows: equal, half-open, aligned to the epoch, so that every process cuts time at the same
places."""

from __future__ import annotations

from typing import NamedTuple

from opintel.finding import Window


class Grid(NamedTuple):
    """Windows of `size` ns."""

    size: int

    def start(self, time: int) -> int:
        """Start of the window that holds `time`, ns."""
        return time - time % self.size

    def at_or_after(self, time: int) -> int:
        """The first window start at or after `time`, ns."""
        return -(-time // self.size) * self.size

    def window(self, start: int) -> Window:
        """The window that starts at `start`."""
        return Window(start, start + self.size)
