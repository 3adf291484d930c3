"""Rows, one by one (`Row`) and as columns (`Batch`): what a wire makes of messages, the log carries and stage 1 takes.

Python needs a microsecond to touch a row and numpy ten nanoseconds to touch a number of it, so rows travel as columns
from the wire to the closed window. A domain's payload is a list of structs or a `Columns` of its own. What is
decoded from a topic is checked here: lengths agree, codes lie in their dictionary, numbers are finite and in range.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.finding import Int64, Label, Time

P = TypeVar("P")
V = TypeVar("V")
Index = NDArray[np.intp]
MAX_TEXT = 1 << 16
"""Characters of one text in a column."""


class Row(msgspec.Struct, Generic[P], array_like=True, gc=False):
    """One decoded message: `key` decides its shard, `time` (event time, ns UTC) its window, `id` whether it is new.

    `id` is a 64-bit hash of the natural key: see `opintel.ids`.
    """

    key: Label
    time: Time
    id: Int64
    payload: P


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


class Columns(msgspec.Struct, eq=False):
    """Payloads of n rows as columns. A domain's form of it lists them, in the order in which they are encoded: each is
    `TextColumn`, `Annotated[NDArray[…], Numbers(…)]` or `Annotated[Arrays, Numbers(…)]`, of n entries.

    >>> from opintel.health.samples import Sample, Samples
    >>> Samples.of([Sample(1.5, False), Sample(2.5, False)]).value.tolist()
    [1.5, 2.5]
    """

    ROW: ClassVar[type[msgspec.Struct]]
    """The struct that says the same of one row, its fields named alike: str, int, float, bool, lists of numbers."""

    @classmethod
    def of(cls, payloads: Sequence[Any]) -> Self:
        """The columns of these `ROW`s."""
        return cls(*[_column([getattr(p, name) for p in payloads], form, kind) for name, form, kind in _kinds(cls)])

    def row(self, n: int, key: str) -> Any:
        """Row n, which has this key, as a `ROW`: plain data."""
        plain = {name: _entry(getattr(self, name), n) for name in self.__struct_fields__}
        return self.ROW(**{name: bool(value) if name in _flags(self.ROW) else value for name, value in plain.items()})

    def take(self, index: Index) -> Self:
        """The rows at these places, in this order."""
        return type(self)(*[_taken(getattr(self, name), index) for name in self.__struct_fields__])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one part after the other."""
        return cls(*[_joined([getattr(part, name) for part in parts]) for name in cls.__struct_fields__])

    def cut(self, begin: int, end: int) -> Self:
        """Rows [begin, end); numbers are views."""
        return type(self)(*[_cut(getattr(self, name), begin, end) for name in self.__struct_fields__])

    def weights(self) -> NDArray[np.int64]:
        """(n,) bytes that each row takes encoded, at most: a text counts in each row that has it."""
        rows = [_weights(getattr(self, name), kind) for name, _, kind in _kinds(type(self))]
        total: NDArray[np.int64] = np.sum(rows, axis=0, dtype=np.int64)
        return total

    def packed(self) -> list[Any]:
        """A value of msgpack for each column: little-endian numbers as bytes, texts as [values, bytes of the codes],
        arrays as [bytes of the sizes, bytes of the numbers].
        """
        return [_packed(getattr(self, name), kind) for name, _, kind in _kinds(type(self))]

    @classmethod
    def unpacked(cls, rows: int, packed: Sequence[Any]) -> Self:
        """The inverse of `packed` for n rows; ValueError names the column in which anything is wrong."""
        kinds = _kinds(cls)
        if len(packed) != len(kinds):
            raise ValueError(f"expected {len(kinds)} columns, got {len(packed)}")
        pairs = zip(kinds, packed, strict=True)
        return cls(*[_unpacked(name, column, rows, form, kind) for (name, form, kind), column in pairs])

    def ordered(self) -> Self:
        """The same with the values of its texts in order."""
        return type(self)(*[_ordered(getattr(self, name)) for name in self.__struct_fields__])


class Packed(msgspec.Struct, Generic[P], array_like=True):
    """A `Batch` as msgpack keeps it, not yet checked."""

    keys: list[Label]
    key: bytes
    time: bytes
    id: bytes
    payload: list[P]
    """Payloads, or columns."""


_CODES, _SIZES, _IDS = Numbers("<i4", 0), Numbers("<i4", 0), Numbers("<i8")
_TIMES = Numbers("<i8", -(1 << 62), 1 << 62)


