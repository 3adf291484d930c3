"""TH1, TH2, TProfile and TProfile2D from the bytes that ROOT streamed, with nothing but their layout known.

The layouts are those of the classes' streamer info in ROOT 6 (`TH1` version 8, `TAxis` 10, `TH2` 5, `TProfile` 7,
`TProfile2D` 8); every part has its length in front, so that what is not needed is stepped over. Another version raises
UnknownLayout, and `root` has uproot read that object.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.histograms import MAX_VALUES

NUMBERS = {"C": ">i1", "S": ">i2", "I": ">i4", "L": ">i8", "F": ">f4", "D": ">f8"}
"""Last letter of a class → its contents."""
HISTOGRAMS = {f"TH{n}{letter}": n for n in (1, 2) for letter in NUMBERS}
PROFILES = {"TProfile": 1, "TProfile2D": 2}
KINDS = HISTOGRAMS | PROFILES
"""Classes that are read → their axes."""
_COUNTED = 0x40000000
"""Set in a length that stands before a part."""
_NEW_CLASS = 0xFFFFFFFF
_REFERENCE = 0x80000000
_REFERENCED = 1 << 4
"""Bit of a TObject behind which a process number stands."""
_AFTER_AXES = struct.Struct(">hhdddddddd")
_LAYOUTS = {"TH1": 8, "TH2": 5, "TAxis": 10, "TProfile": 7, "TProfile2D": 8}
MAX_KNOWN, MAX_WRITTEN = 10_000, 10_000
"""Axes that are remembered, and bytes of one."""
_known_axes: dict[bytes, BinAxis] = {}
_Array = NDArray[np.float64]


class UnknownLayout(ValueError):
    """Another version of a class, or no object of it."""


class Streamed(NamedTuple):
    """What a histogram's bytes hold, as ROOT names it."""

    name: str
    title: str
    axes: tuple[BinAxis, ...]
    entries: float
    contents: _Array
    """(cells,) x fastest, flow bins included; of a profile the sums of weight × y."""
    sumw2: _Array
    """(cells,) or empty; of a profile the sums of weight × y²."""
    bin_entries: _Array
    """Of a profile: (cells,) the sums of weights, …"""
    bin_sumw2: _Array
    """… and (cells,) or empty: of their squares."""


def histogram(kind: str, data: bytes, displacement: int) -> Streamed:
    """The object of a class of `KINDS`; `displacement`: bytes of the key before it, which references count. Raises
    UnknownLayout, or ValueError for what contradicts itself.
    """
    try:
        profile = kind in PROFILES
        dimensions = KINDS[kind]
        at = 0
        if profile:
            at, _ = _part(data, at, kind)
        letter = "D" if profile else kind[3]
        own, within = at, _step(data, at)[1]
        at, _ = _step(data, own)
        if dimensions == 2:
            at, after_base = _part(data, at, "TH2")
        base, after = _part(data, at, "TH1")
        name, title, axes, entries, cells, sumw2 = _base(data, base, dimensions, displacement)
        if dimensions == 2:
            after = after_base
        contents, _ = _array(data, after, NUMBERS[letter], cells)
        bin_entries = bin_sumw2 = np.empty(0)
        if profile:
            bin_entries, at = _array(data, within, ">f8", cells)
            at += 4 + 32  # error mode, limits of y (z), two sums
            bin_sumw2, _ = _array(data, at, ">f8", cells) if len(data) >= at + 4 else (np.empty(0), at)
    except (struct.error, IndexError) as error:
        raise UnknownLayout(f"{kind}: expected more than {len(data)} bytes") from error
    if len(contents) != cells or (profile and len(bin_entries) != cells):
        raise ValueError(f"expected contents of {cells} cells, got {len(contents)}")
    return Streamed(name, title, axes, entries, contents, sumw2, bin_entries, bin_sumw2)


def element(path: str, kind: str, found: Streamed) -> MonitorElement:
    """The monitor element of an object. Raises ValueError where it has too many cells."""
    shape = tuple(axis.bins + 2 for axis in reversed(found.axes))
    if kind in PROFILES:
        values, variances = profile_means(found.contents, found.sumw2, found.bin_entries, found.bin_sumw2)
        return MonitorElement(
            path, found.axes, "mean", values.reshape(shape), variances.reshape(shape), True, found.entries, found.title
        )
    weighted = len(found.sumw2) > 0 and not np.array_equal(found.sumw2, found.contents)
    return MonitorElement(
        path,
        found.axes,
        "weighted" if weighted else "count",
        found.contents.reshape(shape),
        found.sumw2.reshape(shape) if weighted else None,
        True,
        found.entries,
        found.title,
    )


