"""What is known of tables: what the first rows of a CSV file say of its columns, and which columns were read.

`opintel.streams.connectors.framing` asks a domain (`Pipeline.csv`) what it sees in a file; the answer comes with each
row of it to the domain's wire, which says what it used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

MAX_COLUMNS = 1000
"""Names of columns that are remembered."""
TEXTS = ("message", "content")
"""Headings of the column of texts; without one of them it is the first column."""


class CsvTable(msgspec.Struct, frozen=True, gc=False):
    """What the first rows of a CSV file say of its columns."""

    labels: tuple[int, ...] = ()
    """Columns that say what a row is about."""
    several: bool = False
    """Whether the file is about several things by these columns: then its name says nothing of its rows."""
    used: tuple[str, ...] = ()
    """Of a file of texts: the column that holds them …"""
    dropped: tuple[str, ...] = ()
    """… and the others."""


CsvForm = Literal["text", "table"] | Callable[[Sequence[Sequence[str]]], CsvTable | None]
"""The form in which a wire takes the rows of CSV files, see `Message`; or a function of the heading and the first rows
of a file, equally long, which gives what they say of a table and None for texts. In a ValueError it says why the file
as a whole is neither."""


class ColumnsRead(NamedTuple):
    """Names of the columns of tables."""

    used: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()


NOTHING_READ = ColumnsRead()


def columns_joined(parts: Iterable[ColumnsRead]) -> ColumnsRead:
    """What is used in one part is used; at most MAX_COLUMNS of each kind, in order of name."""
    parts = list(parts)
    used = frozenset[str]().union(*(part.used for part in parts))
    dropped = frozenset[str]().union(*(part.dropped for part in parts)) - used
    return ColumnsRead(*(frozenset(sorted(names)[:MAX_COLUMNS]) for names in (used, dropped)))
