"""What uproot reads of ROOT files: UHI in RNTuples, histograms of other versions of their class, and DQMIO's trees.

DQMIO (`DQMServices/FwkIO/plugins/format.h` in CMSSW): for each type a tree with the branches `FullName`, `Flags` and
`Value`; the tree `Indices` says for each run, lumisection (0: the run) and type which entries of its tree belong there.
No DQMIO file was at hand: its reader is tried on that description alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.files.found import EXTRA, FileElement, Unread, said
from opintel.dqm.files.root_file import RootKey
from opintel.dqm.files.root_histograms import (
    KINDS,
    PROFILES,
    Streamed,
    axis_of_labels,
    element,
    labelled,
    numbers_axis,
)
from opintel.dqm.files.uhi_containers import ARRAYS
from opintel.dqm.histograms import MAX_VALUES
from opintel.dqm.wire.uhi import from_arrays

TYPES = ("Ints", "Floats", "Strings", "TH1Fs", "TH1Ss", "TH1Ds", "TH2Fs", "TH2Ss", "TH2Ds")
LATER_TYPES = ("TH3Fs", "TProfiles", "TProfile2Ds", "TH1Is", "TH2Is")
"""Types behind the first nine; a later release put TH2Poly between them."""


def rntuple(file: BinaryIO, key: RootKey, path: str) -> MonitorElement:
    """The histogram of an RNTuple of one entry, whose field `uhi` is its JSON with the names of the other fields in
    place of arrays. Raises ValueError.
    """
    tuples = _opened(file)[f"{key.path};{key.cycle}"]
    if tuples.num_entries != 1 or "uhi" not in set(tuples.keys()):
        raise ValueError("an RNTuple that is no histogram: expected one entry with the field 'uhi'")
    entry = tuples.arrays(entry_stop=1)[0]
    found: dict[str, Any] = json.loads(entry["uhi"])
    for holder in (found["storage"], *found["axes"]):
        for name in ARRAYS & holder.keys():
            if isinstance(holder[name], str):
                holder[name] = np.asarray(entry[holder[name]])
    storage = found["storage"]
    shape = (len(found["axes"]), -1) if "index" in storage else tuple(map(_size, found["axes"]))
    for name in ARRAYS & storage.keys():
        if len(shape) == 2 and (name == "index") == ("index" in storage):
            storage[name] = np.asarray(storage[name]).reshape(shape)
    return from_arrays(path, found)


def _size(axis: dict[str, Any]) -> int:
    """Values along an axis of UHI."""
    bins = {"regular": axis.get("bins", 0), "variable": len(axis.get("edges", ())) - 1, "boolean": 2}
    flow = sum(bool(axis.get(name)) for name in ("underflow", "overflow", "flow"))
    return int(bins.get(axis["type"], len(axis.get("categories", ())))) + flow


def streamed(file: BinaryIO, key: RootKey) -> Streamed:
    """A histogram as uproot reads it."""
    return _streamed(_opened(file)[f"{key.path};{key.cycle}"], key.kind)


def dqmio(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """The histograms of a DQMIO file, by run and lumisection."""
    opened = _opened(file)
    names = {name.split(";")[0] for name in opened.keys(recursive=False)}
    types = (*TYPES, *(["TH2Polys"] if "TH2Polys" in names else []), *LATER_TYPES)
    columns = opened["Indices"].arrays(["Run", "Lumi", "Type", "FirstIndex", "LastIndex"], library="np")
    rows = np.lexsort((columns["Type"], columns["Lumi"], columns["Run"]))
    for n in rows.tolist():
        run, lumisection, kind, first, last = (int(columns[name][n]) for name in columns)
        if not 0 <= kind < len(types) or types[kind] in TYPES[:3] or types[kind].rstrip("s") not in KINDS:
            continue
        tree = opened[types[kind]]
        if not 0 <= first <= last < tree.num_entries:
            yield Unread(f"run {run} LS {lumisection} {types[kind]}", f"entries {first} to {last} are not there")
            continue
        for entry in range(first, last + 1):
            path = f"entry {entry} of {types[kind]}"
            try:
                one = tree.arrays(["FullName", "Value"], entry_start=entry, entry_stop=entry + 1, library="np")
                path, value = str(one["FullName"][0]), one["Value"][0]
                found = element(path, types[kind].rstrip("s"), _streamed(value, types[kind].rstrip("s")))
                yield FileElement(found, run, lumisection or None)
            except Exception as problem:  # whatever a damaged object makes uproot raise
                yield Unread(path, said(problem))


@lru_cache(1)
def _opened(file: BinaryIO) -> Any:
    try:
        import uproot
    except ModuleNotFoundError as error:
        raise ValueError(f"reading it needs uproot: {EXTRA}") from error
    return uproot.open(file)


def _streamed(found: Any, kind: str) -> Streamed:
    dimensions = KINDS[kind]
    base = found.bases[0] if kind in PROFILES else found
    contents = np.asarray(base.bases[-1], np.float64)
    axes = tuple(_axis(found.member(f"f{side}axis")) for side in "XY"[:dimensions])
    cells = int(np.prod([axis.bins + 2 for axis in axes]))
    if len(contents) != cells or cells > MAX_VALUES:
        raise ValueError(f"expected contents of {cells} cells, at most {MAX_VALUES}, got {len(contents)}")
    profile = [np.asarray(found.member(name), np.float64) for name in ("fBinEntries", "fBinSumw2") if kind in PROFILES]
    entries, squares = profile or (np.empty(0), np.empty(0))
    sumw2 = np.asarray(found.member("fSumw2"), np.float64)
    return Streamed(found.name, found.title, axes, float(found.member("fEntries")), contents, sumw2, entries, squares)


def _axis(axis: Any) -> BinAxis:
    bins, title = int(axis.member("fNbins")), str(axis.member("fTitle"))
    names = [""] * bins
    for label in axis.member("fLabels") or ():
        place = label.member("@fUniqueID")
        if 1 <= place <= bins:
            names[place - 1] = str(label)
    if labelled(names):
        return axis_of_labels(names, title)
    edges = tuple(np.asarray(axis.member("fXbins"), np.float64).tolist())
    return numbers_axis(bins, float(axis.member("fXmin")), float(axis.member("fXmax")), edges, title)
