"""Loud tiles in whitened data: a grid coarser than the Q-transform's usual one, as peaks are interpolated after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opintel.gw.clusters import GAINED, LoudTiles
from opintel.gw.tiling import QTiling, TileGroup, TileRow

Q_RANGE = 5.0, 90.0
"""Of three planes. A sine-Gaussian exp(-t^2 / tau^2) with tau = Q / (sqrt(2) pi f) is loudest near sqrt(2) Q."""
MISMATCH = 0.35
NEAR = 0.92
"""Of the least SNR: a tile this loud may have a peak beside it that is loud enough."""
KEPT = 0.25
"""Least power behind the whitening filter that tiles are normalised by."""


class TileSearch:
    """Loud tiles of `duration` seconds of whitened data at `rate` Hz, of a `band` (Hz) and a `span` (s)."""

    def __init__(
        self, rate: float, duration: float, band: tuple[float, float], span: tuple[float, float], snr: float
    ) -> None:
        self.tiling = QTiling(rate, duration, Q_RANGE, band, MISMATCH)
        self._least = np.float32(NEAR**2 * (snr**2 / 2.0 + GAINED))
        alike: dict[int, list[TileRow]] = {}
        for row in self.tiling.rows:
            alike.setdefault(row.tiles, []).append(row)
        # of all planes: half as many transforms
        self._groups = [_SearchedGroup.of(TileGroup.of(rows), duration, span) for rows in alike.values()]

    def loud(self, spectrum: NDArray[np.complex64], kept: NDArray[np.float32]) -> LoudTiles:
        """Of the channels of `spectrum` (C, samples // 2 + 1), behind a filter that `kept` (C, F) of white power."""
        return LoudTiles.joined(list(self._loud(spectrum, kept)))

    def _loud(self, spectrum: NDArray[np.complex64], kept: NDArray[np.float32]) -> Iterator[LoudTiles]:
        duration = self.tiling.duration
        for searched in self._groups:
            group = searched.group
            energy = self.tiling.group_energies(group, spectrum)[:, :, searched.first : searched.end]
            norm = np.maximum(np.array([share.of(kept) for share in searched.shares]), np.float32(KEPT))
            for i, channel in np.argwhere(energy.max(axis=2) > norm * self._least):
                level = energy[i, channel] / norm[i, channel]
                tiles = np.flatnonzero(level > self._least)
                yield LoudTiles(
                    np.full(len(tiles), channel),
                    np.multiply(tiles + searched.first, duration / group.tiles),
                    np.full(len(tiles), group.rows[i].frequency + 1.0 / duration),
                    np.full(len(tiles), group.rows[i].q),
                    level[tiles].astype(np.float64),
                )


@dataclass(frozen=True)
class _Share:
    """How much of a row's energy comes from the hertz `low`, `low` + 1, …"""

    low: int
    part: NDArray[np.float32]

    @classmethod
    def of_row(cls, row: TileRow, duration: float) -> _Share:
        hertz = (np.arange(len(row.window)) + row.first) / duration
        low = int(hertz[0])
        part = np.zeros(int(hertz[-1]) + 2 - low)
        beyond = hertz % 1.0
        np.add.at(part, hertz.astype(int) - low, np.square(row.window) * (1.0 - beyond))
        np.add.at(part, hertz.astype(int) - low + 1, np.square(row.window) * beyond)
        return cls(low, part.astype(np.float32))

    def of(self, kept: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean energy (C,) of the row in noise behind a filter that `kept` (C, F)."""
        inside = kept[:, self.low : self.low + len(self.part)]
        energy: NDArray[np.float32] = np.add.reduce(inside * self.part[: inside.shape[1]], axis=1)
        return energy


@dataclass(frozen=True)
class _SearchedGroup:
    group: TileGroup
    first: int
    end: int
    shares: tuple[_Share, ...]

    @classmethod
    def of(cls, group: TileGroup, duration: float, span: tuple[float, float]) -> _SearchedGroup:
        spacing = duration / group.tiles
        first, end = max(0, int(span[0] / spacing)), min(group.tiles, int(span[1] / spacing) + 1)
        return cls(group, first, end, tuple(_Share.of_row(row, duration) for row in group.rows))
