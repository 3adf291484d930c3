"""Samples that are none: infinities, exact zeros that last, and strain while the detector gives no data.

All become NaN. A stretch of exact zeros is how recorders, and Virgo's frames, write that they had nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS

LASTING, AT_EDGE = 16, 2
"""Zeros in a row that are a gap; at the end of a piece, where the row may go on in the next, fewer are."""
_Ints = NDArray[np.int64]


def lasting_zeros(values: NDArray[np.float32], start: _Ints) -> NDArray[np.bool_]:
    """(samples,) which of them are zeros that last; `start` (pieces + 1,) bounds the pieces that they are of.

    >>> lasting_zeros(np.array([0, 0, 1, 0, 0, 1], np.float32), np.array([0, 6])).tolist()
    [True, True, False, False, False, False]
    """
    found = np.zeros(len(values), dtype=np.bool_)
    place = np.flatnonzero(values == 0)
    if len(place) < AT_EDGE:
        return found
    piece = np.searchsorted(start, place, side="right") - 1
    new = np.ones(len(place), dtype=np.bool_)
    new[1:] = (np.diff(place) != 1) | (piece[1:] != piece[:-1])
    begin = np.flatnonzero(new)
    length = np.diff(np.append(begin, len(place)))
    first, of_run = place[begin], piece[begin]
    at_edge = (first == start[of_run]) | (first + length == start[of_run + 1])
    lasts = (length >= LASTING) | (at_edge & (length >= AT_EDGE))
    found[place] = np.repeat(lasts, length)
    return found


def sample_times(time: _Ints, rate: NDArray[np.float64], sizes: _Ints) -> tuple[_Ints, _Ints]:
    """(samples,) the time (ns) of each sample of some pieces, and (samples,) which piece it is of."""
    piece = np.repeat(np.arange(len(sizes)), sizes)
    nth = np.arange(len(piece)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return time[piece] + np.rint(nth * (NS / rate[piece])).astype(np.int64), piece
