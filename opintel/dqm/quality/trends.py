"""Stage 2 of DQM beside `dqm.quality`: histograms that change slowly, which references that roll with them follow.

Four numbers of each histogram are followed (`trend_memory`): mean and width along x, entries over luminosity, and the
share of empty bins, over the lumisections of the last runs and over runs. Whether they drift says
`opintel.stats.drift`; what follows the pile-up is taken off: mean, rate and empty bins as a line, the width, which
is a root, as a parabola. One fill alone cannot tell the pile-up from time: it takes a drift that begins in it, or more
fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Emit, Judge
from opintel.dqm.histograms import Listing
from opintel.dqm.quality.feedback import FEEDBACK, feedback_decades, less_surprising
from opintel.dqm.quality.trend_findings import Trend, trend_finding, trends_together
from opintel.dqm.quality.trend_memory import QUANTITIES, Level, PointAbout, TrendMemory
from opintel.dqm.records import HistogramOutcome, ManifestListed
from opintel.finding import NS, Finding
from opintel.stats.drift import FEWEST, Drift, DriftTest, Points

STANDS_OUT = -4.0
"""log10 p at which a lumisection is a finding of its own, and says nothing of a trend."""
PATTERNS = 256
"""Histograms that lack the same points are tested together: at most so many groups of them a time."""
LOOKED_AT = 4000
"""Series that are tested in full a time, the most surprising first."""
SURER, SAID = 1.0, 5
"""Decades by which p must have fallen before a trend is said again, and how often it is said at most: whether it alarms
is for a budget to say, which asks more of a large subsystem."""
CALM = -2.0
"""log10 p above which a trend is over."""
MANY = 10
"""Histograms of a subsystem that drift at once from which on they are one finding."""
CURVED = {"mean": 1, "width": 2, "rate": 1, "empty": 1}
"""Quantity → powers of the pile-up that it follows."""
Positive = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class TrendJudgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `TrendJudge`."""

    emit: Emit = -6.0
    """Trends with log10 p at most this are findings."""
    block: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    """Lumisections of a point; 40 points are kept."""
    least: Positive = 0.05
    """Change below which a trend is no finding: of mean and width in widths, of the rate relative, of empty bins as a
    share of all."""
    limits: dict[str, tuple[float, float]] = {}
    """Pattern of paths → the lowest and the highest mean that is allowed, in units of the axis: a trend says when it
    will be there."""


class _Series(NamedTuple):
    """One quantity of one histogram, to be looked at."""

    log10_p: float
    """If its scatter were independent."""
    key: str
    quantity: str
    row: int
    test: DriftTest
    there: NDArray[np.bool_]


class TrendJudge(Judge):
    """Findings of kind `trend`: one when a drift is sure, another when it is ten times surer, at most five.

    >>> from opintel.detector import Controls
    >>> from opintel.finding import Window
    >>> judge = TrendJudge()
    >>> closing = Closing(Window(0, 23 * NS), "calo", [], Controls(), TrendJudgeSettings(), "", complete=True)
    >>> judge.judge(closing), judge.tests
    ([], {'trend': 0})
    """

    name, version = "dqm.trends", 1
    controls: tuple[str, ...] = (FEEDBACK,)
    Settings = TrendJudgeSettings

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._memory = TrendMemory(TrendJudgeSettings().block)
        self._said: dict[str, tuple[float, int]] = {}
        """Level and key → log10 p with which a trend was said last, and how often."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one lumisection; trends are looked for where it completes a point."""
        self.tests = {"trend": 0}
        self._memory.block = closing.settings.block
        outcomes: dict[int, dict[str, HistogramOutcome]] = {}
        listings: dict[int, list[Listing]] = {}
        for record in closing.records:
            said = record.payload
            if isinstance(said, HistogramOutcome):
                outcomes.setdefault(said.run, {})[record.key.partition("|")[2]] = said
            elif isinstance(said, ManifestListed):
                listings.setdefault(said.run, []).append(said.listing)
        found: list[Finding] = []
        for run in sorted(outcomes):
            of_run = listings.get(run, [])
            if any(one.stable_beams is False or one.high_voltage is False for one in of_run):
                continue
            about = _about(closing, run, next(iter(outcomes[run].values())).lumisection, of_run)
            luminosity = next((one.luminosity for one in of_run if one.luminosity), None)
            values = {key: _quantities(one, luminosity) for key, one in outcomes[run].items()}
            for grown in self._memory.add(about, values):
                level = self._memory.lumisections if grown == "lumisections" else self._memory.runs
                found += self._trends(closing, grown, level, about)
        return found

    def _trends(self, closing: Closing, grown: str, level: Level, at: PointAbout) -> list[Finding]:
        about, values = self._memory.series(level)
        if len(about) < FEWEST:
            return []
        decades, settings = feedback_decades(closing.controls), closing.settings
        best: dict[str, Trend] = {}
        for one in self._screened(about, values):
            series = values[one.there, QUANTITIES.index(one.quantity), one.row].astype(np.float64)
            drift = one.test.test(series)
            p = less_surprising(drift.log10_p, one.key, decades)
            if p < best[one.key].log10_p if one.key in best else True:
                points = [about[n] for n in np.flatnonzero(one.there).tolist()]
                size = _size(one.quantity, drift, series, values[one.there, QUANTITIES.index("width"), one.row])
                best[one.key] = Trend(one.key, one.quantity, grown, points, drift, p, size)
        lasting = {f"{grown} {key}" for key, trend in best.items() if trend.log10_p <= CALM}
        drifting = [
            trend
            for _, trend in sorted(best.items())
            if trend.log10_p <= settings.emit and trend.size >= settings.least
        ]
        together = len(drifting) >= MANY
        lasting |= {f"{grown} "} if together else set()
        self._said = {name: of for name, of in self._said.items() if not name.startswith(grown) or name in lasting}
        news = [trend for trend in drifting if self._is_news(f"{grown} {trend.key}", trend.log10_p)]
        if not together:
            return [trend_finding(closing, at, trend, settings.limits) for trend in news]
        of_all = trends_together(closing, at, drifting, len(self._memory.keys))
        return [of_all] if self._is_news(f"{grown} ", of_all.log10_p or 0.0) else []

    def _is_news(self, name: str, log10_p: float) -> bool:
        last, times = self._said.get(name, (0.0, 0))
        if log10_p > last - SURER or times == SAID:
            return False
        self._said[name] = (log10_p, times + 1)
        return True

    def _screened(self, about: list[PointAbout], values: NDArray[np.float32]) -> list[_Series]:
        """The series that are worth a full look: those that would be calm if their scatter were independent are so."""
        keys = sorted(self._memory.keys.items(), key=lambda one: one[1])
        rows = np.array([row for _, row in keys if row < values.shape[2]], dtype=np.int64)
        found: list[_Series] = []
        known: dict[tuple[bytes, int], DriftTest] = {}
        for n, quantity in enumerate(QUANTITIES):
            table = values[:, n, rows]
            there = np.isfinite(table)
            order = _patterns(there)
            for pattern, members in order[:PATTERNS]:
                powers = CURVED[quantity]
                test = known.get((pattern.tobytes(), powers)) or DriftTest(_points(about, pattern, powers))
                known[pattern.tobytes(), powers] = test
                if test.degrees < 1:
                    continue
                self.tests["trend"] += len(members)
                log10_p = test.screen(table[np.ix_(pattern, members)].astype(np.float64))
                for at in np.flatnonzero(log10_p <= CALM).tolist():
                    key, row = keys[members[at]]
                    found.append(_Series(float(log10_p[at]), key, quantity, row, test, pattern))
        found.sort(key=lambda one: (one.log10_p, one.key, one.quantity))
        return found[:LOOKED_AT]

    def state(self) -> Any:
        """Plain values."""
        said = [[name, p, times] for name, (p, times) in sorted(self._said.items())]
        return [self._memory.block, self._memory.state(), said]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        block, memory, said = state
        self._memory = TrendMemory(block)
        self._memory.restore(memory)
        self._said = {name: (p, times) for name, p, times in said}


