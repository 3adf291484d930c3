"""The Q-scan of a trigger: energies of tiles of one Q over time and frequency, as a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opintel.evidence import Axis, Image, Mark
from opintel.gw.conditioning import conditioned
from opintel.gw.engine import EngineState, TriggerEngine
from opintel.gw.gps import gps_from_utc
from opintel.gw.records import TriggerSaid
from opintel.gw.spectrum import segment_samples
from opintel.gw.tiling import QTiling
from opintel.gw.whitening import filters, whiten
from opintel.picture import image

QS = (6.0, 12.0, 24.0, 48.0)
"""The planes that are drawn: the nearest one to the trigger's Q."""
ROWS, COLUMNS = 64, 96
REACH = 0.75
"""s before and after the peak."""
BRIGHTEST = 25.0
"""Energies from there on look alike: that of SNR 7."""


def qscan(
    engine: TriggerEngine, channel: str, data: NDArray[np.float32], start: int, state: EngineState, peak: TriggerSaid
) -> Image:
    """The picture of `peak`, a trigger in the window that begins at `start` (ns); `data` (1, samples) and `state` as
    the engine had them."""
    block = conditioned(data, engine.sample_rate)
    response = filters(state.spectrum, engine.sample_rate, block.log_scale, engine.band).response
    white, _ = whiten(block.data, block.good, engine.sample_rate, response)
    tiling = _tiling(engine.sample_rate, white.shape[1], engine.band, min(QS, key=lambda q: abs(np.log(q / peak.q))))
    low, high = tiling.rows[0].frequency, tiling.rows[-1].frequency
    skipped = (segment_samples(engine.sample_rate) + 1) // 2 / engine.sample_rate
    middle = (peak.time - start) / 1e9 + engine.before - skipped
    energies = _drawn(tiling, white, middle)
    gps = gps_from_utc(peak.time)
    title = f"{channel}: Q-scan, Q {tiling.rows[0].q:.0f}, GPS {gps // 10**9}.{gps % 10**9 // 10**6:03d}"
    return image(
        title,
        energies,
        Axis("time after the peak", "s", -REACH, REACH),
        Axis("frequency", "Hz", low, high, log=True),
        of="energy of a tile",
        unit="times that of noise",
        low=0.0,
        high=BRIGHTEST,
        marks=[Mark(f"SNR {peak.snr:.1f}", 0.0, float(np.clip(peak.frequency, low, high)))],
    )


def _drawn(tiling: QTiling, white: NDArray[np.float32], middle: float) -> NDArray[np.float64]:
    """(ROWS, COLUMNS) the loudest tile in each pixel around `middle` (s after the first sample), or, where none has its
    centre in it, the nearest; NaN outside of the data."""
    at = np.log([row.frequency for row in tiling.rows])
    pixels = np.linspace(at[0], at[-1], ROWS)
    distance = np.abs(at[:, None] - pixels)
    nearest, inside = distance.argmin(axis=0), distance.argmin(axis=1)
    times = middle + np.linspace(-REACH, REACH, COLUMNS)
    half = REACH / (COLUMNS - 1)
    drawn = np.full((ROWS, COLUMNS), np.nan)
    for number, row in enumerate(tiling.energies(white)):
        energy = row.energy[0].astype(np.float64)
        spacing = tiling.duration / len(energy)
        first, end = (np.ceil((times + side) / spacing).astype(int) for side in (-half, half))
        first = np.where(first < end, first, np.rint(times / spacing).astype(int))
        end = np.maximum(end, first + 1)
        there = (first >= 0) & (end <= len(energy))
        level = np.full(COLUMNS, np.nan)
        bounds = np.stack([first[there], end[there]], axis=1).ravel()
        level[there] = np.maximum.reduceat(np.append(energy, -np.inf), bounds)[::2]
        own = nearest == number
        own[inside[number]] = True
        drawn[own] = np.fmax(drawn[own], level)
    return drawn


@lru_cache(maxsize=64)
def _tiling(rate: float, samples: int, band: tuple[float, float], q: float) -> QTiling:
    return QTiling(rate, samples / rate, (q, q), (band[0], 0.9 * band[1]))
