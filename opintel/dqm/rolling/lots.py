"""The histograms of a lumisection that are judged together, when they were added up, and the references that may be
used for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Controls
from opintel.dqm.rolling.against_references import ToCompare
from opintel.dqm.rolling.changes import Changes
from opintel.dqm.rolling.groups import HistogramGroup
from opintel.dqm.rolling.histories import BlockMarks, Bools, Floats, Histories, Ints
from opintel.dqm.rolling.labels import References, known_alone, labelled, whole_or_all
from opintel.dqm.rolling.pileup import at_pileup
from opintel.dqm.rolling.published import Pinned
from opintel.dqm.rolling.reference_controls import reference_controls

SURE = 5
"""Lumisections after which the systematic error of a histogram is believed, and how its bins move together."""


class Lot(NamedTuple):
    """A group on its way: what was added up of it, and what is remembered."""

    group: HistogramGroup
    past: Histories
    rows: Ints
    """In `past`."""
    changes: Changes
    moved: Bools
    """(histograms,) whether its bins were others until now."""
    sums: Floats
    first: Ints
    """First lumisection in the sums."""
    entries: NDArray[np.float64]
    """Of this lumisection."""
    sound: Bools
    ready: Bools
    """Which have entries enough to be judged."""
    pinned: Pinned
    marks: BlockMarks
    """What its sums are, as part of a reference."""

    def some_marks(self, which: Ints) -> BlockMarks:
        """Of some of the histograms."""
        return BlockMarks(*[mark[which] for mark in self.marks])


class UsableReferences(NamedTuple):
    """References of n histograms of a lot, as far as they may be used."""

    past: Histories
    rows: Ints
    """(n,) in `past`."""
    usable: Bools
    """(slots + 1, n)"""
    pileup: NDArray[Any]
    """(slots + 1, n)"""
    lumisections: Ints
    """(n,) that the usable ones have."""
    usual: NDArray[np.float64]
    """(n,) entries a second; NaN without references."""
    floor: NDArray[np.float64]
    """(n,) relative systematic error of a bin."""
    shared: NDArray[np.float64]
    """(n, SHARED) variance of the smooth components beyond statistics and floor."""

    def some(self, chosen: Ints | Bools) -> UsableReferences:
        """Of some of them."""
        usable, pileup = self.usable[:, chosen], self.pileup[:, chosen]
        rest = (self.lumisections[chosen], self.usual[chosen], self.floor[chosen], self.shared[chosen])
        return UsableReferences(self.past, self.rows[chosen], usable, pileup, *rest)


def in_force(lot: Lot, which: Ints, past: Histories, rows: Ints, settings: Any, controls: Controls) -> UsableReferences:
    """The references that the histograms `which` of a lot have in `past`, in these rows, under the settings of
    `DqmReducer`.

    Those of the same class are used, of a pile-up near this one, of no banned run; of the own run alone where these
    have `least` lumisections.
    """
    group = lot.group
    run, pileup = group.run[which], group.pileup[which]
    references = past.marks(rows)
    usable = (references.lumisections > 0) & (references.category == lot.marks.category[which])
    usable &= ~(np.abs(references.pileup - pileup) > settings.pileup * pileup)
    usable &= ~_banned(group.keys, which, references.run, controls)
    if labelled(group.axes):
        usable = whole_or_all(usable, past.whole(rows), references.lumisections, settings.least)
    own = usable & (references.run == run)
    known = (references.lumisections * own).sum(axis=0) >= settings.least
    usable = np.where(known, own, usable)
    lumisections = (references.lumisections * usable).sum(axis=0)
    usual = (references.entries * usable).sum(axis=0) / np.maximum((references.seconds * usable).sum(axis=0), 1e-9)
    sure = past.learned[rows] >= SURE
    shared = np.where(sure, np.maximum(past.shared[:, rows], 0.0), 0.0).T
    floor = np.where(sure, np.sqrt(np.maximum(past.excess[rows], 0.0)), settings.floor)
    of_others = (usable & (references.run != run)).any(axis=0) & ~lot.pinned.there[which]
    floor = np.where(of_others, np.hypot(floor, settings.runs), floor)
    usual = np.where(lumisections > 0, usual, np.nan)
    return UsableReferences(past, rows, usable, references.pileup, lumisections, usual, floor, shared)


def to_compare(lot: Lot, which: Ints, used: UsableReferences) -> ToCompare:
    """The histograms `which` of a lot and the references of theirs that are `used`."""
    group = lot.group

    def held(some: Ints) -> Floats:
        """(slots + 1, planes, some, size)"""
        at = which[some]
        found = used.past.references(used.rows[some], used.usable[:, some])
        if group.storage == "count" and np.isfinite(group.pileup[at]).any():
            moved_on = at_pileup(found[:, 0], used.pileup[:, some], group.pileup[at])
            found = found.copy() if len(moved_on.chosen) else found
            found[:, 0, moved_on.chosen] = 0
            found[0, 0, moved_on.chosen] = moved_on.contents
        return lot.pinned.over(found, at)

    paths, sums = [group.keys[n].split("|", 2)[2] for n in which.tolist()], some_sums(lot.sums, which)
    references: References = held
    if labelled(group.axes):
        sums, references = known_alone(sums, held)
    return ToCompare(paths, group.axes, group.storage, group.x, sums, references, used.floor, used.shared)


def some_sums(sums: Floats, rows: Ints) -> Floats:
    """Of (planes, histograms, size) those rows, which ascend; all of them are not copied."""
    return sums if len(rows) == sums.shape[1] else sums[:, rows]


def _banned(keys: list[str], which: Ints, run: Ints, controls: Controls) -> Bools:
    """(slots, which) which runs their subsystem's control `reference` bans as references."""
    found = np.zeros(run.shape, dtype=bool)
    for scope, said in reference_controls(controls).items():
        if said.ban:
            here = np.fromiter((keys[n].partition("|")[0] == scope for n in which.tolist()), np.bool_, len(which))
            found |= here & np.isin(run, said.ban)
    return found
