"""Samples of a simulated interferometer by channel, for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opintel.gw.simulated.model import SMALL
from opintel.gw.simulated.simulate import GwSimulator

Floats = NDArray[np.float64]
QUIET = SMALL._replace(populations=(), lines=(), couplings=())
"""Nothing but noise, motion and scattered light."""
HOURS = 0.07
"""One stretch of `SMALL`."""


def played(simulation: GwSimulator, interferometer: str = "L1") -> dict[str, dict[int, NDArray[np.float32]]]:
    """Channel, without the interferometer → GPS second → samples."""
    found: dict[str, dict[int, NDArray[np.float32]]] = {}
    for second in simulation.seconds(interferometer):
        names = {entry.id: entry.name.partition(":")[2] for entry in second.table}
        for number, samples in second.rows:
            found.setdefault(names[number], {})[second.gps] = samples
    return found


def joined(seconds: dict[int, NDArray[np.float32]], begin: int, end: int) -> Floats:
    """All samples of [begin, end) GPS s."""
    return np.concatenate([seconds[gps] for gps in range(begin, end)]).astype(np.float64)