def profile_means(sums: _Array, squares: _Array, weights: _Array, weights2: _Array) -> tuple[_Array, _Array]:
    """(means, variances of the means) of a profile's bins from its sums of w·y, w·y², w and (may be empty) w².

    With m = Σwy/Σw and n = (Σw)²/Σw² effective entries, the variance of the mean is (Σwy²/Σw − m²)/(n − 1): the error
    that TProfile shows by default, without its bias. NaN for no entry; the variance also for one (ROOT shows 0).
    """
    effective = weights**2 / np.where(weights2 > 0, weights2, np.nan) if len(weights2) else weights
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(weights != 0, sums / weights, np.nan)
        spread = squares / weights - means**2 if len(squares) else np.full(len(means), np.nan)
        spread = np.where(spread > 1e-12 * means**2, spread, 0.0 * spread)
        variances = np.where(effective > 1 + 1e-9, spread / (effective - 1), np.nan)
    return means, variances


def labelled(labels: list[str]) -> bool:
    """Whether an axis is one of labels: bins have them from the first to the last that has one ('' for none).

    >>> labelled(["EB", "EE", ""]), labelled(["", "0", "", "10"])
    (True, False)
    """
    named = [bool(label) for label in labels]
    return any(named) and all(named[: len(named) - named[::-1].index(True)])


def axis_of_labels(labels: list[str], title: str) -> BinAxis:
    """The axis of bins with these labels; a bin behind the last label is called by its number. Raises ValueError."""
    names = tuple(label or f"#{n}" for n, label in enumerate(labels, 1))
    if len(set(names)) < len(names):
        twice = next(name for n, name in enumerate(names) if name in names[:n])
        raise ValueError(f"two bins have the label {twice[:80]!r}")
    return BinAxis((), names, title)


def numbers_axis(bins: int, low: float, high: float, edges: tuple[float, ...], title: str) -> BinAxis:
    """The axis of bins between limits, or between `edges` where there are some. Raises ValueError."""
    if edges and len(edges) != bins + 1:
        raise ValueError(f"expected {bins + 1} edges, got {len(edges)}")
    limits = np.asarray(edges or (low, high))
    if not np.isfinite(limits).all() or not (np.diff(limits) > 0).all():
        raise ValueError(f"expected finite ascending edges, got {limits[0]} to {limits[-1]}")
    return BinAxis(edges, (), title) if edges else BinAxis.regular(bins, low, high, title)


def _base(
    data: bytes, at: int, dimensions: int, displacement: int
) -> tuple[str, str, tuple[BinAxis, ...], float, int, _Array]:
    name, title, at = _named(data, at)
    at = _passed(data, at, 3)  # line, fill, marker
    (cells,) = struct.unpack_from(">i", data, at)
    at += 4
    axes: list[BinAxis] = []
    for _ in range(dimensions):
        axis, at = _axis(data, at, displacement)
        axes.append(axis)
    at = _passed(data, at, 3 - dimensions)
    expected = math.prod(axis.bins + 2 for axis in axes)
    if cells != expected or not 0 < cells <= MAX_VALUES:
        raise ValueError(f"expected at most {MAX_VALUES} cells, {expected} by its axes, got {cells}")
    entries = _AFTER_AXES.unpack_from(data, at)[2]
    at += _AFTER_AXES.size
    (contours,) = struct.unpack_from(">i", data, at)
    sumw2, _ = _array(data, at + 4 + 8 * max(contours, 0), ">f8", cells)
    return name, title, tuple(axes), float(entries), cells, sumw2


def _axis(data: bytes, at: int, displacement: int) -> tuple[BinAxis, int]:
    """An axis and the place behind it; one without labels is remembered by its bytes."""
    end = at + 4 + (struct.unpack_from(">I", data, at)[0] & ~_COUNTED)
    written = data[at:end]
    axis = _known_axes.get(written)
    if axis is None:
        axis, is_plain = _read_axis(data, at, displacement)
        if is_plain and len(_known_axes) < MAX_KNOWN and len(written) < MAX_WRITTEN:
            _known_axes[written] = axis
    return axis, end


def _read_axis(data: bytes, at: int, displacement: int) -> tuple[BinAxis, bool]:
    """An axis, and whether it has no labels: their bytes refer to others."""
    at, _ = _part(data, at, "TAxis")
    _, title, at = _named(data, at)
    _, at = _step(data, at)
    bins, low, high, edges = struct.unpack_from(">iddi", data, at)
    at += 24
    if not 0 < bins <= MAX_VALUES or edges not in (0, bins + 1):
        raise ValueError(f"expected 1 to {MAX_VALUES} bins and 0 or as many edges and one, got {bins} and {edges}")
    limits = struct.unpack_from(f">{edges}d", data, at)
    at += 8 * edges + 4 + 4 + 2 + 1
    _, at = _text(data, at)
    (labels,) = struct.unpack_from(">I", data, at)
    if labels:
        names = _labels(data, at, displacement, bins)
        if labelled(names):
            return axis_of_labels(names, title), False
    return numbers_axis(bins, low, high, limits, title), not labels


