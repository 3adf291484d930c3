"""Segments: when a flag was active and when it is known at all, as whole nanoseconds of GPS.

A segment list is an array (n, 2) of int64, half-open `[start, end)`, sorted, disjoint and not touching: `coalesce`
makes one of any rows, all functions return one and expect one. Integers, because a float holds GPS seconds to a quarter
of a microsecond only. An open end is `OPEN`, and later than any time.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opintel.finding import NS

Segments = NDArray[np.int64]
OPEN = np.iinfo(np.int64).max
"""The end of a segment that has not ended; `until` closes it."""
NONE: Segments = np.zeros((0, 2), dtype=np.int64)
NONE.setflags(write=False)
FEW = 16
"""Segments up to which plain integers are faster than arrays: a window of a stream has one or two."""


class SegmentFlag(NamedTuple):
    """A data-quality flag: where it was active, of where it is known; outside `known` nothing is said of it.

    >>> science = SegmentFlag("H1:DMT-ANALYSIS_READY:1", coalesce([(0, 8)]), coalesce([(0, 10)]))
    >>> noisy = SegmentFlag("H1:NOISY:1", coalesce([(2, 3)]), coalesce([(1, 20)]))
    >>> clean = science.minus(noisy, "H1:CLEAN:1")
    >>> clean.active.tolist(), clean.known.tolist()
    ([[1, 2], [3, 8]], [[1, 10]])
    """

    name: str
    active: Segments
    known: Segments

    def minus(self, other: SegmentFlag, name: str) -> SegmentFlag:
        """Active where this is and the other is not; known only where both are."""
        return self._with(other, name, minus(self.active, other.active))

    def union(self, other: SegmentFlag, name: str) -> SegmentFlag:
        """Active where one is; known only where both are."""
        return self._with(other, name, union(self.active, other.active))

    def intersection(self, other: SegmentFlag, name: str) -> SegmentFlag:
        """Active where both are; known only where both are."""
        return self._with(other, name, intersection(self.active, other.active))

    def _with(self, other: SegmentFlag, name: str, active: Segments) -> SegmentFlag:
        known = intersection(self.known, other.known)
        return SegmentFlag(name, intersection(active, known), known)


def coalesce(rows: ArrayLike) -> Segments:
    """Any rows (n, 2) of starts and ends, overlapping or touching, doubled, in any order; empty ones go.

    >>> coalesce([(5, 7), (1, 3), (3, 4), (6, 9), (8, 8)]).tolist()
    [[1, 4], [5, 9]]
    """
    found = np.asarray(rows, dtype=np.int64).reshape(-1, 2)
    if len(found) <= FEW:
        return _merged(found.tolist())
    found = found[found[:, 0] < found[:, 1]]
    found = found[np.argsort(found[:, 0], kind="stable")]
    if not len(found):
        return NONE
    ends = np.maximum.accumulate(found[:, 1])
    first = np.flatnonzero(np.append(True, found[1:, 0] > ends[:-1]))
    return np.stack([found[first, 0], ends[np.append(first[1:], len(found)) - 1]], axis=1)


def union(one: Segments, other: Segments) -> Segments:
    """Where one of them is."""
    return coalesce(np.concatenate([one, other]))


def intersection(one: Segments, other: Segments) -> Segments:
    """Where both are."""
    return _joined(one, other, operator.and_)


def minus(one: Segments, other: Segments) -> Segments:
    """Where the first is and the second is not."""
    return _joined(one, other, operator.gt)


def duration(segments: Segments) -> int:
    """Nanoseconds in all; an open end raises ValueError."""
    if len(segments) and segments[-1, 1] == OPEN:
        raise ValueError("expected closed segments, got an open end: close it by until()")
    return int((segments[:, 1] - segments[:, 0]).sum())


def contains(segments: Segments, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each time lies inside, of any shape; a start does, an end does not."""
    return np.asarray(np.searchsorted(segments.ravel(), times, side="right") % 2 == 1)


