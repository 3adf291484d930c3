"""What is read off a channel besides its triggers: how far its noise lets us hear, how fast a scatterer moves, and
whether its samples are those of a sensor at all.
"""

from __future__ import annotations

import re
from math import pi

import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS

LIGHT, GRAVITATION, SUN = 299_792_458.0, 6.674_30e-11, 1.988_41e30
"""m/s; m³/(kg s²), CODATA 2018; kg, IAU 2015."""
MEGAPARSEC = 3.085_677_581e22
"""m."""
MASS = 1.4
"""Of each neutron star, solar masses."""
SNR = 8.0
AVERAGE = 2.264_8
"""Horizon over range: the mean over directions and orientations (Finn & Chernoff 1993, Phys. Rev. D 47, 2198)."""
LOWEST = 20.0
"""Hz, from which on the signal counts."""
WAVELENGTH = 1.064e-6
"""m, of the laser."""
METRES = {"m": 1.0, "um": 1e-6, "nm": 1e-9}
"""Unit of position → m."""
FASTEST = 64.0
"""Hz: a position sensor that is sampled more often is no slow one."""
PHASES, APART = 64, 13.0
"""How many phases are said of a window, and Hz between them: on few harmonics of the mains."""
LEAST_FRINGE = 5.0
"""Hz: what moves more slowly scatters nothing into the band."""
RAILED = 8
"""Samples in a row at the channel's largest or smallest value that are no chance."""
_STRAIN = re.compile(r"(?i)(^|[:_-])(GDS|DCS|LDAS)[-_].*STRAIN|:hrec_hoft|:h_\d+Hz|:STRAIN$")


def is_strain(key: str, unit: str) -> bool:
    """Whether a channel is h(t): its unit says so, or, where that is not known, its name.

    >>> is_strain("H1:STRAIN", "strain"), is_strain("V1:Hrec_hoft_16384Hz", ""), is_strain("L1:OMC-DCPD_SUM", "mA")
    (True, True, False)
    """
    return unit == "strain" or (not unit and _STRAIN.search(key) is not None)


def inspiral_range(log_psd: NDArray[np.floating]) -> float | None:
    """Mpc to which a binary of two neutron stars of 1.4 solar masses has SNR 8, the mean over directions and
    orientations; None where it is none. `log_psd` (F,): ln of the strain's one-sided density (1/Hz) at 0, 1, … Hz.

    ρ² = 4 ∫ |h|² / S df with |h| = sqrt(5/24) π^(−2/3) (G M_c / c³)^(5/6) c / D f^(−7/6) of an optimally placed binary,
    up to the innermost stable orbit, f = c³ / (6^(3/2) π G M) (Allen et al. 2012, Phys. Rev. D 85, 122006, eqs. 3.4,
    D1).
    """
    total = 2 * MASS * SUN * GRAVITATION / LIGHT**3
    chirp = total / 2**1.2  # equal masses: M_c = M / 4^(3/5)
    last = 1.0 / (6**1.5 * pi * total)
    frequency = np.arange(len(log_psd), dtype=np.float64)
    inside = (frequency >= LOWEST) & (frequency <= min(last, 0.9 * (len(log_psd) - 1)))
    if not inside.any():
        return None
    density = np.exp(np.asarray(log_psd, dtype=np.float64)[inside])
    integral = float(np.sum(frequency[inside] ** (-7.0 / 3.0) / density))  # bins of 1 Hz
    horizon = np.sqrt(5.0 / 6.0 * pi ** (-4.0 / 3.0) * chirp ** (5.0 / 3.0) * integral) * LIGHT / SNR
    found = float(horizon / AVERAGE / MEGAPARSEC)
    return found if np.isfinite(found) and found > 0 else None


def fringes(
    position: NDArray[np.float32], rate: float, unit: str, start: int, first: int, end: int
) -> list[tuple[int, float]]:
    """(ns UTC, Hz) of the highest fringe frequency of each half second, where it is above `LEAST_FRINGE`.

    f = 2 |v| / λ of light that a moving surface scatters back (Accadia et al. 2010, Class. Quantum Grav. 27, 194011,
    eq. 4), v by central differences over an eighth of a second. `position` (n,) in `unit` from `start` (ns) on; those
    between the samples `first` and `end` are looked at.
    """
    step = max(1, round(rate / 16))
    metres = position.astype(np.float64) * METRES[unit]
    speed = np.full(len(metres), np.nan)
    speed[step:-step] = np.abs(metres[2 * step :] - metres[: -2 * step]) * rate / (2 * step)
    frequency = 2.0 * speed / WAVELENGTH
    half, found = max(1, round(rate / 2)), []
    for at in range(first, end, half):
        part = frequency[at : min(at + half, end)]
        if np.isfinite(part).any():
            top = at + int(np.nanargmax(part))
            if frequency[top] >= LEAST_FRINGE:
                found.append((start + round(top * NS / rate), float(frequency[top])))
    return found


def phases(data: NDArray[np.float32], rate: float) -> list[bytes]:
    """Of each channel (C,) the phases of a window's samples (C, n) at 13, 26, … Hz, as far as .8 of its Nyquist
    frequency and 832 Hz, in 256ths of a turn, a byte each; empty where a sample is missing."""
    count = min(PHASES, int(0.4 * rate / APART))
    size = data.shape[1]
    places = np.rint(APART * np.arange(1, count + 1) * size / rate).astype(int)
    whole = np.isfinite(data).all(axis=1)
    found = [b""] * len(data)
    if not count or not whole.any():
        return found
    part = data[whole].astype(np.float64)
    bins = np.fft.rfft((part - part.mean(axis=1, keepdims=True)) * np.hanning(size + 1)[:-1], axis=1)[:, places]
    turns = np.rint(np.angle(bins) * (128 / pi)).astype(np.int64).astype(np.uint8)
    for n, row in zip(np.flatnonzero(whole).tolist(), turns, strict=True):
        found[n] = row.tobytes()
    return found


def constant(data: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(C,) channels whose good samples are all alike; of `data` (C, n)."""
    low = np.where(good, data, np.inf).min(axis=1, initial=np.inf)
    high = np.where(good, data, -np.inf).max(axis=1, initial=-np.inf)
    found: NDArray[np.bool_] = low == high
    return found


def saturated(data: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(C,) channels that stay at their largest or smallest value for `RAILED` samples; of `data` (C, n)."""
    found = np.zeros(len(data), dtype=bool)
    for extreme in (np.where(good, data, -np.inf).max(axis=1), np.where(good, data, np.inf).min(axis=1)):
        at = (data == extreme[:, None]) & good
        for n in np.flatnonzero((at.sum(axis=1) >= RAILED) & ~found).tolist():
            found[n] = any(end - begin >= RAILED for begin, end in _runs(at[n]))
    return found


def _runs(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, one past the last) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
