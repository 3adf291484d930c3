"""Evidence as what the templates draw: charts (data for uPlot), heat maps (classes for the style sheet), sparklines.

Takes findings in JSON form, gives plain data; colours and sizes belong to the style sheet, so that light and dark and
a strict content security policy work. A block of a type is what its entry in `DRAWERS` makes of it, in
`templates/evidence/<type>.html`; where that has `data-draw`, a function of `static/console.js` draws on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from opintel.alerts.explained import describe_histogram, describe_image, describe_series
from opintel.console.words import visible
from opintel.evidence import Axis, Evidence, Histogram, Image, Links, Matrix, Series, Table, Texts
from opintel.finding import NS, parse_rfc3339
from opintel.quantity import number, quantity

Json = dict[str, Any]

SPARK_WIDTH, SPARK_HEIGHT = 96.0, 26.0
HEAT_STEPS = 10
_ADDRESS = re.compile(r"[0-9.]+(:\d+)?|.*:.*:.*")
JOINED = 60
"""Findings whose series are joined to one."""
POINTS = 600
"""Points of a joined series."""
LABEL, WORDS, KINDS = 80, 1000, 6
"""Characters of one text on a canvas and of a whole description; kinds of region in a legend."""


class Spark(NamedTuple):
    """A small line: SVG points of each unbroken piece, and where the finding's span is."""

    lines: list[str]
    marked: tuple[float, float] | None
    """x and width."""


class Heat(NamedTuple):
    """One cell of a heat map: its step on the colour scale (None: no value), short and long text."""

    step: int | None
    short: str
    long: str


def blocks(finding: Json, others: Sequence[Json] = (), since: int | None = None) -> list[Json]:
    """The evidence of a finding, ready to draw: each block with `draw` beside its own fields.

    `others`: findings about the same subject, the newest last. Each shows its own part of a series: these are joined,
    from the beginning of the first to the end of the last, with all of their spans marked. `since` (ns UTC) is
    where the marked span begins, if not with them.
    """
    own = set(finding["subject"].values())
    drawn = []
    for block in finding["evidence"]:
        if block["type"] == "series":
            block = {"expected": None, "marked": None} | _joined(block, others)
            if since is not None and block["marked"] is not None and block["times"]:
                begin, end = block["marked"]
                block["marked"] = (min(begin, max(since, block["times"][0])), end)
        typed: Evidence = msgspec.convert(block, Evidence)
        drawn.append(block | {"draw": DRAWERS[type(typed)](typed, own)})
    return drawn


def looks_ahead(finding: Json) -> bool:
    """Whether it draws what comes after its window: a forecast."""
    end = parse_rfc3339(finding["window"]["end"])
    return any(max(b["times"], default=end) > end for b in finding["evidence"] if b["type"] == "series")


def chart(series: Series) -> Json:
    """What `static/console.js` hands to uPlot (`data`: JSON, times in s), and the same in words for screen readers."""
    band = series.expected
    data = {
        "title": series.title,
        "unit": series.unit,
        "times": [t / NS for t in series.times],
        "values": series.values,
        "low": band.low if band else None,
        "high": band.high if band else None,
        "coverage": band.coverage if band else None,
        "marked": [t / NS for t in series.marked] if series.marked else None,
    }
    return {"data": msgspec.json.encode(data).decode(), "words": _words(series.title, describe_series(series))}


def bars(histogram: Histogram) -> Json:
    """The same for a histogram, and what its legend says."""
    band = histogram.band
    kinds = [_short(region.kind) for region in histogram.regions]
    data = {
        "axis": _short(histogram.axis),
        "unit": _short(histogram.unit),
        "counted": _short(histogram.counted),
        "log": histogram.log,
        "edges": histogram.edges,
        "categories": [_short(name) for name in histogram.categories] or None,
        "observed": histogram.observed,
        "expected": histogram.expected,
        "low": band.low if band else None,
        "high": band.high if band else None,
        "pulls": histogram.pulls,
        "regions": [
            {"first": r.first, "last": r.last, "kind": kind} for r, kind in zip(histogram.regions, kinds, strict=True)
        ],
    }
    facts = {"below": histogram.under, "above": histogram.over, "in all": histogram.entries}
    return {
        "data": msgspec.json.encode(data).decode(),
        "words": _words(histogram.title, describe_histogram(histogram)),
        "counted": _short(histogram.counted),
        "expected": histogram.expected is not None,
        "coverage": band.coverage if band else None,
        "missing": None in histogram.observed,
        "kinds": sorted(set(kinds))[:KINDS],
        "facts": [f"{number(value)} {place}" for place, value in facts.items() if value is not None]
        + ([f"each bin the sum of {histogram.merged}"] if histogram.merged > 1 else []),
    }


