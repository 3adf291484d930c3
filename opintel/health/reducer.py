"""Stage 1 of the health domain: samples by series in, one `SeriesWindow` a series and closed window out.

Rows come from `opintel.health.wire` through the worker, keyed `scope|series`. When a window closes its samples go, each
series' own in order of time, through the `MultiSeriesDetector`; a counter goes in as its rate.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Artefact, Record, Reduced, Reducer, WindowRows
from opintel.finding import NS, Window
from opintel.health.baselines import EARLY
from opintel.health.blanks import without_blanks
from opintel.health.samples import Sample, Samples
from opintel.health.scoring import STATISTICS, VALIDATED
from opintel.health.series import MultiSeriesDetector, Scores
from opintel.health.series_names import is_counter, metric_of, parts_of
from opintel.health.verdict import WARM
from opintel.health.warm_start import BASELINE, Learned, WarmStart
from opintel.health.windows import EMITTED, SERIES, Point, SeriesWindow
from opintel.stats.counts import Floats, Ints

TRAIL: Final = 60
"""Windows that a picture shows."""
BEGAN: Final[tuple[Literal["own", "metric"], ...]] = ("own", "metric")
"""What a series may have begun with, if it did."""
log = logging.getLogger(__name__)
BAND: Final = 1.96
"""Standard deviations of a band that holds 95 %."""


class HealthReducer(Reducer[Sample]):
    """`Reducer[Sample]`: judges the samples of a window against what it knows of each series.

    Memory: about 7 kB a series. The cap on series is the worker's.
    """

    name = "health.series"
    version = 5
    models = (BASELINE,)

    def __init__(self) -> None:
        self._detector = MultiSeriesDetector(0)
        self._slot: dict[str, int] = {}
        self._free: list[int] = []
        self._trails = np.empty((0, TRAIL, 4))
        """Series, windows, (time in ns, value, low, high): a ring; NaN where there is none. Times lose 256 ns."""
        self._counted = np.empty((0, 2))
        """Series, (time in s, raw value) of the last sample of a counter."""
        self._began = np.empty((0, 1))
        """Series, 0 or 1: its place in `BEGAN`; NaN where that is open."""
        self._opened: tuple[str, WarmStart | None] = ("", None)
        """SHA-256 of the baseline that was opened last, and what it was; no state."""

    def close(self, closing: WindowRows[Sample]) -> Reduced:
        """One record a series with samples in the window, by key."""
        rows = closing.rows
        names, code = rows.key.values, rows.key.code.astype(np.int64)
        payload: Samples = rows.payload
        slots = np.array([self._slot_of(name) for name in names], dtype=np.int64)
        begin = np.searchsorted(code, np.arange(len(names) + 1))
        metrics = [metric_of(parts_of(name)[1]) for name in names]
        value = without_blanks(metrics, code, np.where(payload.missing == 0, payload.value, np.nan))
        counter = np.array([is_counter(metric) for metric in metrics], dtype=np.bool_)
        if counter.any():
            value = self._rates(slots, counter, code, rows.time, value)
        self._begin(closing.artefacts.get(BASELINE), names, slots)
        scores = self._detector.update_many(slots[code], rows.time / NS, value)
        return Reduced(self._records(closing.window, names, slots, begin, rows.time, value, scores))

    def scope(self, key: str) -> str:
        """The fleet."""
        return parts_of(key)[0]

    def drop(self, key: str) -> None:
        """Forgets a series."""
        slot = self._slot.pop(key, None)
        if slot is not None:
            self._forget(slot)
            self._free.append(slot)

    def state(self) -> dict[str, Any]:
        """Series in order, whatever their slots; arrays as bytes with their shapes."""
        series = sorted(self._slot)
        slots = np.array([self._slot[key] for key in series], dtype=np.int64)
        ours = {"trails": self._trails[slots], "counted": self._counted[slots], "began": self._began[slots]}
        arrays = {**self._detector.state(slots), **ours}
        return {
            "series": series,
            "arrays": {name: [list(a.shape), a.dtype.str, a.tobytes()] for name, a in sorted(arrays.items())},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`, on a fresh reducer."""
        self._slot = {key: slot for slot, key in enumerate(state["series"])}
        arrays = {
            name: np.frombuffer(data, dtype=dtype).reshape(shape).copy()
            for name, (shape, dtype, data) in state["arrays"].items()
        }
        self._trails, self._counted, self._began = (arrays.pop(name) for name in ("trails", "counted", "began"))
        self._detector.restore(arrays)

    def _slot_of(self, key: str) -> int:
        slot = self._slot.get(key)
        if slot is None:
            slot = self._slot[key] = self._free.pop() if self._free else len(self._slot)
            if slot >= len(self._trails):
                room = max(64, slot + slot // 2)
                self._trails = _longer(self._trails, room)
                self._counted = _longer(self._counted, room)
                self._began = _longer(self._began, room)
        return slot

    def _forget(self, slot: int) -> None:
        self._trails[slot] = self._counted[slot] = self._began[slot] = np.nan
        if slot < len(self._detector):
            self._detector.forget([slot])

    def learned(self) -> Learned:
        """What a warm start is made of."""
        series = sorted(self._slot)
        return Learned(series, self._detector.state([self._slot[key] for key in series]))

    def _begin(self, artefact: Artefact | None, names: Sequence[str], slots: Ints) -> None:
        """Lets series with samples in the window that have had their first ones, and of which nothing was said yet,
        begin with a baseline, each once. Which windows they have had depends on the series alone.
        """
        if artefact is None:
            return
        if artefact.sha256 != self._opened[0]:
            self._opened = (artefact.sha256, _opened(artefact, [self.name, self.version]))
        warm = self._opened[1]
        rows = self._detector.rows(slots)
        young = np.flatnonzero((rows >= EARLY) & (rows < WARM) & np.isnan(self._began[slots, 0]))
        if warm is None or not len(young):
            return
        found = [(slots[n], *start) for n in young.tolist() if (start := warm.find(names[n])) is not None]
        if found:
            mine, places, own = (np.array(column) for column in zip(*found, strict=True))
            begun = self._detector.begin(mine, warm.state, places, own)
            self._began[mine[begun], 0] = np.where(own[begun], 0.0, 1.0)

    def _rates(
        self, slots: Ints, counter: NDArray[np.bool_], code: NDArray[np.int64], time: Ints, value: Floats
    ) -> Floats:
        """The values with those of counters as rates a second since the sample before; NaN where there was none.

        A counter that fell was reset: what it gained meanwhile is known from below only, so that is missing.
        """
        known = np.flatnonzero(counter[code] & np.isfinite(value))
        seconds = time[known] / NS
        first = np.ones(len(known), dtype=np.bool_)
        first[1:] = code[known][1:] != code[known][:-1]
        last = self._counted[slots[code[known]]]
        before = np.where(first, last[:, 0], np.r_[np.nan, seconds[:-1]])
        raw = value[known]
        was = np.where(first, last[:, 1], np.r_[np.nan, raw[:-1]])
        gained = np.where(raw < was, np.nan, raw - was)
        passed = seconds - before
        rates = np.full(len(known), np.nan)
        np.divide(gained, passed, out=rates, where=passed > 0)
        ends = np.flatnonzero(np.r_[first[1:], True]) if len(known) else known
        later = ~(self._counted[slots[code[known[ends]]], 0] > seconds[ends])
        self._counted[slots[code[known[ends[later]]]]] = np.c_[seconds[ends[later]], raw[ends[later]]]
        found = value.copy()
        found[counter[code]] = np.nan
        found[known] = rates
        return found

    def _records(
        self, window: Window, names: list[str], slots: Ints, begin: Ints, time: Ints, value: Floats, scores: Scores
    ) -> list[Record[Any]]:
        # by row: the band, and p with what has none above all that have one
        low, high = scores.baseline - BAND * scores.baseline_spread, scores.baseline + BAND * scores.baseline_spread
        there, ready = np.isfinite(value), np.isfinite(scores.p_value)
        p = np.where(ready, scores.p_value, 2.0)
        # by series: its most surprising row, its last one with a value (or at all), how many there are
        first, rows, size = begin[:-1], np.arange(len(value)), np.diff(begin)
        worst = np.lexsort((p, np.repeat(np.arange(len(names)), size)))[first]
        last = np.maximum.reduceat(np.where(there, rows, -1), first)
        last = np.where(last < 0, begin[1:] - 1, last)
        counted, judged = np.add.reduceat(there, first, dtype=np.int64), np.add.reduceat(ready, first, dtype=np.int64)
        band = there[last] & ready[last]
        drawn = np.c_[time[last], value[last], np.where(band, low[last], np.nan), np.where(band, high[last], np.nan)]
        drawn[~np.isfinite(drawn)] = np.nan
        place = (window.start // (window.end - window.start)) % TRAIL
        columns = (
            *(slots, size, counted, judged, p[worst], scores.statistic[worst], scores.direction[worst]),
            *(time[worst], time[last]),
        )
        records = []
        for key, at, slot, n, valued, tested, p_value, spoke, way, onset, when in zip(
            names, drawn[:, 1:].tolist(), *(column.tolist() for column in columns), strict=True
        ):
            log10_p = _sidak(p_value, tested) if tested else None
            said = SeriesWindow(
                samples=valued,
                missing=n - valued,
                last=Point(when, *map(_plain, at)),
                log10_p=log10_p,
                extrapolated=p_value < 10.0**-VALIDATED,
                statistic=STATISTICS[spoke] if tested else "",
                direction=way if tested else 0,
                onset=onset,
            )
            if log10_p is not None and log10_p <= EMITTED:
                trail = self._trail(slot, place, window)
                said = msgspec.structs.replace(said, trail=trail, began=self._of_baseline(slot))
            scope, series = parts_of(key)
            records.append(Record(window, SERIES, series, scope, said))
        self._trails[slots, place] = drawn
        return sorted(records, key=lambda r: (r.key, r.scope))

    def _of_baseline(self, slot: int) -> Literal["", "own", "metric"]:
        began = self._began.item(slot, 0)
        return "" if math.isnan(began) else BEGAN[int(began)]

    def _trail(self, slot: int, place: int, window: Window) -> list[Point]:
        """The windows before, oldest first."""
        oldest = window.start - TRAIL * (window.end - window.start)
        ring = np.roll(self._trails[slot], -place, axis=0)[1:]
        return [Point(int(t), _plain(v), _plain(low), _plain(high)) for t, v, low, high in ring.tolist() if t >= oldest]


def _opened(artefact: Artefact, detector: Sequence[Any]) -> WarmStart | None:
    """None, and a line in the log, where it is no baseline of this version: a cold start is better than none."""
    try:
        return WarmStart(artefact.data, detector)
    except ValueError as error:
        log.warning("artefact %s is left out: %s", artefact.sha256, error)
        return None


def _sidak(p: float, n: int) -> float:
    """log10 of the chance that the smallest of n p-values is so small (Šidák 1967), at most 0."""
    return min(0.0, math.log10(-math.expm1(n * math.log1p(-p))) if p < 1.0 else 0.0)


def _plain(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _longer(array: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    longer = np.full((n, *array.shape[1:]), np.nan)
    longer[: len(array)] = array
    return longer
