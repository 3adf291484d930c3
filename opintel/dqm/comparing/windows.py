"""Neighbouring bins taken together: what no single bin shows (half a chamber of a thin map, a group of strips)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opintel.stats.counts import Floats, Ints
from opintel.stats.pulls import Tables

WINDOWS: dict[int, tuple[tuple[int, ...], ...]] = {1: ((4,), (16,)), 2: ((2, 2), (4, 4))}
"""Sizes of the windows, for histograms and for maps; a map's rows and columns are windows too."""


def window_sizes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The sizes of which at least two go side by side along each axis."""
    sizes = [size for size in WINDOWS[len(shape)] if all(2 * n <= bins for n, bins in zip(size, shape, strict=True))]
    if len(shape) == 2:
        sizes += [size for size in ((1, shape[1]), (shape[0], 1)) if max(shape) > 1 and min(shape) > 1]
    return sizes


def window_tables(tables: Tables, shape: tuple[int, ...]) -> list[Tables]:
    """The tables (H, windows) of all windows, a list by size. Where bins have totals of their own, a window's are those
    with which its share and its variance are the sums of theirs."""
    found = []
    tables = Tables(*aligned(tables.a + tables.b, tables, shape))
    a, b = tables.a, tables.b
    if tables.total_a.shape[1] == tables.total_b.shape[1] == 1 and len(shape) == 1:  # the wider of the less wide
        step, bins = 1, shape[0]
        for (width,) in window_sizes(shape):
            a, b = (summed(x, (bins,), (width // step,)) for x in (a, b))
            step, bins = width, a.shape[1]
            found.append(Tables(a, b, tables.total_a, tables.total_b))
        return found
    for size in window_sizes(shape):
        a, total_a = _gathered(tables.a, tables.total_a, shape, size)
        b, total_b = _gathered(tables.b, tables.total_b, shape, size)
        found.append(Tables(a, b, total_a, total_b))
    return found


def aligned(filled: Floats, parts: Sequence[Floats], shape: tuple[int, ...]) -> list[Floats]:
    """Arrays (H, bins), or (H, 1), with each histogram rolled to begin at the first bin in which `filled` (H, bins) is
    above 0: empty bins before it decide nothing."""
    rolled, both = list(parts), filled.reshape(-1, *shape)
    for axis, bins in enumerate(shape):
        others = tuple(i + 1 for i in range(len(shape)) if i != axis)
        edge = both.take(0, axis=axis + 1).reshape(len(both), -1).max(axis=1)
        rows = np.flatnonzero(~(edge > 0.0))
        if not len(rows):
            continue
        first = (both[rows].max(axis=others) > 0.0).argmax(axis=1)
        along = [1] * len(shape)
        along[axis] = bins
        at = ((first[:, None] + np.arange(bins)) % bins).reshape(-1, *along)
        both = _rolled(both, rows, at, shape, axis + 1).reshape(both.shape)
        rolled = [part if part.shape[1] == 1 else _rolled(part, rows, at, shape, axis + 1) for part in rolled]
    return rolled


def _rolled(part: Floats, rows: Ints, at: Ints, shape: tuple[int, ...], axis: int) -> Floats:
    found = part.reshape(-1, *shape).copy()
    found[rows] = np.take_along_axis(found[rows], at, axis=axis)
    return found.reshape(len(found), -1)


def summed(x: Floats, shape: tuple[int, ...], size: tuple[int, ...]) -> Floats:
    """Sums (H, windows) of x (H, bins) over windows of `size` bins of `shape`, row after row; the last may be
    smaller."""
    rows = len(x)
    x = x.reshape(rows, *shape)
    for axis, (bins, n) in enumerate(zip(shape, size, strict=True), start=1):
        if n == bins:
            x = x.sum(axis=axis, keepdims=True)
        elif n > 1:
            if bins % n:
                longer = np.zeros((*x.shape[:axis], bins + n - bins % n, *x.shape[axis + 1 :]), x.dtype)
                longer[(slice(None),) * axis + (slice(bins),)] = x
                x = longer
            apart = x.reshape(-1, n, *x.shape[axis + 1 :])  # of all histograms in one stride: rows may be short
            added = apart[:, 0] + apart[:, 1]
            for i in range(2, n):
                added += apart[:, i]
            x = added.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return np.ascontiguousarray(x).reshape(rows, -1)


def onto_axis(x: Floats, shape: tuple[int, ...], axis: int) -> Floats:
    """Projections (H, bins along `axis`) of x (H, bins)."""
    if len(shape) == 1:
        return x
    return summed(x, shape, tuple(1 if i == axis else n for i, n in enumerate(shape)))


def _gathered(x: Floats, total: Floats, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[Floats, Floats]:
    if total.shape[1] == 1:
        return summed(x, shape, size), total
    share, variance = summed(x / total, shape, size), summed(x / np.square(total), shape, size)
    typical = np.median(total, axis=1, keepdims=True)
    whole = (share + 1e-9) / (variance + 1e-9 / typical)
    return share * whole, whole