class Batch(msgspec.Struct, Generic[P], eq=False):
    """n rows in order of arrival: columns of their keys, times (ns UTC), ids, and their payload."""

    key: TextColumn
    time: NDArray[np.int64]
    id: NDArray[np.int64]
    payload: Any
    """`list[P]`, or the `Columns` whose `ROW` is P."""

    @classmethod
    def of(cls, rows: Sequence[Row[P]], payload: type) -> Batch[P]:
        """The columns of these rows; `payload` is P or a `Columns`. OverflowError for a time or id beyond int64."""
        payloads = [row.payload for row in rows]
        return cls(
            TextColumn.of([row.key for row in rows]),
            np.array([row.time for row in rows], dtype=np.int64),
            np.array([row.id for row in rows], dtype=np.int64),
            payload.of(payloads) if issubclass(payload, Columns) else payloads,
        )

    @classmethod
    def joined(cls, parts: Sequence[Batch[P]]) -> Batch[P]:
        """The rows of all parts (at least one), one part after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*[_joined([getattr(part, name) for part in parts]) for name in cls.__struct_fields__])

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: Index) -> Batch[P]:
        """The rows at these places, in this order; keys that none of them has are dropped."""
        return Batch(*[_taken(getattr(self, name), index) for name in self.__struct_fields__])

    def cut(self, begin: int, end: int) -> Batch[P]:
        """Rows [begin, end); numbers are views."""
        return Batch(*[_cut(getattr(self, name), begin, end) for name in self.__struct_fields__])

    def ordered(self) -> Batch[P]:
        """The same with the values of its texts in order: one form for one content, however it was put together."""
        return Batch(*[_ordered(getattr(self, name)) for name in self.__struct_fields__])

    def by_key(self) -> Batch[P]:
        """The rows sorted by (key, time, id), `key.values` in order, so that `key.code` never falls."""
        key = self.key.ordered()
        same, later = key.code[1:] == key.code[:-1], self.time[1:] > self.time[:-1]
        next_id = (self.time[1:] == self.time[:-1]) & (self.id[1:] >= self.id[:-1])
        rows = Batch[P](key, self.time, self.id, self.payload)
        if ((key.code[1:] > key.code[:-1]) | (same & (later | next_id))).all():
            return rows
        return rows.take(np.lexsort((self.id, self.time, key.code)))

    def spans(self) -> Iterator[tuple[str, int, int]]:
        """(key, its first row, one past its last) of rows that are sorted by key.

        >>> list(Batch.of([Row("a", 1, 1, 0), Row("a", 2, 2, 0), Row("b", 1, 3, 0)], int).spans())
        [('a', 0, 2), ('b', 2, 3)]
        """
        bounds = np.searchsorted(self.key.code, np.arange(len(self.key.values) + 1)).tolist()
        yield from zip(self.key.values, bounds, bounds[1:], strict=False)

    def weights(self) -> NDArray[np.int64]:
        """(n,) bytes that each row takes encoded, at most."""
        if isinstance(self.payload, Columns):
            payload = self.payload.weights()
        else:
            sizes = [len(msgspec.msgpack.encode(one)) for one in self.payload]
            payload = np.array(sizes, dtype=np.int64)
        total: NDArray[np.int64] = payload + _weights(self.key, None) + 16
        return total

    def packed(self) -> Packed[Any]:
        """As msgpack keeps it."""
        payload = self.payload.packed() if isinstance(self.payload, Columns) else self.payload
        times, ids = _packed(self.time, _TIMES), _packed(self.id, _IDS)
        return Packed(self.key.values, _packed(self.key.code, _CODES), times, ids, payload)

    @classmethod
    def unpacked(cls, packed: Packed[Any], payload: Any) -> Batch[Any]:
        """The inverse of `packed`; `payload` is P or a `Columns`. ValueError says what is wrong with it."""
        rows = len(packed.time) // 8
        columnar = isinstance(payload, type) and issubclass(payload, Columns)
        if not columnar and len(packed.payload) != rows:
            raise ValueError(f"expected {rows} payloads, got {len(packed.payload)}")
        return cls(
            _unpacked("key", [packed.keys, packed.key], rows, TextColumn, None),
            _unpacked("time", packed.time, rows, np.ndarray, _TIMES),
            _unpacked("id", packed.id, rows, np.ndarray, _IDS),
            payload.unpacked(rows, packed.payload) if columnar else packed.payload,
        )

    def plain(self) -> Any:
        """The rows as plain data, as a state keeps them: the same for the same rows, however they were put together."""
        return msgspec.to_builtins(self.ordered().packed(), builtin_types=(bytes, memoryview))

    @classmethod
    def from_plain(cls, plain: Any, payload: Any) -> Batch[Any]:
        """The inverse of `plain`."""
        columnar = isinstance(payload, type) and issubclass(payload, Columns)
        return cls.unpacked(msgspec.convert(plain, Packed[Any if columnar else payload]), payload)  # type: ignore[misc]

    def row(self, n: int) -> Row[P]:
        """Row n by itself."""
        key, payload = self.key.values[self.key.code[n]], self.payload
        one = payload.row(n, key) if isinstance(payload, Columns) else payload[n]
        return Row(key, int(self.time[n]), int(self.id[n]), one)

    def rows(self) -> Iterator[Row[P]]:
        """The rows, one by one: for a payload that is a list; row-wise work on `Columns` is slow."""
        return map(self.row, range(len(self)))


def coded(values: Iterable[V]) -> tuple[list[V], NDArray[np.int32]]:
    """(distinct values in order of first appearance, (n,) the place of each value among them)."""
    every = list(values)
    distinct = list(dict.fromkeys(every))
    table = dict(zip(distinct, range(len(distinct)), strict=True))
    return distinct, np.fromiter(map(table.__getitem__, every), dtype=np.int32, count=len(every))


def _column(values: list[Any], form: type, kind: Numbers | None) -> Any:
    if kind is None:
        return TextColumn.of(values)
    return Arrays.of(values, kind.dtype) if form is Arrays else np.array(values, dtype=kind.dtype)


def _entry(column: Any, n: int) -> Any:
    """Row n of a column as plain data."""
    if isinstance(column, TextColumn):
        return column.values[column.code[n]]
    return column.at(n).tolist() if isinstance(column, Arrays) else column[n].item()


@cache
def _flags(row: type[msgspec.Struct]) -> frozenset[str]:
    """The fields of a `ROW` that are true or false."""
    return frozenset(name for name, kind in get_type_hints(row).items() if kind is bool)


def _weights(column: Any, kind: Numbers | None) -> NDArray[Any]:
    if isinstance(column, TextColumn):
        sizes = np.fromiter(map(len, column.values), dtype=np.int64, count=len(column.values))
        widest = 1 if "".join(column.values).isascii() else 4  # bytes of a character in UTF-8
        return (sizes * widest)[column.code] + 9
    assert kind is not None
    size = np.dtype(kind.dtype).itemsize
    return column.sizes * size + 4 if isinstance(column, Arrays) else np.full(len(column), size)


def _packed(column: Any, kind: Numbers | None) -> Any:
    if isinstance(column, TextColumn):
        return [column.values, _packed(column.code, _CODES)]
    assert kind is not None
    if isinstance(column, Arrays):
        values = np.ascontiguousarray(column.values, dtype=kind.dtype)
        return [_packed(column.sizes, _SIZES), values.data.cast("B") if len(values) else b""]
    return column.astype(kind.dtype, copy=False).tobytes()


def _unpacked(name: str, packed: Any, rows: int, form: type, kind: Numbers | None) -> Any:
    if form is np.ndarray and kind is not None:
        return _numbers(name, packed, rows, kind)
    if not (isinstance(packed, list | tuple) and len(packed) == 2):
        raise ValueError(f"{name}: expected two parts, got {type(packed).__name__}")
    if form is Arrays and kind is not None:
        sizes = _numbers(f"{name}: sizes", packed[0], rows, _SIZES._replace(high=kind.most)).astype(np.int64)
        return Arrays(_numbers(name, packed[1], int(sizes.sum()), kind), _starts(sizes))
    values = packed[0]
    if not isinstance(values, list) or not all(type(text) is str and len(text) <= MAX_TEXT for text in values):
        raise ValueError(f"{name}: expected texts of at most {MAX_TEXT} characters")
    return TextColumn(values, _numbers(name, packed[1], rows, _CODES._replace(high=len(values) - 1)))


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


@cache
def _kinds(columns: type[Columns]) -> list[tuple[str, type, Numbers | None]]:
    """(name, TextColumn, Arrays or ndarray, how its numbers are kept; None for texts) of each column."""
    hints = get_type_hints(columns, include_extras=True)
    found: list[tuple[str, type, Numbers | None]] = []
    for name in columns.__struct_fields__:
        hint = hints[name]
        kind = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Numbers)), None)
        if kind is None and hint is not TextColumn:
            raise TypeError(
                f"{columns.__name__}.{name}: expected TextColumn, or an array or Arrays annotated with Numbers"
            )
        form = TextColumn if kind is None else Arrays if hint.__origin__ is Arrays else np.ndarray
        found.append((name, form, kind))
    return found


def _taken(column: Any, index: Index) -> Any:
    if isinstance(column, list):
        return [column[n] for n in index.tolist()]
    return column[index] if isinstance(column, np.ndarray) else column.take(index)


def _cut(column: Any, begin: int, end: int) -> Any:
    return column[begin:end] if isinstance(column, list | np.ndarray) else column.cut(begin, end)


def _ordered(column: Any) -> Any:
    return column.ordered() if isinstance(column, TextColumn | Columns) else column


def _joined(columns: Sequence[Any]) -> Any:
    first = columns[0]
    if isinstance(first, list):
        return [item for column in columns for item in column]
    return np.concatenate(columns) if isinstance(first, np.ndarray) else type(first).joined(columns)
