"""Whether a series drifts: a line that begins somewhere, against the series' own scatter of unknown correlation.

A series is a constant, what follows known quantities (`known`), a drift, and noise. The drift is zero until its onset
and a straight line from there on; some onsets are tried, and p is that of the best times their number. The noise is
that of neighbours (autoregressive of first order) with an offset of each group (of each run) on top; how strong either
is, is not known, so p is the mean of Student's p under a grid of both, each weighted by how well it explains the series
(the marginal likelihood of generalised least squares under flat priors: Harville 1974, Biometrika 61, 383, eq. 2).
What a single step explains as well as a drift is no drift.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.stats.counts import Floats
from opintel.stats.student_tail import upper_log_p

FEWEST = 12
"""Points that a series must have, …"""
BEHIND = 6
"""… and that must lie behind an onset."""
CORRELATIONS = (0.0, 0.5, 0.8, 0.95)
"""Of neighbouring points."""
OFFSETS = (0.0, 1.0, 9.0)
"""Variance of the groups' offsets over that of the noise."""
STEPPED = -3.0
"""log10 p from which on it is looked whether a step explains a series as well."""
TINY = 1e-9
"""Share of the size of a series below which its scatter is rounding."""


class Drift(NamedTuple):
    """What is said of one series."""

    log10_p: float
    """Of a drift, either way; 0 where a step explains the series as well."""
    slope: float
    """Per unit of time, from the onset on."""
    error: float
    """One standard deviation of it."""
    onset: float
    """Time."""
    change: float
    """From the onset to the last point."""
    fitted: Floats
    """(M,) the drift and the constant, with `known` as at the last point."""
    moved: Floats
    """(M,) the series as it would have been with `known` as at the last point."""
    scatter: float
    """One standard deviation of the noise, offsets included."""


class _Fits(NamedTuple):
    """The normal equations of F pairs of an onset and a noise, solved."""

    onset: NDArray[np.int64]
    """(F,)"""
    noise: NDArray[np.int64]
    """(F,)"""
    whiten: Floats
    """(noises, M, M): the noise of what it is multiplied by is white."""
    project: Floats
    """(F, columns, M): onto orthonormal directions; the last is the drift's."""
    triangle: Floats
    """(F, columns, columns)"""
    evidence: Floats
    """(F,) the determinants' part of ln of the marginal likelihood."""


class Points(NamedTuple):
    """What the M points of many series have in common."""

    times: Floats
    """(M,) ascending."""
    known: Floats
    """(M, K) what the series follow anyway."""
    groups: Floats
    """(M,) a number for each group."""


