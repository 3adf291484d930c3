"""Evidence: typed blocks that explain a finding and can be drawn.

A detector attaches them; a ticket describes each in words (`opintel/alerts/explained.py`) and the console draws it
(`opintel/console/drawing.py`), so a further block is a struct here and one entry in each of the two. The large ones,
`Histogram` and `Image`, are made from arrays by `opintel/picture.py`. Every text in a block is untrusted and is escaped
where it is shown. A finding's evidence stays below `MAX_BYTES`; `capped` drops what does not fit and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

MAX_BYTES = 256 * 1024
MAX_BINS = 1024
MAX_SIDE = 512
MAX_PIXELS = 320 * MAX_SIDE
"""An image of so many pixels takes 218 kB as base64, and leaves room for other blocks."""
MAX_MARKS = 100


class Band(msgspec.Struct, frozen=True):
    """What was expected: the lower and upper limit at each time of its series, and the coverage they claim."""

    low: list[float]
    high: list[float]
    coverage: float


class Series(msgspec.Struct, frozen=True, tag="series", tag_field="type", omit_defaults=True):
    """Values over time: `times` in ns UTC, `values` in `unit` (None = no value), with the expected band."""

    title: str
    times: list[int]
    values: list[float | None]
    unit: str
    expected: Band | None = None
    marked: tuple[int, int] | None = None
    """The finding's own span [start, end) in ns, to be highlighted."""

    def __post_init__(self) -> None:
        same_length(self.title, len(self.times), values=self.values)
        all_finite(self.title, self.values)
        if self.expected is not None:
            same_length(self.title, len(self.times), low=self.expected.low, high=self.expected.high)
            all_finite(self.title, [*self.expected.low, *self.expected.high, self.expected.coverage])


class Matrix(msgspec.Struct, frozen=True, tag="matrix", tag_field="type", omit_defaults=True):
    """One value for each (row, column), None = no data; for instance the failed share, source × destination."""

    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    unit: str
    row_axis: str = ""
    column_axis: str = ""

    def __post_init__(self) -> None:
        same_length(self.title, len(self.rows), values=self.values)
        for line in self.values:
            same_length(self.title, len(self.columns), line=line)
            all_finite(self.title, line)


class Table(msgspec.Struct, frozen=True, tag="table", tag_field="type"):
    """A small table: `columns` are headings, each row has as many cells."""

    title: str
    columns: list[str]
    rows: list[list[str | float | int | None]]

    def __post_init__(self) -> None:
        for row in self.rows:
            same_length(self.title, len(self.columns), row=row)
            all_finite(self.title, [cell for cell in row if isinstance(cell, float)])


class Texts(msgspec.Struct, frozen=True, tag="texts", tag_field="type"):
    """Samples of text, the most frequent first: (text, how often)."""

    title: str
    samples: list[tuple[str, int]]


class Links(msgspec.Struct, frozen=True, tag="links", tag_field="type"):
    """Where to read on: (label, http or https URL)."""

    title: str
    links: list[tuple[str, str]]

    def __post_init__(self) -> None:
        for _, url in self.links:
            if not url.startswith(("https://", "http://")):
                raise ValueError(f"evidence links are http(s) URLs, got {url[:80]!r}")


class Region(msgspec.Struct, frozen=True):
    """Neighbouring bins that stand out: `first` to `last`, counted from 0, both included, and as what: dead, hot."""

    first: int
    last: int
    kind: str


class Histogram(msgspec.Struct, frozen=True, tag="histogram", tag_field="type", omit_defaults=True):
    """Contents of n bins, `observed` in `counted` (None = no value), beside what was expected.

    The bins lie between n + 1 ascending `edges` in `unit`, or have one of n `categories` each. `expected`, `band` and
    `pulls` (signed, in standard deviations) have n entries where they are present. Not more than `MAX_BINS` bins and
    `MAX_MARKS` regions; `opintel.picture.histogram` merges bins until they fit.
    """

    title: str
    axis: str
    """What the bins are bins of, for instance `cluster charge`."""
    unit: str
    observed: list[float | None]
    edges: list[float] = []
    categories: list[str] = []
    expected: list[float | None] | None = None
    band: Band | None = None
    pulls: list[float | None] | None = None
    regions: list[Region] = []
    log: bool = False
    """Whether the axis of the bins is logarithmic."""
    counted: str = "entries"
    under: float | None = None
    over: float | None = None
    """What lies below the first and above the last edge."""
    entries: float | None = None
    merged: int = 1
    """How many bins of the source each bin is the sum of."""

    def __post_init__(self) -> None:
        n = len(self.observed)
        if not 1 <= n <= MAX_BINS or len(self.regions) > MAX_MARKS or self.merged < 1:
            raise ValueError(
                f"evidence {self.title!r}: expected 1 to {MAX_BINS} bins, at most {MAX_MARKS} regions and merged >= 1, "
                f"got {n}, {len(self.regions)} and {self.merged}"
            )
        if self.categories:
            same_length(self.title, n, categories=self.categories)
            same_length(self.title, 0, edges=self.edges)
        else:
            same_length(self.title, n + 1, edges=self.edges)
        all_finite(self.title, [*self.edges, *self.observed, self.under, self.over, self.entries])
        for low, high in pairwise(self.edges):
            if low >= high or (self.log and low <= 0):
                rule = "ascending and above 0" if self.log else "ascending"
                raise ValueError(f"evidence {self.title!r}: expected {rule} edges, got {low!r}, {high!r}")
        for name, column in (("expected", self.expected), ("pulls", self.pulls)):
            if column is not None:
                same_length(self.title, n, **{name: column})
                all_finite(self.title, column)
        if self.band is not None:
            same_length(self.title, n, low=self.band.low, high=self.band.high)
            all_finite(self.title, [*self.band.low, *self.band.high, self.band.coverage])
        for region in self.regions:
            if not 0 <= region.first <= region.last < n:
                raise ValueError(
                    f"evidence {self.title!r}: expected a region within bins 0 to {n - 1}, "
                    f"got {region.first} to {region.last}"
                )


