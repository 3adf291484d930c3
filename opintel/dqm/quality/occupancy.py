"""Whether an empty histogram is dead: how many entries its references, and the beam, would have given.

Where the luminosity is known, entries follow it; else they follow the other histograms of the subsystem, of which the
median one is taken. Where neither says that there was anything to be seen, nothing follows from an empty histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

SIBLINGS = 3
"""Histograms whose rates are known, itself among them, that the others of a subsystem are judged by."""
MEMORY = 20
"""Lumisections whose luminosity is remembered."""
LIVE = 0.5
"""Share of their usual entries that a subsystem's histograms have, in the median, while it takes data."""


class Predicted(NamedTuple):
    """By how much entries should differ from those of the references."""

    scale: float | None
    """None where nothing says so."""
    why: str
    """In words: `by luminosity`, `by 57 other histograms`, or why nothing follows."""


class LuminosityMemory:
    """The luminosity a second while a subsystem took data, of the last lumisections."""

    def __init__(self, rates: Sequence[float] = ()) -> None:
        self._rates = list(rates)

    def learn(self, rate: float) -> None:
        """One more lumisection."""
        self._rates = [*self._rates[1 - MEMORY :], rate]

    def share(self, rate: float) -> float | None:
        """Of what was usual; None where that is not known."""
        usual = float(np.median(self._rates)) if self._rates else 0.0
        return rate / usual if usual > 0 else None

    def state(self) -> list[float]:
        """Plain data."""
        return list(self._rates)


def predicted(
    entries: NDArray[np.float64], usual: NDArray[np.float64], luminosity: float | None, reason: str
) -> Predicted:
    """What follows for a subsystem from `entries` and `usual` entries (histograms,) of those whose rates are known, and
    from its luminosity as a share of the usual one. `reason`: why nothing can be expected (no stable beams), or empty.

    >>> predicted(np.array([0.0, 980.0, 1010.0]), np.full(3, 1000.0), None, "").scale
    0.98
    """
    if reason:
        return Predicted(None, reason)
    if luminosity is not None:
        return Predicted(luminosity, "by luminosity")
    if len(entries) >= SIBLINGS:
        return Predicted(float(np.median(entries / usual)), f"by {len(entries) - 1} other histograms")
    return Predicted(None, "luminosity is not known")


def log10_sparse(entries: float, mean: float, spread: float) -> float:
    """log10 P(as few or fewer entries) of a Poisson count whose mean is `mean` with a relative `spread` (gamma
    distributed, so that the count is negative binomial).

    >>> round(log10_sparse(0.0, 20.0, 0.2), 2)
    -6.38
    """
    shape, k = 1.0 / spread**2, np.arange(int(entries) + 1, dtype=np.float64)
    chance = gammaln(k + shape) - gammaln(shape) - gammaln(k + 1.0)
    chance += shape * np.log(shape / (shape + mean)) + k * np.log(mean / (shape + mean))
    found = chance.max() + np.log(np.exp(chance - chance.max()).sum())
    return float(np.clip(found / np.log(10.0), -300.0, 0.0))
