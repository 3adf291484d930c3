"""Whitening by a short filter: what is spoiled by a gap, an end or a jump of one second reaches half a second.

The filter is 1 / sqrt(S), tapered in time to one second. S is smoothed along frequency where few segments are known. A
line above its surroundings is not only whitened but taken away: divided by its own height it would still be as strong
in its bin as noise, and a tile of a few seconds sees it. What that takes from the tiles there is known (`kept`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from opintel.gw.spectrum import RunningSpectrum, segment_samples

AVERAGED = 100
"""Segments times bins that a smooth part of the spectrum is averaged over."""
SURROUNDINGS = 12
"""Bins on each side that a line is compared with."""
RANGE = np.float32(34.5)
"""ln S between the loudest bin and the least that is told from rounding."""
LINE = 1.3
"""ln S above the surroundings from which a bin belongs to a line."""
TAKEN = 3.0
"""By so much, in ln of the power, a line is pushed below its surroundings. One of noise, .3 Hz wide, has in
that width five times the density that a bin of a second shows, and tiles of four seconds see it."""


@dataclass(frozen=True)
class WhiteningFilter:
    """The filters of C channels; data of `scale` times unit go in, unit variance a sample comes out."""

    response: NDArray[np.float32]
    """(C, F): at 0, 1, … Hz, of data divided by `scale`."""
    kept: NDArray[np.float32]
    """(C, F): power that white noise has behind the filter, 1 where it is whitened and less where it is taken away."""


def filters(
    spectrum: RunningSpectrum, rate: float, log_scale: NDArray[np.float64], band: tuple[float, float]
) -> WhiteningFilter:
    """Of each channel's spectrum, for samples that come out at `rate` Hz; what is outside of `band` (Hz) is taken away.

    `log_scale` (C,): ln of what the data are divided by before.
    """
    centre = spectrum.log_psd()
    # what is below single precision of the loudest bin is rounding, and white noise of it would be triggers
    centre = np.maximum(centre, centre.max(axis=1, keepdims=True) - RANGE)
    model, excess = _smoothed(centre, spectrum.weight)
    bins = np.arange(centre.shape[1])
    inside = ((bins >= band[0]) & (bins <= band[1]))[None, :] & (spectrum.weight > 0)[:, None]
    # ln of units² / Hz of the scaled data; unit variance a sample is a density of 2 / rate
    ln_density = model - (2.0 * log_scale + np.log(2.0 / rate)).astype(np.float32)[:, None]
    ln_density[spectrum.weight == 0] = 0.0
    amplitude = np.exp(0.5 * ln_density)
    wanted = np.exp(-0.5 * (ln_density + excess)) * inside.astype(np.float32)
    # the taper in time, a Hann window as long as the filter, is this in frequency
    response = 0.5 * wanted
    response[:, 1:-1] += 0.25 * (wanted[:, 2:] + wanted[:, :-2])
    response[:, 0] = 0.0
    return WhiteningFilter(response, np.square(response * amplitude))


def whiten(
    data: NDArray[np.float32],
    good: NDArray[np.bool_],
    sample_rate: float,
    response: NDArray[np.float32],
    decimation: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`data` (C, n), finite, behind the filter, less half a second at both ends, and where that is sound.

    Samples that are not `good`, or have one less than half a second away, are 0 and not sound. One sample in
    `decimation` comes out, where that divides n and a second's samples; the filter lets nothing pass above half the
    new rate.
    """
    size = segment_samples(sample_rate)
    half = (size + 1) // 2
    samples, few, taps = data.shape[1], data.shape[1] // decimation, size // decimation
    impulse = np.zeros((len(data), few), np.float32)
    # of the impulse response the second around 0; the taper is in `response`
    around = scipy.fft.irfft(response[:, : taps // 2 + 1], n=taps, axis=1, workers=1)
    impulse[:, : taps // 2] = around[:, : taps // 2]
    impulse[:, few - taps // 2 :] = around[:, taps - taps // 2 :]
    kernel = scipy.fft.rfft(impulse, axis=1, workers=1).real
    kernel /= decimation
    bins = np.ascontiguousarray(scipy.fft.rfft(data, axis=1, workers=1)[:, : few // 2 + 1])
    pairs = bins.view(np.float32).reshape(*bins.shape, 2)
    pairs *= kernel[:, :, None]
    inside = slice(-(-half // decimation), -(-half // decimation) + (samples - 2 * half) // decimation)
    white = scipy.fft.irfft(bins, n=few, axis=1, workers=1)[:, inside]
    if good.all():
        return white, np.ones(white.shape, np.bool_)
    sound = eroded(good, half)[:, ::decimation][:, inside]
    return np.where(sound, white, np.float32(0.0)), sound


def eroded(good: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """`good` (C, n) without what has a bad sample at most `by` samples away; beyond the ends is good."""
    if good.all():
        return good
    samples = good.shape[1]
    bad = np.zeros((len(good), samples + 1), np.int32)
    np.cumsum(~good, axis=1, out=bad[:, 1:])
    place = np.arange(samples)
    near: NDArray[np.bool_] = bad[:, np.minimum(place + by + 1, samples)] == bad[:, np.maximum(place - by, 0)]
    return near


def _smoothed(
    log_psd: NDArray[np.float32], weight: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """ln S (C, F) smoothed along frequency, but for lines, and how much more is taken from those."""
    surroundings = log_psd
    for _ in range(3):
        surroundings = _boxcar(np.minimum(log_psd, surroundings + 1.0), SURROUNDINGS)
    noise = 3.5 * 1.3 / np.sqrt(0.7 * np.maximum(weight, 1)).astype(np.float32)[:, None]
    excess = log_psd - surroundings
    line = excess > np.maximum(LINE, noise)
    wide = line.copy()
    wide[:, 1:] |= line[:, :-1]
    wide[:, :-1] |= line[:, 1:]
    calm = np.where(wide, surroundings, log_psd)
    smooth = calm.copy()
    widths = np.maximum(1, np.ceil((AVERAGED / (0.7 * np.maximum(weight, 1)) - 1.0) / 2.0)).astype(int)
    for width in np.unique(widths):
        rows = widths == width
        smooth[rows] = _boxcar(calm[rows], min(int(width), SURROUNDINGS))
    model = np.where(wide, np.maximum(log_psd, surroundings), smooth)
    return model, np.where(wide, np.maximum(excess, 0.0) + TAKEN, 0.0).astype(np.float32)


def _boxcar(values: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Means over 2 half + 1 bins; beyond the ends stands their mirror image."""
    if values.shape[1] <= half + 1:
        half = max(0, (values.shape[1] - 1) // 2)
    padded = np.pad(values, ((0, 0), (half + 1, half)), mode="reflect" if half + 1 < values.shape[1] else "edge")
    sums = np.cumsum(padded, axis=1, dtype=np.float64)
    return ((sums[:, 2 * half + 1 :] - sums[:, : -2 * half - 1]) / (2 * half + 1)).astype(np.float32)