class Axis(msgspec.Struct, frozen=True):
    """From `low` to `high` in `unit`, in equal steps of the value or, with `log`, of its logarithm."""

    title: str
    unit: str
    low: float
    high: float
    log: bool = False


class Mark(msgspec.Struct, frozen=True):
    """A place in an image, in the units of its axes: a point (x, y), or the box between it and `corner`."""

    label: str
    x: float
    y: float
    corner: tuple[float, float] | None = None


class Image(msgspec.Struct, frozen=True, tag="image", tag_field="type", omit_defaults=True):
    """A value for each cell of a grid of rows × columns, coarse in value but small: one byte each.

    `pixels` (base64 in JSON) go row by row: the first row lies at `y.low`, a row's first pixel at `x.low`. A pixel of 0
    has no value; 1 to 255 go in equal steps from `scale.low` to `scale.high`, of the logarithm with `scale.log`, and
    what lies beyond the scale is drawn as its end. A `diverging` scale has `low == -high`, and 128 is zero: its two
    signs are drawn in two colours of the same strength. A side has at most `MAX_SIDE` pixels, an image `MAX_PIXELS`;
    `opintel.picture.image` makes one from an array.
    """

    title: str
    x: Axis
    y: Axis
    scale: Axis
    rows: int
    columns: int
    pixels: bytes
    diverging: bool = False
    marks: list[Mark] = []

    def __post_init__(self) -> None:
        sides = 1 <= self.rows <= MAX_SIDE and 1 <= self.columns <= MAX_SIDE
        if not sides or self.rows * self.columns > MAX_PIXELS or len(self.marks) > MAX_MARKS:
            raise ValueError(
                f"evidence {self.title!r}: expected 1 to {MAX_SIDE} rows and columns, at most {MAX_PIXELS} pixels and "
                f"{MAX_MARKS} marks, got {self.rows} × {self.columns} and {len(self.marks)}"
            )
        same_length(self.title, self.rows * self.columns, pixels=self.pixels)
        for name, axis in (("x", self.x), ("y", self.y), ("scale", self.scale)):
            all_finite(self.title, [axis.low, axis.high])
            if axis.low >= axis.high or (axis.log and axis.low <= 0):
                rule = "0 < low < high" if axis.log else "low < high"
                raise ValueError(f"evidence {self.title!r}: {name}: expected {rule}, got {axis.low!r}, {axis.high!r}")
        if self.diverging and (self.scale.log or self.scale.low != -self.scale.high):
            raise ValueError(
                f"evidence {self.title!r}: expected a linear diverging scale centred on zero, "
                f"got {self.scale.low!r} to {self.scale.high!r}"
            )
        for mark in self.marks:
            all_finite(self.title, [mark.x, mark.y, *(mark.corner or ())])


Evidence = Series | Matrix | Table | Texts | Links | Histogram | Image


def block_json(block: Evidence) -> dict[str, Any]:
    """A block as plain JSON data, its type under `type`."""
    plain: dict[str, Any] = msgspec.to_builtins(block)
    return plain


def capped(blocks: Iterable[Evidence], limit: int = MAX_BYTES) -> tuple[Evidence, ...]:
    """The blocks, first ones first, as long as they fit in `limit` bytes of JSON; the rest is named in a table.

    A finding is never lost for being well explained: what does not fit is dropped, visibly.
    """
    kept: list[Evidence] = []
    left_out: list[list[str | float | int | None]] = []
    room = limit - 4096
    for block in blocks:
        size = len(msgspec.json.encode(block))
        if size <= room and len(left_out) == 0:
            kept.append(block)
            room -= size
        elif len(left_out) < 20:
            left_out.append([block.title[:80], size])
    if left_out:
        kept.append(Table("Evidence left out: too large", ["block", "bytes"], left_out))
    return tuple(kept)


def all_finite(title: str, values: Iterable[float | None]) -> None:
    """Raises ValueError that names the block if a value is NaN or infinite; None is the way to say 'no value'."""
    for value in values:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"evidence {title!r} holds {value!r}; None says that there is no value")


def same_length(title: str, expected: int, /, **columns: Sequence[Any]) -> None:
    """Raises ValueError that names the block and the column whose length is not `expected`."""
    for name, column in columns.items():
        if len(column) != expected:
            raise ValueError(f"evidence {title!r}: {name} has {len(column)} entries, expected {expected}")
