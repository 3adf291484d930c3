"""One column of rows: texts, numbers, or arrays of numbers, and its checked encoding.

What is decoded from a topic is checked here: lengths agree, codes lie in their dictionary, numbers are finite and in
range.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

V = TypeVar("V")
Index = NDArray[np.intp]
MAX_TEXT = 1 << 16
"""Characters of one text in a column."""


class TextColumn(NamedTuple):
    """A column of n texts, dictionary-coded: row i holds `values[code[i]]`."""

    values: list[str]
    code: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Iterable[str]) -> TextColumn:
        """The column of these texts; values in order of first appearance.

        >>> TextColumn.of(["b", "a", "b"]).values
        ['b', 'a']
        """
        return cls(*coded(texts))

    @classmethod
    def among(cls, rows: Index, texts: Iterable[str], size: int) -> TextColumn:
        """A column of `size` texts: these at their rows, empty ones elsewhere."""
        values, code = cls.of(["", *texts])
        codes = np.zeros(size, dtype=np.int32)
        codes[rows] = code[1:]
        return cls(values, codes)

    @classmethod
    def joined(cls, parts: Sequence[TextColumn]) -> TextColumn:
        """One column after the other."""
        values, place = coded(itertools.chain.from_iterable(part.values for part in parts))
        bounds = itertools.accumulate((len(part.values) for part in parts), initial=0)
        codes = [place[begin:][part.code] for begin, part in zip(bounds, parts, strict=False)]
        return cls(values, np.concatenate(codes))

    def take(self, index: Index) -> TextColumn:
        """The texts at these rows; values that none of them has are dropped."""
        return TextColumn(self.values, self.code[index]).compact()

    def cut(self, begin: int, end: int) -> TextColumn:
        """The texts of rows [begin, end); values that none of them has are dropped."""
        return TextColumn(self.values, self.code[begin:end]).compact()

    def compact(self) -> TextColumn:
        """The same without values that no row has."""
        if 8 * len(self.code) < len(self.values):
            kept, code = np.unique(self.code, return_inverse=True)
            return TextColumn(list(map(self.values.__getitem__, kept.tolist())), code.astype(np.int32).reshape(-1))
        used = np.zeros(len(self.values), dtype=bool)
        used[self.code] = True
        if used.all():
            return self
        places = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return TextColumn(list(map(self.values.__getitem__, np.flatnonzero(used).tolist())), places[self.code])

    def ordered(self) -> TextColumn:
        """The same with its values in order, each once and in use: one form for one content."""
        here = self.compact()
        if all(map(operator.lt, here.values, here.values[1:])):
            return here
        values = sorted(set(here.values))
        place = {value: n for n, value in enumerate(values)}
        places = np.array([place[value] for value in here.values], dtype=np.int32)
        return TextColumn(values, places[here.code])

    def tolist(self) -> list[str]:
        """The texts, row by row."""
        values = self.values
        return [values[n] for n in self.code.tolist()]


class Arrays(NamedTuple):
    """A column of n one-dimensional arrays, each of its own length: row i holds `values[start[i] : start[i + 1]]`.

    >>> column = Arrays.of([[1.0, 2.0], [3.0]], "<f4")
    >>> column.at(0).tolist(), column.sizes.tolist()
    ([1.0, 2.0], [2, 1])
    """

    values: NDArray[Any]
    """(all entries,) one row after the other."""
    start: NDArray[np.int64]
    """(n + 1,), from 0 to `len(values)`."""

    @classmethod
    def of(cls, arrays: Sequence[Any], dtype: str) -> Arrays:
        """The column of these arrays or lists of numbers."""
        parts = [np.asarray(array, dtype=dtype).reshape(-1) for array in arrays]
        start = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=start[1:])
        return cls(np.concatenate(parts) if parts else np.empty(0, dtype=dtype), start)

    @classmethod
    def joined(cls, parts: Sequence[Arrays]) -> Arrays:
        """One column after the other."""
        sizes = np.concatenate([part.sizes for part in parts])
        return cls(np.concatenate([part.values for part in parts]), _starts(sizes))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) entries of each row."""
        return np.diff(self.start)

    def at(self, n: int) -> NDArray[Any]:
        """The entries of row n, a view."""
        return self.values[self.start[n] : self.start[n + 1]]

    def table(self) -> NDArray[Any] | None:
        """(n, size) view of all rows where each has the same size; None where they differ."""
        rows = len(self.start) - 1
        size = len(self.values) // rows if rows else 0
        return self.values.reshape(rows, size) if np.array_equal(self.start, np.arange(rows + 1) * size) else None

    def take(self, index: Index) -> Arrays:
        """The rows at these places."""
        table = self.table()
        if table is not None:
            return Arrays(table[index].reshape(-1), np.arange(len(index) + 1) * table.shape[1])
        if not len(index):
            return Arrays(self.values[:0], np.zeros(1, dtype=np.int64))
        begin, end = self.start[index], self.start[index + 1]
        # neighbours that stay neighbours are copied in one go
        first = np.ones(len(index), dtype=bool)
        first[1:] = begin[1:] != end[:-1]
        runs = np.flatnonzero(first)
        spans = zip(begin[runs].tolist(), end[np.r_[runs[1:], len(index)] - 1].tolist(), strict=True)
        parts = [self.values[a:b] for a, b in spans]
        return Arrays(np.concatenate(parts), _starts(end - begin))

    def cut(self, begin: int, end: int) -> Arrays:
        """Rows [begin, end), a view."""
        start = self.start[begin : end + 1]
        return Arrays(self.values[start[0] : start[-1]], start - start[0])

    def tolist(self) -> list[list[Any]]:
        """The rows as lists of plain numbers."""
        return [self.at(n).tolist() for n in range(len(self.start) - 1)]


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    start = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=start[1:])
    return start


