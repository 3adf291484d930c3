"""CSV tables on the health wire: a message is the heading of a table and one or more of its rows.

A table is long (a time, `value`, perhaps `name`, and a label in every other column) or wide (a time, and a series in
every other column). Files come as such messages from `opintel.streams.connectors.framing`; samples go to
`opintel.health.wire`, which checks them.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from opintel.detector import Message
from opintel.health.samples import number_of

TIMES = ("timestamp", "time", "date", "datetime", "ts")
"""Headings of the column of times; the first that is there counts, whatever its case."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_]+")


class _Plan(NamedTuple):
    """Which column holds what."""

    cells: int
    time: int
    value: int | None
    """None: a wide table."""
    name: int | None
    others: list[tuple[int, str]]
    """(column, label) of a long table, (column, metric) of a wide one."""


def samples(message: Message) -> list[tuple[Any, Any, Any, Any]]:
    """(time, value, name, labels) of each sample, unchecked. ValueError says what is wrong with the table or a row.

    Where no column names the series, the file does: by its stem in a long table, and by the label `file` in both. A
    cell of a wide table that is no number is no sample.
    """
    if b"\0" in message.body:
        raise ValueError("expected a row of text of at most 1 MiB, got one that has a NUL in it or was cut")
    try:
        text = message.body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected a table in UTF-8, got another byte at {error.start}") from None
    try:
        heading, *rows = (row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"expected a heading and a row of CSV, got {error}") from None
    plan = _plan(tuple(heading))
    if isinstance(plan, str):
        raise ValueError(plan)
    source = {} if plan.name is not None else {"file": message.file}
    stem = sanitised(PurePosixPath(message.file).stem)
    found: list[tuple[Any, Any, Any, Any]] = []
    for row in rows:
        if len(row) != plan.cells:
            raise ValueError(f"expected {plan.cells} cells, as in the heading, got {len(row)}")
        time = _zoned(row[plan.time].strip())
        if plan.value is None:
            found += [(time, row[n], metric, source) for n, metric in plan.others if _is_number(row[n])]
        else:
            labels = {label: row[n].strip() for n, label in plan.others}
            name = stem if plan.name is None else row[plan.name].strip()
            found.append((time, row[plan.value].strip(), name, {**labels, **source}))
    if not found:
        raise ValueError("no number beside its time")
    return found


def sanitised(text: str) -> str:
    """A text as the name of a metric or label: letters, digits and _; empty if it has none of them.

    >>> sanitised("CPU load [%]"), sanitised("5 min"), sanitised("°")
    ('CPU_load', '_5_min', '')
    """
    name = _OTHER.sub("_", text).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


@lru_cache(64)
def _plan(cells: tuple[str, ...]) -> _Plan | str:
    """The plan of a table with this heading, or what is wrong with it."""
    known = [cell.strip().lower() for cell in cells]
    time = next((known.index(name) for name in TIMES if name in known), None)
    if time is None:
        return f"expected a heading with one of {', '.join(TIMES)}, got {','.join(cells)[:100]!r}"
    value, name = (known.index(word) if word in known else None for word in ("value", "name"))
    if value is None:
        name = None
    others = [(n, sanitised(cell)) for n, cell in enumerate(cells) if n not in (time, value, name)]
    others = [(n, other) for n, other in others if other]
    names = [other for _, other in others]
    twice = sorted(other for other, n in Counter(names).items() if n > 1)
    if twice or (name is None and value is not None and "file" in names):
        return f"columns have names of their own; {', '.join(twice) or 'file'} comes twice"
    return _Plan(len(cells), time, value, name, others)


def _zoned(time: str) -> str:
    """A time with its zone: UTC where it names none."""
    if _DAY.match(time):
        return f"{time}T00:00Z"
    return f"{time}Z" if _NAIVE.match(time) else time


def _is_number(cell: str) -> bool:
    try:
        number_of(cell)
    except ValueError:
        return False
    return True
