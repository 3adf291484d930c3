"""The memory of many series as plain arrays, one column of them a series: about 5 kB each.

Written and read by `judge`; `series` takes snapshots of it. Which row is what is said by `COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opintel.health import baselines, charts, verdict
from opintel.stats.counts import Floats, Ints
from opintel.stats.tails import BOUND, EXCESS, KEPT, fit_tail, keep, tail_z

RANKED = 3
"""The first three statistics take their p from their own tails, two sides each."""
SIDES = 2 * RANKED
TAILS = ("bound", "excess", "shape", "scale", "fit_bound", "count")

BASELINES = slice(6, len(baselines.COLUMNS))
CHARTS = slice(BASELINES.stop, BASELINES.stop + len(charts.COLUMNS))
VERDICT = slice(CHARTS.stop, CHARTS.stop + len(verdict.COLUMNS))
BOUNDS = VERDICT.stop
LIVE = BOUNDS + SIDES
"""Columns below this are rewritten at every row; the rest of the tails only at an exceedance."""
COLUMNS = (
    *baselines.COLUMNS,
    *charts.COLUMNS,
    *verdict.COLUMNS,
    *(f"{name}{side}" for name in TAILS for side in range(SIDES)),
)
_TAIL_FRESH = (BOUND, EXCESS, 0.05, EXCESS, BOUND, 0.0)
_FRESH = np.array(
    [*(0.0,) * len(baselines.COLUMNS), *charts.FRESH, *verdict.FRESH, *(x for x in _TAIL_FRESH for _ in range(SIDES))]
)
_EXCESS, _SHAPE, _SCALE, _FIT_BOUND, _COUNT = (BOUNDS + SIDES * k for k in range(1, 6))
ROWS, MEMORY, TROUBLE, VALUE, FAST = map(COLUMNS.index, ("rows", "memory", "trouble", "value", "fast"))
_MEAN = COLUMNS.index("mean")
_CARRIED = slice(COLUMNS.index("deviation0"), COLUMNS.index("deviation2") + 1)
_CHARTED = slice(COLUMNS.index("shift"), COLUMNS.index("spread") + 1)
_FIRST = int(baselines.EARLY)
_FAR = 10.0
"""Standard deviations (by the median absolute one) from the median of a series' first rows that count as so many."""

_AFRESH = 20.0
"""Rows that a series remembers once a lasting disturbance has become its new normal."""
_REACH = 20.0
"""Mean excesses over its bound that a value counts for in its tail at most: of Student's t of 3 degrees one exceedance
in a thousand is farther out."""
_FIT = 8
"""A tail is fitted again at every 8th exceedance, from the 16th on."""


