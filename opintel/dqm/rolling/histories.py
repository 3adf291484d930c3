"""What is remembered of histograms that have the same bins: the references that roll with the run, what waits for more
entries, and the contents that a cumulative histogram had before.

One array a matter, a row a histogram, so that a lumisection of 10^5 histograms costs a few passes over them. A row
depends on the histogram's own lumisections only; where it lies in the arrays says nothing.

A reference is a block of up to `block` lumisections of one run and class (run type, menu, beams), summed. The last
`slots` of them are kept, and the block in progress behind them. Sums of two kinds are kept: of counts one plane; of
weights a plane of sums and one of variances; of means a plane of weighted means and one of their weights, 1 / variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
RUNS = 2
"""Runs of a cumulative histogram whose last contents are kept: a late part of the one before is told from the next."""
FIRST = 2
"""Lumisections of a block as long as there are slots without a reference of its class: what follows the pile-up is
known sooner from several short ones."""
SHARED = 6
"""Smooth components of a shape whose scatter is learned: three along each of at most two axes."""
_GROWTH, _ROOM = 64, 100_000
"""Rows that are added at a time, and values in which they must fit unless one row has more."""


class BlockMarks(NamedTuple):
    """What blocks are made of: (rows,) each where one is added, (slots + 1, rows) where they are kept."""

    run: NDArray[Any]
    category: NDArray[Any]
    """Of run type, menu and beams, as a number that `DqmReducer` gives."""
    pileup: NDArray[Any]
    """Mean over its lumisections; NaN unknown."""
    first: NDArray[Any]
    """Lumisection."""
    last: NDArray[Any]
    lumisections: NDArray[Any]
    """How many; 0 in an empty slot."""
    seconds: NDArray[Any]
    entries: NDArray[Any]


class Histories:
    """Of histograms with equal axes, storage and size."""

    def __init__(self, size: int, planes: int, slots: int, block: int) -> None:
        self.size, self.planes, self.slots, self.block = size, planes, slots, block
        self.row: dict[str, int] = {}
        """Key → row."""
        self._free: list[int] = []
        self._made = 0
        self._sums = np.zeros((slots + 1, planes, 0, size), dtype="<f4")
        """The block in progress is the last."""
        self._marks = _marks(slots + 1, 0)
        self._oldest = np.zeros(0, dtype="<i4")
        """The slot that the next whole block takes."""
        self.excess = np.zeros(0, dtype="<f8")
        """(rows,) squared relative error of a bin beyond statistics, averaged."""
        self.shared = np.zeros((SHARED, 0), dtype="<f8")
        """(SHARED, rows) variance of each smooth component beyond statistics and floor, averaged."""
        self.learned = np.zeros(0, dtype="<i4")
        """Lumisections in these averages."""
        self.fresh = np.zeros(0, dtype="<i8")
        """Version of the control that last started the references over."""
        self._waiting: Floats | None = None
        self._waited = np.zeros((3, 0), dtype="<i4")
        """(run, first lumisection, how many) of what waits."""
        self._before: Floats | None = None
        self._before_at = np.zeros((RUNS, 2, 0), dtype="<i4")
        """(run, lumisection) of earlier contents; run −1 where there are none."""
        self._before_next = np.zeros(0, dtype="<i4")

    def __len__(self) -> int:
        return len(self.row)

    def rows_of(self, keys: list[str]) -> Ints:
        """(keys,) the rows of these histograms; new ones have no past."""
        for key in keys:
            if key not in self.row:
                self.row[key] = self._free.pop() if self._free else self._made
                self._made = max(self._made, self.row[key] + 1)
        self._reserve(self._made)
        return np.fromiter((self.row[key] for key in keys), np.int64, len(keys))

    def drop(self, key: str) -> None:
        """Forgets a histogram."""
        at = self.row.pop(key)
        self._free.append(at)
        for array in self._arrays():
            array[..., at] = 0
        for sums in self._tables():
            sums[..., at, :] = 0
        self._before_at[..., at] = -1

    # references

    def references(self, rows: Ints, usable: NDArray[np.bool_]) -> Floats:
        """(slots + 1, planes, rows, size) sums of the references, to be read only; zero where not `usable`, of
        (slots + 1, rows)."""
        found: Floats = self._sums[:, :, _span(rows)]
        out = ~usable
        if out.any():
            found = found.copy()
            slot, row = np.nonzero(out)
            found[slot, :, row] = 0
        return found

    def marks(self, rows: Ints) -> BlockMarks:
        """(slots + 1, rows) what the references are made of."""
        return BlockMarks(*[mark[:, rows] for mark in self._marks])

    def learn(self, rows: Ints, sums: Floats, marks: BlockMarks) -> None:
        """Adds contents (planes, rows, size) to the blocks in progress; `marks` (rows,) say of what. A block that is
        whole, or of another run or class, becomes a reference in place of the oldest.
        """
        here = self._marks
        other = (here.run[-1, rows] != marks.run) | (here.category[-1, rows] != marks.category)
        ended = rows[(here.lumisections[-1, rows] > 0) & other]
        short = here.lumisections[-1, ended] < min(FIRST, self.block)
        here.lumisections[-1, ended[short]] = 0  # one lumisection of a class is no reference
        self._finish(ended[~short])
        begun = here.lumisections[-1, rows] == 0
        for mark, value in zip(here, marks, strict=True):
            mark[-1, rows[begun]] = value[begun]
        going = ~begun
        more = rows[going]
        if begun.any():
            self._sums[-1][:, rows[begun]] = sums[:, begun]
            sums = sums[:, going]
        with np.errstate(over="ignore"):  # a reference that is not finite counts as not given
            self._sums[-1][:, _span(more)] += sums
        here.last[-1, more] = marks.last[going]
        have, come = here.lumisections[-1, more], marks.lumisections[going]
        here.pileup[-1, more] = (have * here.pileup[-1, more] + come * marks.pileup[going]) / (have + come)
        for mark, value in (
            (here.lumisections, marks.lumisections),
            (here.seconds, marks.seconds),
            (here.entries, marks.entries),
        ):
            mark[-1, more] += value[going]
        alike = (here.lumisections[:-1, rows] > 0) & (here.category[:-1, rows] == marks.category)
        whole = np.where(alike.sum(axis=0) < self.slots, min(FIRST, self.block), self.block)
        self._finish(rows[here.lumisections[-1, rows] >= whole])

    def _finish(self, rows: Ints) -> None:
        """Blocks in progress become references."""
        if not len(rows):
            return
        slot = self._oldest[rows]
        self._sums[slot, :, rows] = self._sums[-1][:, rows].transpose(1, 0, 2)
        for mark in self._marks:
            mark[slot, rows] = mark[-1, rows]
        self._marks.lumisections[-1, rows] = 0
        self._oldest[rows] = (slot + 1) % self.slots

    def carry_over(self, key: str, other: Histories, places: Sequence[int]) -> None:
        """Takes over the references that a histogram has in `other`, under other bins: `places` (size,) say where each
        bin stood there; a reference's content of one that is new, −1, is NaN.
        """
        (at,), old = self.rows_of([key]), other.row[key]
        if other._marks.lumisections[-1, old]:
            other._finish(np.array([old]))
        index = np.array(places)
        self._sums[:, :, at] = np.where(index < 0, np.float32(np.nan), other._sums[:, :, old][..., index])
        for mark, before in zip(self._marks, other._marks, strict=True):
            mark[:, at] = before[:, old]
        self._oldest[at], self.fresh[at] = other._oldest[old], other.fresh[old]
        self.scatter_as(np.array([at]), other, np.array([old]))

    def take_over(self, keys: list[str], other: Histories) -> None:
        """Takes over the references that histograms have in `other`, which has the same bins."""
        rows, old = self.rows_of(keys), np.fromiter((other.row[key] for key in keys), np.int64, len(keys))
        self._sums[:, :, rows] = other._sums[:, :, old]
        for mark, before in zip(self._marks, other._marks, strict=True):
            mark[:, rows] = before[:, old]
        self._oldest[rows] = other._oldest[old]
        self.scatter_as(rows, other, old)

    def scatter_as(self, rows: Ints, other: Histories, old: Ints) -> None:
        """Takes over what was learned of how histograms scatter in `other`, where their rows are `old`."""
        self.excess[rows], self.learned[rows] = other.excess[old], other.learned[old]
        self.shared[:, rows] = other.shared[:, old]

    def whole(self, rows: Ints) -> Bools:
        """(slots + 1, rows) whether a reference knows all bins."""
        return ~np.asarray(np.isnan(self._sums[:, 0, rows]).any(axis=-1))

    def start_over(self, rows: Ints) -> None:
        """Forgets the references of these histograms."""
        for mark in self._marks:
            mark[:, rows] = 0
        self._sums[:, :, rows] = 0
        self.excess[rows], self.shared[:, rows], self.learned[rows] = 0, 0, 0

    # too few entries

    def wait(self, rows: Ints, sums: Floats, run: Ints, lumisection: Ints) -> tuple[Floats, Ints, Ints]:
        """Adds contents (planes, rows, size) to what waits of the same run: (all of it, its first lumisection, of how
        many).
        """
        if self._waiting is None:
            self._waiting = np.zeros((self.planes, len(self._oldest), self.size), dtype="<f4")
        other = self._waited[0, rows] != run
        stale = rows[other | (self._waited[2, rows] == 0)]
        self._waiting[:, stale] = 0
        self._waited[2, stale] = 0
        begun = self._waited[2, rows] == 0
        self._waited[:2, rows[begun]] = np.stack([run[begun], lumisection[begun]])
        self._waited[2, rows] += 1
        self._waiting[:, rows] += sums
        return self._waiting[:, rows], self._waited[1, rows].astype(np.int64), self._waited[2, rows].astype(np.int64)

    def waits(self, rows: Ints, run: Ints) -> Bools:
        """(rows,) whether anything of the run waits."""
        waits: Bools = (self._waited[2, rows] > 0) & (self._waited[0, rows] == run)
        return waits

    def waited(self, rows: Ints) -> None:
        """What waits was judged."""
        self._waited[2, rows] = 0

    # cumulative contents

    def increments(self, rows: Ints, sums: Floats, run: Ints, lumisection: Ints, sound: Bools) -> tuple[Floats, Ints]:
        """What was filled since the lumisection before of the same run, from cumulative contents (planes, rows, size):
        (the increments, the lumisections after which they were filled: 0 from the start of the run).

        A histogram whose counts, variances or weights have fallen in sum started over; one that comes after a later
        lumisection says nothing: NaN. Contents that are not `sound` (rows,) are not remembered.
        """
        if self._before is None:
            self._before = np.zeros((RUNS, self.planes, len(self._oldest), self.size), dtype="<f4")
        known = self._before_at[:, 0, rows] == run
        slot = np.where(known.any(axis=0), np.argmax(known, axis=0), self._before_next[rows])
        before = np.where(known.any(axis=0)[None, :, None], self._before[slot, :, rows].transpose(1, 0, 2), 0)
        after = np.where(known.any(axis=0), self._before_at[slot, 1, rows], 0).astype(np.int64)
        total, earlier = (np.nansum(one[-1], axis=-1, dtype=np.float64) for one in (sums, before))
        back = after >= lumisection
        over = (total < earlier) & ~back
        before[:, over] = 0
        after[over] = 0
        found = sums - before
        found[:, back] = np.nan
        kept = np.flatnonzero(~back & sound)
        at, into = rows[kept], slot[kept]
        self._before[into, :, at] = sums[:, kept].transpose(1, 0, 2)
        self._before_at[into, 0, at], self._before_at[into, 1, at] = run[kept], lumisection[kept]
        self._before_next[at] = (into + 1) % RUNS
        return found.astype("<f4"), after

    # the arrays

    def _arrays(self) -> list[NDArray[Any]]:
        scatter = (self.excess, self.shared, self.learned)
        return [*self._marks, self._oldest, *scatter, self.fresh, self._waited, self._before_at, self._before_next]

    def _tables(self) -> list[Floats]:
        return [table for table in (self._sums, self._waiting, self._before) if table is not None]

    def _reserve(self, rows: int) -> None:
        """Makes room."""
        have = len(self._oldest)
        if rows <= have:
            return
        more = max(rows, have + have // 2, min(_GROWTH, _ROOM // self.size)) - have

        def longer(array: NDArray[Any], axis: int, fill: int = 0) -> NDArray[Any]:
            shape = list(array.shape)
            shape[axis] = more
            return np.concatenate([array, np.full(shape, fill, dtype=array.dtype)], axis=axis)

        self._sums = longer(self._sums, 2)
        self._marks = BlockMarks(*[longer(mark, 1) for mark in self._marks])
        self._oldest, self.excess, self.shared = longer(self._oldest, 0), longer(self.excess, 0), longer(self.shared, 1)
        self.learned, self.fresh = longer(self.learned, 0), longer(self.fresh, 0)
        self._waited = longer(self._waited, 1)
        self._before_at = np.concatenate([self._before_at, np.full((RUNS, 2, more), -1, dtype="<i4")], axis=2)
        self._before_next = longer(self._before_next, 0)
        self._waiting = None if self._waiting is None else longer(self._waiting, 1)
        self._before = None if self._before is None else longer(self._before, 2)

    def state(self) -> list[Any]:
        """Plain data, in order of the keys."""
        keys = sorted(self.row)
        rows = np.fromiter((self.row[key] for key in keys), np.int64, len(keys))
        arrays = [array[..., rows].tobytes() for array in self._arrays()]
        tables = [
            b"" if table is None else table[..., rows, :].tobytes()
            for table in (self._sums, self._waiting, self._before)
        ]
        return [keys, arrays, tables]

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`, on a fresh object of the same sizes."""
        keys, arrays, (sums, waiting, before) = state
        n = len(keys)
        self.row = {key: at for at, key in enumerate(keys)}
        self._made = n
        own = _marks(self.slots + 1, n)
        shapes = [
            *((mark.dtype, mark.shape) for mark in own),
            *((a.dtype, (*a.shape[:-1], n)) for a in self._arrays()[len(own) :]),
        ]
        read = [np.frombuffer(a, d).reshape(s).copy() for a, (d, s) in zip(arrays, shapes, strict=True)]
        self._marks = BlockMarks(*read[: len(own)])
        self._oldest, self.excess, self.shared, self.learned, *rest = read[len(own) :]
        self.fresh, self._waited, self._before_at, self._before_next = rest
        self._sums = np.frombuffer(sums, "<f4").reshape(self.slots + 1, self.planes, n, self.size).copy()
        self._waiting = np.frombuffer(waiting, "<f4").reshape(self.planes, n, self.size).copy() if waiting else None
        self._before = np.frombuffer(before, "<f4").reshape(RUNS, self.planes, n, self.size).copy() if before else None


def _span(rows: Ints) -> Ints | slice:
    """The same rows, as a slice where they follow each other: nothing is copied then."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _marks(slots: int, rows: int) -> BlockMarks:
    ints = [np.zeros((slots, rows), dtype="<i4") for _ in range(5)]
    floats = [np.zeros((slots, rows), dtype="<f8") for _ in range(3)]
    return BlockMarks(ints[0], ints[1], floats[0], *ints[2:], *floats[1:])
