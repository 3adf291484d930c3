"""CSV tables on the health wire: a message is the heading of a table and one or more of its rows.

A table is long (a time, `value`, perhaps `name`) or wide (a time, and a series in every column of numbers); columns of
texts are labels in both. Which columns hold what is seen in the first rows of a file (`look`), and a stream's setting
`wire.columns` overrules it. Files come as such messages from `opintel.streams.connectors.framing`; samples go to
`opintel.health.wire`, which checks them.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec

from opintel.detector import Message
from opintel.health.samples import number_of
from opintel.tables import ColumnsRead, CsvTable

TIMES = ("timestamp", "time", "date", "datetime", "ts")
"""Headings of the column of times; the first that is there counts, whatever its case."""
BLANKS = frozenset({"", "-", ".", "?", "n/a", "na", "nan", "nil", "none", "null"})
"""What stands in a cell, whatever its case, without a number or a text."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]|\Z)")
_WHOLE = re.compile(r"\d{1,9}\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_]+")


class TableColumns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What columns of tables hold, by heading, where it is not what their first rows look like."""

    labels: tuple[str, ...] = ()
    """Labels though they hold numbers."""
    values: tuple[str, ...] = ()
    """Series: of a long table beside its `value`, named by both."""
    time: str | None = None
    """The column of times, where a table has it."""
    drop: tuple[str, ...] = ()
    """Not read."""

    def __post_init__(self) -> None:
        named = Counter(_folded(name) for name in (*self.labels, *self.values, *self.drop, *filter(None, [self.time])))
        if twice := sorted(name for name, n in named.items() if n > 1):
            raise ValueError(f"labels: expected a column in one list, got {twice[0]} in two")


class _Plan(NamedTuple):
    """Which column holds what."""

    cells: int
    time: int
    name: int | None
    labels: list[tuple[int, str]]
    values: list[tuple[int, str, bool]]
    """(column, metric, whether a cell must be a number); of a long table the metric is what comes behind its name."""
    long: bool
    read: ColumnsRead


def look(rows: Sequence[Sequence[str]]) -> CsvTable:
    """What the heading and the first rows of a table, as many cells each, say of its columns.

    Texts are labels. Where rows of one time have the same of them, so are whole numbers that tell these rows apart:
    the columns with the fewest numbers first.
    """
    heading, *rows = rows
    known = [_folded(cell) for cell in heading]
    time, value = _first(known, TIMES), _first(known, ("value",))
    name = None if value is None else _first(known, ("name",))
    labels: list[int] = []
    whole: list[tuple[int, int]] = []
    for n in range(len(known)):
        cells = [cell for row in rows if (cell := row[n].strip()).lower() not in BLANKS]
        if n in (time, value, name) or not known[n] or not cells:
            continue
        texts = sum(not _is_number(cell) for cell in cells)
        if 2 * texts > len(cells):
            if not all(map(_TIME.match, cells)):
                labels.append(n)
        elif all(map(_WHOLE.match, cells)) and len(cells) == len(rows):
            whole.append((len(set(cells)), n))
    about = [n for n in (time, name) if n is not None]
    apart = _distinct(rows, [*about, *labels])
    for _, n in sorted(whole):
        if apart < len(rows) and (more := _distinct(rows, [*about, *labels, n])) > apart:
            labels.append(n)
            apart = more
    return CsvTable(tuple(sorted(labels)), _distinct(rows, labels) > 1)


def samples(message: Message, columns: TableColumns) -> list[tuple[Any, Any, Any, Any]]:
    """(time, value, name, labels) of each sample, unchecked. ValueError says what is wrong with the table or a row.

    Where no column names the series, the file does: by its stem in a long table, and by the label `file` in both,
    unless its labels say that it is about several things. A cell of a wide table that is no number is no sample.
    """
    heading, rows, table = _parsed(message)
    plan = _plan(tuple(heading), table, columns)
    if isinstance(plan, str):
        raise ValueError(plan)
    alone = plan.name is None and (plan.long or not table.several)
    source = {"file": message.file} if alone else {}
    stem = sanitised(PurePosixPath(message.file).stem) if plan.long and plan.name is None else ""
    found: list[tuple[Any, Any, Any, Any]] = []
    for row in rows:
        if len(row) != plan.cells:
            raise ValueError(f"expected {plan.cells} cells, as in the heading, got {len(row)}")
        time = _zoned(row[plan.time].strip())
        labels = {label: row[n].strip() for n, label in plan.labels} | source
        name = row[plan.name].strip() if plan.name is not None else stem
        for n, metric, required in plan.values:
            if required or _is_number(row[n]):
                found.append((time, row[n].strip(), name + metric, labels))
    if not found:
        raise ValueError("no number beside its time")
    return found


def columns_read(messages: Sequence[Message], columns: TableColumns) -> ColumnsRead:
    """Which columns of the tables among some messages are used, and which are not."""
    used, dropped = set[str](), set[str]()
    for message in {m.file: m for m in messages if m.form == "table"}.values():
        try:
            heading, _, table = _parsed(message)
        except ValueError:
            continue
        plan = _plan(tuple(heading), table, columns)
        if not isinstance(plan, str):
            used |= plan.read.used
            dropped |= plan.read.dropped
    return ColumnsRead(frozenset(used), frozenset(dropped))


def sanitised(text: str) -> str:
    """A text as the name of a metric or label: letters, digits and _; empty if it has none of them.

    >>> sanitised("CPU load [%]"), sanitised("5 min"), sanitised("°")
    ('CPU_load', '_5_min', '')
    """
    name = _OTHER.sub("_", text).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _parsed(message: Message) -> tuple[list[str], list[list[str]], CsvTable]:
    """The heading, the rows, and what is known of the table; ValueError where it is none."""
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
    return heading, rows, message.table or look([heading, *(row for row in rows if len(row) == len(heading))])


@lru_cache(256)
def _plan(cells: tuple[str, ...], table: CsvTable, columns: TableColumns) -> _Plan | str:
    """The plan of a table with this heading, or what is wrong with it."""
    known = [_folded(cell) for cell in cells]
    drop, forced = set(_places(known, columns.drop)), set(_places(known, columns.values))
    labelled = (set(table.labels) | set(_places(known, columns.labels))) - forced
    time = None if columns.time is None else _first(known, (_folded(columns.time),))
    time = _first(known, TIMES) if time is None else time
    if time is None:
        return f"expected a heading with one of {', '.join(TIMES)}, got {','.join(cells)[:100]!r}"
    value = next((n for n in _places(known, ("value",)) if n not in drop and n not in labelled), None)
    name = None if value is None else next((n for n in _places(known, ("name",)) if n not in drop), None)
    labels: list[tuple[int, str]] = []
    values = [] if value is None else [(value, "", True)]
    for n, cell in enumerate(cells):
        label = sanitised(cell)
        if n in (time, value, name) or n in drop or not label:
            continue
        if n in labelled:
            labels.append((n, label))
        elif value is None or n in forced:
            values.append((n, label if value is None else f"_{label}", False))
    names = [label for _, label in labels] + [metric for _, metric, _ in values]
    twice = sorted(other for other, n in Counter(names).items() if n > 1)
    if twice or (name is None and any(label == "file" for _, label in labels)):
        return f"columns have names of their own; {', '.join(twice) or 'file'} comes twice"
    used = {n for n in (time, name) if n is not None} | {n for n, _ in labels} | {n for n, _, _ in values}
    read = ColumnsRead(
        frozenset(cells[n].strip() for n in used),
        frozenset(cell.strip() for n, cell in enumerate(cells) if n not in used and cell.strip()),
    )
    return _Plan(len(cells), time, name, labels, values, value is not None, read)


def _folded(name: str) -> str:
    return name.strip().lower()


def _first(known: Sequence[str], names: Sequence[str]) -> int | None:
    """Where the first of some names is that is there."""
    return next((known.index(name) for name in names if name in known), None)


def _places(known: Sequence[str], names: Sequence[str]) -> Iterator[int]:
    wanted = {_folded(name) for name in names}
    return (n for n, name in enumerate(known) if name in wanted)


def _distinct(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> int:
    return len({tuple(row[n] for n in columns) for row in rows})


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
