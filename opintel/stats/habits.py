"""What is usual for each of many keys: columns of decaying sums by key, bounded, and a learned over-dispersion.

Judges keep their habits here. All arithmetic is by row or over rows in the caller's order, so that a restored table
gives the same numbers whatever the order in which its keys once appeared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit

from opintel.stats.counts import Floats, Ints, log_pmf, shape

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


class Dispersion:
    """The over-dispersion rho around known means, learned from all counts so far: a decaying likelihood on a grid.

    Of the cases a small part is taken to be broken (failing at a high rate, Beta(2, 1)) and does not widen rho. Starts
    from a prior around `start` worth a few dozen informative counts.

    >>> dispersion = Dispersion()
    >>> dispersion.learn(np.array([5] * 200), np.array([50] * 200), np.full(200, 0.1), keep=1.0)
    >>> dispersion.rho() < 0.01
    True
    """

    GRID = np.geomspace(0.002, 0.6, 16)
    BROKEN = 0.02

    def __init__(self, start: float = 0.1) -> None:
        self._prior = -0.5 * ((logit(self.GRID) - logit(start)) / 1.0) ** 2
        self._fit = np.zeros(len(self.GRID))

    def rho(self) -> float:
        """The most probable rho: the vertex of the parabola through the best point of the grid and its neighbours."""
        total, at = self._prior + self._fit, logit(self.GRID)
        best = int(np.clip(np.argmax(total), 1, len(at) - 2))
        (x0, x1, x2), (y0, y1, y2) = at[best - 1 : best + 2], total[best - 1 : best + 2]
        left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
        if left <= right:
            return float(self.GRID[np.argmax(total)])
        vertex = 0.5 * (x0 + x1) + 0.5 * (x2 - x0) * left / (left - right)
        return float(expit(np.clip(vertex, x0, x2)))

    def learn(self, k: Ints, n: Ints, mean: Floats, keep: float) -> None:
        """Adds counts k of n around `mean`, shapes (N,), after the past has decayed to the share `keep`."""
        several = n > 1
        k, n, mean = k[several, None], n[several, None], mean[several, None]
        good = log_pmf(k, n, *shape(mean, self.GRID))
        bad = np.log(2.0 * (k + 1.0) / ((n + 1.0) * (n + 2.0)))
        fit = np.logaddexp(np.log1p(-self.BROKEN) + good, np.log(self.BROKEN) + bad).sum(axis=0)
        self._fit = keep * self._fit + (fit - fit.max() if len(fit) else fit)

    def state(self) -> list[float]:
        """Plain data."""
        return [float(x) for x in self._fit]

    def restore(self, state: Sequence[float]) -> None:
        """The inverse of `state`."""
        self._fit = np.array(state, dtype=np.float64)
