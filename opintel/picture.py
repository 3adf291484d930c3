"""Histograms and images of evidence from arrays: merged or pooled until they fit, and scaled to bytes.

Domains call `histogram` and `image` with what they computed, NaN where there is no value. The same array gives the same
block on every machine: bytes come from comparisons with thresholds, not from a logarithm of each value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opintel.evidence import MAX_BINS, MAX_MARKS, MAX_PIXELS, MAX_SIDE, Axis, Band, Histogram, Image, Mark, Region

LEVELS = 255
"""Pixels of a value: 1 to 255."""
Pool = Literal["mean", "extreme"]


def image(
    title: str,
    values: ArrayLike,
    x: Axis,
    y: Axis,
    *,
    of: str,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    diverging: bool = False,
    pool: Pool = "mean",
    marks: Sequence[Mark] = (),
) -> Image:
    """An `Image` of `values` (rows, columns) in `unit`, which are values `of` something; NaN has no value.

    Row 0 lies at `y.low`, column 0 at `x.low`. `low` and `high` bound the scale, by default at the values' own least
    and most; a `diverging` scale reaches equally far to both sides of zero, as far as `high` or the value farthest from
    it. What is too large is pooled (`shrunk`). The first `MAX_MARKS` marks are kept. Raises ValueError for an array
    that is not two-dimensional or is empty, and as `Image` does.

    >>> square = Axis("x", "", 0.0, 2.0)
    >>> list(image("m", [[-5.0, 5.0], [0.0, np.nan]], square, square, of="pull", unit="σ", diverging=True).pixels)
    [1, 255, 128, 0]
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"image {title!r}: expected an array of rows and columns, got one of shape {array.shape}")
    array = shrunk(array, pool)
    scale = Axis(of, unit, *_range(array, low, high, log, diverging), log)
    levels = np.searchsorted(_thresholds(scale), array, side="right") + 1
    pixels = np.where(np.isnan(array), 0, levels).astype(np.uint8)
    rows, columns = array.shape
    return Image(title, x, y, scale, rows, columns, pixels.tobytes(), diverging, list(marks[:MAX_MARKS]))


def shrunk(values: NDArray[np.float64], pool: Pool) -> NDArray[np.float64]:
    """`values` (rows, columns) with at most `MAX_SIDE` rows and columns and `MAX_PIXELS` pixels.

    Neighbours become one pixel: their `mean`, or the `extreme` one, the farthest from zero, so that a lone hot cell
    stays visible. NaN counts only where a pixel has nothing else. Blocks differ by at most one row or column in size.
    """
    rows, columns = (min(n, MAX_SIDE) for n in values.shape)
    if rows * columns > MAX_PIXELS:
        factor = math.sqrt(MAX_PIXELS / (rows * columns))
        rows, columns = int(rows * factor), int(columns * factor)
    if (rows, columns) == values.shape:
        return values
    if pool == "extreme":
        return _farther(*(_blocks(ufunc, values, rows, columns) for ufunc in (np.fmin, np.fmax)))
    there = ~np.isnan(values)
    total = _blocks(np.add, np.where(there, values, 0.0), rows, columns)
    count = _blocks(np.add, there.astype(np.float64), rows, columns)
    return total / np.where(count > 0, count, np.nan)


def values_of(scale: Axis) -> NDArray[np.float64]:
    """What each of the 256 possible pixels stands for; NaN for 0.

    >>> values_of(Axis("pull", "σ", -5.0, 5.0))[[1, 128, 255]].tolist()
    [-5.0, 0.0, 5.0]
    """
    step = np.arange(LEVELS) / (LEVELS - 1)
    values = scale.low * (scale.high / scale.low) ** step if scale.log else scale.low * (1 - step) + scale.high * step
    return np.array([np.nan, *values])


