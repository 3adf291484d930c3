"""What a wire could not take, bounded: one `Reject` for each message and reason, and few reasons a message.

A sender may write a megabyte of bad records, and nothing else, to a source. To refuse one must cost less than
to take one: it is a number in a list, and only the first reasons of a message are put into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REASONS = 20
"""That one message may have; what is refused for others shares one."""
OTHER = "further records, for other reasons"
MAX_REASON = 500
"""Characters of a reason."""
_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


class Reject(NamedTuple):
    """What a wire says of records that it cannot decode."""

    message: int
    """Which of the messages they were in."""
    records: Sequence[int]
    """Which of that message's records, from 0; rows count too."""
    reason: str
    """What was expected and what came instead."""


class Rejects:
    """Collects what is refused."""

    def __init__(self, rejects: Iterable[Reject] = ()) -> None:
        self._found: dict[int, dict[str, list[int]]] = {}
        for reject in rejects:
            self._records(reject.message, reject.reason).extend(reject.records)

    def add(self, message: int, record: int, reason: str) -> None:
        """Refuses one record of a message."""
        self._records(message, reason).append(record)

    def add_rows(self, message: _Ints, record: _Ints, code: _Ints, say: Callable[[int], str]) -> None:
        """Refuses records, given as columns; `say` puts a code into words, and is asked for few of them."""
        if not len(code):
            return
        width = int(code.max()) + 2
        place, first, of_row = np.unique(message * width + code + 1, return_index=True, return_inverse=True)
        its_message = place // width
        order = np.lexsort((first, its_message))
        begin = np.searchsorted(its_message[order], its_message[order])
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - begin
        place[rank >= REASONS] = width * its_message[rank >= REASONS]  # a code of -1
        place = place[of_row]
        rows = np.argsort(place, kind="stable")
        places, bounds = np.unique(place[rows], return_index=True)
        groups = np.split(rows, bounds[1:])
        for at, group in sorted(zip(places.tolist(), groups, strict=True), key=lambda found: int(found[1][0])):
            code_of_group = at % width - 1
            reason = OTHER if code_of_group < 0 else say(code_of_group)
            self._records(at // width, reason).extend(record[group].tolist())

    def found(self) -> list[Reject]:
        """What was refused, by message, its reasons in order of their first record."""
        return [
            Reject(message, sorted(records), reason)
            for message, of_message in sorted(self._found.items())
            for reason, records in sorted(of_message.items(), key=lambda one: min(one[1]))
        ]

    def _records(self, message: int, reason: str) -> list[int]:
        of_message = self._found.setdefault(message, {})
        reason = reason[:MAX_REASON]
        records = of_message.get(reason)
        if records is None:
            records = of_message.setdefault(reason if len(of_message) < REASONS else OTHER, [])
        return records


class WrongRows:
    """Which rows of a batch cannot be taken; why is said to `rejects`, where its first row is number `first`.

    >>> rejects = Rejects()
    >>> wrong = WrongRows(3, 10, rejects)
    >>> wrong.note(np.array([False, True, False]), np.array([0, 7, 0]), lambda code: f"expected less, got {code}")
    >>> rejects.found()
    [Reject(message=0, records=[11], reason='expected less, got 7')]
    """

    def __init__(self, rows: int, first: int, rejects: Rejects) -> None:
        self.rows = np.zeros(rows, dtype=np.bool_)
        self._first, self._rejects = first, rejects

    def note(self, rows: _Bools, code: _Ints, say: Callable[[int], str]) -> None:
        """Refuses some of the rows, but for what is refused already; `say` puts a row's code into words."""
        index = np.flatnonzero(rows & ~self.rows)
        if len(index):
            self.rows[index] = True
            self._rejects.add_rows(np.zeros_like(index), self._first + index, code[index], say)
