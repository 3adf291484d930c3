"""Loud tiles of one event become one trigger, and its peak is sought between the tiles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from opintel.gw.tiling import ROOT_11, bisquare

GAP = 0.1
"""Seconds without a loud tile between two triggers (Omicron's)."""
MISMATCH = 0.08
"""Energy lost at the neighbours from which the peak is interpolated."""


GAINED = 1.5
"""Energy that a peak has above that of its true place on average, as noise moves it there: 1/2 for each of the three
coordinates that are sought (twice the energy gains a chi-squared of one degree of freedom each: S. Wilks, 1938)."""


@dataclass(frozen=True)
class LoudTiles:
    """Tiles above a threshold."""

    channel: NDArray[np.int64]
    time: NDArray[np.float64]
    """Centres, s."""
    frequency: NDArray[np.float64]
    q: NDArray[np.float64]
    energy: NDArray[np.float64]
    """Of mean 1 in noise."""

    @classmethod
    def joined(cls, parts: list[LoudTiles]) -> LoudTiles:
        def column(name: str, kind: type[np.generic]) -> NDArray[np.generic]:
            return np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)]).astype(kind)

        floats = (column(name, np.float64) for name in ("time", "frequency", "q", "energy"))
        return cls(column("channel", np.int64), *floats)  # type: ignore[arg-type]

    def take(self, rows: NDArray[np.int64]) -> LoudTiles:
        return LoudTiles(*(getattr(self, name)[rows] for name in ("channel", "time", "frequency", "q", "energy")))


@dataclass(frozen=True)
class TileClusters:
    """Events: the loudest tile of each in each plane, and what all its tiles cover."""

    loudest: LoudTiles
    event: NDArray[np.int64]
    """The event of each of the `loudest`, which are sorted by event and from loud to soft. Below is a row an event."""
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def clusters(tiles: LoudTiles) -> TileClusters:
    """By channel and time: tiles less than `GAP` apart belong together. Times in s, frequencies in Hz."""
    half = tiles.q / tiles.frequency / (4.0 * sqrt(pi))
    start, end = tiles.time - half, tiles.time + half
    order = np.lexsort((end, start, tiles.channel))
    tiles, start, end = tiles.take(order), start[order], end[order]
    reach = np.empty_like(end)
    first = np.zeros(len(end), np.bool_)
    for rows in _runs(tiles.channel):
        reach[rows] = np.maximum.accumulate(end[rows])
        first[rows] = np.concatenate([[True], start[rows][1:] > reach[rows][:-1] + GAP])
    begins = np.flatnonzero(first)
    number = np.cumsum(first) - 1
    width = sqrt(pi) * tiles.frequency / tiles.q
    best = np.lexsort((-tiles.energy, tiles.q, number))
    plane = np.flatnonzero(np.diff(number[best], prepend=-1) | np.diff(tiles.q[best], prepend=0.0).astype(bool))
    best = best[plane]
    best = best[np.lexsort((-tiles.energy[best], number[best]))]
    return TileClusters(
        tiles.take(best),
        number[best],
        *(
            reduced(column, begins) if len(begins) else column
            for reduced, column in (
                (np.minimum.reduceat, start),
                (np.maximum.reduceat, end),
                (np.minimum.reduceat, tiles.frequency - width),
                (np.maximum.reduceat, tiles.frequency + width),
            )
        ),
    )


@dataclass(frozen=True)
class TilePeak:
    """Where an event is loudest."""

    time: float
    frequency: float
    q: float
    energy: float
    """Of mean 1 in noise."""


def interpolated(
    spectrum: NDArray[np.complex64], duration: float, tile: TilePeak, q_range: tuple[float, float]
) -> TilePeak:
    """The peak near `tile` in the `spectrum` (F,) of one channel, of mean square 1 in noise.

    The energy is computed at neighbours on each side in time, frequency and Q, whose distance is that of mismatch
    `MISMATCH` in the metric of tiles (thesis, 5.83), and its logarithm is a parabola along each axis.
    """
    best = tile
    for _ in range(2):
        root = sqrt(MISMATCH)
        steps = root * tile.q / (2.0 * pi * tile.frequency), 2.0 * root / sqrt(2.0 + tile.q**2), sqrt(2.0) * root
        here, before, after = _energies(spectrum, duration, best, steps[0])
        frequency = [_energies(spectrum, duration, _moved(best, f, 0.0), 0.0)[0] for f in (-steps[1], steps[1])]
        q = [_energies(spectrum, duration, _moved(best, 0.0, d), 0.0)[0] for d in (-steps[2], steps[2])]
        if not here > 0.0:
            break
        at = _moved(best, steps[1] * _vertex(frequency[0], here, frequency[1]), steps[2] * _vertex(q[0], here, q[1]))
        at = TilePeak(at.time + steps[0] * _vertex(before, here, after), at.frequency, _clipped(at.q, q_range), 0.0)
        ratio = _energies(spectrum, duration, at, 0.0)[0] / here
        if not ratio > 1.0:
            break
        best = TilePeak(at.time, at.frequency, at.q, best.energy * ratio)
    return best


def _moved(peak: TilePeak, frequency: float, q: float) -> TilePeak:
    """By relative steps."""
    return TilePeak(peak.time, peak.frequency * (1.0 + frequency), peak.q * (1.0 + q), peak.energy)


def _clipped(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _vertex(left: float, middle: float, right: float) -> float:
    """Of the parabola through the logarithms at -1, 0, 1; within them."""
    if not (left > 0.0 and middle > 0.0 and right > 0.0):
        return 0.0
    rise, bend = np.log(right / left) / 2.0, np.log(left * right / middle**2)
    return float(np.clip(-rise / bend, -1.0, 1.0)) if bend < 0.0 else float(np.sign(rise))


def _energies(
    spectrum: NDArray[np.complex64], duration: float, tile: TilePeak, step: float
) -> tuple[float, float, float]:
    """At the tile's time and, where `step` (s) is not 0, before and after it; the window centred on its frequency."""
    half = tile.frequency * ROOT_11 / tile.q
    bins = np.arange(
        max(1, int((tile.frequency - half) * duration)), min(len(spectrum), int((tile.frequency + half) * duration) + 2)
    )
    if not len(bins):
        return 0.0, 0.0, 0.0
    window = bisquare(bins / duration - tile.frequency, tile.q, tile.frequency)
    norm = np.square(window).sum()
    terms = spectrum[bins] * window * np.exp(2j * pi / duration * tile.time * bins)
    here = float(abs(terms.sum()) ** 2 / norm)
    if step == 0.0:
        return here, here, here
    turn = np.exp(2j * pi / duration * step * bins)
    return here, float(abs((terms * turn.conj()).sum()) ** 2 / norm), float(abs((terms * turn).sum()) ** 2 / norm)


def _runs(channel: NDArray[np.int64]) -> list[slice]:
    edges = np.flatnonzero(np.diff(channel, prepend=-1, append=-1)) if len(channel) else np.zeros(0, np.int64)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
