"""How a stream cuts event time: a grid of equal windows, or windows that come with the data.

All windows are half-open, and every process cuts time at the same places, whatever it has read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.finding import Window
from opintel.rows import Batch

Ints = NDArray[np.int64]
Ends = Callable[[Batch[Any]], Ints]


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

    def starts(self, time: Ints) -> Ints:
        """(n,) `start` of each time."""
        return time - (time - self.phase) % self.size


class Cut(NamedTuple):
    """How rows are put into windows: by the grid, or (`ends`) each row into [its time, its end)."""

    grid: Grid
    ends: Ends | None
    longest: int
    """ns; a longer window is refused."""

    def __call__(self, batch: Batch[Any]) -> tuple[Ints, Ints]:
        """(rows,) start and end of each row's window, ns."""
        if self.ends is not None:
            return batch.time, self.ends(batch)
        start = self.grid.starts(batch.time)
        return start, start + self.grid.size

    def refused(self, start: Ints, end: Ints) -> NDArray[np.bool_]:
        """(rows,) which windows are none: empty, reversed or too long."""
        return (end <= start) | (end > start + self.longest)

    def last(self, batch: Batch[Any], end: Ints) -> Ints:
        """(rows,) the latest event time that each row stands for, ns."""
        return batch.time if self.ends is None else end - 1

    def cut_short(self, watermark: int) -> int:
        """The end of the window that an end of the input at this watermark cuts short."""
        return watermark if self.ends is not None else self.grid.start(watermark)


def groups(start: Ints, end: Ints) -> Iterator[tuple[Window, NDArray[np.intp]]]:
    """Each window among (rows,) starts and ends, and which rows are in it, in order of (start, end)."""
    if not len(start):
        return
    if (start == start[0]).all() and (end == end[0]).all():
        yield Window(int(start[0]), int(end[0])), np.arange(len(start))
        return
    order = np.lexsort((end, start))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (start[order][1:] != start[order][:-1]) | (end[order][1:] != end[order][:-1])
    bounds = [*np.flatnonzero(first).tolist(), len(order)]
    for begin, stop in itertools.pairwise(bounds):
        rows = order[begin:stop]
        yield Window(int(start[rows[0]]), int(end[rows[0]])), np.sort(rows)
