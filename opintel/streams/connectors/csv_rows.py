"""CSV rows of a file, each a message that is read by itself: one text, or a small table of the heading and the row.

A quote that nobody closes costs its own line only, not the rows behind it, whatever the file holds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import BinaryIO, NamedTuple

from opintel.streams.connectors import cut, lines
from opintel.tables import TEXTS, CsvForm, CsvTable

MAX_RECORD = 1 << 17
"""Bytes in which a quote of CSV has to be closed; the longest cell that Python's reader takes is as long."""
MAX_HEADING = 1 << 16
"""Bytes of a table's heading, which comes with every row of it."""
LOOK, LOOK_BYTES = 100, 1 << 18
"""Rows of a table that are looked at, and bytes in which they are, to see what its columns hold."""
_BOM = b"\xef\xbb\xbf"


Row = tuple[bytes, int, str, CsvTable | None]
"""Body, where the next row begins, form and table, as in `Message`."""


def read(file: BinaryIO, form: CsvForm, offset: int, end: int, final: bool) -> Iterator[Row]:
    """The rows between `offset` and `end` bytes of a CSV file, whose first row is the heading.

    What a domain says of a file by `form` it says of what the first LOOK rows show now, so that they are to be there
    when a file is read first; a ValueError of it refuses the file as a whole. Unless `final`, a last row without its
    newline waits.
    """
    header = next(_records(file, 0, end, final), None)
    if header is None:
        return
    cells, table = header.cells or [], None
    if callable(form):
        try:
            table = form(_first_rows(file, header, final))
        except ValueError as error:
            if not offset:
                yield str(error).encode(), end, "refused", None
            return
        form = "text" if table is None else "table"
    if form == "table":
        for body, after in _tables(file, header, offset, end, final):
            yield body, after, "table", table
        return
    column = _column(cells)
    names = [name.strip() for name in cells]
    table = CsvTable(used=tuple(names[column : column + 1]), dropped=tuple(names[:column] + names[column + 1 :]))
    for body, after in _texts(file, header, column, offset, end, final):
        yield body, after, "text", table


def _first_rows(file: BinaryIO, header: _Record, final: bool) -> list[list[str]]:
    """The heading and, of its first LOOK rows in LOOK_BYTES, those with as many cells."""
    end = header.after + LOOK_BYTES
    heading = header.cells or []
    rows = islice(_records(file, header.after, end, final), LOOK)
    return [heading, *(row.cells for row in rows if row.cells and len(row.cells) == len(heading))]


def _column(heading: list[str]) -> int:
    """The place of the column of texts: `message` or `content`, else the first."""
    known = [name.strip().lower() for name in heading]
    return next((known.index(name) for name in TEXTS if name in known), 0)


def _texts(
    file: BinaryIO, header: _Record, column: int, offset: int, end: int, final: bool
) -> Iterator[tuple[bytes, int]]:
    """One text a CSV row, that of a column.

    A row that is no CSV (a quote that is not closed within MAX_RECORD bytes or the file, an oversized field) is the
    text of its first line as it stands; the next line starts afresh. Blank lines are no rows.
    """
    for cells, raw, after in _records(file, max(offset, header.after), end, final):
        if cells is None:
            yield raw, after
        elif cells:
            text = cells[column] if column < len(cells) else ""
            yield cut(text.encode("utf-8", "surrogateescape")), after


def _tables(file: BinaryIO, header: _Record, offset: int, end: int, final: bool) -> Iterator[tuple[bytes, int]]:
    """One small table a CSV row: the heading (the first row), a newline, and the row as they stand in the file.

    Of a row that is no CSV it is the first line; the next line starts afresh. Blank lines are no rows.
    """
    heading = cut(header.raw, MAX_HEADING) + b"\n"
    for cells, raw, after in _records(file, max(offset, header.after), end, final):
        if cells is None or cells:
            yield heading + cut(raw), after


class _Record(NamedTuple):
    cells: list[str] | None
    """None: it is no CSV."""
    raw: bytes
    """As it stands in the file, or the first line of it if it is no CSV."""
    after: int


def _records(file: BinaryIO, offset: int, end: int, final: bool) -> Iterator[_Record]:
    """Each record, blank lines among them."""
    unclosed = _Unclosed()
    while True:
        feed = _Feed(file, offset, end, final, unclosed)
        reader = csv.reader(feed)
        error = False
        while True:
            feed.begin, feed.raw = offset, []
            try:
                cells = next(reader, None)
                broken = feed.ended
            except csv.Error:
                cells, broken, error = [], True, True
            if cells is None:
                return
            if broken or feed.skipped:
                break
            offset = feed.offset
            yield _Record(cells, b"\n".join(feed.raw), offset)
            if offset - feed.begin >= lines.MAX_LINE:
                return
        waits = feed.ended and not feed.overlong and not final
        if feed.skipped and (waits or not broken):
            unclosed = _Unclosed()  # this matters what stands in the lines that were skipped: once more, with them
            continue
        if waits:
            return
        unclosed = feed.left_open(error)
        begin = offset
        line, offset = next(lines.read(file, offset, end, final))
        yield _Record(None, line.removesuffix(b"\r"), offset)
        if offset - begin >= lines.MAX_LINE:
            return


class _Unclosed(NamedTuple):
    """Lines of a record that is no CSV. A quote is open at the end of each, so a record that begins in one of them and
    is open at its end is open after the last: not each of thousands of such lines need be read to MAX_RECORD.
    """

    first: int = 0
    last: int = 0
    """Where the first and the last of them end; 0 where there are none."""
    error: bool = False
    """The line that follows is no CSV."""


class _Feed:
    """Lines for one `csv.reader`, which takes just those of the record that it is reading."""

    def __init__(self, file: BinaryIO, offset: int, end: int, final: bool, unclosed: _Unclosed) -> None:
        self._lines_from = partial(lines.read, file, end=end, final=final)
        self._lines = self._lines_from(offset)
        self._unclosed = unclosed
        self.offset = offset
        self.begin = offset
        """Where the record starts that is being read."""
        self.raw: list[bytes] = []
        """Its lines."""
        self._first = self._before = offset
        """Where its first line ends, and its last but one."""
        self.skipped = False
        """Lines of it are not among them, as they close no quote."""
        self.ended = False
        """No line was left for the record that is being read."""
        self.overlong = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.raw and not self.skipped and self._unclosed.first <= self.offset < self._unclosed.last:
            self.skipped, self.offset = True, self._unclosed.last
            self._lines = self._lines_from(self.offset)
        self.overlong = self.offset - self.begin > MAX_RECORD or (self.skipped and self._unclosed.error)
        line, after = (b"", 0) if self.overlong else next(self._lines, (b"", 0))
        if not after:
            self.ended = True
            raise StopIteration
        if self.offset == 0:
            line = line.removeprefix(_BOM)
        if not self.raw:
            self._first = after
        self._before, self.offset = self.offset, after
        self.raw.append(line)
        return line.decode("utf-8", "surrogateescape") + "\n"

    def left_open(self, error: bool) -> _Unclosed:
        """What is known of the lines of its last record, which is no CSV, from `error` on."""
        last = self._before if error else self.offset
        first = self._unclosed.first if self.skipped else self._first
        return _Unclosed(first, last, error or (self.skipped and self._unclosed.error)) if first < last else _Unclosed()
