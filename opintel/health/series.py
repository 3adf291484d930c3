"""Thousands of metric series judged row by row, each against its own past: `MultiSeriesDetector`.

Rows (key, time, value) come from the health stream; scores, p-values and what spoke go back to it. Formulas are in
`baselines`, `charts`, `verdict` and `stats.tails`, their order in `scoring`; here a batch is cut into rounds in which
every series has one row, so that a batch gives what its rows one by one would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from opintel.health.bounds import LARGEST
from opintel.health.scoring import STATISTICS, score_row, score_rows
from opintel.health.state import ROWS, SeriesState
from opintel.health.warm_start import begin
from opintel.stats.counts import Floats, Ints

_BLOCK = 2048
"""Series judged at once: their columns stay in the cache."""
_LATEST = 1e15
"""s; beyond it a double does not know the hour any more."""
_FEW = 24
"""Fewer rows than this go one by one."""

_PLAIN = (0, 1, 2, 4, 5, 6, 7, 8)
"""Fields of `Scores` that are (N,)."""


class Scores(NamedTuple):
    """The judgement of N rows, in their order."""

    score: Floats
    """(N,) in [0, 1): log10 p / (log10 p − 4); 0 for a missing value or while warming up."""
    latched: Floats
    """(N,) the score, but 0 for what follows the rise of a disturbance until it has ended."""
    p_value: Floats
    """(N,) of the row as a whole; NaN for a missing value or while warming up."""
    statistics: NDArray[np.float32]
    """(N, 8) z of each of `STATISTICS`: as rare as that quantile of a standard normal, + = higher than expected."""
    expected: Floats
    """(N,) the best expert's prediction."""
    band: Floats
    """(N,) its standard deviation."""
    baseline: Floats
    """(N,) what the level is held against: the expert without AR(1)."""
    baseline_spread: Floats
    """(N,) long-run standard deviation around the baseline."""
    expert: NDArray[np.int8]
    """(N,) 0 mean, 1 hour of day, 2 day × hour, 3 moving average."""

    @property
    def statistic(self) -> Ints:
        """(N,) index into `STATISTICS` of the strongest one."""
        return np.asarray(np.argmax(np.abs(self.statistics), axis=1), dtype=np.int64)

    @property
    def direction(self) -> NDArray[np.int8]:
        """(N,) +1, −1 of the strongest one."""
        strongest = np.take_along_axis(self.statistics, self.statistic[:, None], axis=1)[:, 0]
        return np.sign(strongest).astype(np.int8)

    @property
    def p_values(self) -> Floats:
        """(N, 8) one-sided p of each statistic alone."""
        return np.asarray(ndtr(-np.abs(self.statistics.astype(np.float64))), dtype=np.float64)


