"""CSV tables on the FTS wire: records with a column for each field, as an export has them.

A heading names fields as FTS does, bare (`src_hostname`) or as they are nested (`data.src_hostname`, `metadata._id`,
`_source.data.src_hostname`). `record` makes of a row the JSON message that it was.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from opintel.detector import Message
from opintel.tables import TEXTS, ColumnsRead, CsvTable

_NUMBERS = re.compile(r"[\d\s:/.,TZeE+-]+")
"""A number or a time: what has no words."""
_SOURCES = {"src_hostname", "src_se", "source_se", "src_url"}
_DESTINATIONS = {"dst_hostname", "dst_se", "dest_se", "dst_url"}


def look(rows: Sequence[Sequence[str]]) -> CsvTable | None:
    """A table where the heading names both ends of a transfer, else None: texts. Raises ValueError where no heading
    says that there are texts and the first column has none.
    """
    fields = {_field(cell) for cell in rows[0]}
    if fields & _SOURCES and fields & _DESTINATIONS:
        return CsvTable()
    if not any(cell.strip().lower() in TEXTS for cell in rows[0]):
        first = [row[0] for row in rows[1:] if row[0].strip()]
        if first and 2 * sum(_NUMBERS.fullmatch(cell) is not None for cell in first) > len(first):
            names = ", ".join(repr(cell.strip()[:40]) for cell in rows[0][:20])
            raise ValueError(
                "expected records with columns for both ends of a transfer (src_hostname, dst_hostname), or error "
                f"texts in a column `message` or `content`, got the columns {names}, the first of numbers or times"
            )
    return None


def record(message: Message) -> bytes:
    """A row as a message in JSON; empty cells are left out. ValueError says what is wrong with it."""
    rows = _rows(message)
    if len(rows) != 2:
        raise ValueError(f"expected a heading and a row of CSV, got {len(rows)} rows")
    heading, row = rows
    if len(row) != len(heading):
        raise ValueError(f"expected {len(heading)} cells, as in the heading, got {len(row)}")
    found: dict[str, Any] = {}
    for cell, text in zip(heading, row, strict=True):
        if text:
            *outer, name = _path(cell)
            inner = found
            for part in outer:
                nested = inner.setdefault(part, {})
                if not isinstance(nested, dict):
                    raise ValueError(f"column {cell[:100]!r} lies in another one")
                inner = nested
            inner[name] = text
    return msgspec.json.encode(found)


def columns_read(messages: Sequence[Message], known: Collection[str]) -> ColumnsRead:
    """Which columns of the tables among some messages are used; `known`: the fields in use."""
    used, dropped = set[str](), set[str]()
    for message in {m.file: m for m in messages if m.form == "table"}.values():
        try:
            heading = _rows(message)[0]
        except (ValueError, LookupError):
            continue
        for cell in heading:
            (used if _field(cell) in known else dropped).add(cell.strip())
    return ColumnsRead(frozenset(used), frozenset(dropped))


def _rows(message: Message) -> list[list[str]]:
    try:
        text = message.body.decode("utf-8-sig")
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"expected a table in UTF-8, got another byte at {error.start}") from None
    except csv.Error as error:
        raise ValueError(f"expected a heading and a row of CSV, got {error}") from None


def _path(cell: str) -> list[str]:
    """Where in a message the field of a column stands."""
    return cell.strip().removeprefix("_source.").split(".")[:3]


def _field(cell: str) -> str:
    return _path(cell)[-1]
