"""What windows will teach the habits of links, held back for an hour: `DelayedLessons`.

A fault of few files looks like chance in each of its windows. Had these taught at once, the link's habit would have
followed the fault before the hour could show it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from opintel.finding import Window
from opintel.stats.counts import Floats, Ints

DELAY: Final = 3600 * 10**9
"""ns."""
DRIP: Final = 0.5
"""Files' worth that a window still teaches a link that surprised: a new habit is believed after about a day, a fault
is not."""


class Lesson(NamedTuple):
    """Counts of N links in a window."""

    window: Window
    keys: list[str]
    failed: Ints
    files: Ints
    worth: Floats
    """(N,) what one file counts."""


class DelayedLessons:
    """Lessons of the last hour, oldest first.

    >>> lessons = DelayedLessons()
    >>> lessons.add(Lesson(Window(0, 10), ["a", "b"], np.array([2, 0]), np.array([5, 5]), np.ones(2)))
    >>> lessons.doubt({"a"})
    >>> [lesson.worth.tolist() for lesson in lessons.due(10 + DELAY)], len(list(lessons.due(10 + DELAY)))
    ([[0.1, 1.0]], 0)
    """

    def __init__(self) -> None:
        self._held: deque[Lesson] = deque()

    def add(self, lesson: Lesson) -> None:
        """Holds a lesson; windows come in order."""
        self._held.append(lesson)

    def doubt(self, keys: Collection[str]) -> None:
        """What is held of these links teaches little."""
        for lesson in self._held:
            at = [n for n, key in enumerate(lesson.keys) if key in keys]
            lesson.worth[at] = np.minimum(lesson.worth[at], DRIP / np.maximum(lesson.files[at], 1))

    def due(self, now: int) -> Iterator[Lesson]:
        """Lessons whose hour has passed at `now` (ns), which are held no longer."""
        while self._held and self._held[0].window.end <= now - DELAY:
            yield self._held.popleft()

    def state(self) -> Any:
        """Plain data."""
        return [
            [one.window.start, one.window.end, one.keys, one.failed.tolist(), one.files.tolist(), one.worth.tolist()]
            for one in self._held
        ]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._held = deque(
            Lesson(
                Window(start, end),
                keys,
                np.array(failed, dtype=np.int64),
                np.array(files, dtype=np.int64),
                np.array(worth, dtype=np.float64),
            )
            for start, end, keys, failed, files, worth in state
        )
