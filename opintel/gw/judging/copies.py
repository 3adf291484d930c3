"""Copies of the strain among the channels, whatever they are called: their phases agree with its over the whole band.

Stage 1 sees one channel at a time, so it says of each window the phases at a few frequencies
(`opintel.gw.channels.features`). A copy, filtered, delayed or scaled, keeps its distance to the strain's at every
frequency; a witness shares a part of the band at most. As only phases count, a loud glitch that both have weighs as
little as any other window (Lachaux et al. 1999, Hum. Brain Mapp. 8, 194: phase-locking value).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.gw.records import ChannelWindow

LEAST, MEMORY = 8, 450
"""Windows after which a channel is known, and over which phases are averaged."""
LOCKED, EVERYWHERE = 0.5, 0.8
"""Of independent noise none of eight frequencies is so locked in eight windows but by a chance of exp(−2); four in five
of them are by one of 1e-5."""
_NO_TURNS = np.zeros(0, dtype=np.complex64)
_TURN = np.exp(2j * np.pi * np.arange(256) / 256).astype(np.complex64)


class StrainCopies:
    """How well each channel's phases agree with those of the strain."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, NDArray[np.complex64]]] = {}
        """Channel → windows, sums by frequency."""

    def take(self, strain: ChannelWindow, channels: Mapping[str, ChannelWindow]) -> None:
        """Takes a window in science mode."""
        reference = np.frombuffer(strain.phases, dtype=np.uint8)
        for name, said in channels.items():
            phases = np.frombuffer(said.phases, dtype=np.uint8)[: len(reference)]
            if not len(phases):
                continue
            new = _TURN[phases - reference[: len(phases)]]
            windows, sums = self._sums.get(name, (0.0, np.zeros(len(new), dtype=np.complex64)))
            if len(sums) != len(new):
                windows, sums = 0.0, np.zeros(len(new), dtype=np.complex64)
            kept = np.float32(1 - 1 / MEMORY)
            self._sums[name] = (float(kept) * windows + 1.0, kept * sums + new)

    def is_none(self, name: str) -> bool:
        """Whether a channel is known to be no copy. One without phases in the band carries no signal in it."""
        windows, sums = self._sums.get(name, (float(LEAST), _NO_TURNS))
        if windows < min(LEAST, MEMORY):
            return False
        return not len(sums) or float(np.mean(np.abs(sums) >= LOCKED * windows)) < EVERYWHERE

    def join(self, later: StrainCopies) -> None:
        """Takes what another one took after this."""
        for name, (windows, sums) in later._sums.items():
            before, its = self._sums.get(name, (0.0, sums))
            kept = (1 - 1 / MEMORY) ** windows if before and len(its) == len(sums) else 0.0
            self._sums[name] = (kept * before + windows, np.float32(kept) * its + sums)

    def agreeing(self, name: str, before: StrainCopies) -> NDArray[np.float64]:
        """(F,) |sum of n turns|² / n at each frequency, less what that of `before` lets expect: at most an exponential
        variable of mean 1 where a channel has no more to do with the strain than before, n where its phase keeps its
        distance to the strain's. Empty where nothing is known of one of the two.
        """
        (windows, sums), (earlier, its) = (one._sums.get(name, (0.0, _NO_TURNS)) for one in (self, before))
        if not (len(sums) and len(sums) == len(its)):
            return np.zeros(0)
        found, usual = (np.square(np.abs(one), dtype=np.float64) for one in (sums, its))
        return np.maximum(found / windows - windows * usual / earlier**2, 0.0)

    def state(self) -> Any:
        """Plain values."""
        return sorted([name, n, sums.astype("<c8").tobytes()] for name, (n, sums) in self._sums.items())

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._sums = {name: (n, np.frombuffer(sums, dtype="<c8").astype(np.complex64)) for name, n, sums in state}
