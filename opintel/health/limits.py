"""Series on their way to a limit: the disk is full in 3 days. The first form of predictive maintenance.

Limits come from the stream's YAML. What stage 1 says of a series' windows is remembered here, every few windows a
forecast is made of it (`opintel.health.forecast`), and one that says so again and again is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Band, Evidence, Series, Table, capped
from opintel.finding import NS, Effect, Finding, Severity, Window, finding_id
from opintel.health.forecast import Forecast, time_to_threshold
from opintel.health.refused import refused
from opintel.health.series_names import metric_of, named, series_parts, subject_of
from opintel.health.units import shown, shown_apart, unit
from opintel.health.windows import series_windows

KEPT = 240
"""Windows of a series that are remembered."""
LEAST = 60
"""Windows without which nothing is forecast."""
SPANS = (LEAST // 2, LEAST, KEPT)
"""A forecast is made from the last so many windows: a drift may have begun lately, or long ago."""
HOURS = 48
"""Hours whose means are remembered, so that what comes every day is no drift."""
EVERY = 5
"""Windows between two forecasts of a series."""
AGREED = 3
"""Forecasts in a row that agree before one becomes a finding."""
COVERAGE, SURE = 0.9, 0.998
"""Of the interval that is shown; of the one whose late end must lie within the time asked for, since a line through an
hour of noise may point anywhere."""
CAP = 5_000
"""Series with a limit, a scope; those above it are reported by a finding of kind `refused`."""
GONE = 1440
"""Windows without a sample after which a series is forgotten."""
JUMP = 4.0
"""Times the step that one in ten exceeds: a step of this size away from the limit ends a forecast."""
AHEAD = 60
"""Points of the future that are drawn."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a series should not reach; either `above` or `below`."""

    metric: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_:][A-Za-z0-9_:]*$")]
    labels: dict[str, str] = {}
    """Labels and their values that a series has; others are not asked for."""
    above: float | None = None
    below: float | None = None
    hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 365)] = 48.0
    """A forecast is made when the limit is nearly certain to be reached within so many hours."""
    reached: Severity = "critical"
    """Severity where it is reached."""

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"a limit of {self.metric} is either `above` or `below` a number")
        if not math.isfinite(self.value):
            raise ValueError(f"a limit of {self.metric} is a finite number, got {self.value}")

    @property
    def value(self) -> float:
        """The number."""
        return self.below if self.above is None else self.above  # type: ignore[return-value]

    def beyond(self, value: float) -> bool:
        """Whether a value has reached it."""
        return value <= self.value if self.above is None else value >= self.value

    def concerns(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of the metric has this limit."""
        return all(labels.get(label) == text for label, text in self.labels.items())


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `LimitJudge`."""

    limits: tuple[Limit, ...] = ()
    max_findings: Most = 100
    """At most so many a window, the soonest first."""


class _Past(msgspec.Struct, array_like=True):
    """A series with a limit."""

    times: list[float] = []
    """Seconds since 1970, of the last sample of each window."""
    values: list[float] = []
    wait: int = 0
    """Windows until the next forecast."""
    agreed: int = 0
    forecast: list[float] = []
    """Median, low, high of the last forecast in s since 1970; empty where it did not reach the limit in time."""
    absent: int = 0
    due: float = math.inf
    """The earliest of the latest times that were forecast, s since 1970."""
    hours: list[tuple[int, float, int]] = []
    """(hours since 1970, sum of its values, how many) of the last hours that had any."""

    def note(self, time: float, value: float) -> None:
        """Takes the last sample of a window."""
        self.times = [*self.times[-(KEPT - 1) :], time]
        self.values = [*self.values[-(KEPT - 1) :], value]
        hour, total, n = int(time // 3600), 0.0, 0
        if self.hours and self.hours[-1][0] == hour:
            _, total, n = self.hours.pop()
        self.hours = [*self.hours[-(HOURS - 1) :], (hour, total + value, n + 1)]


class LimitJudge(Judge):
    """Findings of kind `forecast` (it will be reached: `warning`) and `limit` (it is reached).

    They have no p-value: an interval says how sure the time is (`COVERAGE`), and a budget's `unranked_a_week` how many
    alarms there may be. Of several limits of a series the first counts.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.health.windows import Point, SeriesWindow
    >>> window, last = Window(0, 60 * 10**9), Point(30 * 10**9, 97.0, None, None)
    >>> series = SeriesWindow(1, 0, last, None, False, "", 0, last.time)
    >>> records = [Record(window, "series", 'disk_used{instance="a"}', "site", series)]
    >>> settings = LimitSettings(limits=(Limit(metric="disk_used", above=95.0),))
    >>> closing = Closing(window, "site", records, Controls(), settings, "", complete=True)
    >>> [finding.summary for finding in LimitJudge().judge(closing)]
    ['a: disk_used is 97, above its limit 95']
    """

    name = "health.limits"
    version = 2
    Settings = LimitSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """None: what has no p-value spends nothing of a budget."""
        self._past: dict[str, _Past] = {}

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window, the soonest first."""
        limits: Sequence[Limit] = closing.settings.limits
        if not limits:
            self._past.clear()
            return []
        concerned, without = self._note(closing, limits)
        found = []
        for series, limit in concerned.items():
            past = self._past[series]
            if limit.beyond(past.values[-1]):
                past.agreed, past.forecast, past.due = 0, [], math.inf
                found.append((0.0, series, self._finding(closing, series, limit, past, None)))
                continue
            if past.times[-1] > past.due or (past.forecast and _turned_back(past.values, limit)):
                # it did not come true, or room was made: what it was made of is over
                past = self._past[series] = _Past(past.times[-1:], past.values[-1:], LEAST, hours=past.hours)
            self._look(past, limit)
            if past.agreed >= AGREED:
                now = past.times[-1]
                median, low, high = (max(0.0, at - now) for at in past.forecast)
                forecast = Forecast(median, low, high)
                found.append((median, series, self._finding(closing, series, limit, past, forecast)))
        reported = [finding for _, _, finding in sorted(found, key=lambda f: f[:2])][: closing.settings.max_findings]
        return (
            [*reported, refused(self, closing, "series whose limit is not watched", without)] if without else reported
        )

    def state(self) -> dict[str, Any]:
        """Plain data: series → its past."""
        return {series: msgspec.to_builtins(past) for series, past in sorted(self._past.items())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._past = {series: msgspec.convert(plain, _Past) for series, plain in state.items()}

    def _note(self, closing: Closing, limits: Sequence[Limit]) -> tuple[dict[str, Limit], dict[str, str]]:
        """Remembers the window; series → limit of those with a value in it, in order; those without room, and why."""
        concerned, without = {}, {}
        of_metric: dict[str, list[Limit]] = {}
        for one in limits:
            of_metric.setdefault(one.metric, []).append(one)
        for series, window in series_windows(closing.records).items():
            named_so = of_metric.get(metric_of(series))
            labels = series_parts(series)[1] if named_so else {}
            limit = next((one for one in named_so or () if one.concerns(labels)), None)
            if limit is None or window.last.value is None:
                continue
            past = self._past.get(series)
            if past is None:
                if len(self._past) >= CAP:
                    without[series] = f"more than {CAP} series with a limit in a scope: narrow `labels`"
                    continue
                # not all series in the same window
                past = self._past[series] = _Past(wait=LEAST + len(self._past) % EVERY)
            past.note(window.last.time / NS, window.last.value)
            past.absent = 0
            concerned[series] = limit
        for series in [s for s, past in self._past.items() if s not in concerned]:
            self._past[series].absent += 1
            if self._past[series].absent > GONE:
                del self._past[series]
        return dict(sorted(concerned.items())), without

    def _look(self, past: _Past, limit: Limit) -> None:
        """Makes a forecast if one is due."""
        past.wait -= 1
        if past.wait > 0:
            return
        past.wait = EVERY
        seconds, now = limit.hours * 3600.0, past.times[-1]
        made = (_forecast(past, span, limit, seconds) for span in SPANS if len(past.times) >= span)
        soon = [forecast for forecast in made if forecast is not None]
        if not soon:
            past.agreed, past.forecast, past.due = 0, [], math.inf
            return
        past.agreed += 1
        # the surest
        past.forecast = [now + x for x in min(soon, key=lambda f: f.high - f.low)]
        if past.agreed >= AGREED:
            past.due = min(past.due, past.forecast[2])

    def _finding(self, closing: Closing, series: str, limit: Limit, past: _Past, forecast: Forecast | None) -> Finding:
        name = metric_of(series)
        subject = subject_of(closing.scope, series)
        kind = "limit" if forecast is None else "forecast"
        return Finding(
            id=finding_id(self.name, self.version, closing.model, {**subject, "": kind}, closing.window),
            detector=self.name,
            kind=kind,
            subject=subject,
            window=closing.window,
            log10_p=None,
            basis="none",
            effect=_until(0.0 if forecast is None else forecast.median),
            severity=limit.reached if forecast is None else "warning",
            summary=_summary(series, limit, past, forecast),
            evidence=capped(_drawn(name, limit, past, forecast, closing.window)),
            model=closing.model,
        )


def _turned_back(values: Sequence[float], limit: Limit) -> bool:
    """Whether the last step leads away from the limit, and is far larger than what steps are of late."""
    steps = [later - earlier for earlier, later in pairwise(values[-LEAST:])]
    away = steps[-1] if limit.above is None else -steps[-1]
    return away > JUMP * sorted(map(abs, steps))[int(0.9 * len(steps))]


def _forecast(past: _Past, span: int, limit: Limit, within: float) -> Forecast | None:
    """Of the last `span` windows, if it is nearly certain to be reached `within` so many seconds."""
    times, values = past.times[-span:], past.values[-span:]
    third = max(1, span // 3)
    first, last = sum(values[:third]) / third, sum(values[-third:]) / third
    pace = (last - first) / (times[-1] - times[0]) * 1.5  # the middles of the thirds are two thirds of the span apart
    if (limit.value - last) * pace <= 0.0 or (limit.value - last) / pace > 2.0 * within:
        return None  # not on its way there, or slowly: not worth the arithmetic
    if time_to_threshold(times, values, limit.value, coverage=SURE).high > within:
        return None
    if _as_yesterday(past, max(1, round((times[-1] - times[0]) / 3600.0)), limit):
        return None
    return time_to_threshold(times, values, limit.value, coverage=COVERAGE)


def _as_yesterday(past: _Past, back: int, limit: Limit) -> bool:
    """Whether the way of the last `back` hours is half or more what it was at this time yesterday, and the limit would
    not be reached in time if every day went on as yesterday did."""
    mean = {hour: total / n for hour, total, n in past.hours}
    now = past.hours[-1][0]
    if any(hour not in mean for hour in (now - back, now - 24, now - 24 - back)):
        return False
    today, yesterday = mean[now] - mean[now - back], mean[now - 24] - mean[now - 24 - back]
    if today * yesterday <= 0.0 or abs(yesterday) < 0.5 * abs(today):
        return False
    next_hours = range(now - 23, now - 23 + min(24, math.ceil(limit.hours)))
    course = [mean[hour] - mean[now - 24] for hour in next_hours if hour in mean]
    farthest = (min if limit.above is None else max)(course, default=0.0)
    days = int(limit.hours // 24) * (mean[now] - mean[now - 24])
    return not limit.beyond(past.values[-1] + farthest + days)


def _summary(series: str, limit: Limit, past: _Past, forecast: Forecast | None) -> str:
    name, what = metric_of(series), named(series)
    if forecast is None:
        value, edge = shown_apart(name, past.values[-1], [limit.value])
        side = "at" if past.values[-1] == limit.value else "below" if limit.above is None else "above"
        return f"{what} is {value}, {side} its limit {edge}"[:400]
    median, low, high = (_time(t) for t in (forecast.median, forecast.low, forecast.high))
    when = f"in {median}" if low == high else f"in {median} ({low} to {high})"
    # the hour is still true when the incident is read later
    hour = datetime.fromtimestamp(past.times[-1] + forecast.median, UTC).strftime("%-d %b %H:%M")
    value = shown(name, past.values[-1])
    return f"{what} reaches its limit {shown(name, limit.value)} about {hour} UTC, {when}, now {value}"[:400]


def _time(seconds: float) -> str:
    size, _, name = _scale(seconds)
    return f"{seconds / size:.{0 if name == 'min' else 1}f} {name}"


def _until(seconds: float) -> Effect:
    size, name, _ = _scale(seconds)
    return Effect(seconds / size, f"{name} until the limit")


def _scale(seconds: float) -> tuple[float, str, str]:
    scales = (86_400.0, "days", "d"), (3600.0, "hours", "h"), (60.0, "minutes", "min")
    return next((scale for scale in scales if seconds >= 2.0 * scale[0]), scales[-1])


def _drawn(name: str, limit: Limit, past: _Past, forecast: Forecast | None, window: Window) -> list[Evidence]:
    """The series, and ahead of it between the earliest and the latest way to the limit."""
    times = [int(t * NS) for t in past.times]
    if forecast is None:
        return [Series(name, times, list(past.values), unit(name), None, (window.start, window.end))]
    now, value, gap = past.times[-1], past.values[-1], limit.value - past.values[-1]
    ahead = [forecast.high * (n + 1) / AHEAD for n in range(AHEAD)]
    soon = [value + gap * min(1.0, t / max(forecast.low, 1.0)) for t in ahead]
    late = [value + gap * min(1.0, t / max(forecast.high, 1.0)) for t in ahead]
    band = Band(
        [*past.values, *map(min, soon, late)],
        [*past.values, *map(max, soon, late)],
        COVERAGE,
    )
    rows: list[list[str | float | int | None]] = [
        ["limit", shown(name, limit.value)],
        ["in the middle", _time(forecast.median)],
        [f"{COVERAGE:.0%} between", f"{_time(forecast.low)} and {_time(forecast.high)}"],
        ["windows looked at", str(len(past.times))],
    ]
    drawn = [*times, *(int((now + t) * NS) for t in ahead)]
    values: list[float | None] = [*past.values, *([None] * AHEAD)]
    return [
        Series(name, drawn, values, unit(name), band, (window.start, window.end)),
        Table("Forecast", ["", ""], rows),
    ]
