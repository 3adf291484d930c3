"""The map: which things were how surprising, and when. A row is a thing that an incident can be about, a column a time.

Takes `past.Marks`, gives the strips that the templates write; colours and sizes belong to the style sheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.console.drawing import common_tail
from opintel.console.past import HOUR, Coverage, Live, Marks, Past, Thing
from opintel.console.words import moment, odds
from opintel.finding import NS, rfc3339

Json = dict[str, Any]

ROWS_SHOWN = 60
EDGES = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Where the steps of the colour scale end, −log10 p."""
STEPS = (f"< {EDGES[0]:g}", *(f"{low:g}–{high:g}" for low, high in pairwise(EDGES)), f"≥ {EDGES[-1]:g}")
"""What the steps stand for, in words."""
HALVES = 6.0
"""How often in a span a finding's weight in the order of the rows is halved."""


class Lookback(NamedTuple):
    """A time to look back over: `columns` of `width`, times written above at multiples of `tick`; ns."""

    text: str
    columns: int
    width: int
    tick: int

    def end(self, time: int) -> int:
        """The end of the column that a time ends in: columns lie the same whenever one looks."""
        return -(-time // self.width) * self.width


SPANS = {
    "3h": Lookback("3 hours", 60, 180 * NS, HOUR // 2),
    "12h": Lookback("12 hours", 48, 900 * NS, 2 * HOUR),
    "3d": Lookback("3 days", 72, HOUR, 12 * HOUR),
    "14d": Lookback("14 days", 56, 6 * HOUR, 48 * HOUR),
}


def rows(
    past: Past, known: Coverage, live: Mapping[Thing, Live], streams: Sequence[str], span: Lookback, end: int
) -> Json:
    """The map of the `span.columns` columns up to `end`: the `ROWS_SHOWN` things that were the most surprising lately,
    and how many `more` there are.

    A finding counts in all columns that its window touches, half after each sixth of the span.
    """
    marks, things = past.read(streams, end - span.columns * span.width, end)
    present, row_of = np.unique(marks.things, return_inverse=True)
    best, counts = _spread(marks, row_of, len(present), span, end)
    surprise = np.where(best < 0, 0.0, marks.surprises[best] if len(marks.ids) else 0.0)
    lately = surprise @ 2.0 ** (HALVES * (np.arange(span.columns) - span.columns + 1) / span.columns)
    order = sorted(range(len(present)), key=lambda r: (-float(lately[r]), things[present[r]]))[:ROWS_SHOWN]
    shown = [things[present[r]] for r in order]
    tails = {
        stream: common_tail([text for thing in shown if thing.stream == stream for text in thing.about])
        for stream in sorted({thing.stream for thing in shown})
    }
    drawn = [_drawn(things[present[r]], marks, best[r], counts[r], known, live, span, end) for r in order]
    for row in drawn:
        row["tail"] = tails[row["thing"].stream]
    return {
        "rows": drawn,
        "tails": [(stream, tail) for stream, tail in tails.items() if tail],
        "more": len(present) - len(order),
    }


def row(thing: Thing, marks: Marks, known: Coverage, live: Mapping[Thing, Live], span: Lookback, end: int) -> Json:
    """The strip of one thing, of its own `marks`."""
    best, counts = _spread(marks, np.zeros(len(marks.ids), np.int64), 1, span, end)
    return _drawn(thing, marks, best[0], counts[0], known, live, span, end)


def ticks(span: Lookback, end: int) -> list[tuple[float, str]]:
    """What stands above the columns: (percent of the width, the time, at midnight the day)."""
    length = span.columns * span.width
    first = -(-(end - length) // span.tick) * span.tick
    times = [time for time in range(first, end, span.tick) if end - time > length // 10]
    return [
        (
            round(100 * (1 - (end - time) / length), 2),
            moment(rfc3339(time), "%H:%M" if time % (24 * HOUR) else "%-d %b"),
        )
        for time in times
    ]


def step(surprise: float) -> int:
    """The step of the colour scale, 1 to `len(EDGES) + 1`.

    >>> step(2.9), step(3.0), step(12.0)
    (1, 2, 7)
    """
    return 1 + sum(surprise >= edge for edge in EDGES)


def _drawn(
    thing: Thing,
    marks: Marks,
    best: NDArray[np.int64],
    counts: NDArray[np.int64],
    known: Coverage,
    live: Mapping[Thing, Live],
    span: Lookback,
    end: int,
) -> Json:
    """A strip: its cells, which columns have been judged, which a live incident spans, and the same in words."""
    begin = end - span.columns * span.width

    def columns(interval: tuple[int, int] | None) -> tuple[float, float] | None:
        if interval is None:
            return None
        left, right = (min(max((time - begin) / span.width, 0.0), float(span.columns)) for time in interval)
        return (round(left, 2), round(right - left, 2)) if right > left else None

    def odds_of(i: int) -> str:
        return odds(-float(marks.surprises[i])) if marks.ranked[i] else "no p-value"

    cells: list[Json] = []
    for column in np.flatnonzero(best >= 0).tolist():
        at = rfc3339(begin + column * span.width)
        found = f"{counts[column]} findings, up to " if counts[column] > 1 else ""
        words = f"{moment(at, '%-d %b %H:%M')} UTC: {found}{odds_of(best[column])}"
        cells.append({"x": column, "step": step(float(marks.surprises[best[column]])), "at": at, "words": words})
    incident = live.get(thing)
    judged_span = known.of(thing)
    top = max(best[best >= 0].tolist(), key=lambda i: float(marks.surprises[i]), default=None)
    words = f"findings in {len(cells)} of {span.columns} columns" if cells else "no finding"
    if top is not None:
        last = moment(cells[-1]["at"], "%-d %b %H:%M")
        words += f", the most surprising {odds_of(top)}, the last at {last} UTC"
    return {
        "thing": thing,
        "cells": cells,
        "columns": span.columns,
        "judged": columns(judged_span),
        "incident": incident,
        "live": columns((incident.start, judged_span[1])) if incident and judged_span else None,
        "most": "" if top is None else odds_of(top),
        "words": words + (", in a live incident" if incident else ""),
    }


def _spread(
    marks: Marks, row_of: NDArray[np.int64], n: int, span: Lookback, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the most surprising finding (−1: none) and number of findings, (n, span.columns) each."""
    begin = end - span.columns * span.width
    first = np.clip((marks.starts - begin) // span.width, 0, span.columns - 1)
    last = np.clip((marks.ends - 1 - begin) // span.width, 0, span.columns - 1)
    lengths = last - first + 1
    which = np.repeat(np.arange(len(marks.ids)), lengths)
    column = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[which]
    best = np.full((n, span.columns), -1, np.int64)
    counts = np.zeros((n, span.columns), np.int64)
    rising = np.argsort(marks.surprises[which], kind="stable")
    best[row_of[which[rising]], column[rising]] = which[rising]  # the last one written stays
    np.add.at(counts, (row_of[which], column), 1)
    return best, counts
