"""Which samples are there, and data of any size brought to about 1: 1e-21 squared is 0 in single precision."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

ZEROS, HELD = 0.25, 1.0
"""Seconds from which exact zeros, or any one value, are a gap: a frame that was filled, a sensor that is stuck."""
FEW = 8
"""Zeros at an end of the data that are a gap: they may go on beyond it."""


@dataclass(frozen=True)
class Conditioned:
    """Data of C channels around 0 and at most 1."""

    data: NDArray[np.float32]
    """(C, n), 0 where no good sample is."""
    good: NDArray[np.bool_]
    """(C, n)."""
    log_scale: NDArray[np.float64]
    """(C,): ln of what the samples were divided by, a power of two."""


def conditioned(data: NDArray[np.generic], sample_rate: float) -> Conditioned:
    """`data` (C, n) of any real type; NaN, infinities, zeros that last and a value that is held are gaps."""
    samples: NDArray[np.floating] = data.astype(np.float32 if data.dtype == np.float32 else np.float64)
    good = np.isfinite(samples)
    good &= ~_held(samples, HELD * sample_rate)
    good &= (samples != 0.0) | ~_held(samples, ZEROS * sample_rate)
    for ends in (slice(None, FEW), slice(-FEW, None)):
        good[:, ends] &= (samples[:, ends] != 0.0).any(axis=1)[:, None]
    whole = bool(good.all())
    if not whole:
        samples[~good] = 0.0
    first = _exponents(samples)
    samples = np.ldexp(samples, -first[:, None])
    counts = np.maximum(good.sum(axis=1), 1)
    samples -= (samples.sum(axis=1, dtype=np.float64) / counts)[:, None].astype(samples.dtype)
    if not whole:
        samples[~good] = 0.0
    constant = np.abs(samples).max(axis=1, initial=0.0) < (1e-6 if samples.dtype == np.float32 else 1e-12)
    good[constant], samples[constant] = False, 0.0
    second = _exponents(samples)
    small = np.ldexp(samples, -second[:, None]).astype(np.float32)
    return Conditioned(small, good, (first + second).astype(np.float64) * log(2.0))


def _exponents(samples: NDArray[np.floating]) -> NDArray[np.int32]:
    largest = np.maximum(samples.max(axis=1, initial=0.0), -samples.min(axis=1, initial=0.0))
    return np.asarray(np.frexp(largest)[1], np.int32)


def _held(samples: NDArray[np.floating], least: float) -> NDArray[np.bool_]:
    """Samples (C, n) that belong to a run of at least `least` equal ones."""
    held = np.zeros(samples.shape, np.bool_)
    length = max(2, ceil(least))
    # a run this long holds two neighbours on a grid of half its length
    grid = samples[:, :: max(1, (length - 1) // 2)]
    for channel in np.flatnonzero((grid[:, 1:] == grid[:, :-1]).any(axis=1)):
        values = samples[channel]
        edges = np.flatnonzero(np.diff(values, prepend=np.nan, append=np.nan) != 0.0)
        for start, end in pairwise(edges):
            held[channel, start:end] = end - start >= length
    return held
