"""Two monitor elements bin by bin: the same edges whatever their form, categories by their labels.

What cannot be laid side by side is refused with its reason, and is never judged by position alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.elements import SAME_EDGE, BinAxis, MonitorElement

WHOLE = 1e-6
"""By how much counts may differ from whole numbers, relative to themselves."""
_Array = NDArray[np.float64]


class NotComparable(ValueError):
    """Why two monitor elements cannot be compared."""


class AlignedPair(NamedTuple):
    """Contents of both in one form: (x,) or (y, x)."""

    observed: _Array
    observed_variance: _Array | None
    reference: _Array
    reference_variance: _Array | None
    bins: tuple[NDArray[np.int64], ...]
    """Of each axis of the arrays (y, x): which bin of the observed element each place is; −1 its underflow, its number
    of bins its overflow."""
    mean: bool
    """Whether the contents are means."""
    left_out: int
    """Bins whose label only one of the two has."""


def aligned(observed: MonitorElement, reference: MonitorElement) -> AlignedPair:
    """Both, laid side by side. Flow bins count where both have them. Raises NotComparable.

    >>> of = lambda labels, values: MonitorElement("h", (BinAxis((), labels),), "count", np.array(values), None, False)
    >>> aligned(of(("a", "b"), [1.0, 2.0]), of(("b", "a"), [20.0, 10.0])).reference.tolist()
    [10.0, 20.0]
    """
    if len(observed.axes) != len(reference.axes):
        raise NotComparable(f"expected {len(reference.axes)} axes as in the reference, got {len(observed.axes)}")
    if (observed.storage == "mean") != (reference.storage == "mean"):
        raise NotComparable("one is a profile, the other is not")
    flow = observed.flow and reference.flow
    here, there = _Picked(observed, flow), _Picked(reference, flow)
    bins = []
    left_out = 0
    for n, (axis, other) in enumerate(zip(reversed(observed.axes), reversed(reference.axes), strict=True)):
        places, others, missing = _matched(axis, other)
        here.pick(n, axis.bins, places)
        there.pick(n, other.bins, others)
        inside = np.array([*([-1] if flow else []), *places, *([axis.bins] if flow else [])], np.int64)
        bins.append(inside)
        left_out += missing
    mean = observed.storage == "mean"
    if not mean and (observed.variances is None or reference.variances is None):
        for element, words in ((observed, "they"), (reference, "those of the reference")):
            if element.variances is None and not _whole(element.values):
                raise NotComparable(f"contents are no whole numbers, and {words} have no errors")
    return AlignedPair(here.values, here.variances, there.values, there.variances, tuple(bins), mean, left_out)


class _Picked:
    """The bins of an element that are compared."""

    def __init__(self, element: MonitorElement, flow: bool) -> None:
        self.values, self.variances = element.values, element.variances
        self._has, self._flow = element.flow, flow

    def pick(self, n: int, bins: int, places: list[int]) -> None:
        """Of axis n of the arrays, these bins, and its flow bins where they count."""
        first = int(self._has)
        index = [first + place for place in places]
        if self._flow:
            index = [0, *index, bins + 1]
        if index == list(range(self.values.shape[n])):
            return
        self.values = self.values.take(index, axis=n)
        self.variances = None if self.variances is None else self.variances.take(index, axis=n)


def _matched(axis: BinAxis, other: BinAxis) -> tuple[list[int], list[int], int]:
    """(bins, those of the other that they are, how many have no partner)."""
    if bool(axis.labels) != bool(other.labels):
        raise NotComparable("bins have labels in one of them only")
    if axis.labels:
        at = {label: n for n, label in enumerate(other.labels)}
        places = [n for n, label in enumerate(axis.labels) if label in at]
        if not places:
            raise NotComparable("they have no label in common")
        missing = axis.bins + other.bins - 2 * len(places)
        return places, [at[axis.labels[n]] for n in places], missing
    if axis.bins != other.bins:
        raise NotComparable(f"expected {other.bins} bins as in the reference, got {axis.bins}")
    if axis.edges != other.edges:
        edges, others = np.asarray(axis.edges), np.asarray(other.edges)
        if np.abs(edges - others).max() > SAME_EDGE * (others[-1] - others[0]):
            raise NotComparable(f"other edges than the reference: {_limits(axis)}, expected {_limits(other)}")
    every = list(range(axis.bins))
    return every, every, 0


def _limits(axis: BinAxis) -> str:
    return f"{axis.bins} bins in {axis.edges[0]:g}..{axis.edges[-1]:g}"


def _whole(values: _Array) -> bool:
    known = values[np.isfinite(values)]
    return bool((np.abs(known - np.round(known)) <= WHOLE * np.maximum(1.0, np.abs(known))).all())
