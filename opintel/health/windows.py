"""What stage 1 of the health domain says about one series in one closed window, and the payload's small vocabulary.

`opintel.health.reducer` makes them, the judges read them. Every series with samples has one, so that the judges know
what was there; its trail, which draws the picture, comes only where something is unusual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from opintel.detector import Record
from opintel.finding import Time

SERIES = "series"
"""Kind of the records."""
EMITTED = -3.0
"""A window at or below this log10 p carries its trail; above it no judge makes a finding of it."""


class Point(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One window of a series' trail."""

    time: Time
    """Of its last sample, ns UTC."""
    value: float | None
    """Of that sample; of a counter its rate a second; None where there was none."""
    low: float | None
    high: float | None
    """The band in which the detector expected it, None while it had no baseline."""


class SeriesWindow(msgspec.Struct, array_like=True, frozen=True):
    """One series in one window."""

    samples: int
    """With a value."""
    missing: int
    """Samples that were there without one (NaN, infinite, or the first of a counter)."""
    last: Point
    log10_p: float | None
    """How surprising the window is (Šidák over its samples), None while the detector has too little history."""
    extrapolated: bool
    """Whether that lies below what ranks alone can tell."""
    statistic: str
    """Which of the detector's statistics spoke: see `opintel.health.series`."""
    direction: Annotated[int, msgspec.Meta(ge=-1, le=1)]
    onset: Time
    """Of the most surprising sample, ns UTC."""
    trail: list[Point] = []
    """Earlier windows, oldest first."""
    began: Literal["", "own", "metric"] = ""
    """With what the series began, where that was learned before: with a state of its own, or its metric's. With the
    trail only."""


def series_windows(records: Sequence[Record[Any]]) -> dict[str, SeriesWindow]:
    """Series (as Prometheus writes it) → its window, in order."""
    return {r.key: r.payload for r in records if r.kind == SERIES and isinstance(r.payload, SeriesWindow)}
