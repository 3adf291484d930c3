"""Evidence in words: the lines that a ticket, and a screen reader, gets for each type of block.

A line holds untrusted text as it came: the page or ticket that shows it cleans and escapes it. Long blocks are
described by what stands out in them, never by all of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from opintel.evidence import Evidence, Histogram, Image, Links, Matrix, Series, Table, Texts
from opintel.picture import LEVELS, values_of
from opintel.quantity import number, quantity

LISTED = 6
"""Rows, samples, regions, marks and links of one block."""
WORST = 5
"""Bins or cells that stand out most."""
SPARK = 60
_BLOCKS = "▁▂▃▄▅▆▇█"


def lines(block: Evidence) -> list[str]:
    """What a ticket says of a block below its title."""
    return LINES[type(block)](block)


def describe_series(series: Series) -> list[str]:
    """The last value, and what was expected of it."""
    known = [value for value in series.values if value is not None]
    if not known:
        return ["no value"]
    text = f"last {quantity(known[-1], series.unit)}"
    band = series.expected
    if band and band.high:
        text += f", expected {quantity(band.low[-1], series.unit)} to {quantity(band.high[-1], series.unit)}"
    return [text]


def describe_histogram(histogram: Histogram) -> list[str]:
    """How many bins of what, the marked regions, and the bins that deviate most."""
    span = "" if histogram.categories else f" from {_bins(histogram, 0, len(histogram.observed) - 1)}"
    counts = [("entries", histogram.entries), ("below", histogram.under), ("above", histogram.over)]
    parts = [f"{histogram.axis}{span} in {len(histogram.observed)} bins"]
    parts += [f"{number(count)} {word}" for word, count in counts if count is not None]
    if histogram.merged > 1:
        parts.append(f"each bin the sum of {histogram.merged}")
    regions = [f"{r.kind}: {_bins(histogram, r.first, r.last)}" for r in histogram.regions[:LISTED]]
    worst = [_bin(histogram, k, pull) for k, pull in _worst(histogram)]
    return [", ".join(parts), *regions, *_more(histogram.regions), *worst, *_fullest(histogram)]


def describe_image(image: Image) -> list[str]:
    """Its size, its marks, and its lowest and highest values with their places."""
    levels = np.frombuffer(image.pixels, np.uint8)
    missing = int(np.count_nonzero(levels == 0))
    size = f"{image.scale.title}, {image.columns} × {image.rows} cells of {image.x.title} and {image.y.title}"
    there = np.flatnonzero(levels)
    ordered = there[np.argsort(levels[there], kind="stable")]
    lowest = ordered[: WORST // 2 if image.diverging else 1]
    highest = ordered[len(lowest) :][::-1][: WORST // 2]
    extremes = [
        f"{word} {_value(image, int(levels[k]))} at {_place(image, *divmod(int(k), image.columns))}"
        for word, cells in (("highest", highest), ("lowest", lowest))
        for k in cells
    ]
    marks = []
    for mark in image.marks[:LISTED]:
        corner = "" if mark.corner is None else f" to {_at(image, *mark.corner)}"
        marks.append(f"{mark.label}: {_at(image, mark.x, mark.y)}{corner}")
    return [size + (f", {missing:,} without value" if missing else ""), *marks, *_more(image.marks), *extremes]


def _series(series: Series) -> list[str]:
    return [*describe_series(series), *_sparks({"": series.values})]


def _matrix(matrix: Matrix) -> list[str]:
    cells = [
        (-abs(value), f"{matrix.row_axis} {row}".strip(), f"{matrix.column_axis} {column}".strip(), value)
        for row, line in zip(matrix.rows, matrix.values, strict=True)
        for column, value in zip(matrix.columns, line, strict=True)
        if value is not None
    ]
    return [f"{row}, {column}: {quantity(value, matrix.unit)}" for _, row, column, value in sorted(cells)[:WORST]]


def _table(table: Table) -> list[str]:
    head = [" | ".join(table.columns)] if any(table.columns) else []
    return [*head, *(" | ".join(map(str, row)) for row in table.rows[:LISTED])]


def _texts(texts: Texts) -> list[str]:
    return [f"{count} x {text}" for text, count in texts.samples[:WORST]]


def _links(links: Links) -> list[str]:
    return [f"{label}: {url}" for label, url in links.links[:LISTED]]


def _histogram(histogram: Histogram) -> list[str]:
    shown = {"observed ": histogram.observed}
    if histogram.expected is not None:
        shown["expected "] = histogram.expected
    first, *rest = describe_histogram(histogram)
    return [first, *_sparks(shown), *rest]


LINES: Mapping[type[Evidence], Callable[[Any], list[str]]] = {
    Series: _series,
    Matrix: _matrix,
    Table: _table,
    Texts: _texts,
    Links: _links,
    Histogram: _histogram,
    Image: describe_image,
}


def _fullest(histogram: Histogram) -> list[str]:
    """Where no pull says what stands out: the bin of the largest content."""
    contents = [(value, -k) for k, value in enumerate(histogram.observed) if value is not None]
    if histogram.pulls is not None or not contents:
        return []
    value, k = max(contents)
    return [f"most in {_bins(histogram, -k, -k)}: {quantity(value, histogram.counted)}"]


def _worst(histogram: Histogram) -> list[tuple[int, float]]:
    """The bins of the greatest pulls, with these; where there are none, nothing says which bins are worst."""
    pulls = [(k, pull) for k, pull in enumerate(histogram.pulls or []) if pull]
    return sorted(pulls, key=lambda bin: -abs(bin[1]))[:WORST]


def _bins(histogram: Histogram, first: int, last: int) -> str:
    if histogram.categories:
        names = histogram.categories
        return names[first] if first == last else f"{names[first]} to {names[last]}"
    return f"{number(histogram.edges[first])} to {quantity(histogram.edges[last + 1], histogram.unit)}"


def _bin(histogram: Histogram, k: int, pull: float) -> str:
    """A bin with its content, expectation and pull."""
    observed = histogram.observed[k]
    parts = [f"{_bins(histogram, k, k)}: {'no value' if observed is None else number(observed)} observed"]
    expected = None if histogram.expected is None else histogram.expected[k]
    if expected is not None:
        parts.append(f"{number(expected)} expected")
    return ", ".join([*parts, f"pull {pull:+.1f}"])


def _value(image: Image, level: int) -> str:
    """What a pixel stands for; the ends of a scale also stand for what lies beyond them."""
    bound = {1: "≤ ", LEVELS: "≥ "}.get(level, "")
    return bound + quantity(float(values_of(image.scale)[level]), image.scale.unit)


def _place(image: Image, row: int, column: int) -> str:
    """The middle of a cell."""
    middle = [
        axis.low * (axis.high / axis.low) ** part if axis.log else axis.low + (axis.high - axis.low) * part
        for axis, part in ((image.x, (column + 0.5) / image.columns), (image.y, (row + 0.5) / image.rows))
    ]
    return _at(image, *middle)


def _at(image: Image, x: float, y: float) -> str:
    return f"{image.x.title} {quantity(x, image.x.unit)}, {image.y.title} {quantity(y, image.y.unit)}"


def _more(listed: Sequence[Any]) -> list[str]:
    return [f"and {len(listed) - LISTED} more"] if len(listed) > LISTED else []


def _sparks(columns: Mapping[str, Sequence[float | None]]) -> list[str]:
    """Each column as a row of at most `SPARK` blocks on one scale from 0 to the most: of neighbours the highest; `·`
    has no value. Nothing where a value is negative.

    >>> _sparks({"a ": [0, 1, None, 4], "b ": [8, 8, 8, 8]})
    ['a ▁▂·▅', 'b ████']
    """
    known = [value for column in columns.values() for value in column if value is not None]
    if len(known) < 2 or min(known) < 0 or max(known) <= 0:
        return []
    return [name + "".join(_shade(v, max(known)) for v in _highest(column)) for name, column in columns.items()]


def _shade(value: float | None, most: float) -> str:
    return "·" if value is None else _BLOCKS[round(7 * value / most)]


def _highest(column: Sequence[float | None]) -> Iterable[float | None]:
    step = -(-len(column) // SPARK)
    for start in range(0, len(column), step):
        yield max((value for value in column[start : start + step] if value is not None), default=None)
