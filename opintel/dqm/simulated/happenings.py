"""What each kind of fault does to the expected contents of a simulated histogram."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opintel.dqm.simulated.beam import Lumisection
from opintel.dqm.simulated.detector_model import Floats, Plot, Subsystem
from opintel.simulation import Fault

HV_TRIP, MISSING = "hv-trip", "missing-histogram"
OFF = 0.01
"""What is left of a subsystem's contents without high voltage."""


class Happening:
    """A fault of a story, and what it does."""

    def __init__(self, fault: Fault, subsystem: Subsystem, seed: Sequence[int]) -> None:
        rng = np.random.default_rng(seed)
        self.fault = fault
        self.plot = next((plot for plot in subsystem.plots if plot.path == fault.subject.get("histogram")), None)
        """None: all of the subsystem."""
        self.size, self.place = float(rng.random()), rng.random(2)
        """Where in the usual range of such faults it lies; where in the histogram, each 0 to 1."""

    def befall(self, expected: Floats, counts: Floats, at: Lumisection, rng: np.random.Generator) -> None:
        """Writes into all `counts` of the subsystem what is counted instead."""
        if self.fault.kind == MISSING:
            return
        here = slice(self.plot.begin, self.plot.end) if self.plot else slice(None)
        share = (at.start - self.fault.start) / (self.fault.end - self.fault.start)
        counts[here] = rng.poisson(_EFFECTS[self.fault.kind](self, expected[here], share, rng))

    def block(self, values: Floats, across: int) -> tuple[slice, slice]:
        """(y, x) of a square region of a map."""
        y, x = ((n - across) * place for n, place in zip(values.shape, self.place, strict=True))
        return slice(int(y), int(y) + across), slice(int(x), int(x) + across)


def _table(plot: Plot | None, expected: Floats) -> Floats:
    """(y, x) of a map; (1, x) of a histogram."""
    assert plot is not None
    return expected.copy().reshape(-1, plot.kind.axes[0].bins + 2 * plot.kind.flow)


def _dead(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    """A region of 3 x 3 or 4 x 4 without an entry."""
    table = _table(one.plot, expected)
    table[one.block(table, 3 + (one.size > 0.5))] = 0.0
    return table.reshape(-1)


def _hot(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    """One bin with 6 to 16 times as much."""
    found = expected.copy()
    found[int(one.place[0] * len(found))] *= 6.0 + 10.0 * one.size
    return found


def _noisy(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    """A region of 3 x 3 with once and a half to four times as much, other in each lumisection."""
    table = _table(one.plot, expected)
    table[one.block(table, 3)] *= rng.uniform(1.5, 4.0)
    return table.reshape(-1)


def _shifted(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    """By one and a half to three bins, to either side."""
    bins = (1.5 + 3.0 * abs(one.size - 0.5)) * (1.0 if one.size < 0.5 else -1.0)
    place = np.arange(len(expected), dtype=np.float64)
    return np.interp(place - bins, place, expected)


def _aged(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Amplitudes that fall by 12 to 20 % over the fault's time; overflow and underflow stay."""
    gain = 1.0 - (0.12 + 0.08 * one.size) * share
    inner = expected[1:-1]
    middle = np.arange(len(inner)) + 0.5
    return np.concatenate([expected[:1], np.interp(middle / gain, middle, inner, right=0.0) / gain, expected[-1:]])


def _tripped(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    return expected * OFF


def _short_dead(one: Happening, expected: Floats, share: float, rng: np.random.Generator) -> Floats:
    """A third of the bins without an entry."""
    found, third = expected.copy(), len(expected) // 3
    first = int(one.place[0] * (len(found) - third))
    found[first : first + third] = 0.0
    return found


_EFFECTS: dict[str, Callable[[Happening, Floats, float, np.random.Generator], Floats]] = {
    "dead-region": _dead,
    "hot-channel": _hot,
    "noisy-module": _noisy,
    "timing-shift": _shifted,
    "slow-ageing": _aged,
    HV_TRIP: _tripped,
    "short-dead": _short_dead,
}
