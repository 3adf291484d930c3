"""Series in HDF5, known by what the file holds, not by its name.

* GWOSC: `strain/Strain` with `Xstart` and `Xspacing`, bit masks in `quality` with their names beside them
  (https://gwosc.org/archive/dataset); old and new files, 4 and 16 kHz alike.
* The auxiliary release (GW170814): a group a channel, its samples in `data`, `gps_start` and `fs` among its attributes.
* gwpy's series: a dataset with `x0` and `dx`; so are others' with `t0` and `sample_rate` or `dt`.

Neither a file's name nor `meta/UTCstart` counts, which is wrong by a second in some. Links out of the file and data
outside it are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from opintel.extras import install
from opintel.gw.files import EXTRA
from opintel.gw.files.series import FileSeries, series_of
from opintel.gw.wire.channels import wrong_channel

BEGIN = b"\x89HDF\r\n"
MAX_OBJECTS = 100_000
"""Groups and datasets of a file that are looked at."""
MAX_INFLATED, MAX_SMALL = 2000, 1 << 20
"""How often its bytes in the file a dataset may have, gzip reaching half of that, and bytes that any may have: one that
was never written to is as long as its header says."""
_START = ("Xstart", "x0", "t0", "gps_start")
_SPACING = ("Xspacing", "dx", "dt")
_RATE = ("fs", "sample_rate")
_MASKS = (("simple", "DQmask", "DQShortnames"), ("injections", "Injmask", "InjShortnames"))
"""GWOSC's: group, mask, names of its bits."""


def read(file: BinaryIO) -> Iterator[list[FileSeries] | str]:
    """The series of a file, together, behind what is wrong with others. Raises ValueError where nothing can be read."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(f"reading HDF5 needs h5py: {install(EXTRA)}") from error
    try:
        # nothing is cached: each stretch is read once, and there may be hundreds of datasets
        opened = h5py.File(file, "r", rdcc_nbytes=0)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"expected HDF5: {error}") from error
    strain = _inside(opened, "strain", "Strain")
    found = []
    for one in _gwosc(opened, strain) if strain is not None else _series(opened):
        if isinstance(one, str):
            yield one
        else:
            found.append(one)
    yield found


def _series(opened: Any) -> Iterator[FileSeries | str]:
    for path, dataset, attributes in _datasets(opened):
        start, rate = _first(attributes, _START), _rate(attributes)
        if start is None or rate is None or not _is_valid(attributes):
            continue
        try:
            yield _named(path, dataset, attributes, start, rate)
        except Exception as problem:  # whatever a damaged one makes its reader raise
            yield f"{path[:200]!r}: {problem}"


def _gwosc(opened: Any, strain: Any) -> Iterator[FileSeries | str]:
    detector = _inside(opened, "meta", "Detector")
    if detector is None:
        raise ValueError("meta/Detector: expected the interferometer's name, got none")
    interferometer = _text(detector[()]).strip()
    about = dict(strain.attrs)
    start, rate = _first(about, _START), _rate(about)
    if start is None or rate is None:
        raise ValueError("strain/Strain: expected the attributes Xstart and Xspacing")
    name = f"{interferometer}:GWOSC-STRAIN"
    if wrong := wrong_channel(name):
        raise ValueError(f"meta/Detector: {wrong}")
    yield series_of(name, start, rate, strain, "strain")
    for group, mask, names in _MASKS:
        bits, named = _inside(opened, "quality", group, mask), _inside(opened, "quality", group, names)
        if bits is None or named is None:
            continue
        try:
            about = {"Xstart": start, "Xspacing": 1.0, **bits.attrs}
            flags = tuple(_text(one).strip() for one in named[()])
            begin, rate = _first(about, _START), _rate(about)
            yield series_of(f"{interferometer}:GWOSC-{mask.upper()}", begin, rate, bits, bits=flags)
        except Exception as problem:  # whatever a damaged one makes its reader raise
            yield f"quality/{group}: {problem}"


def _named(path: str, dataset: Any, attributes: Mapping[str, Any], start: Any, rate: float) -> FileSeries:
    if "xunit" in attributes and _text(attributes["xunit"]) not in ("s", ""):
        raise ValueError(f"expected a series in time, got one in {_text(attributes['xunit'])[:20]!r}")
    parts = path.split("/")
    said = [_text(attributes[name]) for name in ("channel", "name") if name in attributes]
    names = [name for name in (*said, *reversed(parts)) if not wrong_channel(name)]
    if not names:
        raise ValueError(wrong_channel(parts[-1]))
    bits = tuple(map(_text, np.atleast_1d(attributes["bits"]))) if "bits" in attributes else ()
    _require_inside(dataset)
    return series_of(names[0], start, rate, dataset, _text(attributes.get("unit", "")), bits)


def _datasets(opened: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(path, dataset, its attributes and, of `data`, those of its group) of all that a file holds."""
    import h5py

    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", opened)]
    looked = 0
    while waiting:
        path, group = waiting.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place in seen:
            continue
        seen.add(place)
        inside = []
        for name in group:
            looked += 1
            if looked > MAX_OBJECTS:
                raise ValueError(f"expected at most {MAX_OBJECTS} groups and datasets")
            here = f"{path}/{name}".lstrip("/")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            kind = group.get(name, getclass=True)
            if kind is h5py.Group:
                inside.append((here, group[name]))
            elif kind is h5py.Dataset:
                dataset = group[name]
                above = dict(group.attrs) if name == "data" else {}
                yield here, dataset, above | dict(dataset.attrs)
        waiting += reversed(inside)


def _inside(group: Any, *path: str) -> Any:
    """The dataset at a path inside the file; None where there is none."""
    import h5py

    for name in path:
        if not isinstance(group, h5py.Group) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return None
        group = group[name]
    if not isinstance(group, h5py.Dataset):
        return None
    _require_inside(group)
    return group


def _require_inside(dataset: Any) -> None:
    if dataset.external or dataset.is_virtual:
        raise ValueError("expected data inside the file")
    size, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if size > MAX_INFLATED * stored + MAX_SMALL:
        raise ValueError(f"expected data in the file, got {stored} bytes of them for {size}")


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    found = next((attributes[name] for name in names if name in attributes), None)
    return found if isinstance(found, int | float | np.integer | np.floating) else None


def _rate(attributes: Mapping[str, Any]) -> float | None:
    spacing, rate = _first(attributes, _SPACING), _first(attributes, _RATE)
    if rate is None and spacing is not None:
        rate = 1 / float(spacing) if spacing else 0.0
    return None if rate is None else float(rate)


def _is_valid(attributes: Mapping[str, Any]) -> bool:
    return bool(attributes.get("valid", 1))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
