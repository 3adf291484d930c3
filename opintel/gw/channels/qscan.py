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
    frequencies = np.geomspace(low, high, ROWS)
    at = np.array([row.frequency for row in tiling.rows])
    nearest = np.abs(np.log(at[:, None] / frequencies)).argmin(axis=0)
    skipped = (segment_samples(engine.sample_rate) + 1) // 2 / engine.sample_rate
    middle = (peak.time - start) / 1e9 + engine.before - skipped
    times = middle + np.linspace(-REACH, REACH, COLUMNS)
    energies = np.full((ROWS, COLUMNS), np.nan)
    for number, row in enumerate(tiling.energies(white)):
        tiles = np.rint(times / tiling.duration * row.energy.shape[1]).astype(int)
        inside = (tiles >= 0) & (tiles < row.energy.shape[1])
        energies[np.ix_(nearest == number, inside)] = row.energy[0, tiles[inside]]
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


@lru_cache(maxsize=64)
def _tiling(rate: float, samples: int, band: tuple[float, float], q: float) -> QTiling:
    return QTiling(rate, samples / rate, (q, q), (band[0], 0.9 * band[1]))
