"""Histograms of UHI's schema (uhi.readthedocs.io, "Serialization specification", version 1) as monitor elements.

Axes are `regular`, `variable`, `category_str`, `category_int` and `boolean`; storages `int`, `double`, `weighted`,
`mean` and `weighted_mean`, dense, sparse or without contents. Everything is untrusted: what is wrong raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.histograms import MAX_VALUES

SCHEMA = 1
_Floats = NDArray[np.float64]
_FIELDS: dict[str, tuple[str, ...]] = {
    "int": ("values",),
    "double": ("values",),
    "weighted": ("values", "variances"),
    "mean": ("counts", "values", "variances"),
    "weighted_mean": ("sum_of_weights", "sum_of_weights_squared", "values", "variances"),
}
"""Storage → its arrays."""


NONE = msgspec.Raw()
"""Of a storage: an array that is not there."""


class UhiAxis(msgspec.Struct):
    """An axis of the schema: the fields in use."""

    type: Literal["regular", "variable", "category_str", "category_int", "boolean"]
    lower: float = 0.0
    upper: float = 0.0
    bins: int = 0
    edges: list[float] = []
    categories: list[str | int] = []
    underflow: bool = False
    overflow: bool = False
    flow: bool = False
    metadata: dict[str, str | float | bool] = {}


class UhiStorage(msgspec.Struct):
    """A storage of the schema, with the arrays of JSON, in which null stands for NaN."""

    type: Literal["int", "double", "weighted", "mean", "weighted_mean"]
    index: list[list[int]] | None = None
    values: msgspec.Raw = NONE
    variances: msgspec.Raw = NONE
    counts: msgspec.Raw = NONE
    sum_of_weights: msgspec.Raw = NONE
    sum_of_weights_squared: msgspec.Raw = NONE


class UhiHistogram(msgspec.Struct):
    """A histogram of the schema."""

    uhi_schema: int
    axes: list[UhiAxis]
    storage: UhiStorage
    metadata: dict[str, str | float | bool] = {}


class _Binning(NamedTuple):
    """Where the values of an axis lie among those of a monitor element."""

    bins: int
    under: bool
    over: bool

    @property
    def size(self) -> int:
        return self.bins + self.under + self.over


_json = msgspec.json.Decoder(UhiHistogram)
_LINE = msgspec.json.Decoder(list[float | None])
_TABLE = msgspec.json.Decoder(list[list[float | None]])


def from_json(path: str, text: bytes | msgspec.Raw, room: int = MAX_VALUES) -> MonitorElement:
    """A histogram in JSON, of at most `room` values. Raises ValueError."""
    try:
        found = _json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from None
    binnings = _binnings(found.uhi_schema, found.axes, room)
    storage, arrays = found.storage, dict[str, _Floats]()
    decoder = _TABLE if len(binnings) == 2 and storage.index is None else _LINE
    for name in _FIELDS[storage.type]:
        if raw := bytes(getattr(storage, name)):
            try:
                rows: list[Any] = decoder.decode(raw)
            except (msgspec.DecodeError, RecursionError) as error:
                raise ValueError(f"{name}: {str(error)[:200]}") from None
            if decoder is _TABLE and len(set(map(len, rows))) > 1:
                raise ValueError(f"{name}: expected rows of one length, got several")
            arrays[name] = np.array(rows, dtype=np.float64)
    return _element(path, found.axes, binnings, storage.type, arrays, storage.index, found.metadata)


def from_arrays(path: str, histogram: Mapping[str, Any], room: int = MAX_VALUES) -> MonitorElement:
    """A histogram as `uhi`'s readers give it, with numpy arrays, of at most `room` values. Raises ValueError."""
    storage = dict(histogram.get("storage", {}))
    index = storage.pop("index", None)
    kind = storage.pop("type", None)
    if kind not in _FIELDS:
        raise ValueError(f"storage: expected one of {', '.join(_FIELDS)}, got {str(kind)[:100]!r}")
    axes = [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in axis.items()}
        for axis in histogram.get("axes", [])
    ]
    about = {name: histogram.get(name, default) for name, default in (("uhi_schema", 0), ("metadata", {}))}
    try:
        found = msgspec.convert({**about, "axes": axes, "storage": {"type": kind}}, UhiHistogram)
        arrays = {n: np.asarray(storage[n], dtype=np.float64) for n in _FIELDS[kind] if storage.get(n) is not None}
        listed = None if index is None else [np.asarray(one, dtype=np.int64).tolist() for one in index]
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise ValueError(str(error)[:200]) from None
    binnings = _binnings(found.uhi_schema, found.axes, room)
    return _element(path, found.axes, binnings, kind, arrays, listed, found.metadata)


def _binnings(schema: int, axes: Sequence[UhiAxis], room: int) -> list[_Binning]:
    if schema != SCHEMA:
        raise ValueError(f"uhi_schema: expected {SCHEMA}, got {schema}")
    if not 1 <= len(axes) <= 2:
        raise ValueError(f"axes: expected one or two, got {len(axes)}")
    found = [_binning(axis) for axis in axes]
    flow = any(one.under or one.over for one in found)
    values = math.prod(one.bins + 2 * flow for one in found)
    if values > room:
        raise ValueError(f"expected at most {room} values, got {values}")
    return found


