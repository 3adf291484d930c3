"""Transients as functions of time, of unit amplitude, and their optimal signal-to-noise ratio."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from opintel.gw.simulated.noise import LOWEST, Floats

SOLAR = 4.925490947641267e-6
"""G M_sun / c^3, s."""
CHIRP_FROM = 20.0
"""Hz at which a chirp begins."""


class Burst(NamedTuple):
    """A sine-Gaussian exp(-t^2 / tau^2) cos(2 pi f t + phase), tau = Q / (sqrt(2) pi f); with `sweep`, Hz / s^2, a
    whistle: f(t) = f + sweep t^2, the beat note of an oscillator that passes another one's frequency and turns."""

    frequency: float
    quality: float
    phase: float
    sweep: float = 0.0

    @property
    def tau(self) -> float:
        """s"""
        return self.quality / (math.sqrt(2.0) * math.pi * self.frequency)

    @property
    def reach(self) -> tuple[float, float]:
        """s before and after its time where it is more than 1e-6."""
        return (3.8 * self.tau, 3.8 * self.tau)

    def at(self, t: Floats) -> Floats:
        """Amplitude at t s after its time."""
        cycles = self.frequency * t + self.sweep * t**3 / 3.0
        found: Floats = np.exp(-((t / self.tau) ** 2)) * np.cos(2.0 * np.pi * cycles + self.phase)
        found[np.abs(t) > 3.8 * self.tau] = 0.0
        return found


class Chirp(NamedTuple):
    """The inspiral of two masses (solar) in Newtonian order, from 20 Hz to their innermost stable circular orbit.

    Maggiore, Gravitational Waves 1 (2008), eqs. (4.19), (4.29) to (4.31), (4.40). Its time is that of coalescence.
    """

    mass1: float
    mass2: float
    phase: float

    @property
    def chirp_mass(self) -> float:
        """Solar masses."""
        return float((self.mass1 * self.mass2) ** 0.6 / (self.mass1 + self.mass2) ** 0.2)

    @property
    def last_frequency(self) -> float:
        """Hz, of the innermost stable circular orbit."""
        return float(1.0 / (6.0**1.5 * np.pi * SOLAR * (self.mass1 + self.mass2)))

    def before(self, frequency: float) -> float:
        """s from a frequency, Hz, to coalescence."""
        return float(5.0 / 256.0 * (np.pi * frequency) ** (-8.0 / 3.0) * (SOLAR * self.chirp_mass) ** (-5.0 / 3.0))

    @property
    def reach(self) -> tuple[float, float]:
        """s before and after its time where it is not 0."""
        return (self.before(CHIRP_FROM), 0.0)

    def at(self, t: Floats) -> Floats:
        """Amplitude at t s after its time, at most 1; it fades in over a tenth of it and out over 3 ms."""
        first, last = self.before(CHIRP_FROM), self.before(self.last_frequency)
        tau = np.clip(-t, last, first)
        cycles = -((tau / (5.0 * SOLAR * self.chirp_mass)) ** 0.625) / np.pi
        fade = np.clip((t + first) / (0.1 * first), 0.0, 1.0) * np.clip((-last - t) / 3e-3, 0.0, 1.0)
        found: Floats = (last / tau) ** 0.25 * np.sin(np.pi / 2 * fade) ** 2 * np.cos(2.0 * np.pi * cycles + self.phase)
        return found


def optimal_snr(spectrum: Any, noise: Floats, rate: int) -> float:
    """sqrt(4 int |h|^2 / S df) above 10 Hz of the real FFT of a signal at `rate` Hz; `noise`: the amplitude spectral
    density at its frequencies."""
    spacing = rate / 2.0 / (len(spectrum) - 1)
    used = slice(math.ceil(LOWEST / spacing), None)
    return float(np.sqrt(4.0 * spacing * np.sum(np.abs(spectrum[used] / noise[used]) ** 2)) / rate)


def spectrum_of(wave: Burst | Chirp, rate: int, seconds: int) -> Any:
    """The real FFT of a waveform that is sampled at `rate` Hz in a span that holds it, and is as many s long."""
    before, after = wave.reach
    middle = (seconds + before - after) / 2.0
    return np.fft.rfft(wave.at(np.arange(seconds * rate) / rate - middle))
