"""Pictures of a histogram beside what its references expect, as evidence of a finding.

One-dimensional ones as contents, expectation with its band, and pulls; maps as two images, contents and pulls, with the
regions that stand out marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.elements import BinAxis, Storage, axes_of
from opintel.evidence import Axis, Evidence, Mark, Region
from opintel.picture import histogram, image

COVERAGE = 0.95
_SIGMAS = 1.96
COUNTED = {"count": "entries", "weighted": "weights", "mean": "mean"}
NAMED = 3
"""Elements whose names are said."""
NOTHING_NAMED: Mapping[str, Sequence[float]] = {}
Place = tuple[int, int, int, int, str]
"""(y0, x0, y1, x1, kind) of a region among the values, flow bins counted, both ends included; y is 0 in one
dimension."""


class Explained(NamedTuple):
    """A comparison of one histogram. Arrays (y, x), y of 1 for one dimension, flow bins as in the row."""

    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    error: NDArray[np.float64]
    """One standard deviation of observed − expected."""
    pull: NDArray[np.float64]
    regions: Sequence[Place]


def pictures(path: str, axes: str, storage: Storage, what: Explained) -> tuple[Evidence, ...]:
    """The blocks that explain a histogram; `axes` is `opintel.dqm.elements.axes_text`."""
    found, flow = axes_of(axes)
    if len(found) == 2:
        return _map(path, found[0], found[1], flow, storage, what)
    return (_line(path, found[0], flow, storage, what),)


def placed(axes: str, regions: Sequence[Place], named: Mapping[str, Sequence[float]] = NOTHING_NAMED) -> str:
    """Where the first regions lie, in the words of the axes: `at charge 20 to 24 ke`; and which of the elements `named`
    (x from, x to, y from, y to) they touch.

    >>> from opintel.dqm.elements import axes_text
    >>> axes = axes_text((BinAxis.regular(4, 0.0, 80.0, "charge", "ke"),), False)
    >>> placed(axes, [(0, 1, 0, 2, "dead")])
    'at charge 20 to 60 ke'
    >>> placed(axes, [(0, 1, 0, 2, "dead")], {"half A": (0.0, 40.0), "half B": (60.0, 80.0)})
    'in half A, at charge 20 to 60 ke'
    """
    found, flow = axes_of(axes)
    if not regions:
        return ""
    touched = [name for name, at in named.items() if any(_touches(found, flow, one, at) for one in regions)]
    names = f"in {', '.join(touched[:NAMED])}" if touched else ""
    names += f" and {len(touched) - NAMED} more" if len(touched) > NAMED else ""
    y0, x0, y1, x1, _ = regions[0]
    words = [_between(found[0], x0 - flow, x1 - flow, "x")]
    if len(found) == 2:
        words.append(_between(found[1], y0 - flow, y1 - flow, "y"))
    more = f" and {len(regions) - 1} more" if len(regions) > 1 else ""
    return ", ".join(part for part in (names, f"at {' and '.join(words)}{more}") if part)


def _touches(axes: Sequence[BinAxis], flow: bool, region: Place, element: Sequence[float]) -> bool:
    y0, x0, y1, x1, _ = region
    of = zip(axes, ((x0, x1), (y0, y1)), zip(element[::2], element[1::2], strict=True), strict=False)
    for axis, (first, last), (low, high) in of:
        first, last = max(first - flow, 0), min(last - flow, axis.bins - 1)
        begin, end = (first, last + 1) if axis.labels else (axis.edges[first], axis.edges[last + 1])
        if first > last or high <= begin or low >= end:
            return False
    return True


def _between(axis: BinAxis, first: int, last: int, name: str) -> str:
    name = axis.title or name
    if first < 0 or last >= axis.bins:
        side = "underflow" if first < 0 else "overflow"
        if last < 0 or first >= axis.bins:
            return f"the {side} of {name}"
    first, last = max(first, 0), min(last, axis.bins - 1)
    if axis.labels:
        return f"{name} {axis.labels[first]}" + (f" to {axis.labels[last]}" if last > first else "")
    unit = f" {axis.unit}" if axis.unit else ""
    return f"{name} {axis.edges[first]:.6g} to {axis.edges[last + 1]:.6g}{unit}"


def _line(path: str, axis: BinAxis, flow: bool, storage: Storage, what: Explained) -> Evidence:
    inside = slice(1, -1) if flow else slice(None)
    observed, expected, error, pull = (array[0][inside] for array in what[:4])
    band = (expected - _SIGMAS * error, expected + _SIGMAS * error)
    if storage == "count":
        band = (np.maximum(band[0], 0.0), band[1])
    regions = [
        Region(max(x0 - flow, 0), min(x1 - flow, axis.bins - 1), kind)
        for _, x0, _, x1, kind in what.regions
        if x1 - flow >= 0 and x0 - flow < axis.bins
    ]
    return histogram(
        path,
        observed,
        axis.labels or np.array(axis.edges),
        axis=axis.title,
        unit=axis.unit,
        expected=expected,
        band=(np.nan_to_num(band[0]), np.nan_to_num(band[1]), COVERAGE),
        pulls=pull,
        regions=regions,
        counted=COUNTED[storage],
        under=float(what.observed[0][0]) if flow and np.isfinite(what.observed[0][0]) else None,
        over=float(what.observed[0][-1]) if flow and np.isfinite(what.observed[0][-1]) else None,
        entries=float(np.nansum(what.observed)) if storage == "count" else None,
    )


def _map(path: str, x: BinAxis, y: BinAxis, flow: bool, storage: Storage, what: Explained) -> tuple[Evidence, ...]:
    inside = slice(1, -1) if flow else slice(None)
    observed, pull = what.observed[inside, inside], what.pull[inside, inside]
    across, up = _axis(x, "x"), _axis(y, "y")
    marks = []
    for y0, x0, y1, x1, kind in what.regions:
        low = (_edge(x, x0 - flow), _edge(y, y0 - flow))
        marks.append(Mark(kind, *low, (_edge(x, x1 - flow + 1), _edge(y, y1 - flow + 1))))
    counted = COUNTED[storage]
    return (
        image(f"{path}: pulls", pull, across, up, of="pull", unit="σ", diverging=True, pool="extreme", marks=marks),
        image(path, observed, across, up, of=counted, unit="", marks=marks),
    )


def _axis(axis: BinAxis, name: str) -> Axis:
    """Axis of an image; its bins are drawn as wide as each other."""
    if axis.labels or not axis.is_regular:
        return Axis(axis.title or f"{name} bin", "", 0.0, float(axis.bins))
    return Axis(axis.title or name, axis.unit, axis.edges[0], axis.edges[-1])


def _edge(axis: BinAxis, at: int) -> float:
    """Where bin `at` begins in an image."""
    at = min(max(at, 0), axis.bins)
    return float(at) if axis.labels or not axis.is_regular else axis.edges[at]
