"""Copies of h(t) among auxiliary channels, whatever they are called: coherence with the strain over the whole band.

A witness couples through some path and shares a part of the band with the strain; what is coherent with it everywhere
is the strain again, filtered, delayed, scaled or with noise of its own. Coherence by Welch's averages (Carter 1987,
Proc. IEEE 75, 236), with each segment of a second scaled to unit power in each part of the band: so a loud glitch
that both have weighs as little as any other second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SEGMENT, LEAST = 1.0, 16
"""Seconds of a segment (they overlap by half), and the number of them that it takes."""
PARTS = 24
"""Of the band, of equal width in ln f."""
COHERENT, EVERYWHERE = 0.2, 0.9
"""What is this coherent in this share of the parts is a copy, which may have noise of its own, twice the strain's."""

Floats = NDArray[np.float64]


class BandCoherence(NamedTuple):
    """Of each channel (C,) with the strain."""

    share: Floats
    """Of the band's parts that are coherent; NaN where too little could be compared."""
    typical: Floats
    """Coherence, the median over the parts, in [0, 1]."""
    copy: NDArray[np.bool_]
    """Whether it is coherent over (nearly) the whole band: then it is unsafe."""


def strain_copies(
    strain: NDArray[np.generic],
    channels: NDArray[np.generic],
    sample_rate: float,
    *,
    band: tuple[float, float] | None = None,
) -> BandCoherence:
    """Coherence of channels (C, N) with the strain (N,), at one sample rate, in a band (Hz; 20 Hz to .8 Nyquist).

    A channel does not depend on its neighbours nor on a factor; seconds with NaN in it or the strain are left out. In
    32 s of independent noise a part of the band reaches a coherence of .2 by chance in less than 1 % of cases, nine in
    ten parts never. Raises ValueError for other shapes.

    >>> h = np.random.default_rng(0).normal(size=32 * 256)
    >>> strain_copies(h, np.stack([-3e9 * np.roll(h, 5), h[::-1]]), 256.0).copy.tolist()
    [True, False]
    """
    if strain.ndim != 1 or channels.ndim != 2 or channels.shape[1] != len(strain):
        raise ValueError(f"expected strain (N,) and channels (C, N), got {strain.shape} and {channels.shape}")
    low, high = band or (20.0, 0.4 * sample_rate)
    size = round(SEGMENT * sample_rate)
    edges = np.unique(np.round(np.geomspace(low, high, PARTS + 1) * size / sample_rate).astype(np.int64))
    if size < 8 or len(edges) < 2 or edges[-1] > size // 2:
        raise ValueError(f"expected a band within 0 to {sample_rate / 2} Hz, got {low} to {high} Hz")
    reference = _spectra(strain, size, edges)
    share, typical = np.full((2, len(channels)), np.nan)
    for i, channel in enumerate(channels):
        other = _spectra(channel, size, edges)
        both = np.isfinite(reference[:, 0]) & np.isfinite(other[:, 0])
        if both.sum() >= LEAST:
            parts = _coherence(reference[both], other[both], edges)
            share[i], typical[i] = np.mean(parts >= COHERENT), np.median(parts)
    return BandCoherence(share, typical, share >= EVERYWHERE)


def _spectra(samples: NDArray[np.generic], size: int, edges: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Each segment's spectrum between the outer edges, of mean power 1 in each part; NaN where a part has none."""
    if len(samples) < size:
        return np.full((0, edges[-1] - edges[0]), np.nan + 0j)
    pieces = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        pieces = pieces - pieces.mean(axis=1, keepdims=True)
        pieces /= np.abs(pieces).max(axis=1, keepdims=True)
        spectra = np.fft.rfft(pieces * np.hanning(size + 1)[:size])[:, edges[0] : edges[-1]]
        power = np.add.reduceat(np.abs(spectra) ** 2, edges[:-1] - edges[0], axis=1) / np.diff(edges)
        scaled = spectra / np.repeat(np.sqrt(power), np.diff(edges), axis=1)
    scaled[~np.isfinite(scaled).all(axis=1)] = np.nan
    return np.asarray(scaled)


def _coherence(one: NDArray[np.complex128], other: NDArray[np.complex128], edges: NDArray[np.int64]) -> Floats:
    """The median over the frequencies of each part of |S_xy|² / (S_xx S_yy)."""
    cross = np.abs(np.mean(np.conj(one) * other, axis=0)) ** 2
    found = cross / (np.mean(np.abs(one) ** 2, axis=0) * np.mean(np.abs(other) ** 2, axis=0))
    return np.array([np.median(part) for part in np.split(found, edges[1:-1] - edges[0])])
