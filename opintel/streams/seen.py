"""The natural ids of one open window: which rows are new, and which have come before.

Stage 1 asks it for every row. Eight bytes an id, as sorted runs of which each is at least twice as long as the next:
adding n ids to N costs about n log N, however they were split.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Seen:
    """A growing set of 64-bit ids; `state` is what an earlier one's `state()` said."""

    def __init__(self, state: bytes = b"") -> None:
        self._runs: list[Ids] = [np.frombuffer(state, dtype="<i8")] if state else []

    def add(self, ids: Ids) -> NDArray[np.bool_]:
        """Adds ids; (n,) whether each is new, the first of equal ones."""
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        new = np.ones(len(ids), dtype=bool)
        new[1:] = ordered[1:] != ordered[:-1]
        for run in self._runs:
            place = np.searchsorted(run, ordered)
            place[place == len(run)] = 0
            new &= run[place] != ordered
        if new.any():
            self._runs.append(ordered[new])
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]
        found = np.empty(len(ids), dtype=bool)
        found[order] = new
        return found

    def state(self) -> bytes:
        """All ids, sorted, little-endian."""
        return np.sort(np.concatenate([*self._runs, np.empty(0, np.int64)])).astype("<i8").tobytes()
