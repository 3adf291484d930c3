"""How a file becomes messages: lines, CSV rows, slices of Parquet or Arrow, the file as one, or what a domain's own
parser makes of it. What is gzipped is read as what it holds.

`opintel.streams.connectors.files` calls `frames` with a place in a file. What comes out depends on the bytes before
`end` and on the place alone; memory stays bounded whatever the file holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from opintel.detector import Pipeline
from opintel.streams.connectors import MAX_BODY, arrow, columnar, csv_rows, cut, lines, parquet
from opintel.streams.connectors.packed import Unpacked
from opintel.streams.connectors.parsed import parsed
from opintel.tables import CsvForm, CsvTable

SUFFIXES = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow")
"""Of files that have messages in them, whatever the domain."""
GZIP = ".gz"
_PACKED = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd", ".zip": "unzip"}
"""Suffix of a compressed file → what unpacks it."""
MAX_DOCUMENT = 64 << 20
"""Bytes of a `.json` file that is one message."""
LOOK = 100
"""Lines of a `.json` file that are looked at, to see whether each is a message."""
SETTLED = 2.0
"""Seconds for which a file that is parsed as a whole was not written to, where it may still be growing."""
COLUMNAR = {b"ARROW1\x00\x00": ".arrow", b"\xff\xff\xff\xff": ".arrow", b"PAR1": ".parquet"}
"""How files begin that have no lines, and how they are named."""
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
    `text` or `table` a row, see `csv_rows`; `.json`: the whole file, again when it has grown, or every line where two
    lines that follow each other are an object each; `.parquet`, `.arrow`: see `columnar`. `.gz`: what is in it, offsets
    being those in there, to its end; where it is damaged the last message says so.
    Unless `final`, a last line without its newline, Parquet without its end or half an Arrow message is not complete
    and waits. Lines above MAX_BODY are cut; one that does not end within `lines.MAX_LINE` is the last, and `past`
    passes its rest over. Parquet or Arrow in a file of lines is refused as a whole, and so is CSV of which `forms.csv`
    says so.
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
        for row in csv_rows.read(file, forms.csv, offset, end, final):
            yield Frame(*row)
    elif suffix == ".txt" or suffix in forms.lines:
        for line, after in lines.read(file, offset, end, final):
            yield Frame(line.removesuffix(b"\r"), after, "text")
    else:
        for line, after in lines.read(file, offset, end, final):
            yield Frame(line, after, "json")


def past(file: BinaryIO, suffix: str, forms: FileForms, offset: int, end: int) -> tuple[int, bool]:
    """Where the next line begins behind one that was cut at `offset`, and True; or how far it was looked for, at most
    `lines.SCAN` bytes, and False. That a line was cut is seen from the bytes before `offset`: no position has to say
    it.
    """
    if suffix.endswith(GZIP) or suffix in (".parquet", ".arrow", *forms.parsers) or offset < lines.MAX_LINE:
        return offset, True
    if suffix == ".json" and not _has_objects_by_line(file):
        return offset, True
    return lines.past(file, offset, end)


def _unpacked(file: BinaryIO, suffix: str, forms: FileForms, offset: int) -> Iterator[Frame]:
    inside, cut_short = Unpacked(file), True
    opened = cast(BinaryIO, inside)
    while cut_short and offset < _ALL:
        cut_short = False
        for frame in frames(opened, suffix, forms, offset, _ALL, True):
            cut_short = frame.after - offset >= lines.MAX_LINE and suffix != ".json"
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
