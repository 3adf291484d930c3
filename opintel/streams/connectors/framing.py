"""How a file becomes messages: lines, CSV rows, or the file as one. Bytes in, (body, offset after it) out.

`opintel.streams.connectors.files` calls `frames` with a place in a file. What comes out depends on the bytes before
`end` and on the place alone; memory stays bounded whatever the file holds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from opintel.streams.connectors import MAX_BODY, cut

FORMS = {".jsonl": "json", ".json": "json", ".csv": "text", ".txt": "text"}
"""Suffix → form of its messages."""
MAX_DOCUMENT = 64 << 20
"""Bytes of a `.json` file, which is one message."""
_COLUMNS = ("message", "content")
_BOM = b"\xef\xbb\xbf"


def frames(file: BinaryIO, suffix: str, offset: int, end: int, final: bool) -> Iterator[tuple[bytes, int]]:
    """The messages between `offset` and `end` bytes, each with the offset at which the next one starts.

    `.jsonl`: every line, whatever it holds; `.txt`: every line; `.csv`: see `_rows`; `.json`: the whole file, again
    when it has grown. Unless `final`, a last line without its newline is not complete and waits. Lines above MAX_BODY
    are cut.
    """
    if suffix == ".json":
        if end != offset:
            yield cut(file.read(min(end, MAX_DOCUMENT + 1)), MAX_DOCUMENT), end
    elif suffix == ".csv":
        yield from _rows(file, offset, end, final)
    elif suffix == ".txt":
        for line, after in _lines(file, offset, end, final):
            yield line.removesuffix(b"\r"), after
    else:
        yield from _lines(file, offset, end, final)


def _lines(file: BinaryIO, offset: int, end: int, final: bool) -> Iterator[tuple[bytes, int]]:
    """Lines without their newline; a longer one than MAX_BODY is cut, its rest read in pieces and thrown away."""
    file.seek(offset)
    while offset < end:
        line = file.readline(min(MAX_BODY + 1, end - offset))
        after, complete = offset + len(line), line.endswith(b"\n")
        if not line:
            return
        while not complete and after < end:
            piece = file.readline(min(MAX_BODY, end - after))
            if not piece:
                return
            after, complete = after + len(piece), piece.endswith(b"\n")
        if not complete and not final:
            return
        yield cut(line.removesuffix(b"\n")), after
        offset = after


def _rows(file: BinaryIO, offset: int, end: int, final: bool) -> Iterator[tuple[bytes, int]]:
    """One text a CSV row: its column `message` or `content`, else the first. The first row is the header.

    A row that is no CSV (a quote that is not closed within MAX_BODY bytes or the file, an oversized field) is the text
    of its first line as it stands; the next line starts afresh. Blank lines are no rows.
    """
    header = next(_records(file, 0, end, final), None)
    if header is None:
        return
    names, start = header
    known = [] if isinstance(names, str) else [name.strip().lower() for name in names]
    column = next((known.index(name) for name in _COLUMNS if name in known), 0)
    for cells, after in _records(file, max(offset, start), end, final):
        if cells:
            text = cells if isinstance(cells, str) else cells[column] if column < len(cells) else ""
            yield cut(text.encode("utf-8", "surrogateescape")), after


def _records(file: BinaryIO, offset: int, end: int, final: bool) -> Iterator[tuple[list[str] | str, int]]:
    """The cells of each record, or the first line of a broken one."""
    while True:
        feed = _Feed(file, offset, end, final)
        reader = csv.reader(feed)
        while True:
            feed.begin = offset
            try:
                cells = next(reader, None)
                broken = feed.ended
            except csv.Error:
                cells, broken = [], True
            if cells is None:
                return
            if broken:
                break
            offset = feed.offset
            yield cells, offset
        if feed.ended and not feed.overlong and not final:
            return
        line, offset = next(_lines(file, offset, end, final))
        yield _text(line).removesuffix("\r"), offset


class _Feed:
    """Lines for one `csv.reader`, which takes just those of the record that it is reading."""

    def __init__(self, file: BinaryIO, offset: int, end: int, final: bool) -> None:
        self._lines = _lines(file, offset, end, final)
        self.offset = offset
        self.begin = offset
        """Where the record starts that is being read."""
        self.ended = False
        """No line was left for the record that is being read."""
        self.overlong = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.overlong = self.offset - self.begin > MAX_BODY
        line, after = (b"", 0) if self.overlong else next(self._lines, (b"", 0))
        if not after:
            self.ended = True
            raise StopIteration
        if self.offset == 0:
            line = line.removeprefix(_BOM)
        self.offset = after
        return _text(line) + "\n"


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")