class Numbers(NamedTuple):
    """How a column of numbers, or of arrays of them, is kept: its little-endian dtype and what all of it keeps to."""

    dtype: str
    low: float = -math.inf
    high: float = math.inf
    most: int = 1 << 24
    """Entries of one row at most; of `Arrays`."""
    finite: bool = True
    """Whether NaN and infinities are refused; where they are not, `low` and `high` bind the finite numbers only."""


CODES, SIZES = Numbers("<i4", 0), Numbers("<i4", 0)
"""How the codes of a text column and the sizes of a column of arrays are kept."""


def coded(values: Iterable[V]) -> tuple[list[V], NDArray[np.int32]]:
    """(distinct values in order of first appearance, (n,) the place of each value among them)."""
    place: defaultdict[V, int] = defaultdict(itertools.count().__next__)
    codes = np.fromiter(map(place.__getitem__, values), dtype=np.int32)
    return list(place), codes


def column_of(values: list[Any], form: type, kind: Numbers | None) -> Any:
    """The column of these values; `form` is `TextColumn`, `Arrays` or `ndarray`, and only texts have no `kind`."""
    if kind is None:
        return TextColumn.of(values)
    return Arrays.of(values, kind.dtype) if form is Arrays else np.array(values, dtype=kind.dtype)


def none_of(rows: int, form: type, kind: Numbers | None) -> Any:
    """A column of so many empty texts, empty arrays or zeros."""
    return column_of([[] if form is Arrays else "" if kind is None else 0] * rows, form, kind)


def entry(column: Any, n: int) -> Any:
    """Row n of a column as plain data."""
    if isinstance(column, TextColumn):
        return column.values[column.code[n]]
    return column.at(n).tolist() if isinstance(column, Arrays) else column[n].item()