def outward(segments: Segments, step: int = NS) -> Segments:
    """Grown to multiples of a step (whole seconds): what vetoes take, so that nothing bad is left over.

    >>> outward(coalesce([(12, 18), (19, 25)]), 10).tolist()
    [[10, 30]]
    """
    ends = np.where(segments[:, 1] == OPEN, OPEN, -(-segments[:, 1] // step) * step)
    return coalesce(np.stack([segments[:, 0] // step * step, ends], axis=1))


def inward(segments: Segments, step: int = NS) -> Segments:
    """Shrunk to multiples of a step: what science time takes. A segment without a whole step in it goes.

    >>> inward(coalesce([(12, 18), (19, 45)]), 10).tolist()
    [[20, 40]]
    """
    ends = np.where(segments[:, 1] == OPEN, OPEN, segments[:, 1] // step * step)
    return coalesce(np.stack([-(-segments[:, 0] // step) * step, ends], axis=1))


def until(segments: Segments, now: int) -> Segments:
    """What lies before a time: an open end becomes `now`."""
    return intersection(segments, coalesce([(np.iinfo(np.int64).min, now)]))


def of_seconds(rows: Iterable[Sequence[float]] | ArrayLike) -> Segments:
    """Rows (n, 2) of GPS seconds, rounded to microseconds (what a float holds of them); an end of 0 or +inf is open.

    >>> of_seconds([(1126259462.25, 1126259463), (1126259470, 0)]).tolist()
    [[1126259462250000000, 1126259463000000000], [1126259470000000000, 9223372036854775807]]
    """
    seconds = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.float64)  # type: ignore[arg-type]
    if not seconds.size:
        return NONE
    if seconds.ndim != 2 or seconds.shape[1] != 2:
        raise ValueError(f"segments: expected pairs of start and end, got shape {seconds.shape}")
    starts, ends = seconds.T
    if not (np.isfinite(starts).all() and (np.isfinite(ends) | (ends == np.inf)).all()):
        raise ValueError("segments: expected numbers, got a start or an end that is none")
    if (np.abs(seconds[np.isfinite(seconds)]) >= OPEN / NS).any():
        raise ValueError("segments: expected GPS seconds, got a number above 9.2e9")
    is_open = (ends == 0) | (ends == np.inf)
    closed = nanoseconds(np.where(is_open, 0.0, ends))
    return coalesce(np.stack([nanoseconds(starts), np.where(is_open, OPEN, closed)], axis=1))


def nanoseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """GPS seconds as whole nanoseconds, at the nearest microsecond: 0.1 s apart stays 0.1 s apart."""
    return np.rint(seconds * 1e6).astype(np.int64) * 1000


def seconds(segments: Segments) -> NDArray[np.float64]:
    """(n, 2) GPS seconds; an open end is +inf."""
    return np.where(segments == OPEN, np.inf, segments // NS + segments % NS / NS)


def _merged(rows: list[list[int]]) -> Segments:
    """`coalesce` of few rows."""
    found: list[list[int]] = []
    for start, end in sorted(rows):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1][1] = max(end, found[-1][1])
        else:
            found.append([start, end])
    return np.array(found, dtype=np.int64) if found else NONE


def _joined(one: Segments, other: Segments, keep: Callable[[Any, Any], Any]) -> Segments:
    """Between two neighbouring edges nothing changes: so what holds at the first edge holds up to the next. `keep`: of
    whether one of them is there and the other, plain or as arrays."""
    if len(one) + len(other) <= FEW:
        these, those = one.ravel().tolist(), other.ravel().tolist()
        return _merged(
            [
                [edge, following]
                for edge, following in pairwise(sorted({*these, *those}))
                if keep(bisect_right(these, edge) % 2 == 1, bisect_right(those, edge) % 2 == 1)
            ]
        )
    edges = np.unique(np.concatenate([one.ravel(), other.ravel()]))
    kept = keep(contains(one, edges), contains(other, edges))[:-1]
    return coalesce(np.stack([edges[:-1], edges[1:]], axis=1)[kept])