def picture(image: Image) -> Json:
    """The same for an image."""
    data = {
        "x": _axis(image.x),
        "y": _axis(image.y),
        "scale": _axis(image.scale),
        "rows": image.rows,
        "columns": image.columns,
        "pixels": image.pixels,
        "diverging": image.diverging,
        "marks": [msgspec.to_builtins(mark) | {"label": _short(mark.label)} for mark in image.marks],
    }
    return {
        "data": msgspec.json.encode(data).decode(),
        "words": _words(image.title, describe_image(image)),
        "size": f"{image.columns} × {image.rows} cells",
        "missing": 0 in image.pixels,
    }


def heat(matrix: Matrix, own: set[str]) -> Json:
    """Rows and columns with their label, whether they are the finding's own subject, and their cells."""
    tail = common_tail([*matrix.rows, *matrix.columns])
    axes = (matrix.row_axis, matrix.column_axis)
    share = matrix.unit == "share" or matrix.unit.endswith(" share")
    most = 1.0 if share else max((abs(v) for row in matrix.values for v in row if v is not None), default=1.0) or 1.0

    def drawn(row: str, column: str, value: float | None) -> Heat:
        place = ", ".join(f"{axis} {name}".strip() for axis, name in zip(axes, (row, column), strict=True))
        if value is None:
            return Heat(None, "", f"{place}: no data")
        step = round(HEAT_STEPS * min(1.0, max(0.0, value / most)))
        short = f"{100 * value:.0f}" if share else f"{value:.2g}"
        return Heat(step, short, f"{place}: {quantity(value, matrix.unit)}")

    return {
        "columns": [_label(name, tail, own) for name in matrix.columns],
        "rows": [
            _label(row, tail, own)
            | {"cells": [drawn(row, column, v) for column, v in zip(matrix.columns, line, strict=True)]}
            for row, line in zip(matrix.rows, matrix.values, strict=True)
        ],
        "tail": tail,
        "least": quantity(0.0, matrix.unit),
        "most": quantity(most, matrix.unit),
        "steps": range(HEAT_STEPS + 1),
    }


DRAWERS: Mapping[type[Evidence], Callable[[Any, set[str]], Json]] = {
    Series: lambda series, own: chart(series),
    Matrix: heat,
    Table: lambda table, own: {},
    Texts: lambda texts, own: {"most": max((n for _, n in texts.samples), default=1)},
    Links: lambda links, own: {},
    Histogram: lambda histogram, own: bars(histogram),
    Image: lambda image, own: picture(image),
}
"""How a block of each type is drawn; `own` are the labels of the finding's subject."""


def spark(series: Series) -> Spark | None:
    """A series as a sparkline from 0 (from its least where that is far from 0) to its most; None where there is nothing
    to draw."""
    seen = [v for v in series.values if v is not None]
    if len(seen) < 2:
        return None
    low, high = min(seen), max(seen)
    low = low if low > high / 2 else min(0.0, low)
    begin, end = series.times[0], max(series.times[-1], series.marked[1] if series.marked else 0)
    if end <= begin:
        return None

    def x(time: int) -> float:
        return round(1 + (SPARK_WIDTH - 2) * min(1.0, max(0.0, (time - begin) / (end - begin))), 1)

    def y(value: float) -> float:
        return round(SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * (value - low) / ((high - low) or 1.0), 1)

    lines: list[list[str]] = [[]]
    for time, value in zip(series.times, series.values, strict=True):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{x(time)},{y(value)}")
    marked = None
    if series.marked:
        left = x(series.marked[0])
        marked = (left, max(2.0, round(x(series.marked[1]) - left, 1)))
    return Spark([" ".join(line) for line in lines if line], marked)


