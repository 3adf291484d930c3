"""Rows, one by one (`Row`) and as columns (`Batch`): what a wire makes of messages, the log carries and stage 1 takes.

Python needs a microsecond to touch a row and numpy ten nanoseconds to touch a number of it, so rows travel as columns
from the wire to the closed window. A domain's payload is a list of structs or a `Columns` of its own. What is
decoded from a topic is checked here: lengths agree, codes lie in their dictionary, numbers are finite and in range.
"""

from __future__ import annotations

import math
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


class Texts(NamedTuple):
    """A column of n texts, dictionary-coded: row i holds `values[code[i]]`."""

    values: list[str]
    code: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """The column of these texts; values in order of first appearance."""
        return cls(*coded(texts))

    @classmethod
    def among(cls, rows: Index, texts: Iterable[str], size: int) -> Texts:
        """A column of `size` texts: these at their rows, empty ones elsewhere."""
        values, code = cls.of(["", *texts])
        codes = np.zeros(size, dtype=np.int32)
        codes[rows] = code[1:]
        return cls(values, codes)

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """One column after the other."""
        table: dict[str, int] = {}
        codes = []
        for values, code in parts:
            places = np.array([table.setdefault(value, len(table)) for value in values], dtype=np.int32)
            codes.append(places[code])
        return cls(list(table), np.concatenate(codes))

    def take(self, index: Index) -> Texts:
        """The texts at these rows; values that none of them has are dropped."""
        return Texts(self.values, self.code[index]).compact()

    def compact(self) -> Texts:
        """The same without values that no row has."""
        used = np.zeros(len(self.values), dtype=bool)
        used[self.code] = True
        if used.all():
            return self
        places = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return Texts([self.values[n] for n in np.flatnonzero(used).tolist()], places[self.code])

    def ordered(self) -> Texts:
        """The same with its values in order, each once and in use: one form for one content."""
        here = self.compact()
        values = sorted(set(here.values))
        place = {value: n for n, value in enumerate(values)}
        places = np.array([place[value] for value in here.values], dtype=np.int32)
        return Texts(values, places[here.code])

    def tolist(self) -> list[str]:
        """The texts, row by row."""
        values = self.values
        return [values[n] for n in self.code.tolist()]


class Numbers(NamedTuple):
    """How a column of numbers is kept: its little-endian dtype and the range that all of it lies in."""

    dtype: str
    low: float = -math.inf
    high: float = math.inf


