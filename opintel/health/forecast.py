"""When a drifting series will reach its limit, with an honest interval: the first form of predictive maintenance.

A line with AR(1) noise and a random walk with drift are weighed against each other by how well they explain the last
rows; the interval holds what each would do, the uncertainty of its parameters, and which of them it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from opintel.health.bounds import LARGEST
from opintel.stats.counts import Floats

POINTS = 240
"""More rows than this are thinned to medians of so many equal spans of time."""
FEWEST = 8
_GRID = (*np.linspace(0.0, 0.9, 10), 0.95)
_DRAWS = 4000
_SURE = 0.9
"""Least chance of reaching the limit at all for which a median is given."""


class Forecast(NamedTuple):
    """Seconds after the last row until the limit is reached; inf where it is not heading there, 0 where it has been."""

    median: float
    low: float
    high: float


class _Line(NamedTuple):
    """A generalised least-squares line under one noise model."""

    evidence: float
    mean: Floats
    """Level at the last row, slope per second."""
    factor: Floats
    """Cholesky factor of the inverse information, without σ²."""
    sum_of_squares: float
    degrees: int
    walk: bool


def time_to_threshold(times: ArrayLike, values: ArrayLike, limit: float, *, coverage: float = 0.9) -> Forecast:
    """(median, low, high) of when the level of a series passes `limit`; times (N,) in s, in any order.

    Values that are not finite, or beyond 1e30, are left out; fewer than 8 rows, or no spread in time, say nothing:
    (inf, 0, inf). For a line the level is the line itself, for a random walk its first passage (inverse Gaussian:
    Schrödinger 1915, Phys. Z. 16, 289). The same rows give the same answer. ValueError for wrong shapes, a limit
    that is not finite or a coverage outside (0, 1).
    """
    t, y = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or t.shape != y.shape:
        raise ValueError(f"times and values must be (N,), not {t.shape} and {y.shape}")
    if not np.isfinite(limit):
        raise ValueError(f"a limit is a finite number, got {limit}")
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must be between 0 and 1, not {coverage}")
    good = np.isfinite(t) & (np.abs(y) <= LARGEST)
    order = np.argsort(t[good], kind="stable")
    t, y = t[good][order], y[good][order]
    if len(t) < FEWEST or t[-1] <= t[0]:
        return Forecast(np.inf, 0.0, np.inf)
    last = t[-1]
    t, y = _thinned(t - last, y)
    y = _without_outliers(y)
    if len(t) < FEWEST:
        return Forecast(np.inf, 0.0, np.inf)
    size = float(np.ptp(y)) or 1.0
    passes = _passages(_lines(t, (y - y[-1]) / size), (limit - y[-1]) / size, t[0], np.random.default_rng(0))
    low, median, high = np.quantile(passes, [0.5 - coverage / 2.0, 0.5, 0.5 + coverage / 2.0], method="higher")
    if np.mean(np.isfinite(passes)) < _SURE:
        median = np.inf
    return Forecast(float(median), float(low), float(high))


def _thinned(t: Floats, y: Floats) -> tuple[Floats, Floats]:
    """One row a distinct time, at most `POINTS`."""
    if len(t) > POINTS:
        place = np.minimum(((t - t[0]) / (t[-1] - t[0]) * POINTS).astype(np.int64), POINTS - 1)
    else:
        place = np.unique(t, return_inverse=True)[1]
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    if len(starts) == len(t):
        return t, y
    parts = np.split(np.arange(len(t)), starts[1:])
    return np.array([t[p].mean() for p in parts]), np.array([np.median(y[p]) for p in parts])


def _without_outliers(y: Floats) -> Floats:
    """Single rows far above or below both neighbours become their mean; a walk, however wild, stays as it is."""
    before, after = y[1:-1] - y[:-2], y[1:-1] - y[2:]
    spike = np.where(before * after > 0.0, np.minimum(np.abs(before), np.abs(after)), 0.0)
    clean = y.copy()
    far = spike > 6.0 * 1.4826 * np.median(np.abs(np.diff(y))) + 1e-12 * np.abs(y[1:-1])
    clean[1:-1][far] = 0.5 * (y[:-2] + y[2:])[far]
    return clean


def _lines(t: Floats, y: Floats) -> list[_Line]:
    """One fit for each autocorrelation of the grid, and the random walk."""
    gaps = np.diff(t)
    ratio = gaps / np.median(gaps)
    design = np.column_stack([np.ones_like(t), t / -t[0]])
    fits = []
    for phi in _GRID:
        carried = phi**ratio if phi else np.zeros_like(ratio)
        sd = np.sqrt((1.0 - carried**2) / (1.0 - phi**2))
        first = np.sqrt(1.0 - phi**2)
        a = np.vstack([design[:1] * first, (design[1:] - carried[:, None] * design[:-1]) / sd[:, None]])
        b = np.r_[y[0] * first, (y[1:] - carried * y[:-1]) / sd]
        fits.append(_fit(a, b, float(np.log(first) - np.log(sd).sum()), t, walk=False))
    root = np.sqrt(ratio)
    # as the limit of the above: the level of a walk is known, its column is empty but for the first row
    fits.append(
        _fit(
            (np.diff(design[:, 1:], axis=0)) / root[:, None],
            np.diff(y) / root,
            float(-np.log(root).sum()),
            t,
            walk=True,
        )
    )
    return fits


def _fit(a: Floats, b: Floats, jacobian: float, t: Floats, *, walk: bool) -> _Line:
    information = a.T @ a
    covariance = np.linalg.inv(information)
    mean = covariance @ (a.T @ b)
    degrees = len(b) - a.shape[1]
    rest = float(((b - a @ mean) ** 2).sum()) + 1e-18
    # marginal likelihood under flat priors; the walk's level costs it one row, which the line pays as a parameter
    evidence = jacobian - 0.5 * float(np.linalg.slogdet(information)[1]) - 0.5 * degrees * np.log(rest)
    factor = np.linalg.cholesky(covariance)
    if walk:
        mean, factor = np.array([0.0, mean[0]]), np.array([[0.0, 0.0], [0.0, factor[0, 0]]])
    mean, factor = mean * np.array([1.0, -1.0 / t[0]]), factor * np.array([[1.0], [-1.0 / t[0]]])
    return _Line(evidence, mean, factor, rest, degrees, walk)


def _passages(fits: list[_Line], limit: float, first: float, rng: np.random.Generator) -> Floats:
    """Draws of the time until the limit is reached, each model as often as it deserves."""
    evidence = np.array([fit.evidence for fit in fits])
    # one prior for the walk, one for all lines together
    prior = np.array([1.0 if fit.walk else 1.0 / len(_GRID) for fit in fits])
    weight = prior * np.exp(evidence - evidence.max())
    counts = np.rint(_DRAWS * weight / weight.sum()).astype(np.int64)
    return np.concatenate([_draws(fit, int(n), limit, first, rng) for fit, n in zip(fits, counts, strict=True) if n])


def _draws(fit: _Line, n: int, limit: float, first: float, rng: np.random.Generator) -> Floats:
    sigma = np.sqrt(fit.sum_of_squares / rng.chisquare(fit.degrees, n))
    level, slope = fit.mean[:, None] + fit.factor @ rng.standard_normal((2, n)) * sigma
    distance = limit - level
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = np.where(distance * slope > 0.0, distance / slope, np.inf)
    been = (limit - (level + slope * first)) * distance <= 0.0
    if not fit.walk:
        return np.where(been, 0.0, straight)
    size, pace = np.maximum(np.abs(distance), 1e-12), np.maximum(np.abs(slope), 1e-300)
    power = sigma**2 / _median_gap(fit, first)
    reached = np.where(distance * slope > 0.0, 1.0, np.exp(-2.0 * size * pace / power))
    walked = rng.wald(size / pace, size**2 / power)
    return np.where(been, 0.0, np.where(rng.uniform(size=n) < reached, walked, np.inf))


def _median_gap(fit: _Line, first: float) -> float:
    """Seconds of one step of the walk."""
    return -first / (fit.degrees + 1)