def history(signs: str) -> list[Json]:
    """An alert's judged windows as bars: x, height and class."""
    heights = {".": (3, "none"), "w": (9, "weak"), "s": (16, "strong")}
    return [{"x": 6 * i, "height": heights[s.lower()][0], "kind": heights[s.lower()][1]} for i, s in enumerate(signs)]


def share(part: float, whole: float) -> float:
    """Percent of a bar, 0 to 100."""
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 1) if whole > 0 else 0.0


def common_tail(names: Sequence[str]) -> str:
    """The last parts of host names that all share, so that labels may leave them out; never a whole name, and nothing
    of addresses.

    >>> common_tail(["a.x.example", "b.x.example"]), common_tail(["a.example"]), common_tail(["1.0.0.5:9", "1.0.1.5:9"])
    ('.x.example', '', '')
    """
    if len(set(names)) < 2 or any(_ADDRESS.fullmatch(name) for name in names):
        return ""
    split = [name.split(".")[1:] for name in set(names)]
    shared: list[str] = []
    for parts in zip(*(reversed(parts) for parts in split), strict=False):
        if len(set(parts)) > 1:
            break
        shared.insert(0, parts[0])
    return "".join(f".{part}" for part in shared)


def _axis(axis: Axis) -> Json:
    texts = {"title": _short(axis.title), "unit": _short(axis.unit)}
    return texts | {"low": axis.low, "high": axis.high, "log": axis.log}


def _short(text: str) -> str:
    """A text on a canvas, where no template makes it visible."""
    shown = visible(text[:LABEL])
    return shown if len(text) <= LABEL >= len(shown) else f"{shown[: LABEL - 1]}…"


def _words(title: str, lines: Sequence[str]) -> str:
    """A picture for those who cannot see it."""
    return f"{title}: {'; '.join(lines)}"[:WORDS]


def _label(name: str, tail: str, own: set[str]) -> Json:
    return {"name": name, "label": name.removesuffix(tail), "own": name in own}


def _joined(block: Json, others: Sequence[Json]) -> Json:
    """A series with what others of its title show of it; what was said later is believed."""
    same = [
        other
        for finding in others
        for other in finding["evidence"]
        if other["type"] == "series" and (other["title"], other["unit"]) == (block["title"], block["unit"])
    ]
    if not same:
        return block
    points: dict[int, tuple[float | None, float | None, float | None]] = {}
    for one in (block, *same):
        unknown = {"low": [None] * len(one["times"]), "high": [None] * len(one["times"])}
        band = one.get("expected") or unknown
        points |= zip(one["times"], zip(one["values"], band["low"], band["high"], strict=True), strict=True)
    times = _thinned(sorted(points), points)
    for last, gap in _gaps([one["times"] for one in (block, *same)]):
        points[gap] = (None, *points[last][1:])
        times.append(gap)
    times.sort()
    spans = [one["marked"] for one in (block, *same) if one.get("marked")]
    expected = block.get("expected")
    if expected is not None:
        low, high = ([points[time][n] for time in times] for n in (1, 2))
        expected = None if None in low else {"low": low, "high": high, "coverage": expected["coverage"]}
    return block | {
        "times": times,
        "values": [points[time][0] for time in times],
        "expected": expected,
        "marked": (min(a for a, _ in spans), max(b for _, b in spans)) if spans else None,
    }


def _thinned(times: list[int], points: Mapping[int, tuple[float | None, ...]]) -> list[int]:
    """At most about `POINTS` of the times: of each equal part the lowest, the highest and a missing value."""
    if len(times) <= POINTS:
        return times
    kept = {times[0], times[-1]}
    size = -(-3 * len(times) // POINTS)
    for start in range(0, len(times), size):
        part = times[start : start + size]
        seen = [(value, time) for time in part if (value := points[time][0]) is not None]
        kept |= {time for _, time in (min(seen), max(seen))} if seen else set()
        kept |= set([time for time in part if points[time][0] is None][:1])
    return sorted(kept)


def _gaps(pieces: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Where nothing is known between pieces of a series: (the last time before, a time inside)."""
    steps = sorted(b - a for times in pieces for a, b in pairwise(times))
    reach = None
    for times in sorted((times for times in pieces if times), key=lambda times: times[0]):
        if reach is not None and steps and times[0] - reach > 2 * (step := steps[len(steps) // 2]):
            yield reach, reach + step
        reach = times[-1] if reach is None else max(reach, times[-1])