def histogram(
    title: str,
    observed: ArrayLike,
    bins: ArrayLike | Sequence[str],
    *,
    axis: str,
    unit: str,
    expected: ArrayLike | None = None,
    band: tuple[ArrayLike, ArrayLike, float] | None = None,
    pulls: ArrayLike | None = None,
    regions: Sequence[Region] = (),
    log: bool = False,
    counted: str = "entries",
    under: float | None = None,
    over: float | None = None,
    entries: float | None = None,
) -> Histogram:
    """A `Histogram` of n bins; `bins` are n + 1 edges or the names of n categories; NaN has no value.

    Above `MAX_BINS`, neighbouring bins are merged, which `merged` says: contents and expectations are added, of pulls
    the farthest from zero stays. The limits of the `band` (low, high, coverage) are added too: that is right where the
    expectation is off as a whole, and wider than its coverage says where bins vary independently. The first `MAX_MARKS`
    regions are kept. Raises ValueError for columns of another length than `observed`, and as `Histogram` does.

    >>> wide = histogram("h", np.ones(3000), np.arange(3001), axis="charge", unit="ke")
    >>> wide.merged, len(wide.observed), wide.edges[1], wide.observed[0]
    (3, 1000, 3.0, 3.0)
    """
    contents = np.asarray(observed, np.float64)
    named = isinstance(bins, Sequence) and all(isinstance(name, str) for name in bins)
    columns = {"bins": bins if named else np.asarray(bins)[1:], "expected": expected, "pulls": pulls}
    columns |= {} if band is None else {"low": band[0], "high": band[1]}
    for name, column in columns.items():
        if column is not None and np.shape(column) != contents.shape[:1]:
            raise ValueError(f"histogram {title!r}: expected {name} for {contents.size} bins, got {np.shape(column)}")
    merged = max(1, -(-contents.size // MAX_BINS))
    first = np.arange(0, contents.size, merged)

    def added(column: ArrayLike) -> list[float | None]:
        values = np.asarray(column, np.float64)
        there = np.add.reduceat((~np.isnan(values)).astype(np.int64), first)
        return _or_none(np.where(there > 0, np.add.reduceat(np.nan_to_num(values, nan=0.0), first), np.nan))

    def limit(column: ArrayLike) -> list[float]:
        total: list[float] = np.add.reduceat(np.asarray(column, np.float64), first).tolist()
        return total

    def farthest(column: ArrayLike) -> list[float | None]:
        values = np.asarray(column, np.float64)
        return _or_none(_farther(*(ufunc.reduceat(values, first) for ufunc in (np.fmin, np.fmax))))

    names = [str(name) for name in bins] if named else []  # type: ignore[union-attr]
    edges = np.zeros(0) if named else np.asarray(bins, np.float64)
    return Histogram(
        title,
        axis,
        unit,
        added(contents),
        edges=[] if named else [*edges[first].tolist(), float(edges[-1])],
        categories=[_joined(names[k : k + merged]) for k in first.tolist()] if named else [],
        expected=None if expected is None else added(expected),
        band=None if band is None else Band(limit(band[0]), limit(band[1]), band[2]),
        pulls=None if pulls is None else farthest(pulls),
        regions=[Region(r.first // merged, r.last // merged, r.kind) for r in regions[:MAX_MARKS]],
        log=log,
        counted=counted,
        under=under,
        over=over,
        entries=entries,
        merged=merged,
    )


def _range(
    values: NDArray[np.float64], low: float | None, high: float | None, log: bool, diverging: bool
) -> tuple[float, float]:
    """The ends of a scale, in order; where the values give none, it is one unit (with `log`, one decade) wide."""
    there = values[np.isfinite(values) & ((values > 0) | (not log))]
    if diverging:
        most = float(high) if high is not None else float(np.abs(there).max(initial=0.0))
        return -(most or 1.0), most or 1.0
    least = float(low) if low is not None else float(there.min()) if there.size else 1.0 if log else 0.0
    most = float(high) if high is not None else float(there.max()) if there.size else least
    if most > least:
        return least, most
    return least, least * 10 if log else least + (abs(least) or 1.0)


def _thresholds(scale: Axis) -> NDArray[np.float64]:
    """The 254 values between one level and the next."""
    steps = np.array([(k + 0.5) / (LEVELS - 1) for k in range(LEVELS - 1)])
    if scale.log:
        return np.array([scale.low * math.pow(scale.high / scale.low, step) for step in steps.tolist()])
    return scale.low * (1 - steps) + scale.high * steps


def _blocks(ufunc: np.ufunc, values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """`values` reduced to rows × columns blocks of nearly the same size."""
    for axis, n in ((0, rows), (1, columns)):
        values = ufunc.reduceat(values, np.arange(n) * values.shape[axis] // n, axis=axis)
    return values


def _farther(least: NDArray[np.float64], most: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of two values each, the one farther from zero."""
    farther: NDArray[np.float64] = np.where(-least > most, least, most)
    return farther


def _or_none(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