def _binning(axis: UhiAxis) -> _Binning:
    if axis.type == "regular":
        if not (math.isfinite(axis.upper - axis.lower) and axis.lower < axis.upper):
            raise ValueError(f"axes: expected lower below upper, both finite, got {axis.lower}, {axis.upper}")
        found = _Binning(axis.bins, axis.underflow, axis.overflow)
    elif axis.type == "variable":
        edges = np.array(axis.edges)
        if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
            raise ValueError("axes: expected edges finite and ascending")
        found = _Binning(len(edges) - 1, axis.underflow, axis.overflow)
    elif axis.type == "boolean":
        found = _Binning(2, False, False)
    else:
        found = _Binning(len(axis.categories), False, axis.flow)
    if found.bins < 1:
        raise ValueError("axes: expected at least one bin, got none")
    return found


def _element(
    path: str,
    axes: Sequence[UhiAxis],
    binnings: Sequence[_Binning],
    kind: str,
    arrays: Mapping[str, _Floats],
    index: Sequence[Sequence[int]] | None,
    metadata: Mapping[str, Any],
) -> MonitorElement:
    shape = tuple(one.size for one in binnings)
    there = [name for name in _FIELDS[kind] if name in arrays]
    if there and len(there) < len(_FIELDS[kind]):
        raise ValueError(f"storage: expected {', '.join(_FIELDS[kind])}, got {', '.join(there)}")
    if index is not None and not there:
        raise ValueError("storage: expected values with the index, got none")
    # all is looked at before the first array is made: a few bytes may ask for a million values
    places = None if index is None else _places(index, shape)
    for name, array in arrays.items():
        expected = shape if places is None else places.shape
        if array.shape != expected:
            raise ValueError(f"{name}: expected {_sizes(expected)} values, got {_sizes(array.shape)}")
    dense = {name: _dense(arrays.get(name), places, shape) for name in _FIELDS[kind]}
    flow = any(one.under or one.over for one in binnings)
    values, variances, entries = _contents(kind, dense)
    storage: Any = {"int": "count", "double": "count", "weighted": "weighted"}.get(kind, "mean")
    empty = math.nan if storage == "mean" else 0.0
    return MonitorElement(
        path,
        tuple(_axis(axis) for axis in axes),
        storage,
        _padded(values, binnings, flow, empty),
        None if variances is None else _padded(variances, binnings, flow, empty),
        flow,
        entries,
        _text(metadata, "title", "label", "name"),
    )


def _contents(kind: str, of: Mapping[str, _Floats]) -> tuple[_Floats, _Floats | None, float | None]:
    """(values, variances, entries). UHI's variances of a profile are those of the samples; here they are those of the
    means: sample variance / n, with n = (sum w)² / sum w² where there are weights (Kish's effective sample size)."""
    if kind in ("int", "double"):
        return of["values"], None, None
    if kind == "weighted":
        return of["values"], of["variances"], None
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "mean":
            n, filled = of["counts"], of["counts"] > 0
        else:
            n, filled = of["sum_of_weights"] ** 2 / of["sum_of_weights_squared"], of["sum_of_weights"] != 0
        variances = np.where(n > 1, of["variances"] / n, math.nan)
    entries = float(n.sum()) if kind == "mean" else None
    return np.where(filled, of["values"], math.nan), variances, entries


def _places(index: Sequence[Sequence[int]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where the values of a sparse storage lie among all."""
    if len(index) != len(shape) or len(set(map(len, index))) > 1:
        raise ValueError(f"index: expected {len(shape)} lists of one length, got others")
    try:
        found = np.ravel_multi_index(tuple(np.array(one, dtype=np.int64) for one in index), shape)
    except (ValueError, OverflowError):
        raise ValueError(f"index: expected places among {_sizes(shape)}, got others") from None
    if len(np.unique(found)) < len(found):
        raise ValueError("index: expected each place once, got one twice")
    return np.asarray(found, dtype=np.int64)


def _dense(array: _Floats | None, places: NDArray[np.int64] | None, shape: tuple[int, ...]) -> _Floats:
    if array is not None and places is None:
        return array
    found = np.zeros(shape)
    if array is not None:
        found.reshape(-1)[places] = array
    return found


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "single"


def _padded(array: _Floats, binnings: Sequence[_Binning], flow: bool, empty: float) -> _Floats:
    """With both flow bins on each axis where there is one at all; y in rows."""
    if flow:
        room = [(int(not one.under), int(not one.over)) for one in binnings]
        array = np.pad(array, room, constant_values=empty)
    return np.ascontiguousarray(array.T)


def _axis(axis: UhiAxis) -> BinAxis:
    title, unit = _text(axis.metadata, "title", "label", "name"), _text(axis.metadata, "unit", "units")
    if axis.type == "regular":
        return BinAxis.regular(axis.bins, axis.lower, axis.upper, title, unit)
    if axis.type == "variable":
        return BinAxis(tuple(axis.edges), (), title, unit)
    labels = ("False", "True") if axis.type == "boolean" else tuple(map(str, axis.categories))
    return BinAxis((), labels, title, unit)


def _text(metadata: Mapping[str, Any], *names: str) -> str:
    """The first of these that is a text."""
    return next((text for name in names if isinstance(text := metadata.get(name), str)), "")
