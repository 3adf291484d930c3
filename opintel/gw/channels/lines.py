"""Lines in the spectrum of the strain: mains and their harmonics, violin modes, calibration lines.

They are read off the running spectrum, so they are those of the last half minute. A line wanders or grows; where slow
motion modulates what couples into the strain, its sides fill with sidebands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOWEST = 10.0
"""Hz"""
REACH = 12
"""Bins of a hertz to either side that a line is compared with."""
STANDS_OUT = 1.5
"""ln of the density above that around it."""
MOST = 32
"""Lines that are kept, the strongest ones."""


def lines(centre: NDArray[np.float32], highest: float) -> list[tuple[float, float, float]]:
    """(frequency in Hz, RMS amplitude in the channel's unit, sides) of lines up to `highest` Hz, in order of frequency.

    `centre` (F,): ln of the one-sided density in units² / Hz, of Hann windows of a second, at 0, 1, … Hz. The frequency
    is that of the peak between two bins, from the ratio of both (Grandke 1983, IEEE Trans. Instrum. Meas. 32, 350, eq.
    12); a power is the sum of what its main lobe has above the noise around. `sides`: mean ln of the density two and
    three bins away, over the median around.
    """
    last = min(len(centre) - REACH - 1, int(highest) + 1)
    if last <= REACH + 1:
        return []
    level = centre.astype(np.float64)
    around = np.lib.stride_tricks.sliding_window_view(level, 2 * REACH + 1)
    far = np.concatenate([around[:, : REACH - 4], around[:, REACH + 5 :]], axis=1)
    floor = np.full(len(level), np.nan)
    floor[REACH : len(level) - REACH] = np.median(far, axis=1)
    bins = np.arange(max(REACH, int(LOWEST)), last)
    peak = (level[bins] >= level[bins - 1]) & (level[bins] > level[bins + 1])
    bins = bins[peak & (level[bins] - floor[bins] >= STANDS_OUT)]
    bins = np.sort(bins[np.argsort(floor[bins] - level[bins], kind="stable")][:MOST])
    found = []
    for k in bins.tolist():
        noise = np.exp(floor[k])
        power = np.maximum(np.exp(level[k - 2 : k + 3]) - noise, 0.0)
        side = 1 if power[3] >= power[1] else -1
        ratio = float(np.sqrt(power[2 + side] / power[2]))
        shift = side * max(0.0, (2.0 * ratio - 1.0) / (1.0 + ratio))
        sides = float(level[[k - 3, k - 2, k + 2, k + 3]].mean() - floor[k])
        found.append((round(k + shift, 3), float(np.sqrt(power.sum())), round(sides, 3)))
    return found
