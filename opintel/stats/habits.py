"""What is usual for each of many keys: columns of decaying sums by key, bounded.

Judges keep their habits here. All arithmetic is by row or over rows in the caller's order, so that a restored table
gives the same numbers whatever the order in which its keys once appeared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opintel.stats.counts import Floats, Ints

_SPARE = 0
"""Row 0 is always empty: keys above the cap are judged from it and learn nothing."""


class Habits:
    """Float columns by key, at most `cap` keys; `seen` (when a key last had something) decides who is forgotten.

    >>> h = Habits(("ok",), cap=2)
    >>> h.put(h.rows(["a", "b", "c"]), ok=np.array([1.0, 2.0, 3.0]))
    >>> h.get(h.rows(["c", "b"]), "ok").tolist()
    [0.0, 2.0]
    """

    def __init__(self, columns: Sequence[str], cap: int) -> None:
        self.columns = tuple(columns)
        self._cap = cap
        self._rows: dict[str, int] = {}
        self._data = np.zeros((len(self.columns), 64))

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> list[str]:
        """All keys, sorted."""
        return sorted(self._rows)

    def rows(self, keys: Sequence[str]) -> Ints:
        """The row of each key; unknown keys get a row of zeros, or the spare one above the cap."""
        rows = self._rows
        for key in keys:
            if key not in rows and len(rows) < self._cap:
                rows[key] = len(rows) + 1
        if len(rows) >= self._data.shape[1]:
            grown = np.zeros((len(self.columns), 2 * len(rows) + 64))
            grown[:, : self._data.shape[1]] = self._data
            self._data = grown
        return np.fromiter((rows.get(key, _SPARE) for key in keys), dtype=np.int64, count=len(keys))

    def get(self, rows: Ints, column: str) -> Floats:
        """A copy of a column at these rows."""
        return np.asarray(self._data[self.columns.index(column), rows], dtype=np.float64)

    def put(self, rows: Ints, **values: Floats) -> None:
        """Overwrites columns at these rows."""
        for column, value in values.items():
            self._data[self.columns.index(column), rows] = value
        self._data[:, _SPARE] = 0.0

    def forget(self, before: float, column: str = "seen") -> None:
        """Drops every key whose `column` is below `before`."""
        keys = self.keys()
        rows = self.rows(keys)
        kept = self.get(rows, column) >= before
        if not kept.all():
            self._fill([key for key, keep in zip(keys, kept, strict=True) if keep], self._data[:, rows[kept]])

    def state(self) -> dict[str, Any]:
        """Plain data: `keys` sorted, and each column in their order."""
        keys = self.keys()
        rows = self.rows(keys)
        return {"keys": keys} | {column: self.get(rows, column).tolist() for column in self.columns}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._fill(state["keys"], np.array([state[column] for column in self.columns], dtype=np.float64))

    def _fill(self, keys: Sequence[str], data: Floats) -> None:
        self._rows = {key: i + 1 for i, key in enumerate(keys)}
        self._data = np.zeros((len(self.columns), len(keys) + 64))
        self._data[:, 1 : len(keys) + 1] = data.reshape(len(self.columns), len(keys))