def weights(column: Any, kind: Numbers | None) -> NDArray[Any]:
    """(n,) bytes that each row takes encoded, at most."""
    if isinstance(column, TextColumn):
        sizes = np.fromiter(map(len, column.values), dtype=np.int64, count=len(column.values))
        widest = 1 if "".join(column.values).isascii() else 4  # bytes of a character in UTF-8
        return (sizes * widest)[column.code] + 9
    assert kind is not None
    size = np.dtype(kind.dtype).itemsize
    return column.sizes * size + 4 if isinstance(column, Arrays) else np.full(len(column), size)


def packed(column: Any, kind: Numbers | None) -> Any:
    """The column as msgpack keeps it: see `Columns.packed`."""
    if isinstance(column, TextColumn):
        return [column.values, packed(column.code, CODES)]
    assert kind is not None
    if isinstance(column, Arrays):
        values = np.ascontiguousarray(column.values, dtype=kind.dtype)
        return [packed(column.sizes, SIZES), values.data.cast("B") if len(values) else b""]
    return column.astype(kind.dtype, copy=False).tobytes()


def unpacked(name: str, packed: Any, rows: int, form: type, kind: Numbers | None) -> Any:
    """The inverse of `packed` for so many rows; ValueError says what is wrong, with the column's name."""
    if form is np.ndarray and kind is not None:
        return _numbers(name, packed, rows, kind)
    if not (isinstance(packed, list | tuple) and len(packed) == 2):
        raise ValueError(f"{name}: expected two parts, got {type(packed).__name__}")
    if form is Arrays and kind is not None:
        sizes = _numbers(f"{name}: sizes", packed[0], rows, SIZES._replace(high=kind.most)).astype(np.int64)
        return Arrays(_numbers(name, packed[1], int(sizes.sum()), kind), _starts(sizes))
    values = packed[0]
    if not isinstance(values, list) or not all(type(text) is str and len(text) <= MAX_TEXT for text in values):
        raise ValueError(f"{name}: expected texts of at most {MAX_TEXT} characters")
    return TextColumn(values, _numbers(name, packed[1], rows, CODES._replace(high=len(values) - 1)))


def _numbers(name: str, packed: Any, rows: int, kind: Numbers) -> NDArray[Any]:
    if not isinstance(packed, bytes | memoryview):
        raise ValueError(f"{name}: expected bytes, got {type(packed).__name__}")
    size = np.dtype(kind.dtype).itemsize
    if len(packed) != rows * size:
        raise ValueError(f"{name}: expected {rows} numbers of {size} bytes, got {len(packed)} bytes")
    found = np.frombuffer(packed, dtype=kind.dtype)
    checked = found
    if found.dtype.kind == "f":
        finite = np.isfinite(found)
        if kind.finite and not finite.all():
            raise ValueError(f"{name}: expected finite numbers, got {found[~finite][0]}")
        checked = found if kind.finite else found[finite]
    if len(checked) and (kind.low, kind.high) != (-math.inf, math.inf):
        low, high = checked.min().item(), checked.max().item()
        if low < kind.low or high > kind.high:
            raise ValueError(f"{name}: expected {kind.low} to {kind.high}, got {low} to {high}")
    return found


def taken(column: Any, index: Index) -> Any:
    """The rows of a column, of a list or of `Columns` at these places."""
    if isinstance(column, list):
        return [column[n] for n in index.tolist()]
    return column[index] if isinstance(column, np.ndarray) else column.take(index)


def cut(column: Any, begin: int, end: int) -> Any:
    """Rows [begin, end) of a column, of a list or of `Columns`."""
    return column[begin:end] if isinstance(column, list | np.ndarray) else column.cut(begin, end)


def joined(columns: Sequence[Any]) -> Any:
    """Columns, lists or `Columns` of one form (at least one), one after the other."""
    first = columns[0]
    if isinstance(first, list):
        return [item for column in columns for item in column]
    return np.concatenate(columns) if isinstance(first, np.ndarray) else type(first).joined(columns)
