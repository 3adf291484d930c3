"""LIGO Light-Weight XML (LIGO-T990023) read: a table of it as an Arrow table.

Identifiers are `int_8s` today; older files have them as `ilwd:char` texts ("process:process_id:0"), which are read as
the number at their end. A file may come from anywhere: no entity is ever expanded, no DTD fetched, and what it holds
unpacked is bounded.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

import pyarrow as pa

MOST_BYTES, MOST_VALUES = 256 << 20, 20_000_000
"""Of a file, unpacked, and of a table."""
_CHUNK = 1 << 16
_DEEPEST = 32
_READ: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("int_2s", "int_2u", "int_4s", "int_4u", "int_8s", "int_8u", "int"), pa.int64()),
    **dict.fromkeys(("real_4", "real_8", "float", "double"), pa.float64()),
    **dict.fromkeys(("lstring", "string", "char_s", "char_v"), pa.string()),
    **dict.fromkeys(("ilwd:char", "ilwd:char_u"), pa.int64()),
}


def read_table(source: Path | bytes, name: str, *, most_bytes: int = MOST_BYTES) -> pa.Table:
    """The table of this name (its parts joined, where it comes several times), packed by gzip or not.

    Integers and identifiers become int64, reals float64; columns of types that tables of triggers do not hold are
    left out. Raises ValueError for what is no LIGO_LW, has no such table, defines entities, or is larger than
    `most_bytes`.
    """
    with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        reader = _TableReader(name)
        parser = expat.ParserCreate(namespace_separator=None)
        parser.buffer_text = True
        parser.StartElementHandler = reader.start
        parser.EndElementHandler = reader.end
        parser.CharacterDataHandler = reader.text
        parser.EntityDeclHandler = _no_entities
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        try:
            for chunk in _unpacked(file, most_bytes):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            raise ValueError(f"expected LIGO_LW XML, got {error}") from None
    return reader.table()


def tokens(text: str, delimiter: str = ",") -> list[str | None]:
    """What stands in a stream: texts with their quotes gone, None for a blank.

    >>> tokens(' "a, \\\\"b\\\\"",, 1.5\\n')
    ['a, "b"', None, '1.5']
    """
    end_of = re.escape(delimiter)
    pattern = re.compile(rf'\s*+(?:"((?:[^"\\]++|\\.)*+)"\s*+|([^"{end_of}]*+))({end_of}|\Z)', re.S)
    found: list[str | None] = []
    at = 0
    while True:
        match = pattern.match(text, at)
        if match is None:
            raise ValueError(f"character {at}: expected a value and {delimiter!r}, got {text[at : at + 40]!r}")
        quoted, bare, end = match.groups()
        found.append((bare.strip() or None) if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
        if not end:
            return found
        at = match.end()


class _TableReader:
    """Collects the columns and the text of all tables of one name; passes over the rest."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = 0
        self._inside = self._streaming = False
        self._seen: list[str] = []
        self._columns: list[tuple[str, str]] = []
        self._text: list[str] = []
        self._delimiter = ","
        self._parts: list[pa.Table] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and tag != "LIGO_LW":
            raise ValueError(f"expected LIGO_LW, got an element {tag[:100]}")
        if self._depth > _DEEPEST:
            raise ValueError(f"expected at most {_DEEPEST} elements in one another")
        if tag == "Table":
            name = attributes.get("Name", "").removesuffix(":table").rpartition(":")[2]
            self._seen = [*self._seen, name][:20]
            self._inside, self._columns, self._text = name == self._name, [], []
        elif tag == "Column" and self._inside:
            self._columns.append((attributes.get("Name", "").rpartition(":")[2], attributes.get("Type", "")))
        elif tag == "Stream" and self._inside:
            self._streaming, self._delimiter = True, attributes.get("Delimiter", ",") or ","
            if len(self._delimiter) > 1 or self._delimiter in '"\\' or self._delimiter.isspace():
                raise ValueError(
                    f"table {self._name}: expected one character as delimiter, got {self._delimiter[:20]!r}"
                )

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "Stream":
            self._streaming = False
        elif tag == "Table" and self._inside:
            self._inside = False
            try:
                self._parts.append(self._part())
            except ValueError as error:
                raise ValueError(f"table {self._name}: {error}") from None

    def text(self, text: str) -> None:
        if self._streaming:
            self._text.append(text)

    def table(self) -> pa.Table:
        if not self._parts:
            raise ValueError(f"expected a table {self._name}, got {', '.join(self._seen) or 'none'}")
        return pa.concat_tables(self._parts, promote_options="default")

    def _part(self) -> pa.Table:
        width = len(self._columns)
        names = [name for name, _ in self._columns]
        if len(set(names)) < width:
            raise ValueError("expected each column once")
        text = "".join(self._text)
        if text.count(self._delimiter) > MOST_VALUES:
            raise ValueError(f"expected at most {MOST_VALUES} values, got more")
        found = tokens(text, self._delimiter)
        if found[-1] is None and (len(found) == 1 or len(found) % max(width, 1) == 1 or width == 1):
            found.pop()  # a delimiter may stand behind the last value too
        if found and (not width or len(found) % width):
            raise ValueError(f"expected rows of {width} values, got {len(found)} values")
        kinds = [(at, name, kind) for at, (name, kind) in enumerate(self._columns) if kind in _READ]
        return pa.table({name: _column(name, kind, found[at::width]) for at, name, kind in kinds})


def _column(name: str, kind: str, values: list[str | None]) -> pa.Array:
    try:
        return pa.array([None if v is None else _VALUE[kind](v) for v in values], _READ[kind])
    except (ValueError, OverflowError, pa.ArrowInvalid) as error:
        raise ValueError(f"column {name[:100]}: expected {kind}, got {str(error)[:200]}") from None


def _identifier(text: str) -> int:
    return int(text.rpartition(":")[2])


_VALUE: Mapping[str, Callable[[str], object]] = {
    kind: _identifier if kind.startswith("ilwd") else {pa.int64(): int, pa.float64(): float, pa.string(): str}[of]
    for kind, of in _READ.items()
}


def _unpacked(file: BinaryIO, most: int) -> Iterator[bytes]:
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    opened = gzip.GzipFile(fileobj=file) if packed else file
    total = 0
    while chunk := opened.read(_CHUNK):
        total += len(chunk)
        if total > most:
            raise ValueError(f"expected at most {most} bytes, got more")
        yield chunk


def _no_entities(name: str, *_: object) -> None:
    raise ValueError(f"expected no entities, got {name[:100]}")
