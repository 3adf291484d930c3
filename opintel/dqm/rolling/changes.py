"""What is remembered of histograms that stand out and go on: a change after which a new epoch of references begins.

A lumisection that stands out never becomes a reference. But what stands out and is alike for many lumisections is what
the histogram is now: where a gain was changed, or a channel is dead, to say so again every 23 s helps nobody. So the
lumisections that stand out are references of their own, of a *candidate*; as long as they agree with one another it
grows, and after enough of them it has *settled*: from there on the histogram is compared with it. The references of
before stay as they are, accepted: a histogram that is like them again is as it was. Nobody has said that what settled
is good, so it is not (`Settled` goes with each outcome) until an operator accepts it.

Few histograms are in here at a time, so what is counted of each is kept by key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from opintel.dqm.records import Settled
from opintel.dqm.rolling.histories import BlockMarks, Floats, Histories, Ints

STRAYS = 3
"""Lumisections in a row that stand out otherwise than a candidate, after which it begins again with the last."""


class _Streak(msgspec.Struct, array_like=True):
    """Of a candidate: where it began, how many lumisections more were like those before than otherwise, and how many in
    a row were otherwise. What changes to and fro never settles."""

    run: int
    lumisection: int
    agreed: int = 0
    strays: int = 0


class Changes:
    """Of histograms with equal axes, storage and size."""

    def __init__(self, size: int, planes: int, slots: int, block: int) -> None:
        self._sizes = size, planes, slots, block
        self.settled = Histories(*self._sizes)
        """References of what has settled."""
        self.candidates = Histories(*self._sizes)
        self._streaks: dict[str, _Streak] = {}
        """Of each candidate."""
        self.since: dict[str, Settled] = {}
        """Of each that settled."""

    def __len__(self) -> int:
        return len(self._streaks) + len(self.since)

    def begin(self, keys: Sequence[str], sums: Floats, marks: BlockMarks, like: Histories) -> None:
        """New candidates of these contents (planes, keys, size); what lumisections of a run scatter is taken from the
        histories `like`, which have the histograms too."""
        for key in keys:
            if key in self._streaks:
                self.candidates.drop(key)
        rows = self.candidates.rows_of(list(keys))
        self.candidates.learn(rows, sums, marks)
        old = np.fromiter((like.row[key] for key in keys), np.int64, len(keys))
        self.candidates.scatter_as(rows, like, old)
        for key, run, first in zip(keys, marks.run.tolist(), marks.first.tolist(), strict=True):
            self._streaks[key] = _Streak(run, first)

    def agree(self, keys: Sequence[str], sums: Floats, marks: BlockMarks) -> None:
        """One more lumisection each that is as the candidate."""
        self.candidates.learn(self.candidates.rows_of(list(keys)), sums, marks)
        for key in keys:
            streak = self._streaks[key]
            streak.agreed, streak.strays = streak.agreed + 1, 0

    def stray(self, key: str) -> bool:
        """One that is not, or of which there is no candidate; whether a new candidate is due."""
        streak = self._streaks.get(key)
        if streak is None:
            return True
        streak.strays, streak.agreed = streak.strays + 1, max(0, streak.agreed - 1)
        return streak.strays >= STRAYS

    def settle(self, kinds: Mapping[str, str], enough: int) -> None:
        """Those of these candidates, key → kind of what stands out, that have `enough` lumisections have settled."""
        due = [key for key in kinds if self._streaks[key].agreed >= enough]
        for key in due:
            self.since[key] = Settled(kinds[key], self._streaks[key].run, self._streaks[key].lumisection)
        if due:
            self.settled.take_over(due, self.candidates)
        for key in due:
            self.calm(key)

    def calm(self, key: str) -> None:
        """It does not stand out any more: there is no candidate."""
        if self._streaks.pop(key, None) is not None:
            self.candidates.drop(key)

    def drop(self, key: str) -> None:
        """Forgets a histogram."""
        self.calm(key)
        if self.since.pop(key, None) is not None:
            self.settled.drop(key)

    def rows(self, histories: Histories, keys: Sequence[str]) -> tuple[Ints, Ints]:
        """(which of the keys have a row in candidates or settled, which row)."""
        row = histories.row
        which = [n for n, key in enumerate(keys) if key in row] if row else []
        return np.array(which, dtype=np.int64), np.array([row[keys[n]] for n in which], dtype=np.int64)

    def state(self) -> list[Any]:
        """Plain data, in order of the keys."""
        streaks = [[key, *msgspec.structs.astuple(one)] for key, one in sorted(self._streaks.items())]
        since = [[key, *msgspec.structs.astuple(one)] for key, one in sorted(self.since.items())]
        return [streaks, self.candidates.state(), since, self.settled.state()]

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`, on a fresh object of the same sizes."""
        streaks, candidates, since, settled = state
        self._streaks = {key: _Streak(*one) for key, *one in streaks}
        self.since = {key: Settled(*one) for key, *one in since}
        self.candidates.restore(candidates)
        self.settled.restore(settled)
