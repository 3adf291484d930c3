"""What stage 1 knows of a channel from before a window, and how that is kept.

A channel that is new is *learning*: its samples are held back until its spectrum is known, and judged then. That is the
only reason for which samples stay here; a channel that is known costs its spectrum, four bytes a hertz.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.gw.engine import NEVER, EngineState
from opintel.gw.spectrum import RunningSpectrum

Singles = NDArray[np.float32]
MEMORY = 150
"""Windows over which the usual RMS in bands is averaged."""
CLIP = 1.0
"""Of ln RMS: a window moves the average by no more than this counts for."""
_NOTHING: Singles = np.zeros(0, dtype=np.float32)


@dataclass
class KnownChannel:
    """One channel. A window changes it as a whole or not at all."""

    rate: float
    """Hz."""
    centre: Singles
    """(F,) and …"""
    weight: int
    """… what the spectrum of `opintel.gw.spectrum` is of it."""
    last: int = NEVER
    """ns UTC, of its last trigger."""
    learning: bool = True
    usual: Singles = field(default_factory=lambda: _NOTHING)
    """(B,) ln RMS in bands; NaN unknown."""
    windows: int = 0
    """Of which that is the average."""
    held: Singles = field(default_factory=lambda: _NOTHING)
    """Samples that are held back, NaN where there are none …"""
    since: int = 0
    """… from this time on, ns UTC."""

    def louder(self, bands: Singles) -> list[float]:
        """RMS in bands over what is usual, NaN where that is not known; then they are part of it."""
        logs = np.log(np.maximum(bands, np.float32(1e-37)))
        if len(self.usual) != len(logs):
            self.usual, self.windows = np.full(len(logs), np.nan, dtype=np.float32), 0
        off = logs - self.usual
        found = np.exp(off)
        if np.isfinite(logs).any():
            self.windows = min(self.windows + 1, MEMORY)
            step = np.clip(off, -CLIP, CLIP) / np.float32(self.windows)
            new = np.where(np.isnan(self.usual), logs, self.usual + step)
            self.usual = np.where(np.isnan(logs), self.usual, new).astype(np.float32)
        told: list[float] = found.astype(np.float64).round(4).tolist()
        return told


def engine_state(channels: Iterable[KnownChannel]) -> EngineState:
    """Of these channels, of one rate, a row each."""
    every = list(channels)
    spectrum = RunningSpectrum(
        np.stack([one.centre for one in every]), np.array([one.weight for one in every], dtype=np.int32)
    )
    return EngineState(spectrum, np.array([one.last for one in every], dtype=np.int64))


def learn(channels: Iterable[KnownChannel], state: EngineState) -> None:
    """Puts the rows of a state into these channels."""
    for n, one in enumerate(channels):
        one.centre, one.weight = state.spectrum.centre[n].copy(), int(state.spectrum.weight[n])
        one.last = int(state.last[n])


def plain(channels: Mapping[str, KnownChannel]) -> Any:
    """Plain data: a row of numbers for each channel in order of its name, and few large bytes for the arrays."""
    names = sorted(channels)
    every = [channels[name] for name in names]
    rows = [
        [name, one.rate, len(one.centre), one.weight, one.last, one.learning, len(one.usual), one.windows,
         len(one.held), one.since]
        for name, one in zip(names, every, strict=True)
    ]  # fmt: skip
    return [rows, *(_bytes(getattr(one, name) for one in every) for name in ("centre", "usual", "held"))]


def restored(state: Any) -> dict[str, KnownChannel]:
    """The inverse of `plain`."""
    rows, *packed = state
    centre, usual, held = (np.frombuffer(part, dtype="<f4") for part in packed)
    found: dict[str, KnownChannel] = {}
    a = b = c = 0
    for name, rate, bins, weight, last, learning, bands, windows, samples, since in rows:
        found[name] = KnownChannel(
            rate,
            centre[a : a + bins].copy(),
            weight,
            last,
            learning,
            usual[b : b + bands].copy(),
            windows,
            held[c : c + samples].copy(),
            since,
        )
        a, b, c = a + bins, b + bands, c + samples
    return found


def _bytes(arrays: Iterable[Singles]) -> bytes:
    parts = [array.astype("<f4", copy=False) for array in arrays]
    return np.concatenate([_NOTHING, *parts]).tobytes()
