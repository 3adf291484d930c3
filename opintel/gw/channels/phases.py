"""A sketch of a channel by which stage 2 knows copies of the strain: phases of a few Fourier components, a byte each.

Two channels meet in stage 2 only, and samples do not travel there. What does is the phase at `BINS` of the first second
of a window: the mean of exp(i difference) over windows is a coherence in which each second weighs alike, however loud.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

BINS = np.unique(np.rint(np.geomspace(20.0, 1600.0, 40)).astype(np.int64))
"""Hz."""
HIGHEST = 0.4
"""Of the sample rate: above that a filter may have left nothing."""
FEWEST = 6
"""Of `BINS`: a channel with fewer is too slow to hold the strain."""
TURN = 127
"""A phase is from -TURN to TURN: from -π to π."""


def phases(data: NDArray[np.float32], first: int, rate: float) -> list[bytes]:
    """Of channels (C, n) at `rate` Hz, in the second that begins at the sample `first`: int8, as many as the rate has.

    Empty where a sample is missing, where all are alike, and where the rate is too low.
    """
    bins, size = BINS[HIGHEST * rate >= BINS], round(rate)
    part = data[:, first : first + size]
    if len(bins) < FEWEST or part.shape[1] < size:
        return [b""] * len(data)
    centred = part - part.mean(axis=1, keepdims=True)
    good = np.isfinite(centred).all(axis=1) & (np.ptp(part, axis=1) > 0)
    centred[~good] = 0.0
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    spectra = scipy.fft.rfft(centred * window, axis=1, workers=1)[:, bins]
    turned = np.rint(np.angle(spectra) * (TURN / np.pi)).astype(np.int8)
    return [row.tobytes() if sound else b"" for row, sound in zip(turned, good.tolist(), strict=True)]
