"""The rows of a raw partition's open windows, and of closed ones as long as a later window sees them beside it.

Stage 1 adds rows as they come and takes a window's rows when it closes. About 70 bytes and its payload a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from opintel.finding import Window
from opintel.rows import Batch, TextColumn
from opintel.streams.seen import Ids, Seen


class _Held:
    """What is known of one window."""

    def __init__(self) -> None:
        self.parts: list[Batch[Any]] = []
        """Its rows in order of arrival."""
        self.seen = Seen()
        self.keys: set[str] = set()
        self.not_judged: dict[str, int] = {}
        """Quarantined key → rows."""

    def joined(self) -> Batch[Any] | None:
        if not self.parts:
            return None
        self.parts = [Batch.joined(self.parts)]
        return self.parts[0]

    def drop(self, keys: Set[str]) -> None:
        """Takes the rows of keys out: they are not judged."""
        gone = self.keys & keys
        if not gone:
            return
        self.keys -= gone
        parts = [(_without(part, gone), part) for part in self.parts]
        self.parts = [left for left, _ in parts if len(left)]
        for left, part in parts:
            if left is not part:
                here = counts(part.key)
                add_counts(self.not_judged, {key: here[key] for key in gone & here.keys()})


class OpenWindows:
    """Rows by window. `payload`: what they carry; `before`, `after`: the context of a window, ns."""

    def __init__(self, payload: Any, before: int = 0, after: int = 0) -> None:
        self._payload, self._before, self._after = payload, before, after
        self._open: dict[Window, _Held] = {}
        self._past: dict[Window, Batch[Any]] = {}
        """Rows of closed windows that a later one sees."""

    def new(self, window: Window, marks: Ids) -> Any:
        """(rows,) bool: which rows of these marks are no copies, and notes them."""
        return self._of(window).seen.add(marks)

    def add(self, window: Window, rows: Batch[Any]) -> None:
        """Takes new rows of a window."""
        held = self._of(window)
        held.parts.append(rows)
        held.keys.update(rows.key.values)

    def hold(self, window: Window, keys: TextColumn) -> None:
        """Counts rows of these quarantined keys, which are not judged."""
        add_counts(self._of(window).not_judged, counts(keys))

    def ended(self, watermark: int) -> list[Window]:
        """The open windows that end at or before it, in order of (end, start)."""
        return sorted((w for w in self._open if w.end <= watermark), key=lambda w: (w.end, w.start))

    @property
    def first_end(self) -> int | None:
        """The first end of an open window."""
        return min((w.end for w in self._open), default=None)

    def alive(self) -> set[str]:
        """The keys that have rows in open windows."""
        return set().union(*(held.keys for held in self._open.values()))

    def close(self, window: Window) -> tuple[Batch[Any], Batch[Any], dict[str, int]]:
        """(rows, their context, quarantined key → rows not judged) of a window, rows sorted by (key, time, id).

        Windows close in order, so no later one starts before this one's end where there is context to be kept.
        """
        held = self._open.pop(window)
        rows = held.joined()
        if rows is None:
            return self._none(), self._none(), held.not_judged
        context = self._context(window, held.keys)
        if self._before:
            self._past[window] = rows
            self._past = {w: past for w, past in self._past.items() if w.end > window.end - self._before}
        return rows.by_key(), context, held.not_judged

    def drop(self, keys: Set[str]) -> None:
        """Forgets keys; their rows in open windows count as not judged."""
        for held in self._open.values():
            held.drop(keys)
        self._past = {window: _without(past, keys) for window, past in self._past.items()}

    def _context(self, window: Window, keys: set[str]) -> Batch[Any]:
        """The rows beside a window, of these keys."""
        if not self._before and not self._after:
            return self._none()
        first, end = window.start - self._before, window.end + self._after
        parts = []
        beside = [*self._past.values(), *(h.joined() for h in self._open.values())]
        for part in beside:
            if part is None or not len(part):
                continue
            near = (part.time >= first) & (part.time < end) & ((part.time < window.start) | (part.time >= window.end))
            near &= np.fromiter((key in keys for key in part.key.values), dtype=bool)[part.key.code]
            if near.any():
                parts.append(part.take(np.flatnonzero(near)))
        return Batch.joined(parts).by_key() if parts else self._none()

    def _of(self, window: Window) -> _Held:
        return self._open.setdefault(window, _Held())

    def _none(self) -> Batch[Any]:
        return Batch.of([], self._payload)

    def state(self) -> dict[str, Any]:
        """Plain data; rows as columns."""
        opened = [
            [w.start, w.end, _plain(held.joined()), held.seen.state(), sorted(held.not_judged.items())]
            for w, held in sorted(self._open.items())
        ]
        past = [[w.start, w.end, _plain(rows)] for w, rows in sorted(self._past.items())]
        return {"open": opened, "past": past}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, on a fresh table."""
        for start, end, rows, seen, not_judged in state["open"]:
            held = self._open[Window(start, end)] = _Held()
            held.parts = [] if rows is None else [Batch.from_plain(rows, self._payload)]
            held.keys = set(held.parts[0].key.values) if held.parts else set()
            held.seen, held.not_judged = Seen(seen), dict(not_judged)
        for start, end, rows in state["past"]:
            self._past[Window(start, end)] = Batch.from_plain(rows, self._payload)


def _without(rows: Batch[Any], keys: Set[str]) -> Batch[Any]:
    """The rows of other keys."""
    out = np.fromiter((key in keys for key in rows.key.values), dtype=bool, count=len(rows.key.values))
    return rows.take(np.flatnonzero(~out[rows.key.code])) if out.any() else rows


def add_counts(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Adds counts by key."""
    for key, n in more.items():
        total[key] = total.get(key, 0) + n


def counts(keys: TextColumn) -> dict[str, int]:
    """Key → rows that have it."""
    found = np.bincount(keys.code, minlength=len(keys.values))
    return dict(zip(keys.values, found.tolist(), strict=True))


def _plain(rows: Batch[Any] | None) -> Any:
    return None if rows is None else rows.plain()
