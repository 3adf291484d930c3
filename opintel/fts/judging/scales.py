"""Counts of links over the last hour and day, so that what one window cannot show is seen: a half, a drip.

`failures` adds each window here, with what was expected of it *then* (before it taught anything), and judges the sums
as it judges the window. Sums overlap from window to window; how often they may speak is `failures`' to decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from opintel.finding import Window
from opintel.stats.counts import Floats, Ints

SEPARATOR = "\x1f"


class LinkCounts(NamedTuple):
    """Files of N links, `SOURCE\\x1fDESTINATION`."""

    keys: list[str]
    failed: Ints
    files: Ints
    expected: Floats
    """Failed files as their habits have it."""
    unsure: Floats
    """Files times the over-dispersion that comes of not knowing the habit."""


_Block = tuple[Window, LinkCounts]
_NUMBERS = (("failed", np.int64), ("files", np.int64), ("expected", np.float64), ("unsure", np.float64))


class Trailing:
    """The last `parts` steps of `step` ns each, the open one included; what they held is dropped block by block.

    >>> hour = Trailing(step=10, parts=2)
    >>> for n in range(3):
    ...     one = LinkCounts(["a"], np.array([n]), np.array([5]), np.array([0.5]), np.array([0.0]))
    ...     hour.add(Window(10 * n, 10 * n + 10), one)
    >>> hour.total().failed.tolist(), hour.total().files.tolist()
    ([3], [10])
    """

    def __init__(self, step: int, parts: int) -> None:
        self.step, self.parts = step, parts
        self._closed: deque[_Block] = deque()
        self._open: list[_Block] = []
        self._sum: LinkCounts | None = None
        """Of the closed blocks, until one comes or goes."""
        self._whole = -1
        """End of the last span, ns; -1 before the first."""

    def add(self, window: Window, counts: LinkCounts) -> None:
        """Takes a window's counts; windows come in order."""
        if self._open and window.end > self._edge(self._open[0][0].start):
            self._close()
        self._open.append((window, counts))
        oldest = window.end - self.step * self.parts
        while self._closed and self._closed[0][0].start < oldest:
            self._closed.popleft()
            self._sum = None

    def total(self) -> LinkCounts:
        """All of it, links in order of first appearance."""
        if self._sum is None:
            self._sum = added([counts for _, counts in self._closed])
        return added([self._sum, *(counts for _, counts in self._open)])

    @property
    def longer(self) -> bool:
        """Whether it holds more than the last window."""
        return len(self._closed) + len(self._open) > 1

    @property
    def span(self) -> int:
        """ns."""
        return self.step * self.parts

    def onset(self, keys: Collection[str]) -> int:
        """The start of the block from which on these links have the most failed files above what was expected."""
        starts, excess = list[int](), list[float]()
        for window, counts in [*self._closed, *self._open]:
            at = [n for n, key in enumerate(counts.keys) if key in keys]
            starts.append(window.start)
            excess.append(float(counts.failed[at].sum() - counts.expected[at].sum()))
        return starts[int(np.argmax(np.cumsum(excess[::-1])[::-1]))]

    def whole(self, window: Window) -> bool:
        """Whether a span has ended since this last said so: what teaches by it, no file teaches twice."""
        if self._whole < 0:
            self._whole = window.start
        if window.end - self._whole < self.span:
            return False
        self._whole = window.end
        return True

    def state(self) -> Any:
        """Plain data."""
        blocks = [[_plain(block) for block in part] for part in (self._closed, self._open)]
        return [*blocks, self._whole]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        closed, opened, self._whole = state
        self._closed, self._open = deque(map(_block, closed)), list(map(_block, opened))
        self._sum = None

    def _edge(self, time: int) -> int:
        return time - time % self.step + self.step

    def _close(self) -> None:
        span = Window(self._open[0][0].start, self._open[-1][0].end)
        self._closed.append((span, added([counts for _, counts in self._open])))
        self._open, self._sum = [], None


def added(parts: Sequence[LinkCounts]) -> LinkCounts:
    """Their sums by link, in order of first appearance."""
    if len(parts) == 1:
        return parts[0]
    place: dict[str, int] = {}
    at = [place.setdefault(key, len(place)) for part in parts for key in part.keys]

    def column(name: str, kind: type) -> Any:
        total: Any = np.zeros(len(place), dtype=kind)
        np.add.at(total, at, np.concatenate([getattr(part, name) for part in parts] or [total]))
        return total

    return LinkCounts(list(place), *(column(name, kind) for name, kind in _NUMBERS))


def by_group(counts: LinkCounts, groups: Sequence[Ints]) -> tuple[Ints, Ints, Floats, Floats]:
    """(failed, files, expected share, over-dispersion that comes of not knowing the habits) of each group of links."""
    failed, files, expected, unsure = (
        np.array([column[g].sum() for g in groups], dtype=np.float64)
        for column in (counts.failed, counts.files, counts.expected, counts.files * counts.unsure)
    )
    safe = np.maximum(files, 1.0)
    usual = np.clip(expected / safe, 1e-4, 0.9999)
    return failed.astype(np.int64), files.astype(np.int64), usual, unsure / safe**2


def _plain(block: _Block) -> list[Any]:
    window, counts = block
    return [window.start, window.end, counts.keys, *(column.tolist() for column in counts[1:])]


def _block(plain: Any) -> _Block:
    start, end, keys, *columns = plain
    numbers: Any = [np.array(column, dtype=kind) for column, (_, kind) in zip(columns, _NUMBERS, strict=True)]
    return Window(start, end), LinkCounts(keys, *numbers)