def _labels(data: bytes, at: int, displacement: int, bins: int) -> list[str]:
    """The label of each bin, '' for none: a THashList of TObjString, whose unique id is the bin's number."""
    at, kind = _object(data, at, displacement)
    if kind != "THashList":
        raise UnknownLayout(f"expected labels as THashList, got {kind[:80]!r}")
    at, _ = _step(data, at)
    _, at = _root_object(data, at)
    _, at = _text(data, at)
    (number,) = struct.unpack_from(">i", data, at)
    at += 4
    names = [""] * bins
    for _ in range(number):
        length = struct.unpack_from(">I", data, at)[0] & ~_COUNTED
        begin, kind = _object(data, at, displacement)
        if kind != "TObjString":
            raise UnknownLayout(f"expected labels as TObjString, got {kind[:80]!r}")
        begin, _ = _step(data, begin)
        bin_number, begin = _root_object(data, begin)
        text, _ = _text(data, begin)
        if 1 <= bin_number <= bins:
            names[bin_number - 1] = text
        at += 4 + length
        at += 1 + data[at]  # its option
    return names


def _object(data: bytes, at: int, displacement: int) -> tuple[int, str]:
    """Behind a pointer's head, and the class of what it leads to."""
    length, tag = struct.unpack_from(">II", data, at)
    if not length & _COUNTED:
        raise UnknownLayout("expected an object with its length in front")
    if tag == _NEW_CLASS:
        end = data.index(0, at + 8)
        return end + 1, data[at + 8 : end].decode("ascii", "replace")
    place = (tag & ~_REFERENCE) - 2 - displacement
    if not tag & _REFERENCE or not 0 <= place < at or struct.unpack_from(">I", data, place)[0] != _NEW_CLASS:
        raise UnknownLayout("expected a reference to a class before")
    return at + 8, data[place + 4 : data.index(0, place + 4)].decode("ascii", "replace")


def _part(data: bytes, at: int, kind: str) -> tuple[int, int]:
    """(behind its head, behind it) of a part of a class whose versions are known."""
    length, version = struct.unpack_from(">IH", data, at)
    if not length & _COUNTED or version != _LAYOUTS[kind]:
        raise UnknownLayout(f"expected {kind} of version {_LAYOUTS[kind]}, got {version}")
    return at + 6, at + 4 + (length & ~_COUNTED)


def _step(data: bytes, at: int) -> tuple[int, int]:
    """(behind its head, behind it) of a part of any version."""
    (length,) = struct.unpack_from(">I", data, at)
    if not length & _COUNTED:
        raise UnknownLayout("expected a part with its length in front")
    return at + 6, at + 4 + (length & ~_COUNTED)


def _passed(data: bytes, at: int, number: int) -> int:
    """Behind so many parts of any version."""
    for _ in range(number):
        (length,) = struct.unpack_from(">I", data, at)
        if not length & _COUNTED:
            raise UnknownLayout("expected a part with its length in front")
        at += 4 + (length & ~_COUNTED)
    return at


def _named(data: bytes, at: int) -> tuple[str, str, int]:
    """(name, title, behind it) of a TNamed."""
    at, end = _step(data, at)
    _, at = _root_object(data, at)
    name, at = _text(data, at)
    title, _ = _text(data, at)
    return name, title, end


def _root_object(data: bytes, at: int) -> tuple[int, int]:
    """(unique id, behind it) of a TObject, which has no length in front."""
    version, unique, bits = struct.unpack_from(">HII", data, at)
    if version & 0x4000:
        raise UnknownLayout("expected a TObject without its length")
    return unique, at + 10 + (2 if bits & _REFERENCED else 0)


def _text(data: bytes, at: int) -> tuple[str, int]:
    length = data[at]
    at += 1
    if length == 255:
        (length,) = struct.unpack_from(">I", data, at)
        at += 4
    if at + length > len(data):
        raise IndexError
    return data[at : at + length].decode("utf-8", "replace"), at + length


def _array(data: bytes, at: int, form: str, most: int) -> tuple[_Array, int]:
    """A TArray of at most so many numbers, and the place behind it."""
    (number,) = struct.unpack_from(">i", data, at)
    if not 0 <= number <= most:
        raise ValueError(f"expected at most {most} numbers, got {number}")
    kind = np.dtype(form)
    end = at + 4 + number * kind.itemsize
    if end > len(data):
        raise IndexError
    return np.frombuffer(data, kind, number, at + 4).astype(np.float64), end