class Columns(msgspec.Struct, eq=False):
    """Payloads of n rows as columns. A domain's form of it lists them, in the order in which they are encoded:

    each field is `Texts` or `Annotated[NDArray[…], Numbers(…)]`, of n entries.
    """

    ROW: ClassVar[type]
    """The struct that says the same of one row."""

    @classmethod
    def of(cls, payloads: Sequence[Any]) -> Self:
        """The columns of these `ROW`s."""
        raise NotImplementedError

    def row(self, n: int, key: str) -> Any:
        """Row n, which has this key, as a `ROW`."""
        raise NotImplementedError

    def take(self, index: Index) -> Self:
        """The rows at these places, in this order."""
        return type(self)(*[_taken(getattr(self, name), index) for name in self.__struct_fields__])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one part after the other."""
        return cls(*[_joined([getattr(part, name) for part in parts]) for name in cls.__struct_fields__])

    def packed(self) -> list[Any]:
        """A value of msgpack for each column: little-endian numbers as bytes, texts as [values, bytes of the codes]."""
        return [_packed(getattr(self, name), kind) for name, kind in _kinds(type(self))]

    @classmethod
    def unpacked(cls, rows: int, packed: Sequence[Any]) -> Self:
        """The inverse of `packed` for n rows; ValueError names the column in which anything is wrong."""
        kinds = _kinds(cls)
        if len(packed) != len(kinds):
            raise ValueError(f"{len(kinds)} columns are right, got {len(packed)}")
        return cls(*[_unpacked(name, column, rows, kind) for (name, kind), column in zip(kinds, packed, strict=True)])

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


_CODES, _IDS = Numbers("<i4", 0), Numbers("<i8")
_TIMES = Numbers("<i8", -(1 << 62), 1 << 62)


class Batch(msgspec.Struct, Generic[P], eq=False):
    """n rows in order of arrival: columns of their keys, times (ns UTC), ids, and their payload."""

    key: Texts
    time: NDArray[np.int64]
    id: NDArray[np.int64]
    payload: Any
    """`list[P]`, or the `Columns` whose `ROW` is P."""

    @classmethod
    def of(cls, rows: Sequence[Row[P]], payload: type) -> Batch[P]:
        """The columns of these rows; `payload` is P or a `Columns`. OverflowError for a time or id beyond int64."""
        payloads = [row.payload for row in rows]
        return cls(
            Texts.of([row.key for row in rows]),
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

    def ordered(self) -> Batch[P]:
        """The same with the values of its texts in order: one form for one content, however it was put together."""
        return Batch(*[_ordered(getattr(self, name)) for name in self.__struct_fields__])

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
            raise ValueError(f"{rows} payloads are right, got {len(packed.payload)}")
        return cls(
            _unpacked("key", [packed.keys, packed.key], rows, None),
            _unpacked("time", packed.time, rows, _TIMES),
            _unpacked("id", packed.id, rows, _IDS),
            payload.unpacked(rows, packed.payload) if columnar else packed.payload,
        )

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
    table: _Table[V] = _Table()
    codes = np.fromiter(map(table.__getitem__, values), dtype=np.int32)
    return list(table), codes


class _Table(dict[V, int]):
    """Numbers its keys as they come."""

    def __missing__(self, key: V) -> int:
        found = self[key] = len(self)
        return found


def _packed(column: Any, kind: Numbers | None) -> Any:
    if kind is None:
        return [column.values, _packed(column.code, _CODES)]
    return column.astype(kind.dtype, copy=False).tobytes()


def _unpacked(name: str, packed: Any, rows: int, kind: Numbers | None) -> Any:
    if kind is not None:
        return _numbers(name, packed, rows, kind)
    if not (isinstance(packed, list | tuple) and len(packed) == 2 and isinstance(packed[0], list)):
        raise ValueError(f"{name}: a list of texts and their codes are right")
    values = packed[0]
    if not all(type(text) is str and len(text) <= MAX_TEXT for text in values):
        raise ValueError(f"{name}: texts of at most {MAX_TEXT} characters are right")
    return Texts(values, _numbers(name, packed[1], rows, _CODES._replace(high=len(values) - 1)))


def _numbers(name: str, packed: Any, rows: int, kind: Numbers) -> NDArray[Any]:
    if not isinstance(packed, bytes):
        raise ValueError(f"{name}: bytes are right, got {type(packed).__name__}")
    size = np.dtype(kind.dtype).itemsize
    if len(packed) != rows * size:
        raise ValueError(f"{name}: {rows} rows of {size} bytes are right, got {len(packed)} bytes")
    found = np.frombuffer(packed, dtype=kind.dtype)
    if rows:
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{name}: holds a number that is not finite")
        low, high = found.min().item(), found.max().item()
        if low < kind.low or high > kind.high:
            raise ValueError(f"{name}: {kind.low} to {kind.high} are right, got {low} to {high}")
    return found


@cache
def _kinds(columns: type[Columns]) -> list[tuple[str, Numbers | None]]:
    """(name, how it is kept; None for texts) of each column."""
    hints = get_type_hints(columns, include_extras=True)
    found = []
    for name in columns.__struct_fields__:
        kind = next((m for m in getattr(hints[name], "__metadata__", ()) if isinstance(m, Numbers)), None)
        if kind is None and hints[name] is not Texts:
            raise TypeError(f"{columns.__name__}.{name}: Texts or an array with its Numbers are right")
        found.append((name, kind))
    return found


def _taken(column: Any, index: Index) -> Any:
    if isinstance(column, list):
        return [column[n] for n in index.tolist()]
    return column[index] if isinstance(column, np.ndarray) else column.take(index)


def _ordered(column: Any) -> Any:
    return column.ordered() if isinstance(column, Texts | Columns) else column


def _joined(columns: Sequence[Any]) -> Any:
    first = columns[0]
    if isinstance(first, list):
        return [item for column in columns for item in column]
    return np.concatenate(columns) if isinstance(first, np.ndarray) else type(first).joined(columns)
