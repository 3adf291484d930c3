"""Evidence: typed blocks that explain a finding and can be drawn.

A detector attaches them, the console draws them, a ticket lists them. Every text in a block is untrusted and is escaped
where it is shown. A finding's evidence stays below `MAX_BYTES`; `capped` drops what does not fit and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

MAX_BYTES = 256 * 1024


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


Evidence = Series | Matrix | Table | Texts | Links


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


def same_length(title: str, expected: int, **columns: Sequence[Any]) -> None:
    """Raises ValueError that names the block and the column whose length is not `expected`."""
    for name, column in columns.items():
        if len(column) != expected:
            raise ValueError(f"evidence {title!r}: {name} has {len(column)} entries, expected {expected}")
