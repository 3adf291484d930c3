"""The status tree of a subsystem in a lumisection: histograms make the state of their folder, folders that of theirs.

A folder is bad where something critical in it is, or where bad children have more than a tolerated share of the weight
of all; a child is a histogram or a folder. By default nothing is tolerated and all weigh the same: one bad histogram
spoils all folders above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from opintel.dqm.quality.status import Status, folder_of, matches

DEEPEST = 12
"""Folders inside each other; what lies deeper counts to the last of these."""


class TreeRules(NamedTuple):
    """How states go up the tree; patterns are of paths of histograms and folders, the first that matches counts."""

    minor: Sequence[str] = ()
    critical: Sequence[str] = ()
    weights: Mapping[str, float] = {}
    tolerated: float = 0.0

    def weight(self, path: str) -> float:
        """1 where no pattern matches."""
        return next((weight for pattern, weight in self.weights.items() if fnmatchcase(path, pattern)), 1.0)


class Leaf(NamedTuple):
    """A histogram."""

    path: str
    judged: bool
    bad: bool


class Folder(NamedTuple):
    """A folder and what is in it, at any depth; "" is the subsystem."""

    path: str
    status: Status
    weight: float
    histograms: int
    judged: int
    bad: int


class StatusTree(NamedTuple):
    """The folders in order, each before those in it, and the paths of the histograms that make the subsystem bad."""

    folders: list[Folder]
    spoiling: set[str]


class _Sum:
    """What is added up of a folder."""

    def __init__(self) -> None:
        self.histograms = self.judged = self.bad = 0
        self.weight = self.spoiled = 0.0
        self.critical = False


def status_tree(leaves: Iterable[Leaf], rules: TreeRules) -> StatusTree:
    """The tree of a subsystem's histograms.

    >>> tree = status_tree([Leaf("a/x", True, True), Leaf("b/x", True, False)], TreeRules())
    >>> [(folder.path, folder.status) for folder in tree.folders], tree.spoiling
    ([('', 'bad'), ('a', 'bad'), ('b', 'good')], {'a/x'})
    >>> half = TreeRules(tolerated=0.5, weights={"a": 0.2})
    >>> [folder.status for folder in status_tree([Leaf("a/x", True, True), Leaf("b/x", True, False)], half).folders]
    ['minor', 'bad', 'good']
    """
    sums: dict[str, _Sum] = {"": _Sum()}
    suspects: list[str] = []
    for leaf in leaves:
        here = _sum_of(sums, _folder(leaf.path))
        here.histograms += 1
        here.judged += leaf.judged
        here.bad += leaf.bad
        if rules.tolerated > 0:
            here.weight += rules.weight(leaf.path)
        if leaf.bad and not matches(leaf.path, rules.minor):
            suspects.append(leaf.path)
            here.spoiled += rules.weight(leaf.path)
            here.critical |= matches(leaf.path, rules.critical)
    found: dict[str, Folder] = {}
    for path in sorted(sums, key=lambda path: path.count("/") + bool(path), reverse=True):
        here = sums[path]
        folder = found[path] = Folder(
            path, _status(here, rules), rules.weight(path), here.histograms, here.judged, here.bad
        )
        if path:
            above = sums[folder_of(path)]
            above.histograms += here.histograms
            above.judged += here.judged
            above.bad += here.bad
            above.weight += folder.weight
            above.spoiled += folder.weight * (folder.status == "bad")
            above.critical |= here.critical or (folder.status == "bad" and matches(path, rules.critical))
    spoiling = {path for path in suspects if all(found[name].status == "bad" for name in _above(_folder(path)))}
    return StatusTree(
        [found[path] for path in sorted(found, key=lambda path: path.split("/") if path else [])], spoiling
    )


def most_telling(folders: Sequence[Folder], most: int) -> list[Folder]:
    """At most so many, in order: those that are not good first, with all above them."""
    if len(folders) <= most:
        return list(folders)
    chosen: set[str] = set()
    for folder in sorted(folders, key=lambda one: (one.status == "good", one.path.count("/"), one.path)):
        more = set(_above(folder.path)) - chosen
        if len(chosen) + len(more) <= most:
            chosen |= more
    return [folder for folder in folders if folder.path in chosen]


def _status(here: _Sum, rules: TreeRules) -> Status:
    share = here.spoiled / here.weight if here.weight > 0 else float(here.spoiled > 0)
    if here.critical or (here.spoiled > 0 and share > rules.tolerated):
        return "bad"
    if here.bad:
        return "minor"
    return "good" if here.judged else "insufficient"


def _folder(path: str) -> str:
    return "/".join(path.split("/")[:-1][:DEEPEST])


def _above(folder: str) -> list[str]:
    """The folder and all that it lies in, the subsystem last."""
    found = [folder]
    while found[-1]:
        found.append(folder_of(found[-1]))
    return found


def _sum_of(sums: dict[str, _Sum], folder: str) -> _Sum:
    known = sums.get(folder)
    if known is None:
        for name in _above(folder):
            sums.setdefault(name, _Sum())
        known = sums[folder]
    return known
