"""Rows of samples cut at whole GPS seconds, on one grid: the same samples give the same pieces, whoever sends them.

A sample's number times the rate's inverse is its time, rounded to ns, never truncated. A start that is off the grid of
whole samples since the second by no more than a float of GPS seconds may be (0.25 µs) lies on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS

OFF_GRID = 250
"""ns."""
_Ints = NDArray[np.int64]


class CutPieces(NamedTuple):
    """Pieces of rows, in order of the rows and of time."""

    row: _Ints
    """(pieces,) which row each is of, …"""
    first: _Ints
    """… its first sample there, …"""
    time: _Ints
    """… and that one's time, ns GPS."""


def on_grid(time: _Ints, rate: NDArray[np.float64]) -> _Ints:
    """(n,) times (ns GPS) of samples at these rates (Hz), on the grid of whole seconds where they are next to it.

    >>> on_grid(np.array([1126259446_333333300]), np.array([3000.0])).tolist()
    [1126259446333333333]
    """
    second, offset = np.divmod(time, NS)
    number = np.rint(offset * rate / NS)
    right = np.rint(number * NS / rate).astype(np.int64)
    near = (np.abs(offset - right) <= OFF_GRID) & (rate == np.rint(rate))
    return np.where(near, second * NS + right, time)


def spans(time: _Ints, rate: NDArray[np.float64], sizes: _Ints) -> _Ints:
    """(n,) into how many pieces `cut` cuts each row: an upper bound."""
    last = time % NS + np.rint((sizes - 1) * (NS / rate)).astype(np.int64) + OFF_GRID
    return np.where(rate <= 1, sizes, np.minimum(sizes, last // NS + 1))


def cut(time: _Ints, rate: NDArray[np.float64], sizes: _Ints) -> CutPieces:
    """The rows (times in ns GPS, rates in Hz, at least one sample each) cut at whole GPS seconds; below 1 Hz every
    sample is a piece.
    """
    time = on_grid(time, rate)
    offset = time % NS
    last = offset + np.rint((sizes - 1) * (NS / rate)).astype(np.int64)
    slow = rate <= 1
    number = np.where(slow, sizes, last // NS + 1)
    if (number == 1).all():
        return CutPieces(np.arange(len(time)), np.zeros(len(time), dtype=np.int64), time)
    row = np.repeat(np.arange(len(time)), number)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
    # the first sample whose time, rounded to ns, is not before the second
    begin = np.ceil((nth * NS - offset[row] - 0.5) * rate[row] / NS).astype(np.int64)
    first = np.where(slow[row], nth, np.maximum(begin, 0))
    return CutPieces(row, first, time[row] + np.rint(first * (NS / rate[row])).astype(np.int64))
