"""The findings about trends in words, pictures and tables: what drifts, since when, how fast, and where it is going."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from opintel.detector import Closing
from opintel.dqm.histograms import HistogramKey
from opintel.dqm.quality.findings import LISTED, PLACE
from opintel.dqm.quality.trend_memory import PointAbout
from opintel.evidence import Band, Evidence, Series, Table, capped
from opintel.finding import NS, Effect, Finding, finding_id
from opintel.stats.drift import Drift

NAME, VERSION = "dqm.trends", 1
KIND = "trend"
WORDS = {"mean": "mean", "width": "width", "rate": "entries over luminosity", "empty": "share of empty bins"}
SIGMAS, COVERAGE = 1.96, 0.95
HOUR = 3600.0
AHEAD = 8
"""Points that are drawn of the way to a limit."""
FAR = 10.0
"""A limit that is further off than so many times what is known is not spoken of."""


class Trend(NamedTuple):
    """A quantity of a histogram that drifts."""

    key: str
    quantity: str
    level: str
    """`lumisections` or `runs`: what a point is."""
    points: Sequence[PointAbout]
    drift: Drift
    log10_p: float
    """After what operators said of the histogram."""
    size: float
    """Of the change: in widths, relative, or as a share of bins."""


class _Limit(NamedTuple):
    """Where a drift is going; times in s after the last point."""

    value: float
    soon: float
    likely: float
    late: float
    """inf: perhaps never."""


def trend_finding(closing: Closing, at: PointAbout, trend: Trend, limits: Mapping[str, Sequence[float]]) -> Finding:
    """About one histogram."""
    _, dataset, path = HistogramKey.of(trend.key)
    drift, what = trend.drift, WORDS[trend.quantity]
    begin = next(one for one in trend.points if one.time >= drift.onset)
    limit = _limit(trend, path, limits)
    pace = _number(trend, drift.slope * HOUR)
    text = f"{path}: {what} {'falls' if drift.change < 0 else 'rises'} by {_number(trend, abs(drift.change))}"
    text += f" since run {begin.run} lumisection {begin.lumisection}, {pace} an hour"
    if limit is not None:
        text += f"; its limit {limit.value:g} is {limit.likely / HOUR:.1f} h away"
    rows: list[list[str | float | int | None]] = [
        ["change", _number(trend, drift.change)],
        ["an hour", f"{pace} ± {_number(trend, drift.error * HOUR)}"],
        ["since", f"run {begin.run} lumisection {begin.lumisection}"],
        ["points", f"{len(trend.points)}, over {trend.level}"],
    ]
    if limit is not None:
        late = f"{limit.late / HOUR:.1f} h" if np.isfinite(limit.late) else "perhaps never"
        rows.append([f"reaches {limit.value:g}", f"in {limit.soon / HOUR:.1f} h to {late}"])
    subject = {"scope": closing.scope} | ({"dataset": dataset} if dataset else {}) | {"histogram": path}
    blocks: list[Evidence] = [_picture(trend, path, limit), Table("Drift", ["", ""], rows)]
    return _finding(closing, at, subject, text, trend.log10_p, trend.size, blocks, f"{trend.level} {trend.quantity}")


def trends_together(closing: Closing, at: PointAbout, trends: Sequence[Trend], of: int) -> Finding:
    """About a subsystem of which many histograms drift: the luminosity, or something that they share."""
    worst = sorted(trends, key=lambda one: (one.log10_p, one.key))
    rows: list[list[str | float | int | None]] = [
        [HistogramKey.of(one.key).path, WORDS[one.quantity], _number(one, one.drift.change), round(one.log10_p, 1)]
        for one in worst[:LISTED]
    ]
    table = Table("Histograms that drift", ["histogram", "what", "change", "log10 p"], rows)
    picture = _picture(worst[0], HistogramKey.of(worst[0].key).path, None)
    text = f"{len(trends)} of {of} histograms drift"
    log10_p = min(0.0, worst[0].log10_p + float(np.log10(of)))
    subject, size = {"scope": closing.scope}, float(np.median([one.size for one in trends]))
    return _finding(closing, at, subject, text, log10_p, size, [table, picture], worst[0].level)


def _finding(
    closing: Closing,
    at: PointAbout,
    subject: dict[str, str],
    text: str,
    log10_p: float,
    size: float,
    blocks: Sequence[Evidence],
    natural: str,
) -> Finding:
    place = Table(PLACE, ["run", "lumisection", "dataset"], [[at.run, at.lumisection, subject.get("dataset", "")]])
    natural = f"{KIND} {natural} {at.run} {closing.window.start} {closing.window.end}"
    return Finding(
        id=finding_id(NAME, VERSION, closing.model, subject, natural),
        detector=NAME,
        kind=KIND,
        subject=subject,
        window=closing.window,
        log10_p=round(log10_p, 6),
        basis="extrapolated",
        effect=Effect(round(size, 6), "of a width, of the rate, or of all bins"),
        severity="warning",
        summary=f"run {at.run} lumisection {at.lumisection}: {' '.join(text.split())}"[:400],
        evidence=capped([*blocks, place]),
        model=closing.model,
    )


def _number(trend: Trend, value: float) -> str:
    """A change: of rate and empty bins in per cent, else in units of the axis."""
    return f"{100 * value:.3g} %" if trend.quantity in ("rate", "empty") else f"{value:.3g}"


def _limit(trend: Trend, path: str, limits: Mapping[str, Sequence[float]]) -> _Limit | None:
    """The limit that the first pattern of a path names, if the mean is on its way there."""
    bounds = next((list(of) for pattern, of in limits.items() if fnmatchcase(path, pattern)), [])
    drift = trend.drift
    if trend.quantity != "mean" or len(bounds) != 2 or drift.slope == 0:
        return None
    value, now = bounds[drift.slope > 0], float(drift.fitted[-1])
    gap, pace = (value - now) * np.sign(drift.slope), abs(drift.slope)
    if gap <= 0 or gap / pace > FAR * (trend.points[-1].time - trend.points[0].time):
        return None
    slower = pace - SIGMAS * drift.error
    return _Limit(value, gap / (pace + SIGMAS * drift.error), gap / pace, gap / slower if slower > 0 else np.inf)


def _picture(trend: Trend, path: str, limit: _Limit | None) -> Series:
    """The points at the pile-up of the last one, the drift with its band, and the way to the limit."""
    drift, last = trend.drift, trend.points[-1].time
    times, values = [one.time for one in trend.points], drift.moved.tolist()
    low, high = drift.fitted - SIGMAS * drift.scatter, drift.fitted + SIGMAS * drift.scatter
    if limit is not None:
        ahead = np.linspace(0.0, limit.likely, AHEAD + 1)[1:]
        line, spread = drift.fitted[-1] + drift.slope * ahead, SIGMAS * (drift.scatter + drift.error * ahead)
        times, values = [*times, *(last + ahead).tolist()], [*values, *[None] * AHEAD]
        low, high = np.r_[low, line - spread], np.r_[high, line + spread]
    what = WORDS[trend.quantity].capitalize()
    title = f"{what} of {path}, at the pile-up of the last point"
    unit = "ln" if trend.quantity == "rate" else ""
    band = Band(low.tolist(), high.tolist(), COVERAGE)
    return Series(
        title, [int(time * NS) for time in times], values, unit, band, (int(drift.onset * NS), int(last * NS))
    )
