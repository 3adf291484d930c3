"""How much counts vary around known means, learned from all windows so far: `Dispersion`.

`dispersion` fits one table of counts whose mean is unknown too; here the means are known and the past fades.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logit, logsumexp

from opintel.stats.counts import Floats, Ints, log_pmf, shape

MOST = 0.6
"""Over-dispersion at most."""


class Dispersion:
    """The over-dispersion rho of counts around known means: a decaying likelihood on a grid, of two families.

    Either rho is the same for all, or the *logit* of a case's rate varies by the same variance v, which is
    rho = v m (1 - m) at a mean m (delta method): what fails seldom varies little. The likelihood weighs the two. Of the
    cases a small part is taken to be broken (failing at a high rate, Beta(2, 1)) and does not widen rho. Starts from a
    prior around `start` worth a few dozen informative counts.

    >>> dispersion = Dispersion()
    >>> dispersion.learn(np.array([5] * 200), np.array([50] * 200), np.full(200, 0.1), keep=1.0)
    >>> dispersion.rho(np.array([0.1])).item() < 0.01
    True
    """

    GRID = np.geomspace(2e-5, MOST, 24)
    TYPICAL = 0.05
    """Mean at which both families start alike."""
    BROKEN = 0.02

    def __init__(self, start: float = 0.1) -> None:
        self._prior = -0.5 * ((logit(self.GRID) - logit(start)) / 1.0) ** 2
        self._fit = np.zeros((2, len(self.GRID)))
        self._found = self._best()

    def rho(self, mean: Floats) -> Floats:
        """The most probable rho at each mean, shape (N,)."""
        same, scaled = self._found
        return np.asarray(np.clip(same + scaled * self._scale(mean), 1e-6, MOST), dtype=np.float64)

    def learn(self, k: Ints, n: Ints, mean: Floats, keep: float, unsure: Floats | float = 0.0) -> None:
        """Adds counts k of n around `mean`, shapes (N,), after the past has decayed to the share `keep`. `unsure`: the
        over-dispersion that comes of not knowing the mean, which is not learned."""
        several = n > 1
        unsure = np.broadcast_to(unsure, n.shape)[several, None]
        k, n, mean = k[several, None], n[several, None], mean[several, None]
        bad = np.log(self.BROKEN) + np.log(2.0 * (k + 1.0) / ((n + 1.0) * (n + 2.0)))
        rho = np.concatenate([self.GRID + 0.0 * mean, self.GRID * self._scale(mean)], axis=1)
        rho = np.minimum(rho + unsure, MOST)
        fit = np.logaddexp(np.log1p(-self.BROKEN) + log_pmf(k, n, *shape(mean, rho)), bad).sum(axis=0)
        self._fit = keep * self._fit + (fit - fit.max() if len(k) else fit).reshape(2, -1)
        self._found = self._best()

    def state(self) -> list[list[float]]:
        """Plain data."""
        return [[float(x) for x in curve] for curve in self._fit]

    def restore(self, state: Sequence[Sequence[float]]) -> None:
        """The inverse of `state`."""
        self._fit = np.array(state, dtype=np.float64)
        self._found = self._best()

    def _best(self) -> tuple[float, float]:
        """The rho of each family, times the family's probability."""
        total, at = self._prior + self._fit, np.log(self.GRID)
        weight = np.exp(logsumexp(total, axis=1) - logsumexp(total))
        same, scaled = (weight * np.exp([_vertex(at, curve) for curve in total])).tolist()
        return same, scaled

    def _scale(self, mean: Floats) -> Floats:
        return np.asarray(mean * (1.0 - mean) / (self.TYPICAL * (1.0 - self.TYPICAL)), dtype=np.float64)


def _vertex(at: Floats, curve: Floats) -> float:
    """Where the parabola through the best point and its neighbours is highest."""
    best = int(np.clip(np.argmax(curve), 1, len(at) - 2))
    (x0, x1, x2), (y0, y1, y2) = at[best - 1 : best + 2], curve[best - 1 : best + 2]
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    if left <= right:
        return float(at[np.argmax(curve)])
    return float(np.clip(0.5 * (x0 + x1) + 0.5 * (x2 - x0) * left / (left - right), x0, x2))
