"""P-values of large values from a series' own large values: rank among the last exceedances, generalised Pareto beyond.

For each of many series a bound is tracked that a share `SHARE` of the values exceeds; the last `KEPT` values above it
are its memory of the tail. Nothing is assumed of the body. Used by `health.state` for statistics of unknown law.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log1p, ndtri_exp, xlogy

from opintel.stats.counts import Floats, Ints

SHARE, KEPT = 0.05, 128
"""128 exceedances of one value in twenty: 2560 rows of memory."""
BOUND = 1.6448536
"""The Gaussian value that is exceeded so often: where a bound starts."""
EXCESS = 0.45
"""Mean excess of a Gaussian over it: where the scale starts."""
RANKED = 8.0
"""Values with fewer exceedances above them than this are judged by the fit."""
PRIOR_WEIGHT = 160.0
"""Exceedances that the prior of the shape is worth: a shape from 50 excesses alone is off by ± 0.2."""
LOWEST, HIGHEST = -0.1, 0.5
LEAST_LOG_P = -700.0

_LOG_SHARE = float(np.log(SHARE))


def tail_z(x: Floats, ring: NDArray[np.float32], count: Floats, bound: Floats, shape: Floats, scale: Floats) -> Floats:
    """The standard normal quantile (n,) that is as rare as each x (n,) above its bound.

    `ring` (n, KEPT) holds the exceedances so far, −inf where there is none yet; `count` (n,) how many there were;
    `bound, shape, scale` (n,) are the last fit's.
    """
    value = x.astype(np.float32)[:, None]
    above = _counted(ring > value) + 0.5 * _counted(ring == value)
    ranked = xlogy(1.0, (above + 0.5) / (np.minimum(count, KEPT) + 1.0))
    shape = np.where(np.abs(shape) < 1e-6, 1e-6, shape)
    beyond = np.maximum(shape * np.maximum(x - bound, 0.0) / scale, 1e-9 - 1.0)
    log_p = _LOG_SHARE + np.where(above >= RANKED, ranked, -log1p(beyond) / shape)
    return np.asarray(-ndtri_exp(np.maximum(log_p, LEAST_LOG_P)), dtype=np.float64)


def fit_tail(ring: NDArray[np.float32], count: Floats, bound: Floats) -> tuple[Floats, Floats]:
    """(shape, scale), (n,) each, of the generalised Pareto law of the excesses over `bound`.

    Probability-weighted moments (Hosking & Wallis 1987, Technometrics 29, 339, eq. 4); the shape is drawn towards one
    that goes with mean excess over bound: −0.1 is what a Gaussian looks like from here, 0.25 Student's t of 3 degrees.
    """
    ordered = np.sort(ring.astype(np.float64), axis=1)
    held = np.minimum(count, KEPT)
    known = np.isfinite(ordered)
    excess = np.maximum(np.where(known, ordered, bound[:, None]) - bound[:, None], 0.0)
    place = np.arange(KEPT)[None, :] - (KEPT - held)[:, None]
    weight = np.where(known, held[:, None] - 1.0 - place, 0.0) / np.maximum(held - 1.0, 1.0)[:, None]
    a0 = excess.sum(axis=1) / held
    a1 = (excess * weight).sum(axis=1) / held
    shape = 2.0 - a0 / np.maximum(a0 - 2.0 * a1, 1e-12)
    prior = np.clip(LOWEST + 1.3 * (a0 / np.maximum(bound, 0.3) - 0.28), LOWEST, 0.25)
    shape = np.clip((held * shape + PRIOR_WEIGHT * prior) / (held + PRIOR_WEIGHT), LOWEST, HIGHEST)
    mean = (held * a0 + 10.0 * EXCESS) / (held + 10.0)
    return shape, np.maximum(mean * (1.0 - shape), 0.02)


def keep(ring: NDArray[np.float32], rows: Ints, x: Floats, count: Floats) -> None:
    """Writes each x (n,) over the oldest exceedance of its row of `ring` (rows, KEPT), in place."""
    ring[rows, count.astype(np.int64) % KEPT] = x


def _counted(held: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many of each row are true, at most KEPT; twice as fast as np.count_nonzero along an axis."""
    return np.asarray(np.add.reduce(held.view(np.uint8), axis=1, dtype=np.uint8))
