"""Rows, one by one (`Row`) and as columns (`Batch`): what a wire makes of messages, the log carries and stage 1 takes.

Python needs a microsecond to touch a row and numpy ten nanoseconds to touch a number of it, so rows travel as columns
(`opintel.columns`) from the wire to the closed window. A domain's payload is a list of structs or a `Columns` of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, Generic, Self, TypeVar, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel import columns
from opintel.columns import Arrays, Index, Numbers, TextColumn, coded
from opintel.finding import Int64, Label, Time

__all__ = ["Arrays", "Batch", "Columns", "Index", "Numbers", "Packed", "Row", "TextColumn", "coded"]

P = TypeVar("P")


class Row(msgspec.Struct, Generic[P], array_like=True, gc=False):
    """One decoded message: `key` decides its shard, `time` (event time, ns UTC) its window, `id` whether it is new.

    `id` is a 64-bit hash of the natural key: see `opintel.ids`.
    """

    key: Label
    time: Time
    id: Int64
    payload: P


class Columns(msgspec.Struct, eq=False):
    """Payloads of n rows as columns. A domain's form of it lists them, in the order in which they are encoded: each is
    `TextColumn`, `Annotated[NDArray[…], Numbers(…)]` or `Annotated[Arrays, Numbers(…)]`, of n entries.

    >>> from opintel.health.samples import Sample, Samples
    >>> Samples.of([Sample(1.5, False), Sample(2.5, False)]).value.tolist()
    [1.5, 2.5]
    """

    ROW: ClassVar[type[msgspec.Struct]]
    """The struct that says the same of one row, its fields named alike: str, int, float, bool, lists of numbers."""
    ADDED: ClassVar[int] = 0
    """So many of the last columns came later: what was written before lacks them, and is read with none in them."""

    @classmethod
    def of(cls, payloads: Sequence[Any]) -> Self:
        """The columns of these `ROW`s."""
        return cls(
            *[columns.column_of([getattr(p, name) for p in payloads], form, kind) for name, form, kind in _kinds(cls)]
        )

    def row(self, n: int, key: str) -> Any:
        """Row n, which has this key, as a `ROW`: plain data."""
        plain = {name: columns.entry(getattr(self, name), n) for name in self.__struct_fields__}
        return self.ROW(**{name: bool(value) if name in _flags(self.ROW) else value for name, value in plain.items()})

    def take(self, index: Index) -> Self:
        """The rows at these places, in this order."""
        return type(self)(*[columns.taken(getattr(self, name), index) for name in self.__struct_fields__])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one part after the other."""
        return cls(*[columns.joined([getattr(part, name) for part in parts]) for name in cls.__struct_fields__])

    def cut(self, begin: int, end: int) -> Self:
        """Rows [begin, end); numbers are views."""
        return type(self)(*[columns.cut(getattr(self, name), begin, end) for name in self.__struct_fields__])

    def weights(self) -> NDArray[np.int64]:
        """(n,) bytes that each row takes encoded, at most: a text counts in each row that has it."""
        rows = [columns.weights(getattr(self, name), kind) for name, _, kind in _kinds(type(self))]
        total: NDArray[np.int64] = np.sum(rows, axis=0, dtype=np.int64)
        return total

    def packed(self) -> list[Any]:
        """A value of msgpack for each column: little-endian numbers as bytes, texts as [values, bytes of the codes],
        arrays as [bytes of the sizes, bytes of the numbers].
        """
        return [columns.packed(getattr(self, name), kind) for name, _, kind in _kinds(type(self))]

    @classmethod
    def unpacked(cls, rows: int, packed: Sequence[Any]) -> Self:
        """The inverse of `packed` for n rows; ValueError names the column in which anything is wrong."""
        kinds = _kinds(cls)
        if not len(kinds) - cls.ADDED <= len(packed) <= len(kinds):
            raise ValueError(f"expected {len(kinds)} columns, got {len(packed)}")
        found = [
            columns.unpacked(name, column, rows, form, kind)
            for (name, form, kind), column in zip(kinds, packed, strict=False)
        ]
        return cls(*found, *[columns.none_of(rows, form, kind) for _, form, kind in kinds[len(packed) :]])

    def ordered(self) -> Self:
        """The same with the values of its texts in order."""
        every = (getattr(self, name) for name in self.__struct_fields__)
        return type(self)(*[one.ordered() if isinstance(one, TextColumn) else one for one in every])


class Packed(msgspec.Struct, Generic[P], array_like=True):
    """A `Batch` as msgpack keeps it, not yet checked."""

    keys: list[Label]
    key: bytes
    time: bytes
    id: bytes
    payload: list[P]
    """Payloads, or columns."""


_IDS = Numbers("<i8")
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
        return cls(*[columns.joined([getattr(part, name) for part in parts]) for name in cls.__struct_fields__])

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: Index) -> Batch[P]:
        """The rows at these places, in this order; keys that none of them has are dropped."""
        return Batch(*[columns.taken(getattr(self, name), index) for name in self.__struct_fields__])

    def cut(self, begin: int, end: int) -> Batch[P]:
        """Rows [begin, end); numbers are views."""
        return Batch(*[columns.cut(getattr(self, name), begin, end) for name in self.__struct_fields__])

    def ordered(self) -> Batch[P]:
        """The same with the values of its texts in order: one form for one content, however it was put together."""
        payload = self.payload.ordered() if isinstance(self.payload, Columns) else self.payload
        return Batch(self.key.ordered(), self.time, self.id, payload)

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
        total: NDArray[np.int64] = payload + columns.weights(self.key, None) + 16
        return total

    def packed(self) -> Packed[Any]:
        """As msgpack keeps it."""
        payload = self.payload.packed() if isinstance(self.payload, Columns) else self.payload
        times, ids = columns.packed(self.time, _TIMES), columns.packed(self.id, _IDS)
        return Packed(self.key.values, columns.packed(self.key.code, columns.CODES), times, ids, payload)

    @classmethod
    def unpacked(cls, packed: Packed[Any], payload: Any) -> Batch[Any]:
        """The inverse of `packed`; `payload` is P or a `Columns`. ValueError says what is wrong with it."""
        rows = len(packed.time) // 8
        columnar = isinstance(payload, type) and issubclass(payload, Columns)
        if not columnar and len(packed.payload) != rows:
            raise ValueError(f"expected {rows} payloads, got {len(packed.payload)}")
        return cls(
            columns.unpacked("key", [packed.keys, packed.key], rows, TextColumn, None),
            columns.unpacked("time", packed.time, rows, np.ndarray, _TIMES),
            columns.unpacked("id", packed.id, rows, np.ndarray, _IDS),
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


@cache
def _flags(row: type[msgspec.Struct]) -> frozenset[str]:
    """The fields of a `ROW` that are true or false."""
    return frozenset(name for name, kind in get_type_hints(row).items() if kind is bool)


@cache
def _kinds(form: type[Columns]) -> list[tuple[str, type, Numbers | None]]:
    """(name, TextColumn, Arrays or ndarray, how its numbers are kept; None for texts) of each column."""
    hints = get_type_hints(form, include_extras=True)
    found: list[tuple[str, type, Numbers | None]] = []
    for name in form.__struct_fields__:
        hint = hints[name]
        kind = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Numbers)), None)
        if kind is None and hint is not TextColumn:
            raise TypeError(
                f"{form.__name__}.{name}: expected TextColumn, or an array or Arrays annotated with Numbers"
            )
        array = Arrays if kind is not None and hint.__origin__ is Arrays else np.ndarray
        found.append((name, TextColumn if kind is None else array, kind))
    return found
