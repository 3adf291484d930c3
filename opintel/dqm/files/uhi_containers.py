"""UHI's containers JSON, ZIP and HDF5, as `uhi.io` writes them; `opintel.dqm.wire.uhi` reads the histograms in them.

A document holds one histogram, or an object of named ones; an archive `NAME.json` with arrays beside it; HDF5 a group
for each. What is in them is untrusted: nothing outside the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from opintel.dqm.elements import MonitorElement
from opintel.dqm.files.found import EXTRA, FileElement, Unread, said
from opintel.dqm.files.names import PlacedName
from opintel.dqm.histograms import MAX_VALUES
from opintel.dqm.wire.uhi import from_arrays

MAX_DOCUMENT = 256 << 20
"""Bytes of a JSON document."""
MAX_HISTOGRAMS = 1_000_000
ARRAYS = frozenset(("index", "values", "variances", "counts", "sum_of_weights", "sum_of_weights_squared", "edges"))
"""Entries of storages and axes that containers keep apart, as arrays."""


def read_json(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """A histogram, or an object of named ones."""
    file.seek(0)
    body = file.read(MAX_DOCUMENT + 1)
    if len(body) > MAX_DOCUMENT:
        raise ValueError(f"expected at most {MAX_DOCUMENT} bytes of JSON")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON: {said(error)}") from error
    if not isinstance(document, dict) or not document:
        raise ValueError("expected a histogram, or an object of named ones")
    if "uhi_schema" in document:
        yield FileElement(_element("histogram", document))
        return
    yield from _in_order(document, document.__getitem__)


def read_zip(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """`NAME.json` for each histogram, its arrays beside it as .npy."""
    from zipfile import BadZipFile, ZipFile

    try:
        archive = ZipFile(file)
    except (BadZipFile, ValueError) as error:
        raise ValueError(f"expected a ZIP archive: {said(error)}") from error
    names = [info.filename.removesuffix(".json") for info in archive.infolist() if info.filename.endswith(".json")]

    def member(name: str, most: int) -> bytes:
        size = archive.getinfo(name).file_size
        if size > most:
            raise ValueError(f"{name[:80]!r}: expected at most {most} bytes, got {size}")
        return archive.read(name)

    def load(holder: dict[str, Any]) -> None:
        from io import BytesIO

        for name in ARRAYS & holder.keys():
            if isinstance(holder[name], str):
                body = member(holder[name], 16 * MAX_VALUES + 4096)
                holder[name] = np.load(BytesIO(body), allow_pickle=False)

    def histogram(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(member(f"{name}.json", MAX_DOCUMENT // 16))
        if not isinstance(found, dict) or not isinstance(found.get("storage"), dict):
            raise ValueError("expected a histogram, got one without storage")
        for holder in (found["storage"], *found.get("axes", ())):
            load(holder)
        return found

    yield from _in_order(names, histogram)


def read_hdf5(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """Groups with the attribute `uhi_schema`. Links out of the file and data outside it are not followed."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(f"reading HDF5 needs h5py: {EXTRA}") from error
    try:
        opened = h5py.File(file, "r")
    except (OSError, RuntimeError) as error:
        raise ValueError(f"expected HDF5: {said(error)}") from error
    groups: dict[str, Any] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", opened)]
    while waiting and len(groups) < MAX_HISTOGRAMS:
        path, group = waiting.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place in seen:
            continue
        seen.add(place)
        if "uhi_schema" in group.attrs:
            groups[path or "histogram"] = group
            continue
        for name in group:
            if (
                isinstance(group.get(name, getlink=True), h5py.HardLink)
                and group.get(name, getclass=True) is h5py.Group
            ):
                waiting.append((f"{path}/{name}".lstrip("/"), group[name]))
    yield from _in_order(groups, lambda name: _of_group(groups[name]))


def _of_group(group: Any) -> dict[str, Any]:
    axes = []
    for reference in group["axes"][()]:
        one = group["ref_axes"][reference]
        axis = {name: _plain(value) for name, value in one.attrs.items()}
        for name in ("edges", "categories"):
            if name in one:
                axis[name] = _dataset(one, name)
        if "metadata" in one:
            axis["metadata"] = {name: _plain(value) for name, value in one["metadata"].attrs.items()}
        axes.append(axis)
    inside = group["storage"]
    storage = {"type": _plain(inside.attrs["type"])} | {name: _dataset(inside, name) for name in inside}
    found = {"uhi_schema": _plain(group.attrs["uhi_schema"]), "axes": axes, "storage": storage}
    if "metadata" in group:
        found["metadata"] = {name: _plain(value) for name, value in group["metadata"].attrs.items()}
    return found


def _dataset(group: Any, name: str) -> Any:
    import h5py

    link, data = group.get(name, getlink=True), group[name]
    if not isinstance(link, h5py.HardLink) or not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise ValueError(f"{name[:80]!r}: expected data inside the file")
    if data.size > 2 * MAX_VALUES:
        raise ValueError(f"{name[:80]!r}: expected at most {2 * MAX_VALUES} numbers, got {data.size}")
    return [_plain(one) for one in data[()]] if name == "categories" else np.asarray(data[()])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _in_order(histograms: Iterable[str], load: Callable[[str], Any]) -> Iterator[FileElement | Unread]:
    """Named histograms by run, lumisection and path; one that cannot be read is said, and the next one is read."""
    names = [(PlacedName.of(name), name) for name in histograms]
    names.sort(key=lambda one: (one[0].run or 0, one[0].lumisection or 0, one[0].path, one[1]))
    for (run, lumisection, path), name in names:
        try:
            yield FileElement(_element(path, load(name)), run, lumisection)
        except Exception as problem:  # whatever a damaged one makes its reader raise
            yield Unread(name, said(problem))


def _element(path: str, histogram: Any) -> MonitorElement:
    if not isinstance(histogram, dict):
        raise ValueError("expected a histogram")
    try:
        return from_arrays(path, histogram)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected a histogram as UHI has it, got one without {said(error)}") from error