class DriftTest:
    """The test of series of the same points. ValueError for fewer than `FEWEST`.

    >>> times = np.arange(40.0)
    >>> points = Points(times, np.zeros((40, 0)), np.zeros(40))
    >>> noise = np.random.default_rng(1).standard_normal(40)
    >>> drift, calm = (DriftTest(points).test(noise + slope * times) for slope in (0.3, 0.0))
    >>> isinstance(drift, Drift), drift.log10_p < -3, calm.log10_p > -2
    (True, True, True)
    """

    def __init__(self, points: Points) -> None:
        self.points = points
        self._m = len(points.times)
        if self._m < FEWEST:
            raise ValueError(f"expected {FEWEST} points or more, got {self._m}")
        known = points.known - points.known[-1]
        spread = np.abs(known).max(axis=0)
        moving = spread > 1e-6 * np.maximum(np.abs(points.known).max(axis=0), 1e-300)
        self._known = known[:, moving] / spread[moving]
        self._onsets = range(self._m - BEHIND + 1)
        self._span = float(points.times[-1] - points.times[0])

    @property
    def degrees(self) -> int:
        """Of freedom of the scatter; below 1 there is nothing to be tested."""
        return int(self._m - 2 - self._known.shape[1])

    def screen(self, values: Floats) -> Floats:
        """(N,) log10 p of `values` (M, N) if noise were independent: hardly ever above that of `test`, and cheap."""
        if self.degrees < 1:
            return np.zeros(values.shape[1])
        y = values - values.mean(axis=0)
        usual = np.linalg.qr(self._design(0)[:, :-1])[0]
        drifts = np.column_stack([self._design(onset)[:, -1] for onset in self._onsets])
        drifts = drifts - usual @ (usual.T @ drifts)
        drifts /= np.sqrt(np.square(drifts).sum(axis=0))
        y = y - usual @ (usual.T @ y)
        whole = np.square(y).sum(axis=0)
        gain = np.square(drifts.T @ y).max(axis=0)
        least = np.square(TINY) * self._m * np.square(np.abs(values).max(axis=0))
        rest = np.maximum(whole - gain, np.maximum(least, 1e-300))
        t = np.where(whole > least, np.sqrt(gain * self.degrees / rest), 0.0)
        log_p = upper_log_p(t, np.full(len(t), float(self.degrees))) + np.log(2.0 * len(self._onsets))
        return np.asarray(np.minimum(log_p / np.log(10.0), 0.0))

    def test(self, values: Floats) -> Drift:
        """What is said of one series (M,) of finite values."""
        y, fits = values - values[-1], self._fits
        least = max(np.square(TINY) * self._m * float(np.square(np.abs(values).max())), 1e-300)
        parts = fits.project @ y
        white = np.square(fits.whiten @ y).sum(axis=1)[fits.noise]
        rest = np.maximum(white - np.square(parts).sum(axis=1), least)
        t = np.abs(parts[:, -1]) / np.sqrt(rest / self.degrees)
        log_p = np.log(2.0) + upper_log_p(t, np.full(len(t), float(self.degrees)))
        evidence = fits.evidence - 0.5 * self.degrees * np.log(rest)
        noises = (-1, len(self._onsets))
        total = _mean_log(log_p.reshape(noises), evidence.reshape(noises))
        best = int(np.argmax(np.where(fits.onset == np.argmin(total), evidence, -np.inf)))
        log10_p = min(0.0, float((total.min() + np.log(len(total))) / np.log(10.0)))
        if log10_p <= STEPPED and self._stepped(best, y) <= rest[best]:
            log10_p = 0.0
        return self._drift(values, best, parts[best], log10_p, float(np.sqrt(rest[best] / self.degrees)))

    def _drift(self, values: Floats, at: int, parts: Floats, log10_p: float, scale: float) -> Drift:
        fits, times = self._fits, self.points.times
        coefficients = np.linalg.solve(fits.triangle[at], parts)
        slope = float(coefficients[-1]) / self._span
        error = scale / abs(float(fits.triangle[at, -1, -1])) / self._span
        begin = float(times[fits.onset[at]])
        line = coefficients[0] + slope * np.maximum(times - begin, 0.0) + values[-1]
        moved = values - self._known @ coefficients[1:-1]
        offset = OFFSETS[fits.noise[at] % len(OFFSETS)] if self._grouped else 0.0
        change = slope * float(times[-1] - begin)
        return Drift(log10_p, slope, error, begin, change, line, moved, scale * np.sqrt(1.0 + offset))

    def _stepped(self, at: int, y: Floats) -> float:
        """The least sum of squares under a fit's noise with one step, anywhere, in the drift's place."""
        whiten = self._fits.whiten[self._fits.noise[at]]
        usual = np.linalg.qr(whiten @ self._design(0)[:, :-1])[0]
        white, steps = whiten @ y, whiten @ np.tril(np.ones((self._m, self._m)))[:, 1:]
        white, steps = white - usual @ (usual.T @ white), steps - usual @ (usual.T @ steps)
        power = np.square(steps).sum(axis=0)
        gain = np.square(white @ steps) / np.where(power > 1e-9, power, np.inf)
        return float(white @ white - gain.max())

    @property
    def _grouped(self) -> bool:
        return 1 < len(np.unique(self.points.groups)) < self._m

    @cached_property
    def _fits(self) -> _Fits:
        apart = np.abs(np.subtract.outer(np.arange(self._m), np.arange(self._m)))
        together = np.equal.outer(self.points.groups, self.points.groups).astype(np.float64)
        offsets = OFFSETS if self._grouped else OFFSETS[:1]
        whitens, found = [], []
        for noise, (correlation, offset) in enumerate((c, o) for c in CORRELATIONS for o in offsets):
            covariance = (correlation**apart if correlation else np.eye(self._m)) + offset * together
            whiten = np.linalg.inv(np.linalg.cholesky(covariance))
            whitens.append(whiten)
            for onset in self._onsets:
                basis, triangle = np.linalg.qr(whiten @ self._design(onset))
                evidence = np.log(np.diag(whiten)).sum() - np.log(np.abs(np.diag(triangle))).sum()
                found.append((onset, noise, basis.T @ whiten, triangle, evidence))
        onsets, noises, projects, triangles, evidences = (np.array(column) for column in zip(*found, strict=True))
        return _Fits(onsets, noises, np.array(whitens), projects, triangles, evidences)

    def _design(self, onset: int) -> Floats:
        """(M, columns): the constant, what is known, and the drift."""
        times = self.points.times
        drift = np.maximum(times - times[onset], 0.0) / self._span
        return np.column_stack([np.ones(self._m), self._known, drift])


def _mean_log(log_p: Floats, evidence: Floats) -> Floats:
    """(onsets,) ln of the mean of p (noises, onsets), weighted by the evidence of each."""
    weight = evidence - evidence.max(axis=0)
    terms = log_p + weight - np.log(np.exp(weight).sum(axis=0))
    top = terms.max(axis=0)
    return np.asarray(top + np.log(np.exp(terms - top).sum(axis=0)))
