"""How stage 1 closes a window: all keys at once, or carefully, so that one key's fault stays its own.

A reducer that raises may have changed its state for any of the keys it was given. So the careful way tries a range of
keys, goes back to the state before where it raises, and halves the range: one bad key among n costs some log n tries.
Where many are bad it goes key by key instead, or a sender of bad rows could make each window cost n tries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from opintel.detector import Record, Reduced, Reducer, WindowRows
from opintel.rows import Batch
from opintel.streams.stage import CRASH, said

TRIES = 16
"""Bad keys of a window that are looked for by halving; beyond, each key is closed by itself."""


class Failed(NamedTuple):
    """A key whose rows could not be judged."""

    key: str
    reason: str


class Carefully(NamedTuple):
    """What closing a window carefully gave."""

    reducer: Reducer[Any]
    """The one to go on with."""
    reduced: Reduced
    failed: list[Failed]


def close(reducer: Reducer[Any], closing: WindowRows[Any]) -> Reduced:
    """What the reducer says of the window. ValueError where it speaks of another one, besides what it raises itself."""
    reduced = reducer.close(closing)
    for record in reduced.records:
        if record.window != closing.window:
            raise ValueError(f"expected records of {closing.window}, got one of {record.window}")
    return reduced


def close_carefully(make: Callable[[], Reducer[Any]], reducer: Reducer[Any], closing: WindowRows[Any]) -> Carefully:
    """The same, key range by key range; `make` gives a fresh reducer to restore a state in."""
    records: list[Record[Any]] = []
    tested: dict[str, dict[str, int]] = {}
    failed: list[Failed] = []
    todo = [(0, len(closing.rows.key.values))]
    while todo:
        first, last = todo.pop()
        if first == last:
            continue
        singly = len(failed) >= TRIES
        if singly and last - first > 1:
            todo += [(n, n + 1) for n in reversed(range(first, last))]
            continue
        before = None if last - first == 1 else reducer.state()
        try:
            reduced = close(reducer, _of_keys(closing, first, last))
        except CRASH:
            raise
        except Exception as error:
            if last - first == 1:
                failed.append(Failed(closing.rows.key.values[first], said(error)))
                reducer.drop(failed[-1].key)
                continue
            reducer = make()
            reducer.restore(before)
            middle = (first + last) // 2
            todo += [(middle, last), (first, middle)]
            continue
        records += reduced.records
        add(tested, reduced.tested)
    return Carefully(reducer, Reduced(records, tested), failed)


def add(total: dict[str, dict[str, int]], more: Mapping[str, Mapping[str, int]]) -> None:
    """Adds counts by scope and kind."""
    for scope, kinds in more.items():
        counts = total.setdefault(scope, {})
        for kind, n in kinds.items():
            counts[kind] = counts.get(kind, 0) + n


def _of_keys(closing: WindowRows[Any], first: int, last: int) -> WindowRows[Any]:
    """The window as it is for the keys of places [first, last)."""
    keys, beside = closing.rows.key.values, closing.context.key.values
    near = (bisect_left(beside, keys[first]), bisect_right(beside, keys[last - 1]))
    return closing._replace(rows=_cut(closing.rows, first, last), context=_cut(closing.context, *near))


def _cut(rows: Batch[Any], first: int, last: int) -> Batch[Any]:
    """The rows of the keys of places [first, last), of rows sorted by key."""
    return rows.cut(*np.searchsorted(rows.key.code, [first, last]).tolist())
