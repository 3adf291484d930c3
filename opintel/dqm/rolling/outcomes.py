"""What is said of each histogram of a group, when it was added up and compared."""

from __future__ import annotations

from math import isnan

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.records import HistogramOutcome
from opintel.dqm.rolling.against_references import NOTHING
from opintel.dqm.rolling.epochs import LotVerdicts
from opintel.dqm.rolling.lots import Lot
from opintel.dqm.rolling.tracked import tracked


def outcomes(lot: Lot, judged: LotVerdicts, seconds: float) -> list[HistogramOutcome]:
    """Of each histogram, in the group's order; `seconds`: how long the lumisection is."""
    found, settled = judged.found, lot.changes.since
    about = zip(
        lot.group.keys,
        lot.group.run.tolist(),
        lot.group.lumisection.tolist(),
        _known(np.where(lot.sound, lot.entries, np.nan)),
        _known(judged.usual * seconds),
        lot.first.tolist(),
        lot.group.superseded.tolist(),
        strict=True,
    )
    numbers = list(zip(*map(_known, tracked(lot.group, lot.sums, lot.ready)), strict=True))
    log10_p, effect, exact = found.log10_p.tolist(), found.effect.tolist(), judged.exact.tolist()
    said = []
    for n, (key, run, lumisection, entries, usual, first, superseded) in enumerate(about):
        since = settled.get(key)
        if isnan(log10_p[n]):
            one = HistogramOutcome(
                run,
                lumisection,
                _state(lot, n),
                entries,
                usual,
                first,
                superseded=superseded,
                tracked=numbers[n],
                settled=since,
            )
        else:
            kind, where, evidence, spoke = found.remarks.get(n, NOTHING)
            test = (log10_p[n], exact[n], effect[n], kind, where, evidence)
            more = (superseded, spoke, numbers[n], since)
            one = HistogramOutcome(run, lumisection, "judged", entries, usual, first, *test, *more)
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
