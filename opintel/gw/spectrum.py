"""The running spectrum of each channel, robust to glitches, and the RMS in bands of a window.

Of every channel one value a bin is kept: the centre of ln S, S a Hann periodogram of one second, one each half second.
Its state is two plain arrays, so that a stream can carry it; where the spectrum is known, a window needs no long past.

The centre is Huber's M-estimate of location (Ann. Math. Statist. 35, 1964), followed by stochastic approximation: each
segment moves it by a clipped step / the number of segments. A glitch, however loud, moves ln S by at most
STEP / `memory` a segment, and what it is in noise is known: ln S of noise is that of an exponential variable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import log

import numpy as np
import scipy.fft
from numpy.typing import NDArray

DOWN, STEP = -2.0, 1.2
"""Of ln S from its centre: what is further away counts as that far."""
CENTRE = -0.55724387
"""The centre for S = m E, E exponential of mean 1, is ln m + CENTRE: where the mean of the clipped step is 0."""
MEMORY = 64
"""Segments, half a second each."""
RESTART = 16
"""Segments that a spectrum counts for after a step of the whole noise."""
JUMP = 0.8
"""Of ln S over most of the band, in every new segment: a step of the noise, no glitch, for those are short."""
SILENT = -200.0
"""ln S where there is no power at all."""


@dataclass(frozen=True)
class RunningSpectrum:
    """What is known of the spectra of C channels."""

    centre: NDArray[np.float32]
    """(C, F): of ln S at 0, 1, … Hz, S in units² / Hz."""
    weight: NDArray[np.int32]
    """(C,): segments it stands on, at most `MEMORY`; 0: nothing is known."""

    @classmethod
    def unknown(cls, channels: int, bins: int) -> RunningSpectrum:
        return cls(np.full((channels, bins), SILENT, np.float32), np.zeros(channels, np.int32))

    def log_psd(self) -> NDArray[np.float32]:
        """ln of the one-sided power spectral density (C, F) in units² / Hz: the mean that noise of this centre has."""
        return self.centre - np.float32(CENTRE)

    def updated(self, segments: Periodograms) -> RunningSpectrum:
        """After `segments` as well, of which those that are not whole are passed over."""
        centre, weight = self.centre.copy(), self.weight.copy()
        fresh = np.flatnonzero((weight == 0) & segments.whole.any(axis=1))
        for channel in fresh:
            power = segments.log_power[channel, segments.whole[channel]]
            centre[channel] = np.median(power, axis=0) + np.float32(CENTRE - _log_median(len(power)))
            weight[channel] = min(len(power), MEMORY)
        known = np.flatnonzero((self.weight > 0) & segments.whole.any(axis=1))
        if len(known):
            centre[known], weight[known] = _followed(
                centre[known], weight[known], segments.log_power[known], segments.whole[known]
            )
        return RunningSpectrum(centre, weight)


@dataclass(frozen=True)
class Periodograms:
    """Periodograms of C channels."""

    log_power: NDArray[np.float32]
    """(C, S, F): ln of units² / Hz, one-sided."""
    whole: NDArray[np.bool_]
    """(C, S): every sample was good."""


def segment_samples(sample_rate: float) -> int:
    """Samples of a segment: one second."""
    return max(4, round(sample_rate))


def periodograms(
    data: NDArray[np.float32],
    good: NDArray[np.bool_],
    sample_rate: float,
    log_scale: NDArray[np.float64],
    starts: list[int],
    bins: int,
) -> Periodograms:
    """Of the seconds of `data` (C, n) that begin at the samples `starts`, their first `bins`; `good` (C, n): is there.

    `log_scale` (C,): ln of what `data` were divided by.
    """
    size = segment_samples(sample_rate)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    density = log(2.0 / (sample_rate * float(np.square(window, dtype=np.float64).sum())))
    log_power = np.empty((len(data), len(starts), bins), np.float32)
    whole = np.empty((len(data), len(starts)), np.bool_)
    absolute = (2.0 * log_scale + density).astype(np.float32)
    for i, start in enumerate(starts):
        part = data[:, start : start + size]
        whole[:, i] = good[:, start : start + size].all(axis=1)
        tapered = (part - part.mean(axis=1, keepdims=True)) * window
        amplitude = scipy.fft.rfft(tapered, axis=1, workers=1)[:, :bins]
        power = amplitude.real * amplitude.real
        power += amplitude.imag * amplitude.imag
        with np.errstate(divide="ignore"):
            np.maximum(np.log(power), SILENT, out=log_power[:, i])
        log_power[:, i] += absolute[:, None]
    return Periodograms(log_power, whole)


def band_rms(segments: Periodograms, edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """RMS (C, B) in the bands between the B + 1 `edges` (Hz), in the channel's unit, over the whole ones of `segments`.

    NaN where there is none.
    """
    counts = segments.whole.sum(axis=1)
    power = np.exp(segments.log_power, dtype=np.float64)
    power *= segments.whole[:, :, None]
    total = power.sum(axis=1)
    places = np.clip(np.rint(edges).astype(int), 0, total.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([np.sqrt(total[:, a:b].sum(axis=1) / counts) for a, b in pairwise(places)], axis=1).astype(
            np.float32
        )


def _followed(
    centre: NDArray[np.float32], weight: NDArray[np.int32], power: NDArray[np.float32], whole: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """`centre` and `weight` after the segments of `power` (C, S, F) that are `whole` (C, S)."""
    level = np.median(power[:, :, ::8] - centre[:, None, ::8], axis=2)
    least = np.where(whole, level, np.inf).min(axis=1) - np.log(np.log(2.0)) + CENTRE
    most = np.where(whole, level, -np.inf).max(axis=1) - np.log(np.log(2.0)) + CENTRE
    enough = whole.sum(axis=1) >= 3
    jump = np.where(enough & (least > JUMP), least, np.where(enough & (most < -JUMP), most, 0.0))
    centre = centre + jump.astype(np.float32)[:, None]
    weight = np.where(jump != 0.0, np.minimum(weight, RESTART), weight).astype(np.int32)
    for i in range(power.shape[1]):
        here = whole[:, i]
        weight = np.where(here, np.minimum(weight + 1, MEMORY), weight)
        gain = np.where(here, 1.0 / np.maximum(weight, 1), 0.0).astype(np.float32)
        centre += gain[:, None] * np.clip(power[:, i] - centre, DOWN, STEP)
    return centre, weight


@cache
def _log_median(number: int) -> float:
    """The mean of the median of ln E of `number` variables E, exponential of mean 1: the k-th least of them is at a
    probability that is Beta(k, number + 1 - k) distributed.
    """
    middle = {(number + 1) // 2, number // 2 + 1}
    probability = (np.arange(20_000) + 0.5) / 20_000
    level = np.log(-np.log1p(-probability))

    def weights(k: int) -> NDArray[np.float64]:
        """As the density of the k-th of them is, a beta's; without scipy.stats, whose import takes seconds."""
        log = (k - 1) * np.log(probability) + (number - k) * np.log1p(-probability)
        return np.asarray(np.exp(log - log.max()))

    return float(np.mean([np.average(level, weights=weights(k)) for k in middle]))
