"""Series that behave as they never did: one finding a series and window, from what stage 1 says of it.

The p-value is the detector's, of the window as a whole; which of its statistics spoke is in the words. Findings are
facts: which of them alarm is for the alert service's budget to say, which counts one test a series and window.
"""

from __future__ import annotations

from typing import Any

import msgspec

from opintel.detector import Closing, Emit, Judge, Most
from opintel.evidence import Band, Series, Table, capped
from opintel.finding import Effect, Finding, Window, finding_id
from opintel.health.series_names import is_counter, metric_of, named, subject_of
from opintel.health.units import shown_apart, unit
from opintel.health.windows import Point, SeriesWindow, series_windows

WORDS = {
    "residual": "jumped to",
    "below": "dropped to",
    "level": "is at",
    "shift": "has shifted to",
    "change": "has changed to",
    "trend": "drifts, now at",
    "spread": "scatters as it never did, now at",
    "flat": "is stuck at",
    "silent": "came late, at",
    "inside": "moves as it never did, now at",
}
"""The detector's statistic → what it means to an operator."""
SPOKE = {
    "residual": "a single value, after those before it",
    "level": "the level, for this time of day and week",
    "shift": "the mean of some 3 values",
    "change": "the mean of some 25 values",
    "trend": "the mean of some 100 values",
    "spread": "the scatter",
    "flat": "that the value does not move",
    "silent": "a gap between two values",
}
"""The same, in the table beside the picture."""
BEGAN = {"own": "its own history, from a baseline", "metric": "what is usual of its metric, from a baseline"}
"""With what a series began → what the table says."""
AROUND = ("spread", "flat", "silent")
"""Those that say nothing of where the value is."""
AWAY, NEAR = 4.0, 3.0
"""Standard deviations of the band that a series has left, and comes to, if it is to be said to be back."""


class UnusualSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `UnusualJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted; above −3 there is no picture to show."""
    max_findings: Most = 200
    """At most so many a window, the most surprising first."""


class UnusualJudge(Judge):
    """Findings of kind `unusual` about single series; it keeps no state. That a series is back where it usually is, is
    a surprise too, but of severity `info`: what went wrong before gives the incident its name.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> from opintel.health.windows import Point
    >>> window, last = Window(0, 60 * 10**9), Point(30 * 10**9, 9.0, 0.0, 2.0)
    >>> series = SeriesWindow(1, 0, last, -6.0, False, "level", 1, last.time)
    >>> records = [Record(window, "series", 'load{instance="a"}', "site", series)]
    >>> closing = Closing(window, "site", records, Controls(), UnusualSettings(), "", complete=True)
    >>> [finding.summary for finding in UnusualJudge().judge(closing)]
    ['a: load is at 9, usually 0 to 2']
    """

    name = "health.unusual"
    version = 2
    Settings = UnusualSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Series judged in the last window."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window, most surprising first."""
        judged = {key: (w.log10_p, w) for key, w in series_windows(closing.records).items() if w.log10_p is not None}
        self.tests = {"unusual": len(judged)}
        strange = sorted((p, key) for key, (p, _) in judged.items() if p <= closing.settings.emit)
        return [self._finding(closing, key, judged[key][1], p) for p, key in strange[: closing.settings.max_findings]]

    def state(self) -> Any:
        """None: nothing is kept."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to do."""

    def _finding(self, closing: Closing, key: str, window: SeriesWindow, log10_p: float) -> Finding:
        name = metric_of(key)
        subject = subject_of(closing.scope, key)
        low, high = usual(window)
        began_here = closing.window.start <= window.onset < closing.window.end
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, closing.window),
            detector=self.name,
            kind="unusual",
            subject=subject,
            window=closing.window,
            log10_p=log10_p,
            basis="extrapolated" if window.extrapolated else "ranked",
            effect=Effect(departure(window.last.value, low, high), "standard deviations"),
            severity="info" if returned(window) else "warning",
            summary=_summary(key, window, low, high),
            evidence=capped([picture(name, window, closing.window), _said(window)]),
            model=closing.model,
            onset=window.onset if began_here else None,
        )


def usual(window: SeriesWindow) -> tuple[float | None, float | None]:
    """The band before the disturbance: of the earliest window of the trail that has one."""
    points = [*window.trail, window.last]
    return next(((p.low, p.high) for p in points if p.low is not None and p.high is not None), (None, None))


def inside(window: SeriesWindow) -> bool:
    """Whether the value is inside the band before the disturbance, where it is the value that is unusual."""
    low, high = usual(window)
    value = window.last.value
    return (
        value is not None
        and low is not None
        and high is not None
        and low <= value <= high
        and (window.statistic not in AROUND)
    )


def returned(window: SeriesWindow) -> bool:
    """Whether it is near that band, and was far outside within the trail."""
    band = usual(window)
    return (
        window.last.value is not None
        and window.statistic not in AROUND
        and abs(departure(window.last.value, *band)) <= NEAR
        and any(abs(departure(p.value, *band)) > AWAY for p in window.trail)
    )


def departure(value: float | None, low: float | None, high: float | None) -> float:
    """How far a value lies from the middle of a 95 % band, in standard deviations; 0 where either is not known."""
    if value is None or low is None or high is None or not high > low:
        return 0.0
    return (value - 0.5 * (low + high)) / ((high - low) / 3.92)


def picture(name: str, window: SeriesWindow, span: Window) -> Series:
    """The series with its band, this window marked."""
    points = [*window.trail, window.last]
    middle = [p for p in points if p.low is not None and p.high is not None]
    fallback = middle[0] if middle else Point(0, 0.0, 0.0, 0.0)
    lows = [_possible(name, _or(p.low, fallback.low)) for p in points]
    band = Band(lows, [_or(p.high, fallback.high) for p in points], 0.95)
    return Series(
        name,
        [p.time for p in points],
        [p.value for p in points],
        unit(name),
        band if middle else None,
        (span.start, span.end),
    )


def _or(value: float | None, other: float | None) -> float:
    return value if value is not None else other if other is not None else 0.0


def _said(window: SeriesWindow) -> Table:
    rows: list[list[str | float | int | None]] = [
        ["what is unusual", SPOKE.get(window.statistic, window.statistic)],
        ["direction", {1: "up", -1: "down", 0: "none"}[window.direction]],
        ["samples in the window", window.samples],
        ["without a value", window.missing],
    ]
    if window.began:
        rows.append(["began with", BEGAN[window.began]])
    return Table("The detector", ["", ""], rows)


def _summary(series: str, window: SeriesWindow, low: float | None, high: float | None) -> str:
    name, last, band = metric_of(series), window.last.value, ""
    edges = () if low is None or high is None else (_possible(name, low), high)
    value, *texts = shown_apart(name, 0.0 if last is None else last, edges)
    if texts:
        band = f", {'inside its usual' if inside(window) else 'usually'} {' to '.join(dict.fromkeys(texts))}"
    value = "no value" if last is None else value
    does = "is back at" if returned(window) else WORDS.get(_says(window, low, high), "is at")
    text = f"{named(series)} {does} {value}{band}"
    return " ".join(text.split())[:400]


def _says(window: SeriesWindow, low: float | None, high: float | None) -> str:
    """What spoke; far outside the band, scatter is no news beside the level, and inside it a step is none of level."""
    off = departure(window.last.value, low, high)
    if window.statistic == "spread" and abs(off) > AWAY:
        return "level"
    if inside(window):
        return "inside"
    return "below" if window.statistic == "residual" and off < 0.0 else window.statistic


def _possible(name: str, low: float) -> float:
    """The lower edge of a band as people see it: no rate is below 0, whatever the band's arithmetic says."""
    return max(low, 0.0) if is_counter(name) else low
