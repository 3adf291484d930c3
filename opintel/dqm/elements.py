"""A monitor element: one histogram, map or profile with its axes, as every file format and wire becomes one.

`opintel.dqm.wire` makes rows of the stream of them, `opintel dqm compare` compares two. Contents are kept as they came:
counts, sums of weights with their variances, or the means of a profile with the variances of the means.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Storage = Literal["count", "weighted", "mean"]
STORAGES: tuple[Storage, ...] = ("count", "weighted", "mean")
"""As numbers in the rows of the stream: `STORAGES.index(storage)`."""
SAME_EDGE = 1e-9
"""Edges that differ by less than this share of the axis' length are the same."""


class BinAxis(NamedTuple):
    """The bins of one axis, without under- and overflow: between `edges`, or one for each of `labels`.

    >>> BinAxis.regular(4, 0.0, 2.0).text, BinAxis(labels=("a", "b")).bins
    ('{"regular":[4,0.0,2.0]}', 2)
    """

    edges: tuple[float, ...] = ()
    """(bins + 1,) ascending, finite; empty for an axis of labels."""
    labels: tuple[str, ...] = ()
    """(bins,) unique; empty for an axis of numbers."""
    title: str = ""
    unit: str = ""

    @classmethod
    def regular(cls, bins: int, low: float, high: float, title: str = "", unit: str = "") -> BinAxis:
        """`bins` of one width."""
        return cls(tuple(np.linspace(low, high, bins + 1).tolist()), (), title, unit)

    @property
    def bins(self) -> int:
        """How many."""
        return len(self.labels) or len(self.edges) - 1

    @property
    def is_regular(self) -> bool:
        """Whether all bins have one width."""
        edges = np.asarray(self.edges)
        even = np.linspace(edges[0], edges[-1], len(edges))
        return bool(np.abs(edges - even).max() <= SAME_EDGE * (edges[-1] - edges[0]))

    @property
    def text(self) -> str:
        """What bins are compared by, as JSON: two axes have the same bins where their texts are equal. No titles."""
        if self.labels:
            return _json({"labels": list(self.labels)})
        if self.is_regular:
            return _json({"regular": [self.bins, float(self.edges[0]), float(self.edges[-1])]})
        return _json({"edges": list(self.edges)})


class MonitorElement(NamedTuple):
    """One histogram, map or profile."""

    path: str
    """Folders and name, `PixelPhase1/Tracks/charge`."""
    axes: tuple[BinAxis, ...]
    """x, or x and y."""
    storage: Storage
    values: NDArray[np.float64]
    """(x,), or (y, x): rows of y. With `flow` each axis has two bins more: its underflow first, its overflow last.
    Counts, sums of weights, or the means of a profile (NaN in bins without entries)."""
    variances: NDArray[np.float64] | None
    """In the form of `values`: of the sums of weights; of the *means* of a profile (NaN where one entry or none says
    nothing of its error). None for counts."""
    flow: bool
    """Whether `values` holds under- and overflow."""
    entries: float | None = None
    """What the source says was filled in, where it says so; contents count, not this."""
    title: str = ""


def axes_text(axes: tuple[BinAxis, ...], flow: bool) -> str:
    """The axes of a monitor element as one text: elements with equal texts can be compared bin by bin.

    >>> axes_text((BinAxis.regular(2, 0.0, 1.0, "charge"),), True)
    '{"axes":[{"regular":[2,0.0,1.0],"title":"charge"}],"flow":true}'
    """
    listed = []
    for axis in axes:
        one = msgspec.json.decode(axis.text)
        listed.append(one | {name: text for name, text in (("title", axis.title), ("unit", axis.unit)) if text})
    return _json({"axes": listed, "flow": flow})


def axes_of(text: str) -> tuple[tuple[BinAxis, ...], bool]:
    """The inverse of `axes_text`: (axes, flow)."""
    found = msgspec.json.decode(text)
    axes = []
    for one in found["axes"]:
        about = (one.get("title", ""), one.get("unit", ""))
        if "labels" in one:
            axes.append(BinAxis((), tuple(one["labels"]), *about))
        elif "regular" in one:
            bins, low, high = one["regular"]
            axes.append(BinAxis.regular(bins, low, high, *about))
        else:
            axes.append(BinAxis(tuple(one["edges"]), (), *about))
    return tuple(axes), bool(found["flow"])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