def _about(closing: Closing, run: int, number: int, listings: Iterable[Listing]) -> PointAbout:
    window, known = closing.window, list(listings)
    pileup = next((one.pileup for one in known if one.pileup is not None), np.nan)
    category = next((f"{one.run_type}|{one.menu}" for one in known if one.run_type or one.menu), "")
    return PointAbout((window.start + window.end) / 2 / NS, float(pileup), run, number, category)


def _quantities(one: HistogramOutcome, luminosity: float | None) -> tuple[float | None, ...]:
    """In order of `QUANTITIES`."""
    if one.log10_p is not None and one.log10_p <= STANDS_OUT:
        return (None, None, None, None)
    mean, width, empty = one.tracked
    if one.since != one.lumisection:  # of several: how many entries, and empty bins, there are is not comparable
        return (mean, width, None, None)
    rate = float(np.log(one.entries / luminosity)) if one.entries and luminosity else None
    return (mean, width, rate, empty)


def _patterns(there: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """(points that are there, members) of histograms (points, histograms) that have the same points, and enough of
    them; the largest groups first."""
    whole, inverse = np.unique(np.packbits(there, axis=0), axis=1, return_inverse=True)
    patterns = np.unpackbits(whole, axis=0, count=len(there)).astype(np.bool_)
    groups: Mapping[int, NDArray[np.int64]] = {
        n: np.flatnonzero(inverse.reshape(-1) == n)
        for n in np.flatnonzero(patterns.sum(axis=0) >= FEWEST).tolist()[: 4 * PATTERNS]
    }
    return [(patterns[:, n], members) for n, members in sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))]


def _points(about: list[PointAbout], there: NDArray[np.bool_], powers: int) -> Points:
    chosen = [about[n] for n in np.flatnonzero(there).tolist()]
    times, pileup, runs = (np.array([getattr(one, name) for one in chosen]) for name in ("time", "pileup", "run"))
    known = np.empty((len(chosen), 0))
    if np.isfinite(pileup).all():
        centred = pileup - pileup.mean()
        known = np.stack([centred**power for power in range(1, powers + 1)], axis=1)
    return Points(times, known, runs.astype(np.float64))


def _size(quantity: str, drift: Drift, series: NDArray[np.float64], widths: NDArray[np.float32]) -> float:
    """How large a drift is, in what `least` is said in. Of empty bins, which are few whole ones, at most what the
    series spans: a fit beside the pile-up may say anything of steps of one bin."""
    if quantity == "empty":
        return min(abs(drift.change), float(np.ptp(series)))
    if quantity == "rate":
        return abs(drift.change)
    width = float(np.nanmedian(widths)) if np.isfinite(widths).any() else 0.0
    return abs(drift.change) / (width or max(abs(float(drift.fitted[0])), 1e-300))