class SeriesState:
    """`columns` (F, K) float64; `rings` (K, 6, 128), `hours` (K, 2, 24), `weeks` (K, 2, 168) float32: value, weight;
    `firsts` (K, 2, 10) float64: time and value of a series' first rows."""

    def __init__(self, n: int) -> None:
        self.columns = np.zeros((len(COLUMNS), 0))
        self.rings = np.zeros((0, SIDES, KEPT), dtype=np.float32)
        self.hours = np.zeros((0, 2, 24), dtype=np.float32)
        self.weeks = np.zeros((0, 2, 168), dtype=np.float32)
        self.firsts = np.zeros((0, 2, _FIRST))
        self.count = 0
        self.grow(n)

    def grow(self, n: int) -> None:
        """Room for n series, of which the new ones know nothing."""
        held = self.columns.shape[1]
        if n > held:
            room = max(n, held + held // 2)
            columns = np.empty((len(COLUMNS), room))
            columns[:, :held], columns[:, held:] = self.columns, _FRESH[:, None]
            self.columns = columns
            self.rings = _longer(self.rings, room, -np.inf)
            self.hours, self.weeks = _longer(self.hours, room, 0.0), _longer(self.weeks, room, 0.0)
            self.firsts = _longer(self.firsts, room, 0.0)
        self.count = max(self.count, n)

    def forget(self, keys: Ints) -> None:
        """These series know nothing any more."""
        self.columns[:, keys] = _FRESH[:, None]
        self.rings[keys] = -np.inf
        self.hours[keys] = self.weeks[keys] = 0.0
        self.firsts[keys] = 0.0

    def snapshot(self, keys: Ints) -> dict[str, NDArray[np.generic]]:
        """Copies of the arrays of these series, in this order."""
        return {
            "names": np.array(COLUMNS),
            "columns": self.columns[:, keys],
            "rings": self.rings[keys],
            "hours": self.hours[keys],
            "weeks": self.weeks[keys],
            "firsts": self.firsts[keys],
        }

    def restore(self, state: Mapping[str, ArrayLike]) -> None:
        """Takes a snapshot's place; ValueError where its arrays are not this version's."""
        names = [str(name) for name in np.asarray(state["names"])]
        if names != list(COLUMNS):
            raise ValueError(f"expected a state of the columns {', '.join(COLUMNS)}, got {', '.join(names)[:500]}")
        arrays = {name: np.asarray(state[name]) for name in ("columns", "rings", "hours", "weeks", "firsts")}
        n = arrays["columns"].shape[-1] if arrays["columns"].ndim == 2 else -1
        shapes = {
            **{"columns": (len(COLUMNS), n), "rings": (n, SIDES, KEPT)},
            **{"hours": (n, 2, 24), "weeks": (n, 2, 168), "firsts": (n, 2, _FIRST)},
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {arrays[name].shape}")
        self.count = n
        self.columns = np.array(arrays["columns"], dtype=np.float64, order="C")
        self.rings = np.array(arrays["rings"], dtype=np.float32, order="C")
        self.hours = np.array(arrays["hours"], dtype=np.float32, order="C")
        self.weeks = np.array(arrays["weeks"], dtype=np.float32, order="C")
        self.firsts = np.array(arrays["firsts"], dtype=np.float64, order="C")

    def exceed(self, keys: Ints, sides: Ints, x: Floats, taught: NDArray[np.bool_], first: NDArray[np.bool_]) -> Floats:
        """z (n,) of values x (n,) above the bounds of these tails, which learn those that are `taught`; none twice.
        What is the `first` departure of a constant series is kept as it is: there is no scale to say how far it was."""
        s = self.columns
        excess, count, bound = s[_EXCESS + sides, keys], s[_COUNT + sides, keys], s[BOUNDS + sides, keys]
        flat = self.rings.reshape(-1, KEPT)
        rows = keys * SIDES + sides
        z = tail_z(x, flat[rows], count, s[_FIT_BOUND + sides, keys], s[_SHAPE + sides, keys], s[_SCALE + sides, keys])
        if not taught.all():
            keys, sides, rows, x = keys[taught], sides[taught], rows[taught], x[taught]
            excess, count, bound, first = excess[taught], count[taught], bound[taught], first[taught]
        s[_EXCESS + sides, keys] = excess + (np.minimum(x - bound, 6.0 * excess) - excess) / np.minimum(
            count + 20.0, KEPT
        )
        keep(flat, rows, np.where(first, x, np.minimum(x, bound + _REACH * excess)), count)
        count = count + 1.0
        s[_COUNT + sides, keys] = count
        due = np.flatnonzero((count % _FIT == 0.0) & (count >= 16.0))
        if len(due):
            k, side = keys[due], sides[due]
            s[_SHAPE + side, k], s[_SCALE + side, k] = fit_tail(flat[rows[due]], count[due], bound[due])
            s[_FIT_BOUND + side, k] = bound[due]
        return z

    def relearn(self, keys: Ints, level: Floats, constant: NDArray[np.bool_]) -> None:
        """Begins these series afresh at their present level (n,); their tails stay. Those that were `constant` before
        know nothing any more."""
        s, at = self.columns, keys[~constant]
        s[MEMORY, at] = _AFRESH
        s[_MEAN, at] = s[FAST, at] = level[~constant]
        s[_CARRIED, at] = 0.0
        s[_CHARTED, at] = 0.0
        self.forget(keys[constant])

    def begin(self, keys: Ints, place: Ints, time: Floats, x: Floats) -> tuple[Ints, Floats, Floats]:
        """Keeps these rows (n,) as the `place`-th (n,) of their series. Series of which that was the last of the first
        rows, and one of these was far off, are forgotten: their keys (k,), and times and values (k, 10) of these rows,
        cut off."""
        self.firsts[keys, 0, place], self.firsts[keys, 1, place] = time, x
        full = keys[place == _FIRST - 1]
        values = self.firsts[full, 1]
        middle = np.median(values, axis=1, keepdims=True)
        off = values - middle
        far = _FAR * 1.4826 * np.median(np.abs(off), axis=1, keepdims=True)
        odd = (np.abs(off) > far * (1.0 + 1e-9) + 1e-9 * np.abs(middle)).any(axis=1)
        keys, values = full[odd], (middle + np.clip(off, -far, far))[odd]
        times = self.firsts[keys, 0]
        if len(keys):
            self.forget(keys)
        return keys, times, values


def _longer(array: NDArray[Any], n: int, fill: float) -> NDArray[Any]:
    longer = np.full((n, *array.shape[1:]), fill, dtype=array.dtype)
    longer[: len(array)] = array
    return longer
