"""What goes wrong in a simulated detector and when: the faults of a story, drawn so that each can be noticed.

`simulate` plays them and writes them down as the truth. No two faults share a histogram, and a subsystem whose high
voltage trips has no other fault: their effects stay apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opintel.dqm.simulated.beam import Lumisection
from opintel.dqm.simulated.detector_model import Plot, Subsystem
from opintel.finding import NS
from opintel.simulation import Fault

FAULT_KINDS = (
    *("dead-region", "hot-channel", "noisy-module", "timing-shift"),
    *("missing-histogram", "hv-trip", "short-dead"),
)
"""Those of a story where no others are asked for; `slow-ageing` is not among them: references that roll follow it."""
MINUTE = 60 * NS


class _Wanted(NamedTuple):
    """What a kind of fault befalls, and for how long."""

    names: tuple[str, ...]
    """Of histograms; any where it is empty."""
    lasts: tuple[float, float]
    """Minutes; the shortest is one lumisection."""


_WANTED = {
    "dead-region": _Wanted(("map",), (25, 45)),
    "hot-channel": _Wanted(("map", "phi", "hits"), (25, 45)),
    "noisy-module": _Wanted(("map",), (25, 45)),
    "timing-shift": _Wanted(("time",), (25, 45)),
    "missing-histogram": _Wanted((), (8, 15)),
    "hv-trip": _Wanted((), (6, 12)),
    "slow-ageing": _Wanted(("charge", "energy"), (90, 150)),
    "short-dead": _Wanted(("phi",), (0, 0)),
}
LONGEST = 0.4
"""Share of the span that one fault may take."""


def plan(
    rng: np.random.Generator,
    detector: Sequence[Subsystem],
    kinds: Sequence[str],
    lumisections: Sequence[Lumisection],
    start: int,
    end: int,
) -> tuple[Fault, ...]:
    """One fault of each of `kinds` in [start, end), in order of start: other seeds, other order, times and histograms.

    Each begins with a lumisection of stable beams and ends with one; they begin about evenly spread. Raises ValueError
    for an unknown kind, or where there is no room.
    """
    for kind in kinds:
        if kind not in _WANTED:
            raise ValueError(f"unknown fault kind {kind!r}; known are {', '.join(_WANTED)}")
    stable = [one for one in lumisections if one.stable and start <= one.start and one.end <= end]
    if kinds and len(stable) < 2 * len(kinds):
        raise ValueError(f"expected {2 * len(kinds)} lumisections or more for {len(kinds)} faults, got {len(stable)}")
    order = [kinds[n] for n in rng.permutation(len(kinds))]
    # what lasts longest begins first, so that all of it is seen
    order.sort(key=lambda kind: kind != "slow-ageing")
    begins = np.linspace(0.04, 0.8, len(order)) + rng.uniform(-0.02, 0.02, len(order))
    subjects = _subjects(rng, detector, order)
    faults = []
    for kind, begin, (subsystem, plot) in zip(order, begins, subjects, strict=True):
        lasts = int(min(rng.uniform(*_WANTED[kind].lasts) * MINUTE, LONGEST * (end - start)))
        first, last = _span(stable, int(begin * len(stable)), lasts)
        subject = {"scope": subsystem.name} if kind == "hv-trip" else {"scope": subsystem.name, "histogram": plot.path}
        faults.append((first.start, last.end, kind, subject))
    in_order = sorted(faults, key=lambda fault: fault[0])
    return tuple(
        Fault(f"{number}-{kind}", kind, subject, begin, over)
        for number, (begin, over, kind, subject) in enumerate(in_order, 1)
    )


def _span(stable: Sequence[Lumisection], begin: int, lasts: int) -> tuple[Lumisection, Lumisection]:
    """The first and the last lumisection of a fault that begins about there: where stable beams last for nearly all of
    its time, if they do anywhere."""
    starts = [one.start for one in stable]
    for n in (*range(begin, len(stable)), *range(begin - 1, -1, -1)):
        last = stable[bisect_right(starts, starts[n] + lasts) - 1]
        if last.end - starts[n] >= 0.9 * lasts:
            return stable[n], last
    return stable[begin], stable[bisect_right(starts, starts[begin] + lasts) - 1]


def _subjects(
    rng: np.random.Generator, detector: Sequence[Subsystem], kinds: Sequence[str]
) -> list[tuple[Subsystem, Plot]]:
    """A histogram for each kind; those with the fewest candidates choose first."""
    tripped = detector[int(rng.integers(len(detector)))] if "hv-trip" in kinds else None
    candidates = [
        [
            (one, plot)
            for one in detector
            if (one is tripped) == (kind == "hv-trip")
            for plot in one.plots
            if not _WANTED[kind].names or plot.kind.name in _WANTED[kind].names
        ]
        for kind in kinds
    ]
    chosen: dict[int, tuple[Subsystem, Plot]] = {}
    for index in sorted(range(len(kinds)), key=lambda n: len(candidates[n])):
        taken = [plot.path for _, plot in chosen.values()]
        free = [one for one in candidates[index] if one[1].path not in taken]
        if not free:
            raise ValueError(f"no histogram is left for {kinds[index]!r}: the detector has too few for these faults")
        chosen[index] = free[int(rng.integers(len(free)))]
    return [chosen[index] for index in range(len(kinds))]
