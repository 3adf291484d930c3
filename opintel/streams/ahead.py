"""Rows of files that are dated far ahead of what follows them: one line of 2099 would make all rows after it late.

Decided from the source alone, never by a clock: a row is too far ahead where its time lies beyond all before it and all
that follow it in its file, by more than the skew. As many as one in a hundred may lie there together, if they are
further from the rest than the rest spans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.streams.records import NEVER

Following = Mapping[str, NDArray[np.int64]]
"""File → times (ns) of its next rows behind a chunk, in order; of fewer where it ends."""


class Ahead(NamedTuple):
    """What a source of files knows of the rows behind a chunk."""

    known: int | None = None
    """Where several files are merged: about the earliest time from the chunk's first message on."""
    following: Following | None = None
    """None of files that grow."""


SHARE = 100
"""Of so many rows one may be as far ahead as the row that is looked at."""


def too_far_ahead(
    files: Sequence[str],
    file: NDArray[np.int64],
    last: NDArray[np.int64],
    following: Following,
    seen: int,
    skew: int,
) -> NDArray[np.bool_]:
    """(rows,) which rows of a chunk are dated too far ahead.

    `file` (rows,) indexes `files`; `last` (rows,) their times, ns; `following`: file → times of its next rows behind
    the chunk; `seen`: the largest time before the chunk, NEVER for none; `skew` ns.
    """
    bad = np.zeros(len(last), dtype=np.bool_)
    begin = 0
    while begin < len(last):
        before = np.maximum.accumulate(np.r_[seen, last[begin:-1]])
        for at in (begin + np.flatnonzero(last[begin:] > before + skew)).tolist():
            mine = last[at + 1 :][file[at + 1 :] == file[at]]
            rest = np.r_[mine, following.get(files[file[at]], mine[:0])]
            if _is_far(int(last[at]), rest, skew, first=before[at - begin] == NEVER):
                bad[at] = True
                seen, begin = int(before[at - begin]), at + 1
                break
        else:
            break
    return bad


def _is_far(time: int, rest: NDArray[np.int64], skew: int, *, first: bool) -> bool:
    """Whether a row's time is too far ahead of the `rest` of its file, which follows it; `first`: nothing is before."""
    near = rest >= time - skew
    companions = int(near.sum())
    others = rest[~near]
    if not len(others) or companions > len(rest) // SHARE:
        return False
    if not companions and not first:
        return True
    return time - skew - int(others.max()) > int(others.max() - others.min())
