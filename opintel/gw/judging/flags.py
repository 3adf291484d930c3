"""P(glitch | auxiliary) online, in blocks, and the seconds that it flags. Data are flagged, never removed.

A signal must not flag itself. Three things see to that:

* Features are those of safe channels alone (`activity`), so within a block the strain enters nothing.
* A block is said by what was learnt up to the block before the last: what the strain does in a block changes no
  probability and no flag of that block or the next one, bit for bit.
* Only seconds in which a safe channel was active are learnt from; of all others a constant is said, `QUIET`. So a
  trigger of the strain beside which no safe channel does anything changes no probability and no flag, ever.

What is left: a signal that falls into an active second by chance is one outcome among those that later blocks learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.gw.glitch_probability import GlitchProbability
from opintel.gw.judging.activity import FEATURES, ActiveSeconds

QUIET = 0.005
"""Of a second in which no safe channel was active: a trigger that nothing witnesses every three minutes."""
MOST = 2000
"""Channels with weights; further ones are not looked at."""
BINS = 10
Floats = NDArray[np.float64]
_LEARNT = ("mean", "variance", "map_mean", "map_variance")


class SecondFlagged(NamedTuple):
    """A second in which a safe channel was active."""

    second: int
    probability: float
    channel: str
    """That speaks most for a glitch; empty where none does."""


class Calibration:
    """How probabilities turned out: each was said before its outcome was learnt.

    >>> calibration = Calibration()
    >>> calibration.add(np.array([0.0, 0.0, 0.9, 0.9]), np.array([False, False, True, True]))
    >>> round(calibration.error, 3), round(calibration.skill, 3)
    (0.05, 0.98)
    """

    def __init__(self) -> None:
        self._bins = np.zeros((BINS, 3))
        """By probability: seconds, sum of probabilities, glitches."""
        self._squares = 0.0

    def add(self, probability: Floats, glitch: NDArray[np.bool_]) -> None:
        """Seconds (N,) and their outcomes."""
        which = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
        np.add.at(self._bins, which, np.stack([np.ones(len(which)), probability, glitch], axis=1))
        self._squares += float(np.sum((probability - glitch) ** 2))

    @property
    def seconds(self) -> int:
        return int(self._bins[:, 0].sum())

    @property
    def glitches(self) -> int:
        return int(self._bins[:, 2].sum())

    @property
    def error(self) -> float:
        """Expected calibration error in ten bins (Naeini et al. 2015, AAAI)."""
        return float(np.abs(self._bins[:, 1] - self._bins[:, 2]).sum() / max(self.seconds, 1))

    @property
    def skill(self) -> float | None:
        """Brier skill against the rate over all seconds; None while there was no glitch."""
        rate = self.glitches / max(self.seconds, 1)
        usual = self.seconds * rate * (1.0 - rate)
        return 1.0 - self._squares / usual if usual > 0 else None

    def state(self) -> Any:
        """Plain values."""
        return [self._bins.tolist(), self._squares]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        bins, self._squares = state
        self._bins = np.array(bins, dtype=np.float64).reshape(BINS, 3)


class GlitchFlags:
    """The model in force, what it will learn next, and how right it was."""

    def __init__(self) -> None:
        self.calibration = Calibration()
        self._channels: list[str] = []
        self._model = GlitchProbability(0)
        self._pending: list[tuple[dict[str, list[float]], bool]] = []
        """Of the last block: the channels of an active second, and its outcome."""

    def block(
        self, seconds: Sequence[int], active: ActiveSeconds, glitch: Mapping[int, bool]
    ) -> tuple[Floats, list[SecondFlagged]]:
        """The probability in each of a block's seconds, in order of time, and what is said of the active ones.

        `glitch`: the outcome of each second of the block in which the strain was judged.
        """
        self._widen(active)
        rows = [active.get(second, {}) for second in seconds]
        some = np.array([n for n, row in enumerate(rows) if row], dtype=np.int64)
        probability = np.full(len(rows), QUIET)
        if len(some):
            probability[some] = self._model.predict(self._features([rows[n] for n in some.tolist()]))
        weights = self._model.state()["mean"]
        said = [
            SecondFlagged(second, float(p), self._telling(row, weights))
            for second, p, row in zip(seconds, probability, rows, strict=True)
            if row
        ]
        judged = np.array([n for n, second in enumerate(seconds) if second in glitch], dtype=np.int64)
        outcome = np.array([glitch[seconds[n]] for n in judged.tolist()], dtype=np.bool_)
        self.calibration.add(probability[judged], outcome)
        if self._pending:
            learnt = np.array([truth for _, truth in self._pending], dtype=np.bool_)
            self._model.learn(self._features([row for row, _ in self._pending]), learnt)
        self._pending = [(rows[n], bool(truth)) for n, truth in zip(judged.tolist(), outcome, strict=True) if rows[n]]
        return probability, said

    def _widen(self, active: ActiveSeconds) -> None:
        """Gives weights to channels that were active for the first time."""
        new = sorted({name for channels in active.values() for name in channels} - set(self._channels))
        new = new[: MOST - len(self._channels)]
        if not new:
            return
        old, self._channels = self._model.state(), [*self._channels, *new]
        self._model = GlitchProbability(FEATURES * len(self._channels))
        state = self._model.state()
        for name in ("mean", "variance"):
            state[name][: len(old[name]) - 1], state[name][-1] = old[name][:-1], old[name][-1]
        self._model.restore({**state, "map_mean": old["map_mean"], "map_variance": old["map_variance"]})

    def _features(self, rows: Sequence[Mapping[str, list[float]]]) -> Floats:
        place = {name: FEATURES * n for n, name in enumerate(self._channels)}
        found = np.zeros((len(rows), FEATURES * len(self._channels)))
        for n, row in enumerate(rows):
            for name, values in row.items():
                if (at := place.get(name)) is not None:
                    found[n, at : at + FEATURES] = values
        return found

    def _telling(self, row: Mapping[str, list[float]], mean: Floats) -> str:
        """The channel that adds most to the log odds."""
        place = {name: FEATURES * n for n, name in enumerate(self._channels)}
        best, least = "", 0.0
        for name, values in row.items():
            if (at := place.get(name)) is not None:
                adds = math.fsum(x * w for x, w in zip(values, mean[at : at + FEATURES].tolist(), strict=True))
                if adds > least:
                    best, least = name, adds
        return best

    def state(self) -> Any:
        """Plain values; what was learnt as bytes."""
        learnt = self._model.state()
        packed = [learnt[name].astype("<f8").tobytes() for name in _LEARNT]
        pending = [[sorted(row.items()), outcome] for row, outcome in self._pending]
        return [self._channels, packed, pending, self.calibration.state()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        channels, packed, pending, calibration = state
        self._channels = list(channels)
        self._model = GlitchProbability(FEATURES * len(self._channels))
        self._model.restore(
            {name: np.frombuffer(part, dtype="<f8") for name, part in zip(_LEARNT, packed, strict=True)}
        )
        self._pending = [({name: list(values) for name, values in row}, outcome) for row, outcome in pending]
        self.calibration.restore(calibration)
