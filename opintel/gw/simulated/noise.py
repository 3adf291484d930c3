"""Coloured Gaussian noise of many channels, second by second without a seam.

White noise of a second, convolved with an impulse response of at most a second, reaches into the next one: the part
that does is kept and added there (overlap-add). So the noise is exactly stationary, as a filter's output is, however
the seconds are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Density = Callable[[Floats], Floats]
"""Frequencies, Hz → amplitude spectral density (one-sided), unit / sqrt(Hz)."""
LOWEST = 10.0
"""Hz below which the noise of interferometers falls off as f^2 instead of rising: as in a strain channel that was
high-passed."""


def advanced_ligo(frequency: Floats) -> Floats:
    """Advanced LIGO's design (zero detuning, high power), 1 / sqrt(Hz): Ajith, Phys. Rev. D 84, 084037 (2011), eq.
    (4.7), arXiv:1107.1267. Too quiet below 20 Hz."""
    x = frequency / 245.4
    power = 0.0152 * x**-4.0 + 0.2935 * x**2.25 + 2.7951 * x**1.5 - 6.5080 * x**0.75 + 17.7622
    found: Floats = np.sqrt(1e-48 * power)
    return found


def advanced_virgo(frequency: Floats) -> Floats:
    """Advanced Virgo's design, 1 / sqrt(Hz): Manzotti & Dietz, arXiv:1202.4031, eq. (4)."""
    x = np.log(frequency / 300.0)
    terms = (
        0.07 * np.exp(-0.142 - 1.437 * x + 0.407 * x**2)
        + 3.10 * np.exp(-0.466 - 1.043 * x - 0.548 * x**2)
        + 0.40 * np.exp(-0.304 + 2.896 * x - 0.293 * x**2)
        + 0.09 * np.exp(1.466 + 3.722 * x - 0.984 * x**2)
    )
    found: Floats = 1.259e-24 * terms
    return found


def design_of(interferometer: str) -> Density:
    """The strain noise of H1, L1 (LIGO) or V1 (Virgo); below `LOWEST` it falls off."""
    curve = advanced_virgo if interferometer == "V1" else advanced_ligo

    def density(frequency: Floats) -> Floats:
        below = np.minimum(frequency / LOWEST, 1.0) ** 2
        found: Floats = below * curve(np.maximum(frequency, LOWEST))
        return found

    return density


def power_law(level: float, slope: float) -> Density:
    """`level` at 100 Hz, falling as f^-slope; flat below 5 Hz."""

    def density(frequency: Floats) -> Floats:
        found: Floats = level * (np.maximum(frequency, 5.0) / 100.0) ** -slope
        return found

    return density


class Colouring:
    """White noise of channels of one rate → coloured noise. `densities`: one a channel; `rate`: Hz, whole."""

    def __init__(self, densities: Sequence[Density], rate: int) -> None:
        self.rate = rate
        frequency = np.arange(rate // 2 + 1, dtype=np.float64)
        # white noise of unit variance has a one-sided power density of 2 / rate
        amplitude = np.array([density(frequency) for density in densities]) * np.sqrt(rate / 2.0)
        impulse = np.fft.fftshift(np.fft.irfft(amplitude, rate), axes=-1) * np.hanning(rate + 1)[:-1]
        self._response = np.fft.rfft(impulse, 2 * rate).astype(np.complex64)
        self._tail = np.zeros((len(densities), rate), dtype=np.float32)

    def next(self, white: Singles) -> Singles:
        """(C, rate) noise of the next second from (C, rate) white noise of unit variance."""
        spectrum = fft.rfft(white, 2 * self.rate)
        spectrum *= self._response
        found, self._tail = added(fft.irfft(spectrum, overwrite_x=True), self._tail)
        return found


def added(response: Singles, tail: Singles) -> tuple[Singles, Singles]:
    """(this second, what reaches into the next one) of responses (…, 2 N) and what reached into this one (…, N)."""
    n = tail.shape[-1]
    return response[..., :n] + tail, response[..., n:]