class MultiSeriesDetector:
    """Scores of many independent series; it grows when a new key (0, 1, 2 …) appears.

    Assumes of a series that after an AR(1) and a daily or weekly profile its residual is roughly independent; what is
    left over is learned by the last stage. Blind to a drift slower than about 1000 rows, which becomes the baseline.

    >>> import numpy as np
    >>> detector = MultiSeriesDetector(1)
    >>> x = np.random.default_rng(0).standard_normal(500)
    >>> x[-1] = 12.0
    >>> scores = detector.update_many(np.zeros(500, int), 60.0 * np.arange(500), x)
    >>> bool(scores.p_value[-1] < 1e-4), int(scores.direction[-1])
    (True, 1)
    """

    def __init__(self, n_series: int) -> None:
        if n_series < 0:
            raise ValueError(f"expected a number of series, got {n_series}")
        self._state = SeriesState(n_series)

    def __len__(self) -> int:
        return self._state.count

    def update_many(self, keys: ArrayLike, times: ArrayLike, values: ArrayLike) -> Scores:
        """Judges rows (N,) in order of arrival and learns from them; times in seconds since 1970.

        Raises ValueError for other shapes, keys that are no integers or below 0. A value that is not finite, or beyond
        1e30, is missing: it changes nothing. So is one at a time beyond 1e15 s.
        """
        key, time, value = np.asarray(keys), np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
        if key.ndim != 1 or key.shape != time.shape or key.shape != value.shape:
            raise ValueError(f"keys, times and values must be (N,), not {key.shape}, {time.shape}, {value.shape}")
        n = len(key)
        if n and key.dtype.kind not in "iu":
            raise ValueError(f"keys must be integers, not {key.dtype}")
        if n == 0:
            return _empty(0)
        state = self._state
        lowest, highest = (key.item(0),) * 2 if n == 1 else (int(key.min()), int(key.max()))
        if lowest < 0:
            raise ValueError("keys must not be negative")
        state.grow(highest + 1)
        if n == 1 and abs(time.item(0)) <= _LATEST and abs(value.item(0)) <= LARGEST:
            judged = score_row(state, lowest, time.item(0), value.item(0))
            score, latched, p, z, expected, band, baseline, spread, expert = judged
            floats = np.array((score, latched, p, expected, band, baseline, spread))[:, None]
            statistics, experts = np.array((z,), dtype=np.float32), np.array((expert,), dtype=np.int8)
            return Scores._make((*floats[:3], statistics, *floats[3:], experts))
        scores = _empty(n)
        key = key.astype(np.int64, copy=False)
        good = (np.abs(time) <= _LATEST) & (np.abs(value) <= LARGEST)
        for rows in _rounds(key, None if good.all() else np.flatnonzero(good)):
            if len(rows) < _FEW:
                for row in rows.tolist():
                    judged = score_row(state, key.item(row), time.item(row), value.item(row))
                    scores.statistics[row] = judged.statistics
                    for k in _PLAIN:
                        scores[k][row] = judged[k]
                continue
            for i in range(0, len(rows), _BLOCK):
                at = rows[i : i + _BLOCK]
                judged = score_rows(state, key[at], time[at], value[at])
                scores.statistics[at] = judged.statistics.T
                for k in _PLAIN:
                    scores[k][at] = judged[k]
        return scores

    def rows(self, keys: ArrayLike) -> Floats:
        """(n,) rows with a value that series (n,) have had; 0 of one that is not there."""
        known = np.asarray(keys, dtype=np.int64)
        found = np.zeros(len(known))
        there = known < len(self)
        found[there] = self._state.columns[ROWS, known[there]]
        return found

    def begin(self, keys: ArrayLike, learned: SeriesState, places: ArrayLike, own: ArrayLike) -> NDArray[np.bool_]:
        """Lets series (n,) of 10 to 99 rows begin with what others have learned; which do: `warm_start.begin`."""
        at = np.asarray(places, dtype=np.int64)
        return begin(self._state, self._known(keys), learned, at, np.asarray(own, dtype=np.bool_))

    def forget(self, keys: ArrayLike) -> None:
        """Lets go of series (n,): their keys may become those of others. IndexError for one that is not there."""
        self._state.forget(self._known(keys))

    def state(self, keys: ArrayLike | None = None) -> dict[str, NDArray[np.generic]]:
        """A snapshot: plain arrays, no longer tied to the detector; of these keys (n,), which become 0 … n − 1.
        IndexError for one that is not there."""
        return self._state.snapshot(np.arange(len(self)) if keys is None else self._known(keys))

    def restore(self, state: Mapping[str, ArrayLike]) -> None:
        """Takes a snapshot's place; ValueError where its arrays are not this version's."""
        self._state.restore(state)

    def _known(self, keys: ArrayLike) -> Ints:
        known = np.asarray(keys, dtype=np.int64)
        if known.size and not 0 <= known.min() <= known.max() < len(self):
            raise IndexError(f"expected keys from 0 to {len(self) - 1}, got {known.min()} to {known.max()}")
        return known


def _rounds(keys: Ints, good: Ints | None) -> Iterator[Ints]:
    """Rows that can be judged at once, each round sorted by key: the first of each key, the second of each …"""
    rows = np.arange(len(keys)) if good is None else good
    ordered = keys[rows]
    if len(rows) == 0:
        return
    if bool(np.all(ordered[1:] > ordered[:-1])):
        yield rows
        return
    order = np.argsort(ordered, kind="stable")
    rows, ordered = rows[order], ordered[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(rows)])
    turn = np.arange(len(rows)) - np.repeat(starts, lengths)
    by_turn = np.argsort(turn, kind="stable")
    ends = np.cumsum(np.bincount(turn))
    for i, end in enumerate(ends):
        yield rows[by_turn[ends[i - 1] if i else 0 : end]]


def _empty(n: int) -> Scores:
    nan = [np.full(n, np.nan) for _ in range(5)]
    z = np.zeros((n, len(STATISTICS)), dtype=np.float32)
    return Scores(np.zeros(n), np.zeros(n), nan[0], z, nan[1], nan[2], nan[3], nan[4], np.zeros(n, dtype=np.int8))
