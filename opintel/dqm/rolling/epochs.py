"""By which of their references histograms are judged, in what order, and which references learn the lumisection.

A histogram is compared with what is accepted, or with the state in which it has settled since (`changes`). One that has
settled and stands out from that, or has no reference of that state under these conditions, is compared with what is
accepted: it may be as it was. What stands out from all is compared with the candidate, the lumisections before it that
stood out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Controls
from opintel.dqm.rolling.against_references import Compared, Explain, Remark, compared
from opintel.dqm.rolling.histories import SHARED, Bools, Histories, Ints
from opintel.dqm.rolling.lots import Lot, UsableReferences, in_force, some_sums, to_compare

MEMORY = 30
"""Lumisections over which the scatter of a histogram is averaged."""
UNEXPLAINED = -np.inf
"""log10 p at most which a comparison that is not shown gets pictures."""
UNKNOWN = Remark("changed", "", (), "")
"""What stands out where less is explained than stands out."""


class _Part(NamedTuple):
    """Histograms of a lot and references that they are compared with."""

    lot: Lot
    which: Ints
    used: UsableReferences


class LotVerdicts(NamedTuple):
    """What is said of the histograms of a lot."""

    found: Compared
    """Of all of them; NaN where there was nothing to compare."""
    usual: NDArray[np.float64]
    """(histograms,) entries a second of their references; NaN without."""
    exact: Bools
    """(histograms,) whether counting statistics alone are in the null."""

    def stands_out(self, which: Ints | slice, adopt: float) -> Bools:
        """Which of some histograms do; those that were not compared do not."""
        return np.asarray(self.found.log10_p[which] <= adopt)

    def take(self, part: _Part, found: Compared, chosen: Bools) -> None:
        """Writes what was found of a part, where `chosen`."""
        at = part.which[chosen]
        for mine, new in zip(self.found[:4], found[:4], strict=True):
            mine[at] = new[chosen]
        counts_alone = (part.used.floor == 0.0) & ~part.used.shared.any(axis=1)
        self.usual[at], self.exact[at] = part.used.usual[chosen], counts_alone[chosen]
        for n in at.tolist() if self.found.remarks else ():
            self.found.remarks.pop(n, None)
        self.found.remarks.update({int(part.which[n]): one for n, one in found.remarks.items() if chosen[n]})


def judged(lots: Sequence[Lot], settings: Any, controls: Controls) -> list[LotVerdicts]:
    """What is said of the histograms of each lot, under the settings of `DqmReducer`. What is calm becomes part of the
    references that it is like, what stands out part of a candidate."""
    accepted, able, settled = [], [], []
    for lot in lots:
        _give_up_pinned(lot)
        used = in_force(lot, np.arange(len(lot.rows)), lot.past, lot.rows, settings, controls)
        accepted.append(used)
        able.append(lot.ready & ((used.lumisections >= settings.least) | lot.pinned.there))
        settled.append(_changed(lot, lot.changes.settled, lot.ready, settings, controls))
    said = [_nothing_said(used) for used in accepted]
    now = []
    for lot, used, can, its in zip(lots, accepted, able, settled, strict=True):
        first = can.copy()
        first[its.which] = False
        now.append(_Part(lot, np.flatnonzero(first), used.some(first)))
    for one, part, found in zip([*said, *said], [*now, *settled], _compared([*now, *settled], settings), strict=True):
        one.take(part, found, np.ones(len(part.which), dtype=np.bool_))

    again = []
    for one, its, used, can in zip(said, settled, accepted, able, strict=True):
        out = its.which[can[its.which] & one.stands_out(its.which, settings.adopt)]
        again.append(_Part(its.lot, out, used.some(out)))
    for one, part, found in zip(said, again, _compared(again, settings), strict=True):
        calm = ~(found.log10_p <= settings.adopt)
        one.take(part, found, calm)
        for n in part.which[calm].tolist():
            part.lot.changes.drop(part.lot.group.keys[n])
    for part, one in zip(now, said, strict=True):
        if part.lot.changes.since:  # its settled state is of other conditions, or banned
            calm = np.isfinite(one.found.log10_p[part.which]) & ~one.stands_out(part.which, settings.adopt)
            for key in [part.lot.group.keys[n] for n in part.which[calm].tolist()]:
                part.lot.changes.drop(key)
    for lot, one in zip(lots, said, strict=True):
        _learn(lot, one, settings.adopt)
    _stood_out(lots, said, settings, controls)
    return said


def _nothing_said(accepted: UsableReferences) -> LotVerdicts:
    n = len(accepted.rows)
    found = Compared(np.full(n, np.nan), np.zeros(n), np.full(n, np.nan), np.full((n, SHARED), np.nan), {})
    return LotVerdicts(found, accepted.usual, np.zeros(n, dtype=np.bool_))


def _give_up_pinned(lot: Lot) -> None:
    """An operator has said what these are to be like."""
    if len(lot.changes):
        for n in np.flatnonzero(lot.pinned.there).tolist():
            lot.changes.drop(lot.group.keys[n])


def _changed(lot: Lot, histories: Histories, some: Bools, settings: Any, controls: Controls) -> _Part:
    """Those of `some` (histograms,) of a lot that have references in these histories, settled ones or candidates."""
    which, rows = lot.changes.rows(histories, lot.group.keys)
    which, rows = which[some[which]], rows[some[which]]
    used = in_force(lot, which, histories, rows, settings, controls)
    there = used.lumisections > 0
    return _Part(lot, which[there], used.some(there))


def _compared(parts: Sequence[_Part], settings: Any) -> list[Compared]:
    return compared([to_compare(*part) for part in parts], Explain(settings.emit, settings.elements))


def _learn(lot: Lot, said: LotVerdicts, adopt: float) -> None:
    """What does not stand out becomes part of its references, and is no candidate."""
    calm = lot.ready & ~said.stands_out(slice(None), adopt)
    which, rows = lot.changes.rows(lot.changes.settled, lot.group.keys)
    which, rows = which[calm[which]], rows[calm[which]]
    rest = calm.copy()
    rest[which] = False
    mine = np.flatnonzero(rest)
    for histories, its, at in ((lot.past, mine, lot.rows[mine]), (lot.changes.settled, which, rows)):
        if len(its):
            _learn_scatter(histories, at, said.found.excess[its], said.found.shared[its])
            histories.learn(at, some_sums(lot.sums, its), lot.some_marks(its))
    which, _ = lot.changes.rows(lot.changes.candidates, lot.group.keys)
    for n in which[calm[which] & np.isfinite(said.found.log10_p[which])].tolist():
        lot.changes.calm(lot.group.keys[n])


def _stood_out(lots: Sequence[Lot], said: Sequence[LotVerdicts], settings: Any, controls: Controls) -> None:
    """What stands out is compared with its candidate, and grows it or is the first of another one. What moves is no
    state yet: that bins move together is not allowed for here."""
    out = [one.stands_out(slice(None), settings.adopt) & ~lot.pinned.there for lot, one in zip(lots, said, strict=True)]
    parts = [_changed(lot, lot.changes.candidates, its, settings, controls) for lot, its in zip(lots, out, strict=True)]
    asked = [to_compare(*part)._replace(shared=np.zeros((len(part.which), SHARED))) for part in parts]
    found = compared(asked, Explain(UNEXPLAINED))
    for part, one, its, about in zip(parts, found, out, said, strict=True):
        lot, keys = part.lot, part.lot.group.keys
        alike = ~(one.log10_p <= settings.adopt)
        _learn_scatter(part.used.past, part.used.rows[alike], one.excess[alike], one.shared[alike])
        which = part.which[alike]
        its[which] = False
        strange = np.flatnonzero(its)
        new = strange[np.array([lot.changes.stray(keys[n]) for n in strange.tolist()], dtype=np.bool_)]
        if len(which):
            kinds = {keys[n]: about.found.remarks.get(n, UNKNOWN).kind for n in which.tolist()}
            lot.changes.agree(list(kinds), some_sums(lot.sums, which), lot.some_marks(which))
            lot.changes.settle(kinds, settings.settle)
        if len(new):
            its_keys = [keys[n] for n in new.tolist()]
            lot.changes.begin(its_keys, some_sums(lot.sums, new), lot.some_marks(new), lot.past)


def _learn_scatter(past: Histories, rows: Ints, excess: NDArray[np.float64], shared: NDArray[np.float64]) -> None:
    """Averages what bins scatter beyond statistics, each by itself and together, over `MEMORY` lumisections."""
    there = np.isfinite(excess)
    rows, excess, shared = rows[there], excess[there], np.nan_to_num(shared[there])
    past.learned[rows] += 1
    share = 1.0 / np.minimum(past.learned[rows], MEMORY)
    past.excess[rows] += share * (excess - past.excess[rows])
    past.shared[:, rows] += share * (shared.T - past.shared[:, rows])
