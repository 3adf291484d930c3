"""The axes of histograms as messages write them (`elements.axes_text`), checked and brought into one form.

Most histograms have the axes that they had a lumisection before: each text is looked at once and remembered.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.columns import MAX_TEXT
from opintel.dqm.elements import BinAxis
from opintel.dqm.histograms import MAX_VALUES

MAX_TITLE, MAX_LABEL = 512, 1024
"""Characters of an axis' title or unit, of a bin's label."""
REMEMBERED = 1 << 25
"""Characters of texts; then all are forgotten."""


class Shape(NamedTuple):
    """What a text of axes says."""

    text: str
    """The same axes always have the same."""
    x: int
    """Values in x, flow bins included."""
    values: int
    """In all."""


class _Axis(msgspec.Struct, omit_defaults=True):
    """In the order of `elements.axes_text`: so that both write the same."""

    regular: tuple[int, float, float] | None = None
    edges: list[float] | None = None
    labels: list[str] | None = None
    title: str = ""
    unit: str = ""


class _Axes(msgspec.Struct):
    axes: Annotated[list[_Axis], msgspec.Meta(min_length=1, max_length=2)]
    flow: bool


_axes = msgspec.json.Decoder(_Axes)


class Shapes:
    """Reads texts of axes."""

    def __init__(self) -> None:
        self._known: dict[str, Shape] = {}
        self._size = 0

    def of(self, text: str) -> Shape:
        """Raises ValueError that says what is wrong with the axes."""
        if (known := self._known.get(text)) is not None:
            return known
        shape = _shape(text)
        if self._size > REMEMBERED:
            self._known.clear()
            self._size = 0
        self._known[text] = shape
        self._size += len(text) + len(shape.text)
        return shape


def _shape(text: str) -> Shape:
    if len(text) > MAX_TEXT:
        raise ValueError(f"axes: expected at most {MAX_TEXT} characters, got more")
    try:
        found = _axes.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ValueError(f"axes: {str(error)[:200]}") from None
    bins = [_checked(axis) for axis in found.axes]
    sizes = [n + 2 * found.flow for n in bins]
    values = math.prod(sizes)
    if values > MAX_VALUES:
        raise ValueError(f"axes: expected at most {MAX_VALUES} values, got {values}")
    written = msgspec.json.encode(found).decode()
    if len(written) > MAX_TEXT:
        raise ValueError(f"axes: expected at most {MAX_TEXT} characters, got more")
    return Shape(written, sizes[0], values)


def _checked(axis: _Axis) -> int:
    """How many bins an axis has, which is written in its one form from here on."""
    for text in (axis.title, axis.unit):
        if len(text) > MAX_TITLE or not text.isprintable():
            raise ValueError(f"axes: expected a title and a unit of at most {MAX_TITLE} printable characters")
    if (axis.regular, axis.edges, axis.labels).count(None) != 2:
        raise ValueError("axes: expected one of regular, edges and labels")
    if axis.labels is not None:
        return _labelled(axis.labels)
    if axis.edges is not None:
        edges = np.array(axis.edges, dtype=np.float64) + 0.0
        _require_ascending(edges)
        binned = BinAxis(tuple(edges.tolist()))
        if not binned.is_regular:
            axis.edges = list(binned.edges)
            return binned.bins
        axis.edges, axis.regular = None, (binned.bins, binned.edges[0], binned.edges[-1])
    assert axis.regular is not None
    bins, low, high = axis.regular
    if not 1 <= bins <= MAX_VALUES:
        raise ValueError(f"axes: expected 1 to {MAX_VALUES} bins, got {bins}")
    width = (high - low) / bins
    _require_ascending(np.array([low, low + width, high - width, high] if bins > 2 else [low, low + width / 2, high]))
    axis.regular = (bins, low + 0.0, high + 0.0)  # no -0.0
    return bins


def _labelled(labels: list[str]) -> int:
    if not labels:
        raise ValueError("axes: expected at least one label, got none")
    for label in labels:
        if len(label) > MAX_LABEL or not label.isprintable():
            raise ValueError(f"axes: expected labels of at most {MAX_LABEL} printable characters, got {label[:100]!r}")
    if len(set(labels)) < len(labels):
        seen: set[str] = set()
        twice = next(label for label in labels if label in seen or seen.add(label))  # type: ignore[func-returns-value]
        raise ValueError(f"axes: expected each label once, got {twice[:100]!r} twice")
    return len(labels)


def _require_ascending(edges: NDArray[np.float64]) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        if len(edges) < 2 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise ValueError("axes: expected two or more edges, finite and ascending")
        if not np.isfinite(edges[-1] - edges[0]):
            raise ValueError("axes: expected a finite length, got more")
