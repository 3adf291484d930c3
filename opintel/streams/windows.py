"""How a stream cuts event time: a grid of equal windows, or windows that come with the data.

All windows are half-open, and every process cuts time at the same places, whatever it has read.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Pipeline
from opintel.finding import Window
from opintel.rows import Batch
from opintel.streams.grid import Grid
from opintel.streams.stage import CRASH, said
from opintel.streams.stream import Stream

Ints = NDArray[np.int64]
Ends = Callable[[Batch[Any]], Ints]
log = logging.getLogger(__name__)


class Cut(NamedTuple):
    """How rows are put into windows: by the grid, or (`ends`) each row into [its time, its end)."""

    grid: Grid
    ends: Ends | None
    longest: int
    """ns; a longer window is refused."""

    def __call__(self, batch: Batch[Any]) -> tuple[Ints, Ints]:
        """(rows,) start and end of each row's window, ns."""
        if self.ends is not None:
            return batch.time, _ends(self.ends, batch)
        start = self.grid.starts(batch.time)
        return start, start + self.grid.size

    def refused(self, start: Ints, end: Ints) -> NDArray[np.bool_]:
        """(rows,) which windows are none: empty, reversed or too long."""
        return (end <= start) | (end > start + self.longest)

    @property
    def expected(self) -> str:
        """What is said of a refused row."""
        return f"expected a window of 1 to {self.longest} ns"

    def last(self, batch: Batch[Any], end: Ints) -> Ints:
        """(rows,) the latest event time that each row stands for, ns."""
        return batch.time if self.ends is None else end - 1

    def cut_short(self, watermark: int) -> int:
        """The end of the window that an end of the input at this watermark cuts short."""
        return watermark if self.ends is not None else self.grid.start(watermark)


def _ends(of: Ends, batch: Batch[Any]) -> Ints:
    """(rows,) the ends that a domain gives. A row for which it raises gets an empty window, which is refused, and its
    neighbours keep theirs: they are asked for by halves.
    """
    found, todo, failed = batch.time.copy(), [(0, len(batch))], ""
    while todo:
        first, last = todo.pop()
        try:
            ends = of(batch if last - first == len(batch) else batch.cut(first, last))
            if ends.shape != (last - first,):
                raise ValueError(f"expected {last - first} ends of windows, got {ends.shape}")
            found[first:last] = ends
        except CRASH:
            raise
        except Exception as error:
            failed = failed or said(error)
            if last - first > 1:
                middle = (first + last) // 2
                todo += [(middle, last), (first, middle)]
    if failed:
        log.error("rows are dead letters, as `Pipeline.ends` raises for them: %s", failed)
    return found


def cut_of(stream: Stream, pipeline: Pipeline) -> Cut:
    """How the rows of a stream are cut. ValueError where a pipeline's context does not fit the stream."""
    before, after = pipeline.context
    if (before or after) and pipeline.ends is not None:
        raise ValueError("expected no context where windows come with the data")
    if before < 0 or not 0 <= after <= stream.lateness:
        raise ValueError(f"expected at least {after} ns, as far as the detector looks beyond a window")
    return Cut(stream.grid, pipeline.ends, stream.ttl)


def groups(start: Ints, end: Ints) -> Iterator[tuple[Window, NDArray[np.intp]]]:
    """Each window among (rows,) starts and ends, and which rows are in it, in order of (start, end)."""
    if not len(start):
        return
    if (start == start[0]).all() and (end == end[0]).all():
        yield Window(int(start[0]), int(end[0])), np.arange(len(start))
        return
    order = np.lexsort((end, start))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (start[order][1:] != start[order][:-1]) | (end[order][1:] != end[order][:-1])
    bounds = [*np.flatnonzero(first).tolist(), len(order)]
    for begin, stop in itertools.pairwise(bounds):
        rows = order[begin:stop]
        yield Window(int(start[rows[0]]), int(end[rows[0]])), np.sort(rows)
