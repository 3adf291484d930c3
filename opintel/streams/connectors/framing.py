"""How a file becomes messages: lines, CSV rows, slices of Parquet or Arrow, the file as one, or what a domain's own
parser makes of it. What is gzipped is read as what it holds.

`opintel.streams.connectors.files` calls `frames` with a place in a file. What comes out depends on the bytes before
`end` and on the place alone; memory stays bounded whatever the file holds.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from opintel.detector import Pipeline
from opintel.streams.connectors import MAX_BODY, arrow, columnar, cut, parquet
from opintel.streams.connectors.packed import Unpacked
from opintel.streams.connectors.parsed import parsed
from opintel.tables import TEXTS, CsvForm, CsvTable

SUFFIXES = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow")
"""Of files that have messages in them, whatever the domain."""
GZIP = ".gz"
_PACKED = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd", ".zip": "unzip"}
"""Suffix of a compressed file → what unpacks it."""
MAX_DOCUMENT = 64 << 20
"""Bytes of a `.json` file that is one message."""
MAX_LINE = 16 << 20
"""Bytes in which a line has to end: it is cut there, whether it may end later or not, and the rest passed over."""
MAX_RECORD = 1 << 17
"""Bytes in which a quote of CSV has to be closed; the longest cell that Python's reader takes is as long."""
SCAN = 64 << 20
"""Bytes that are passed over in one piece."""
MAX_HEADING = 1 << 16
"""Bytes of a table's heading, which comes with every row of it."""
SETTLED = 2.0
"""Seconds for which a file that is parsed as a whole was not written to, where it may still be growing."""
LOOK, LOOK_BYTES = 100, 1 << 18
"""Rows of a table that are looked at, and bytes in which they are, to see what its columns hold."""
COLUMNAR = {b"ARROW1\x00\x00": ".arrow", b"\xff\xff\xff\xff": ".arrow", b"PAR1": ".parquet"}
"""How files begin that have no lines, and how they are named."""
_BOM = b"\xef\xbb\xbf"
_ALL = 1 << 62
"""The offset behind all that a gzip file holds, however much that is."""
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FileForms(NamedTuple):
    """How a domain takes files."""

    csv: CsvForm = "text"
    """The form in which the rows of CSV files come (`Pipeline.csv`)."""
    parsers: Mapping[str, str] = {}
    """Suffix → what parses such files as a whole (`Pipeline.files`); it goes before what is done with them here."""
    parsing: Any = None
    """Plain data that parsers are called with: the wire's `parsing`."""
    lines: tuple[str, ...] = ()
    """Suffixes of files of lines of text besides `.txt` (`Pipeline.lines`)."""

    @classmethod
    def of(cls, pipeline: Pipeline, wire: Any = None) -> FileForms:
        """How a pipeline takes files, and what its wire adds."""
        return cls(pipeline.csv, pipeline.files, getattr(wire, "parsing", None), pipeline.lines)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of all files that have messages in them."""
        return (*SUFFIXES, *self.lines, *(suffix for suffix in self.parsers if suffix not in SUFFIXES))

    @property
    def packed(self) -> tuple[str, ...]:
        """Of gzipped files that are read where they are complete; without another suffix they hold JSON by line."""
        inside = (".jsonl", ".json", ".csv", ".txt", *self.lines)
        return (GZIP, *(suffix + GZIP for suffix in inside if suffix not in self.parsers))

    def not_read(self, suffix: str, suffixes: Sequence[str] = ()) -> str:
        """Why a file of this suffix is none of these, or of `suffixes`."""
        last = suffix[suffix.rfind(".") :] if suffix else ""
        unpack = f"; `{_PACKED[last]}` it first" if last in _PACKED else ""
        return f"expected one of {', '.join(suffixes or self.suffixes)}, got {suffix or 'no suffix'!r}{unpack}"


ANY_DOMAIN = FileForms()
"""What holds where a domain says nothing else."""


class Frame(NamedTuple):
    """A message of a file."""

    body: bytes
    after: int
    """Where in the file the next one starts."""
    form: str
    """As in `Message`."""
    table: CsvTable | None = None
    """As in `Message`."""


def frames(
    file: BinaryIO, suffix: str, forms: FileForms, offset: int, end: int, final: bool
) -> Generator[Frame, None, None]:
    """The messages between `offset` and `end` bytes.

    What the domain has a parser for: as `parsed` says, where it is complete; unless `final`, that is when it was not
    written to for a while. `.jsonl`: every line, whatever it holds; `.txt` and `forms.lines`: every line; `.csv`: a
    `text` or `table` a row, as `forms.csv` says (of what its first LOOK rows show now, so that they are to be there
    when a file is read first); `.json`: the whole file, again when it has grown, or every line where two lines that
    follow each other are an object each; `.parquet`, `.arrow`: see `columnar`. `.gz`: what is in it, offsets being
    those in there, to its end; where it is damaged the last message says so.
    Unless `final`, a last line without its newline, Parquet without its end or half an Arrow message is not complete
    and waits. Lines above MAX_BODY are cut; one that does not end within MAX_LINE is the last, and `past` passes its
    rest over. Parquet or Arrow in a file of lines is refused as a whole, and so is CSV of which `forms.csv` says so.
    """
    if suffix.endswith(GZIP):
        yield from _unpacked(file, suffix.removesuffix(GZIP) or ".jsonl", forms, offset)
    elif suffix in forms.parsers:
        if end != offset and (final or _is_settled(file)):
            for body, after, damaged in parsed(forms.parsers[suffix], forms.parsing, file, offset, end):
                yield Frame(body, after, "refused" if damaged else "json")
    elif suffix == ".json" and not _has_objects_by_line(file):
        file.seek(0)
        if end != offset and (document := file.read(min(end, MAX_DOCUMENT + 1))):
            yield Frame(cut(document, MAX_DOCUMENT), end, "json")
    elif suffix == ".parquet":
        if end != offset and (final or not parquet.is_unfinished(file)):
            yield from _slices("parquet", file, offset, end)
    elif suffix == ".arrow":
        if end != offset and (through := arrow.whole(file, end, final)) > offset:
            yield from _slices("arrow", file, offset, through)
    elif found := _columnar(file):
        if not offset:
            yield Frame(f"no lines of text; a file that begins so is named *{found}".encode(), end, "refused")
    elif suffix == ".csv":
        yield from _csv(file, forms.csv, offset, end, final)
    elif suffix == ".txt" or suffix in forms.lines:
        for line, after in _lines(file, offset, end, final):
            yield Frame(line.removesuffix(b"\r"), after, "text")
    else:
        for line, after in _lines(file, offset, end, final):
            yield Frame(line, after, "json")


def past(file: BinaryIO, suffix: str, forms: FileForms, offset: int, end: int) -> tuple[int, bool]:
    """Where the next line begins behind one that was cut at `offset`, and True; or how far it was looked for, at most
    SCAN bytes, and False. That a line was cut is seen from the bytes before `offset`: no position has to say it.
    """
    if suffix.endswith(GZIP) or suffix in (".parquet", ".arrow", *forms.parsers) or offset < MAX_LINE:
        return offset, True
    if suffix == ".json" and not _has_objects_by_line(file):
        return offset, True
    file.seek(offset - MAX_BODY)
    if b"\n" in file.read(MAX_BODY):
        return offset, True
    last = min(end, offset + SCAN)
    while offset < last:
        piece = file.readline(min(MAX_BODY, last - offset))
        offset += len(piece)
        if piece.endswith(b"\n"):
            return offset, True
    return offset, False


def _unpacked(file: BinaryIO, suffix: str, forms: FileForms, offset: int) -> Iterator[Frame]:
    inside, cut_short = Unpacked(file), True
    opened = cast(BinaryIO, inside)
    while cut_short and offset < _ALL:
        cut_short = False
        for frame in frames(opened, suffix, forms, offset, _ALL, True):
            cut_short = frame.after - offset >= MAX_LINE and suffix != ".json"
            offset = frame.after
            yield frame
        while cut_short and (piece := inside.readline(MAX_BODY)):
            offset += len(piece)
            if piece.endswith(b"\n"):
                break
    if inside.wrong:
        yield Frame(inside.wrong.encode(), _ALL, "refused")


def _has_objects_by_line(file: BinaryIO) -> bool:
    """Whether two lines that follow each other, of the first LOOK, are an object each: no JSON document has such."""
    file.seek(0)
    before, size = False, 0
    for _ in range(LOOK):
        line = file.readline(MAX_BODY)
        size += len(line)
        if not line or size > MAX_BODY:
            break
        if line.isspace():
            continue
        try:
            _object.decode(line)
        except msgspec.DecodeError:
            before = False
            continue
        if before:
            return True
        before = True
    return False


def _is_settled(file: BinaryIO) -> bool:
    return not 0 <= time.time() - os.fstat(file.fileno()).st_mtime < SETTLED


def _slices(form: str, file: BinaryIO, offset: int, end: int) -> Iterator[Frame]:
    for body, after, damaged in columnar.slices(form, file, offset, end):
        yield Frame(body, after, "refused" if damaged else "json")


def _columnar(file: BinaryIO) -> str:
    """The suffix that a file should have which has no lines, '' for others."""
    file.seek(0)
    begin = file.read(8)
    return next((suffix for mark, suffix in COLUMNAR.items() if begin.startswith(mark)), "")


def _lines(file: BinaryIO, offset: int, end: int, final: bool) -> Iterator[tuple[bytes, int]]:
    """Lines without their newline; a longer one than MAX_BODY is cut, its rest read in pieces and thrown away."""
    file.seek(offset)
    while offset < end:
        line = file.readline(min(MAX_BODY + 1, end - offset))
        after, complete = offset + len(line), line.endswith(b"\n")
        if not line:
            return
        last = min(end, offset + MAX_LINE)
        while not complete and after < last:
            piece = file.readline(min(MAX_BODY, last - after))
            if not piece:
                break
            after, complete = after + len(piece), piece.endswith(b"\n")
        if not complete and after - offset == MAX_LINE:
            yield cut(line), after
            return
        if not complete and not final:
            return
        yield cut(line.removesuffix(b"\n")), after
        offset = after


def _csv(file: BinaryIO, form: CsvForm, offset: int, end: int, final: bool) -> Iterator[Frame]:
    """The rows of a CSV file, whose first row is the heading."""
    header = next(_records(file, 0, end, final), None)
    if header is None:
        return
    cells, table = header.cells or [], None
    if callable(form):
        try:
            table = form(_first_rows(file, header, final))
        except ValueError as error:
            if not offset:
                yield Frame(str(error).encode(), end, "refused")
            return
        form = "text" if table is None else "table"
    if form == "table":
        for body, after in _tables(file, header, offset, end, final):
            yield Frame(body, after, "table", table)
        return
    column = _column(cells)
    names = [name.strip() for name in cells]
    table = CsvTable(used=tuple(names[column : column + 1]), dropped=tuple(names[:column] + names[column + 1 :]))
    for body, after in _texts(file, header, column, offset, end, final):
        yield Frame(body, after, "text", table)


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
            if offset - feed.begin >= MAX_LINE:
                return
        waits = feed.ended and not feed.overlong and not final
        if feed.skipped and (waits or not broken):
            unclosed = _Unclosed()  # this matters what stands in the lines that were skipped: once more, with them
            continue
        if waits:
            return
        unclosed = feed.left_open(error)
        begin = offset
        line, offset = next(_lines(file, offset, end, final))
        yield _Record(None, line.removesuffix(b"\r"), offset)
        if offset - begin >= MAX_LINE:
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
        self._lines_from = partial(_lines, file, end=end, final=final)
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
