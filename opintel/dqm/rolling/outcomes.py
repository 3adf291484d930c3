"""What is said of each histogram of a group, when it was added up and compared."""

from __future__ import annotations

from math import isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.records import HistogramOutcome
from opintel.dqm.rolling.against_references import NOTHING, Compared, ToCompare
from opintel.dqm.rolling.groups import HistogramGroup
from opintel.dqm.rolling.histories import BlockMarks, Floats, Histories, Ints
from opintel.dqm.rolling.tracked import tracked


class Lot(NamedTuple):
    """A group on its way: what was added up of it, and what is to be compared."""

    group: HistogramGroup
    past: Histories
    rows: Ints
    moved: NDArray[np.bool_]
    """(histograms,) whether its bins were others until now."""
    sums: Floats
    first: Ints
    """First lumisection in the sums."""
    entries: NDArray[np.float64]
    """Of this lumisection."""
    sound: NDArray[np.bool_]
    ready: NDArray[np.bool_]
    usual: NDArray[np.float64]
    """Entries a second of its references; NaN without."""
    floor: NDArray[np.float64]
    judged: Ints
    """Which are compared."""
    asked: ToCompare
    marks: BlockMarks
    """What its sums are, as part of a reference."""


def outcomes(lot: Lot, found: Compared, seconds: float) -> list[HistogramOutcome]:
    """Of each histogram, in the group's order; `seconds`: how long the lumisection is."""
    usual = lot.usual * seconds
    about = zip(
        lot.group.run.tolist(),
        lot.group.lumisection.tolist(),
        _known(np.where(lot.sound, lot.entries, np.nan)),
        _known(usual),
        lot.first.tolist(),
        lot.group.superseded.tolist(),
        strict=True,
    )
    numbers = list(zip(*map(_known, tracked(lot.group, lot.sums, lot.ready)), strict=True))
    place = dict(zip(lot.judged.tolist(), range(len(lot.judged)), strict=True))
    log10_p, effect, exact = found.log10_p.tolist(), found.effect.tolist(), (lot.floor == 0.0).tolist()
    said = []
    for n, (run, lumisection, entries, expected, first, superseded) in enumerate(about):
        at = place.get(n)
        if at is None or isnan(log10_p[at]):
            one = HistogramOutcome(
                run,
                lumisection,
                _state(lot, n),
                entries,
                expected,
                first,
                superseded=superseded,
                tracked=numbers[n],
            )
        else:
            kind, where, evidence, spoke = found.remarks.get(at, NOTHING)
            test = (log10_p[at], exact[n], effect[at], kind, where, evidence)
            more = (superseded, spoke, numbers[n])
            one = HistogramOutcome(run, lumisection, "judged", entries, expected, first, *test, *more)
        said.append(one)
    return said


def _known(values: NDArray[np.float64]) -> list[float | None]:
    """The values; None where they are not finite."""
    found: list[float | None] = values.tolist()
    for n in np.flatnonzero(~np.isfinite(values)).tolist():
        found[n] = None
    return found


def _state(lot: Lot, n: int) -> str:
    """Why a histogram was not judged."""
    if not lot.sound[n]:
        return "content"
    if lot.entries[n] == 0:
        return "empty"
    if not lot.ready[n]:
        return "waits"
    return "axes" if lot.moved[n] else "alone"
