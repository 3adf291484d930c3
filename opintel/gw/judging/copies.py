"""Channels that hold the strain under another name, by their phases (`opintel.gw.channels.phases`).

A channel that carries the signal must never be a witness. Its name may not say so: somebody connects the readout to a
spare input. So a channel whose name is that of a safe one is safe only after it was compared with the strain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.gw.channels.phases import BINS, FEWEST, HIGHEST, TURN
from opintel.gw.judging.interferometer import Interferometer
from opintel.gw.records import ChannelWindow
from opintel.gw.safety import Safety, SafetyFamilies

LEAST = 24
"""Windows that it takes."""
MEMORY = 64
"""Windows that count."""
MOST = 4000
"""Channels that are remembered; where more come, those that are gone are forgotten."""
COHERENT, EVERYWHERE = 0.2, 0.9
"""Those of `opintel.gw.strain_copies`."""


class StrainCopyWatch:
    """Which channels are safe: by their names, and, since they were compared with the strain, by what they hold.

    |mean of exp(iφ)|² of n windows of independent noise is above c with probability exp(−n c) (Rayleigh): .008 of the
    components for 24 windows and .2, and all of six, which is the least, in 3e-13. What is a copy stays one. Where the
    strain is sampled too slowly to have phases, names alone decide.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, NDArray[np.complex64]]] = {}
        """Channel → windows, sum of exp(iφ)."""
        self._copies: set[str] = set()
        self._compares = False
        """Whether the strain has had phases."""

    @property
    def copies(self) -> list[str]:
        """The channels that were found to be copies, in order."""
        return sorted(self._copies)

    def take(self, channels: Interferometer, families: SafetyFamilies) -> None:
        """Compares a window of all channels whose names are safe."""
        if channels.main is None:
            return
        strain = channels.strain[channels.main]
        own = _turned(strain.phases)
        if not len(own):
            return
        self._compares = True
        for name, said in channels.auxiliary.items():
            if said.phases and name not in self._copies and families.judge(name) is Safety.SAFE:
                if len(self._sums) >= MOST and name not in self._sums:
                    self._sums = {known: both for known, both in self._sums.items() if known in channels.auxiliary}
                number = min(len(own), len(said.phases))
                self._add(name, _turned(said.phases)[:number] * np.conj(own[:number]))

    def _add(self, name: str, turned: NDArray[np.complex64]) -> None:
        windows, total = self._sums.get(name, (0, np.zeros(0, dtype=np.complex64)))
        if len(total) != len(turned):
            windows, total = 0, np.zeros(len(turned), dtype=np.complex64)
        if windows == MEMORY:
            windows, total = windows - 1, total * np.float32(1 - 1 / MEMORY)
        windows, total = windows + 1, total + turned
        coherence = np.square(np.abs(total) / windows)
        if windows >= LEAST and len(total) >= FEWEST and np.mean(coherence >= COHERENT) >= EVERYWHERE:
            self._copies.add(name)
            self._sums.pop(name, None)
        else:
            self._sums[name] = windows, total

    def safe(self, auxiliary: Mapping[str, ChannelWindow], families: SafetyFamilies) -> list[str]:
        """Those of the channels that may be witnesses now, in order."""
        return [name for name, said in auxiliary.items() if self._is_safe(name, said.rate, families)]

    def _is_safe(self, name: str, rate: float, families: SafetyFamilies) -> bool:
        if families.judge(name) is not Safety.SAFE or name in self._copies:
            return False
        return _slow(rate) or not self._compares or self._sums.get(name, (0,))[0] >= LEAST

    def state(self) -> Any:
        """Plain values; sums as bytes."""
        sums = [[name, windows, total.astype("<c8").tobytes()] for name, (windows, total) in sorted(self._sums.items())]
        return [self._compares, self.copies, sums]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._compares, copies, sums = state
        self._copies = set(copies)
        self._sums = {name: (windows, np.frombuffer(total, dtype="<c8").copy()) for name, windows, total in sums}


def _slow(rate: float) -> bool:
    """Whether a channel is sampled too slowly to have phases."""
    return int(np.count_nonzero(HIGHEST * rate >= BINS)) < FEWEST


def _turned(phases: bytes) -> NDArray[np.complex64]:
    """exp(iφ)."""
    angle = np.frombuffer(phases, dtype=np.int8).astype(np.float32) * np.float32(np.pi / TURN)
    return np.asarray(np.exp(np.complex64(1j) * angle), dtype=np.complex64)
