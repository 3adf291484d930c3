"""The Q-transform: energies of tiles of one time, frequency and Q, for many channels at once.

A plane has one Q, a row of it one frequency, and a row's tiles follow each other in time. Planes, frequencies and
windows are those of S. Chatterji's thesis (MIT, 2005, chapter 5), which Omicron and gwpy follow: neighbouring tiles
lose at most `mismatch` of a burst's energy. In one thing rows differ from gwpy's: theirs hold 2^m tiles, these a
length of factors 2, 3 and 5 that is just enough, which is a quarter fewer. The same row at the same time has the same
energy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, exp, inf, log, log2, pi, sqrt

import numpy as np
import scipy.fft
from numpy.typing import NDArray

ROOT_11 = sqrt(11.0)
LENGTHS = 32, 36, 40, 45, 48, 54, 60, 64
"""32nds of a power of two, with no prime factor above 5."""
BLOCK = 65_536
"""Tiles transformed at once: what fits a core's cache with its result."""


@dataclass(frozen=True)
class TileRow:
    """The tiles of one Q and frequency."""

    q: float
    frequency: float
    """Hz."""
    tiles: int
    """Tile k is centred k * duration / tiles after the first sample."""
    first: int
    """The first bin of the spectrum, of width 1 / duration, under the window."""
    window: NDArray[np.float32]
    """(K,), one a bin; its squares sum to 1."""


@dataclass(frozen=True)
class TileGroup:
    """Rows that have the same number of tiles: they are transformed together."""

    rows: tuple[TileRow, ...]
    tiles: int
    pairs: tuple[NDArray[np.float32], ...]
    """Of each row its window, each value twice: for the real and the imaginary part."""

    @classmethod
    def of(cls, rows: Sequence[TileRow]) -> TileGroup:
        """The group of these rows, at least one."""
        return cls(tuple(rows), rows[0].tiles, tuple(np.repeat(row.window, 2) for row in rows))


@dataclass(frozen=True)
class RowEnergies:
    """The energies of a row of tiles, of one or more channels."""

    q: float
    frequency: float
    energy: NDArray[np.float32]
    """(C, n): mean 1 in white noise."""


