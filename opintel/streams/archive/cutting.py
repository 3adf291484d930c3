"""Where a partition is cut into files, and of which day each is: a function of its records alone, never of a clock, of
memory or of who reads them when, so that two archivers write the same files.

A file ends before the first record of a later day, behind the record that crosses its weight, and at each position that
`EVERY` divides: there also archivers meet that began at different places. The day is that of the largest stamp so far,
in event time. Records before the first stamp go with the first day.
"""

from __future__ import annotations

import numpy as np

CUT_BYTES = 64 << 20
"""Of the values in a file."""
EVERY = 100_000
"""Positions."""
DAY = 86_400 * 10**9
NO_DAY = 0
"""1970-01-01: of records before all stamps, where a file is cut before the first."""


def day_of(time: int) -> int:
    """Days since 1970 of a time in ns UTC, at least NO_DAY."""
    return max(NO_DAY, time // DAY)


def day_text(day: int) -> str:
    """`2026-11-30`, of a day that int64 ns can hold.

    >>> day_text(day_of(1_577_922_422 * 10**9))
    '2020-01-01'
    """
    return str(np.datetime64(day, "D"))


def day_number(text: str) -> int:
    """The inverse."""
    return int(np.datetime64(text, "D").astype(np.int64))


class Cutter:
    """The file of a partition that is being filled."""

    def __init__(self, first: int, day: int = NO_DAY) -> None:
        """`first`: where it begins; `day`: that of the file before it, or its own."""
        self.first, self.day = first, day
        self.size = self.records = 0

    def end_before(self, position: int, day: int | None) -> int | None:
        """Where the file ends, if the record at this position is not of it; `day` is None of a record without stamp."""
        if not self.records:
            return None
        if position // EVERY > self.first // EVERY:
            return position // EVERY * EVERY
        return position if day is not None and NO_DAY < self.day < day else None

    def take(self, position: int, size: int, day: int | None) -> int | None:
        """Takes a record of so many bytes; where the file ends, if it ends behind it."""
        self.records, self.size = self.records + 1, self.size + size
        self.day = max(self.day, NO_DAY if day is None else day)
        return position + 1 if self.size >= CUT_BYTES or (position + 1) % EVERY == 0 else None

    def begin(self, first: int) -> None:
        """A new file, which goes on where the last one ended."""
        self.first, self.size, self.records = first, 0, 0
