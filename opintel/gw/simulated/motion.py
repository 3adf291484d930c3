"""Slow motion and lines: sums of sines whose phase is exact however far a second lies from the first.

Frequencies are whole hundredths of a hertz, so that the phase at a whole GPS second is integer arithmetic.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from opintel.gw.simulated.noise import Floats

WAVELENGTH = 1.064
"""um, of the laser."""


class Sine(NamedTuple):
    """amplitude cos(2 pi f t + phase), t in GPS seconds."""

    hundredths: int
    """Its frequency, Hz / 100."""
    amplitude: float = 1.0
    phase: float = 0.0

    def at(self, gps: int, rate: int) -> Floats:
        """(rate,) samples of the second that begins at `gps` s."""
        begin = 2.0 * np.pi * (self.hundredths * gps % 100 / 100.0) + self.phase
        cosine, sine = _quadratures(self.hundredths, rate)
        # cos(a + b), so that nothing but a second's first phase has to be evaluated
        found: Floats = self.amplitude * np.cos(begin) * cosine - self.amplitude * np.sin(begin) * sine
        return found


@lru_cache(maxsize=64)
def _quadratures(hundredths: int, rate: int) -> tuple[Floats, Floats]:
    """(rate,) cosine and sine of a frequency over a second."""
    angle = 2.0 * np.pi * hundredths / 100.0 * np.arange(rate) / rate
    return np.cos(angle), np.sin(angle)


MICROSEISM = (Sine(15, 0.8), Sine(21, 0.5, 1.0), Sine(7, 0.3, 2.0))
"""The motion of what scatters light, um."""
ALIGNMENT = (Sine(13, 1.0), Sine(57, 0.8, 1.0), Sine(110, 0.6, 2.0))
"""What modulates bilinear coupling; rms 1."""


def moved(sines: tuple[Sine, ...], gps: int, rate: int) -> Floats:
    """(rate,) their sum in the second that begins at `gps` s."""
    found = np.zeros(rate)
    for sine in sines:
        found += sine.at(gps, rate)
    return found


def fringes(position: Floats) -> Floats:
    """Light that is scattered back from a surface at `position` um: the fringe frequency is 2 |v| / wavelength.

    Accadia et al., Class. Quantum Grav. 27, 194011 (2010).
    """
    found: Floats = np.sin(4.0 * np.pi / WAVELENGTH * position)
    return found
