"""What a subsystem's trends are looked for in: the last points of every histogram, over lumisections and over runs.

A point over lumisections is the median of a few that follow each other in a run; one over runs the mean of a run's
points. All histograms of a subsystem share the times and conditions of their points; of each histogram a point holds
four numbers in single precision, so 10^5 histograms take some 110 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

QUANTITIES = ("mean", "width", "rate", "empty")
"""Of a histogram in a lumisection: mean and width along x, ln of entries over luminosity, share of empty bins."""
POINTS, RUNS = 40, 30
"""That are kept."""
OPEN = 2
"""Runs that are taken at the same time."""
Floats = NDArray[np.float32]


class PointAbout(NamedTuple):
    """Of what a point is."""

    time: float
    """s since 1970, the middle."""
    pileup: float
    """NaN unknown."""
    run: int
    lumisection: int
    """The first."""
    category: str
    """Run type and menu: points of one category are compared."""


class Level(NamedTuple):
    """Points over lumisections, or over runs; the newest last."""

    about: list[PointAbout]
    values: list[Floats]
    """(quantities, rows) each; as many rows as there were."""


class _OpenPoint(NamedTuple):
    about: list[PointAbout]
    values: list[Floats]


class _OpenRun(NamedTuple):
    about: list[PointAbout]
    total: Floats
    counts: Floats


class TrendMemory:
    """The points of one subsystem; `block` lumisections make one."""

    def __init__(self, block: int) -> None:
        self.block = block
        self._row: dict[str, int] = {}
        self._free: list[int] = []
        self.lumisections, self.runs = Level([], []), Level([], [])
        self._points: dict[int, _OpenPoint] = {}
        self._runs: dict[int, _OpenRun] = {}

    @property
    def keys(self) -> dict[str, int]:
        """Key → row."""
        return self._row

    def add(self, about: PointAbout, values: Mapping[str, Sequence[float | None]]) -> list[str]:
        """One more lumisection: key → its quantities. Which levels have a new point: `lumisections`, `runs`."""
        grown: list[str] = []
        table = self._table(values)
        point = self._points[about.run] = self._points.pop(about.run, _OpenPoint([], []))
        for old in list(self._points)[:-OPEN]:
            del self._points[old]
        if point.about and point.about[-1].category != about.category:
            point.about.clear()
            point.values.clear()
        point.about.append(about)
        point.values.append(table)
        if len(point.about) < self.block:
            return grown
        middle = _median(self._stacked(point.values))
        of_all = _joined(point.about)
        del self._points[about.run]
        self._append(self.lumisections, of_all, middle, POINTS)
        grown += ["lumisections"]
        if self._to_run(of_all, middle):
            grown += ["runs"]
        self._forget()
        return grown

    def series(self, level: Level) -> tuple[list[PointAbout], Floats]:
        """The points of the newest one's category: of what, and their values (points, quantities, rows)."""
        if not level.about:
            return [], np.zeros((0, len(QUANTITIES), 0), dtype="<f4")
        order = sorted(range(len(level.about)), key=lambda n: level.about[n].time)
        chosen = [n for n in order if level.about[n].category == level.about[-1].category]
        return [level.about[n] for n in chosen], self._stacked([level.values[n] for n in chosen])

    def _to_run(self, about: PointAbout, middle: Floats) -> bool:
        """Adds a point to its run; whether a run before is over by that."""
        known = self._runs.pop(about.run, None)
        if known is None:
            known = _OpenRun([], np.zeros_like(middle), np.zeros_like(middle))
        total, counts = (self._stacked([table, middle], 0.0)[0] for table in (known.total, known.counts))
        there = np.isfinite(middle)
        known = _OpenRun([*known.about, about], total + np.where(there, middle, 0.0), counts + there)
        self._runs[about.run] = known
        over = list(self._runs)[:-OPEN]
        for run in over:
            closed = self._runs.pop(run)
            with np.errstate(divide="ignore", invalid="ignore"):
                mean = np.where(closed.counts > 0, closed.total / closed.counts, np.nan).astype("<f4")
            self._append(self.runs, _joined(closed.about), mean, RUNS)
        return bool(over)

    def _append(self, level: Level, about: PointAbout, values: Floats, most: int) -> None:
        level.about.append(about)
        level.values.append(values)
        del level.about[:-most], level.values[:-most]

    def _table(self, values: Mapping[str, Sequence[float | None]]) -> Floats:
        for key in sorted(values.keys() - self._row.keys()):
            self._row[key] = self._free.pop() if self._free else len(self._row)
        found = np.full((len(QUANTITIES), len(self._row) + len(self._free)), np.nan, dtype="<f4")
        if values:
            rows = np.fromiter((self._row[key] for key in values), np.int64, len(values))
            with np.errstate(over="ignore", invalid="ignore"):
                found[:, rows] = np.array(list(values.values()), dtype=np.float64).T
        found[~np.isfinite(found)] = np.nan
        return found

    def _stacked(self, tables: Sequence[Floats], fill: float = np.nan) -> Floats:
        """(tables, quantities, rows); histograms that were not known yet are filled up."""
        width = max(table.shape[1] for table in tables)
        found = np.full((len(tables), len(QUANTITIES), width), fill, dtype="<f4")
        for n, table in enumerate(tables):
            found[n, :, : table.shape[1]] = table
        return found

    def _tables(self) -> list[Floats]:
        opened = [table for point in self._points.values() for table in point.values]
        return [*self.lumisections.values, *self.runs.values, *opened]

    def _forget(self) -> None:
        """Histograms of which no point holds anything."""
        seen = np.zeros(len(self._row) + len(self._free), dtype=np.bool_)
        for table in self._tables():
            seen[: table.shape[1]] |= np.isfinite(table).any(axis=0)
        for one in self._runs.values():
            seen[: one.counts.shape[1]] |= (one.counts > 0).any(axis=0)
        for key in [key for key, row in self._row.items() if not seen[row]]:
            self._free.append(self._row.pop(key))

    # state

    def state(self) -> Any:
        """Plain data, in order of the keys."""
        keys = sorted(self._row)
        rows = np.fromiter((self._row[key] for key in keys), np.int64, len(keys))

        def kept(table: Floats, fill: float = np.nan) -> bytes:
            wide = np.full((len(QUANTITIES), len(self._row) + len(self._free)), fill, dtype="<f4")
            wide[:, : table.shape[1]] = table
            return wide[:, rows].tobytes()

        levels = [
            [[list(one) for one in level.about], [kept(table) for table in level.values]]
            for level in (self.lumisections, self.runs)
        ]
        points = [
            [run, [list(one) for one in point.about], [kept(table) for table in point.values]]
            for run, point in self._points.items()
        ]
        runs = [
            [run, [list(one) for one in of.about], kept(of.total, 0.0), kept(of.counts, 0.0)]
            for run, of in self._runs.items()
        ]
        return [keys, levels, points, runs]

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh memory."""
        keys, levels, points, runs = state
        self._row, self._free = {key: row for row, key in enumerate(keys)}, []

        def read(data: bytes) -> Floats:
            return np.frombuffer(data, "<f4").reshape(len(QUANTITIES), len(keys)).copy()

        self.lumisections, self.runs = (
            Level([PointAbout(*one) for one in about], [read(data) for data in values]) for about, values in levels
        )
        self._points = {
            run: _OpenPoint([PointAbout(*one) for one in about], [read(data) for data in values])
            for run, about, values in points
        }
        self._runs = {
            run: _OpenRun([PointAbout(*one) for one in about], read(total), read(counts))
            for run, about, total, counts in runs
        }


def _median(values: Floats) -> Floats:
    """Along the first axis, of what is there; NaN where nothing is."""
    ordered, many = np.sort(values, axis=0), np.isfinite(values).sum(axis=0)  # NaN comes last
    low, high = (
        np.take_along_axis(ordered, np.maximum(at, 0)[None], 0)[0]
        for at in ((many - 1) // 2, np.minimum(many // 2, len(values) - 1))
    )
    middle = 0.5 * (low + np.where(many > 1, high, low))
    return np.where(many > 0, middle, np.nan).astype("<f4")


def _joined(about: Sequence[PointAbout]) -> PointAbout:
    """Of what the mean of points is."""
    time, pileup = (float(np.mean([getattr(one, name) for one in about])) for name in ("time", "pileup"))
    return about[0]._replace(time=time, pileup=pileup)