class QTiling:
    """All tiles of `duration` seconds at `sample_rate` Hz.

    `q_range`: the planes lie inside. `frequency_range`: (low, high) in Hz; without it low is where 50 tiles of the
    highest Q fit in, and no row's window passes the Nyquist frequency. `mismatch`: the largest part of a burst's
    energy that may be lost between tiles.

    As in gwpy a row's window is centred one bin above its frequency, `frequency + 1 / duration`.
    """

    def __init__(
        self,
        sample_rate: float,
        duration: float,
        q_range: tuple[float, float] = (4, 64),
        frequency_range: tuple[float, float] | None = None,
        mismatch: float = 0.2,
    ) -> None:
        if not (sample_rate > 0 and duration > 0 and 0 < q_range[0] <= q_range[1] and 0 < mismatch < 1):
            raise ValueError(
                f"expected a rate, a duration, Qs in order and a mismatch in (0, 1), got {sample_rate}, {duration}, "
                f"{q_range}, {mismatch}"
            )
        self.sample_rate, self.duration = float(sample_rate), float(duration)
        self.samples = round(sample_rate * duration)
        step = 2.0 * sqrt(mismatch / 3.0)
        qs = _qs(q_range, step)
        if qs[0] < ROOT_11:
            raise ValueError(f"expected planes of Q above sqrt(11), as no window passes 0 Hz there, got {qs[0]:.3g}")
        low, high = frequency_range or (0.0, inf)
        low = low or 50.0 * qs[-1] / (2.0 * pi * duration)
        high = min(high, sample_rate / 2.0 / (1.0 + ROOT_11 / qs[0]))
        if not low < high:
            raise ValueError(f"expected a band inside that of the tiles, got {low:.4g} to {high:.4g} Hz")
        self.frequency_range = low, high
        self.rows = tuple(
            self._row(q, frequency, step) for q in qs for frequency in _frequencies(q, low, high, duration, step)
        )
        self.groups = tuple(TileGroup.of(list(rows)) for _, rows in groupby(self.rows, lambda row: (row.q, row.tiles)))
        """Neighbouring rows of one plane."""

    def _row(self, q: float, frequency: float, step: float) -> TileRow:
        half = int(frequency * ROOT_11 / q * self.duration)
        offsets = np.arange(-half, half + 1)
        first = round(frequency * self.duration) + 1 - half
        window = bisquare(offsets / self.duration, q, frequency)[: self.samples // 2 + 1 - first]
        tiles = _length(2.0 * pi * frequency * self.duration / q / step)
        return TileRow(q, frequency, tiles, first, (window / sqrt(np.square(window).sum())).astype(np.float32))

    def spectrum(self, data: NDArray[np.floating]) -> NDArray[np.complex64]:
        """The positive frequencies (C, samples // 2 + 1) of `data` (C, samples), of mean square 1 in white noise."""
        if data.ndim != 2 or data.shape[1] != self.samples:
            raise ValueError(f"expected data of shape (channels, {self.samples}), got {data.shape}")
        bins = scipy.fft.rfft(data.astype(np.float32), axis=1, norm="ortho", workers=1)
        return bins.astype(np.complex64, copy=False)

    def group_energies(self, group: TileGroup, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        """The energies (R, C, tiles) of a group's R rows in `spectrum` (C, samples // 2 + 1)."""
        rows, channels = len(group.rows), len(spectrum)
        pairs = spectrum.view(np.float32)
        energy = np.empty((rows, channels, group.tiles), np.float32)
        size = max(1, BLOCK // (rows * group.tiles))
        padded = np.empty((rows, min(size, channels), group.tiles), np.complex64)
        for start in range(0, channels, size):
            block = padded[:, : channels - start]
            reals = block.view(np.float32)
            for i, row in enumerate(group.rows):
                # as pairs of reals: numpy's complex product may differ in its last bit with a number's place in memory
                first, width = 2 * row.first, 2 * len(row.window)
                part = pairs[start : start + size, first : first + width]
                np.multiply(part, group.pairs[i], out=reals[i, :, :width])
                reals[i, :, width:] = 0.0
            # a shift of the spectrum turns phases, no energies: the window's bins need no place of their own
            tiles = scipy.fft.ifft(block, axis=2, norm="forward", overwrite_x=True, workers=1).view(np.float32)
            np.multiply(tiles, tiles, out=tiles)
            np.add(tiles[..., ::2], tiles[..., 1::2], out=energy[:, start : start + size])
        return energy

    def energies(self, data: NDArray[np.floating]) -> Iterator[RowEnergies]:
        """The tiles of `data` (C, samples), whitened to unit variance a sample, a row at a time.

        Normalised by the spectrum it is supposed to have, not by the row: a loud burst does not lower its
        neighbours, and the mean, not the median, of noise is 1.
        """
        spectrum = self.spectrum(data)
        for group in self.groups:
            for row, energy in zip(group.rows, self.group_energies(group, spectrum), strict=True):
                yield RowEnergies(row.q, row.frequency, energy)


def bisquare(offset: NDArray[np.floating], q: float, frequency: float) -> NDArray[np.float64]:
    """(1 - x^2)^2, x = offset q / (frequency sqrt(11)): the window at `offset` Hz from its centre (thesis, 5.52)."""
    x = np.asarray(offset, np.float64) * (q / ROOT_11 / frequency)
    return np.square(np.maximum(1.0 - x * x, 0.0))


def _length(least: float) -> int:
    """The least of 2^m times 1, 9/8, 5/4, 45/32, 3/2, 27/16, 15/8 that is enough: rows share few lengths."""
    octave: int = 2 ** max(5, ceil(log2(least)) - 1)
    return next(octave * part // 32 for part in LENGTHS if octave * part >= 32 * least)


def _qs(q_range: tuple[float, float], step: float) -> list[float]:
    distance = log(q_range[1] / q_range[0]) / sqrt(2.0)
    planes = max(1, ceil(distance / step))
    return [q_range[0] * exp(sqrt(2.0) * distance / planes * (i + 0.5)) for i in range(planes)]


def _frequencies(q: float, low: float, high: float, duration: float, step: float) -> list[float]:
    """On bins of 1 / duration, each once."""
    root = sqrt(2.0 + q * q)
    distance = log(high / low) * root / 2.0
    rows = max(1, ceil(distance / step))
    bins = [int(low * exp(2.0 / root * (i + 0.5) * distance / rows) * duration) for i in range(rows)]
    return [number / duration for number in sorted(set(bins)) if number]
