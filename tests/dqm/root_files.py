"""ROOT files for tests, written by uproot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from uproot.writing import identify as to


def axis(bins: int, low: float, high: float, *, edges: ArrayLike | None = None, labels: list[str] | None = None) -> Any:
    """A TAxis."""
    named = None
    if labels is not None:
        texts = [to.to_TObjString(label) for label in labels]
        for n, text in enumerate(texts, 1):
            text._bases[0]._members["@fUniqueID"] = n
        named = to.to_THashList(texts)
    limits = None if edges is None else np.asarray(edges, ">f8")
    return to.to_TAxis("xaxis", "title", bins, low, high, fXbins=limits, fLabels=named)


def th1(
    values: ArrayLike, form: str = ">f8", *, x: Any = None, sumw2: ArrayLike | None = None, entries: float = 7.0
) -> Any:
    """A TH1 of contents with both flow bins; its type by their form."""
    data = np.asarray(values, form)
    x = x or axis(len(data) - 2, 0.0, len(data) - 2.0)
    squares = None if sumw2 is None else np.asarray(sumw2, ">f8")
    return to.to_TH1x("", "a title", data, entries, 0.0, 0.0, 0.0, 0.0, squares, x)


def th2(values: ArrayLike, form: str = ">f8") -> Any:
    """A TH2 of contents (y, x) with flow bins."""
    data = np.asarray(values, form)
    y, x = (axis(n - 2, 0.0, n - 2.0) for n in data.shape)
    return to.to_TH2x("", "a map", data.ravel(), 7.0, *[0.0] * 7, None, x, y)


def th3(values: ArrayLike) -> Any:
    """A TH3 of contents (z, y, x) with flow bins."""
    data = np.asarray(values, ">f8")
    z, y, x = (axis(n - 2, 0.0, n - 2.0) for n in data.shape)
    return to.to_TH3x("", "a cube", data.ravel(), 7.0, *[0.0] * 11, None, x, y, z)


def profile(sums: ArrayLike, squares: ArrayLike, entries: ArrayLike) -> Any:
    """A TProfile of the sums of y, of y² and of entries, with flow bins."""
    columns = [np.asarray(column, ">f8") for column in (sums, squares, entries)]
    x = axis(len(columns[0]) - 2, 0.0, len(columns[0]) - 2.0)
    return to.to_TProfile("", "means", columns[0], 7.0, *[0.0] * 6, columns[1], columns[2], np.zeros(0, ">f8"), x)


def profile2d(sums: ArrayLike, squares: ArrayLike, entries: ArrayLike) -> Any:
    """The same of a TProfile2D, (y, x)."""
    columns = [np.asarray(column, ">f8") for column in (sums, squares, entries)]
    y, x = (axis(n - 2, 0.0, n - 2.0) for n in columns[0].shape)
    flat = [column.ravel() for column in columns]
    none = np.zeros(0, ">f8")
    return to.to_TProfile2D("", "means", flat[0], 7.0, *[0.0] * 9, flat[1], flat[2], none, x, y)


def write(path: Path, objects: dict[str, Any], **options: Any) -> Path:
    """A file of these, a name at a time; a name with slashes makes folders, `NAME;2` another cycle of NAME."""
    import uproot

    with uproot.recreate(path, **options) as file:
        for name, written in objects.items():
            file[name.split(";")[0]] = written
    return path
