"""References that were published for histograms: rows of kind reference, kept by key and by the name of their set.

The control `reference` of a subsystem names the set in force. Two sets of a histogram are kept, the latest ones, so
that a new one can come in while the old one is still in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Controls
from opintel.dqm.rolling.histories import Floats, Ints
from opintel.dqm.rolling.reference_controls import NOTHING_SAID, reference_controls

HELD = 2


class Pinned(NamedTuple):
    """What is in force for some histograms of one storage and size."""

    there: NDArray[np.bool_]
    """(histograms,) whether a published reference stands in for the rolling ones."""
    sums: dict[int, Floats]
    """Which → (planes, size)."""

    def over(self, references: Floats, chosen: Ints) -> Floats:
        """The references (slots, planes, chosen, size) of these histograms, the published ones in place of others."""
        if not self.sums:
            return references
        references = references.copy()
        for n, at in enumerate(chosen.tolist()):
            if at in self.sums:
                references[:, :, n] = 0
                references[0, :, n] = self.sums[at]
        return references


class PublishedSets:
    """Published references by key."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, tuple[str, str, Floats]]] = {}
        """Key → set → (axes, storage, sums), in order of publication."""

    def add(self, key: str, name: str, axes: str, storage: str, sums: Floats) -> None:
        """A reference of a set has come: `sums` (planes, size)."""
        held = self._held.setdefault(key, {})
        held.pop(name, None)
        held[name] = (axes, storage, sums.astype("<f4"))
        for old in list(held)[:-HELD]:
            del held[old]

    def in_force(self, keys: Sequence[str], axes: str, storage: str, controls: Controls) -> Pinned:
        """What controls pin for these histograms; one whose bins are others is not taken."""
        found: dict[int, Floats] = {}
        said = reference_controls(controls) if self._held else {}
        for n, key in enumerate(keys) if said else ():
            held = self._held.get(key, {})
            one = held.get(said.get(key.partition("|")[0], NOTHING_SAID).set)
            if one is not None and one[:2] == (axes, storage):
                found[n] = one[2]
        there = np.zeros(len(keys), dtype=bool)
        there[list(found)] = True
        return Pinned(there, found)

    def drop(self, key: str) -> None:
        """Forgets a histogram's."""
        self._held.pop(key, None)

    def state(self) -> list[Any]:
        """Plain data."""
        return [
            [key, name, axes, storage, len(sums), sums.tobytes()]
            for key, sets in sorted(self._held.items())
            for name, (axes, storage, sums) in sets.items()
        ]

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`, on a fresh object."""
        for key, name, axes, storage, planes, data in state:
            sums = np.frombuffer(data, "<f4").reshape(planes, -1).copy()
            self._held.setdefault(key, {})[name] = (axes, storage, sums)
