"""What was found of histograms and is not over: a judge of lumisections says once that a change has settled, and once
that a histogram is as it was.

A finding that comes no more says neither. A histogram that has settled in a new state (stage 1 compares it with that
from then on) is calm, and as bad as before; one that is calm and has not settled is as its references again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opintel.dqm.quality.certify import NEAR
from opintel.dqm.records import HistogramOutcome, Settled

MOST = 10_000
"""Histograms whose findings are remembered; those found last are."""
CONTENTS = ("dead", "hot", "noisy", "low", "high", "shifted", "changed")
"""Kinds of finding about contents, which end with a finding that says so."""


class OpenChanges:
    """Of the histograms of a subsystem; the empty key stands for all of them together."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, int]] = {}
        """Key → kind → lumisections in which it was calm since."""
        self._settled: dict[str, Settled] = {}
        """Key → what was last said to have settled."""

    def found(self, key: str, kind: str) -> None:
        """A finding was made."""
        kinds = self._found.pop(key, {})
        kinds[kind] = 0
        self._found[key] = kinds
        for old in list(self._found)[:-MOST]:
            del self._found[old]

    def settled(self, outcomes: Mapping[str, HistogramOutcome]) -> list[str]:
        """The histograms that have settled, or otherwise than before, and of which that was not said."""
        new = [
            key for key, one in outcomes.items() if one.settled is not None and self._settled.get(key) != one.settled
        ]
        for key in new:
            self._settled[key] = outcomes[key].settled  # type: ignore[assignment]
        for key in [key for key in self._settled if key in outcomes and outcomes[key].settled is None]:
            del self._settled[key]
        return sorted(new)

    def over(self, calm: Iterable[str], most: int) -> list[tuple[str, str]]:
        """(key, kind) of each that is over, as its histogram has been calm in `NEAR` lumisections; `calm`: those that
        are calm now, and have not settled. At most so many at a time; the rest are said later."""
        done: list[tuple[str, str]] = []
        for key in sorted(set(calm) & self._found.keys()):
            kinds = self._found[key]
            for kind in sorted(kinds):
                kinds[kind] += 1
                if kinds[kind] >= NEAR and len(done) < most:
                    del kinds[kind]
                    done.append((key, kind))
            if not kinds:
                del self._found[key]
        return done

    def state(self) -> Any:
        """Plain values."""
        found = [[key, list(kinds.items())] for key, kinds in self._found.items()]
        return [found, [[key, one.kind, one.run, one.lumisection] for key, one in sorted(self._settled.items())]]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        found, settled = state
        self._found = {key: dict(kinds) for key, kinds in found}
        self._settled = {key: Settled(*one) for key, *one in settled}
