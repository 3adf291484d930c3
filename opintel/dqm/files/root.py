"""A ROOT file: histograms in folders, the highest cycle of each name, by run, lumisection and path.

TH1, TH2, TProfile and TProfile2D are read here from their bytes; what else may hold histograms goes to uproot
(`root_trees`). Other classes of histograms are said to be unread; trees, texts and the like are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from opintel.dqm.elements import MonitorElement
from opintel.dqm.files.found import FileElement, Unread, said
from opintel.dqm.files.names import PlacedName
from opintel.dqm.files.root_file import RootBytes, RootKey
from opintel.dqm.files.root_histograms import KINDS, UnknownLayout, element, histogram

RNTUPLES = ("ROOT::RNTuple", "ROOT::Experimental::RNTuple")
INDICES = "Indices"
"""Name of the tree by which DQMIO files are known."""
_UNREAD = ("TH1", "TH2", "TH3", "THn", "TProfile", "TEfficiency")
"""How classes begin that hold histograms."""


def read(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """Its histograms, by run, lumisection and path; a damaged one is said, and the next one read. Raises ValueError
    where it is no ROOT file or a list of keys is damaged.
    """
    opened = RootBytes(file)
    latest: dict[tuple[str, str], RootKey] = {}
    for key in opened.objects():
        known = latest.get((key.folder, key.name))
        if known is None or known.cycle < key.cycle:
            latest[key.folder, key.name] = key
    trees = latest.get(("", INDICES))
    if trees is not None and trees.kind == "TTree":
        from opintel.dqm.files.root_trees import dqmio

        yield from dqmio(file)
        return
    placed = [(PlacedName.of(key.path), key) for key in latest.values() if key.kind in KINDS or _may_be_one(key)]
    placed.sort(key=lambda one: (one[0].run or 0, one[0].lumisection or 0, one[0].path, one[1].kind))
    for place, key in placed:
        try:
            yield FileElement(_element(file, opened, key, place.path), place.run, place.lumisection)
        except Exception as problem:  # whatever a damaged object makes its reader raise
            yield Unread(key.path, said(problem))


def _may_be_one(key: RootKey) -> bool:
    return key.kind in RNTUPLES or key.kind.startswith(_UNREAD)


def _element(file: BinaryIO, opened: RootBytes, key: RootKey, path: str) -> MonitorElement:
    if key.kind in RNTUPLES:
        from opintel.dqm.files.root_trees import rntuple

        return rntuple(file, key, path)
    if key.kind not in KINDS:
        raise ValueError(f"a {key.kind[:80]} is not read; expected TH1, TH2, TProfile or TProfile2D")
    try:
        return element(path, key.kind, histogram(key.kind, opened.inflated(key), key.head))
    except UnknownLayout:
        from opintel.dqm.files.root_trees import streamed

        return element(path, key.kind, streamed(file, key))
