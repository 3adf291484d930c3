"""How healthy cases vary: mean and over-dispersion of many counts of which some come from broken cases.

The healthy ones are beta-binomial; a broken one fails at a high rate, Beta(2, 1). Maximum likelihood of the mixture is
robust without trimming, which would make the healthy tail look shorter than it is. Feeds the tails in `counts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit, logit, psi

from opintel.stats.counts import MOST, Floats, log_choose

PRIOR_MEAN, PRIOR_RHO, PRIOR_WIDTH = 0.05, 0.1, 1.5
"""A weak prior (logit-normal) that a few dozen counts outweigh: without it five counts of zero would make mean = 0."""

GAIN = 1.0
"""Least gain in log-likelihood for which broken cases are believed in (Akaike); without it ε eats the healthy tail."""

_BOUNDS = [(logit(1e-4), logit(0.5)), (logit(1e-4), logit(0.7)), (logit(1e-4), logit(0.45))]


class HealthyFit(NamedTuple):
    """Beta-binomial of the healthy cases, and the share of cases that do not belong to it."""

    mean: float
    rho: float
    broken: float


def fit_healthy(k: ArrayLike, n: ArrayLike) -> HealthyFit:
    """Robust fit to counts k of n, shapes (N,); n = 0 is ignored, no count at all gives the prior.

    Maximises Σ ln[(1 − ε) BB(k | n, mean, rho) + ε BB(k | n, Beta(2, 1))] plus the prior; ε = 0 unless it gains `GAIN`.

    >>> fit = fit_healthy([2, 1, 0, 3, 1, 2, 0, 1, 98, 99], [100] * 10)
    >>> isinstance(fit, HealthyFit), round(fit.mean, 2), round(fit.broken, 1)
    (True, 0.02, 0.2)
    """
    values, weight = _distinct(np.asarray(k, dtype=np.int64), np.asarray(n, dtype=np.int64))
    if len(values) == 0:
        return HealthyFit(PRIOR_MEAN, PRIOR_RHO, 0.0)
    k_, n_ = values[:, 0].astype(np.float64), values[:, 1].astype(np.float64)
    broken = np.log(2.0 * (k_ + 1.0) / ((n_ + 1.0) * (n_ + 2.0)))
    choose = log_choose(n_, k_)
    prior = np.array([logit(PRIOR_MEAN), logit(PRIOR_RHO)])

    def loss(theta: Floats) -> tuple[float, Floats]:
        mean, rho = expit(theta[0]), expit(theta[1])
        size = (1.0 - rho) / rho
        a, b = mean * size, (1.0 - mean) * size
        eps = expit(theta[2]) if len(theta) == 3 else 0.0
        good = choose + betaln(k_ + a, n_ - k_ + b) - betaln(a, b)  # `log_pmf`
        total = psi(n_ + a + b) - psi(a + b)
        da, db = psi(k_ + a) - psi(a) - total, psi(n_ - k_ + b) - psi(b) - total
        with np.errstate(divide="ignore"):
            mixed = np.logaddexp(np.log1p(-eps) + good, np.log(eps) + broken)
        healthy = weight * np.exp(np.log1p(-eps) + good - mixed)
        off = (theta[:2] - prior) / PRIOR_WIDTH
        slope = np.empty(len(theta))
        slope[0] = np.sum(healthy * (da - db)) * mean * (1.0 - mean) * size - off[0] / PRIOR_WIDTH
        slope[1] = -np.sum(healthy * (da * a + db * b)) - off[1] / PRIOR_WIDTH
        if len(theta) == 3:
            slope[2] = np.sum(weight - healthy) - eps * np.sum(weight)
        return -float(np.sum(weight * mixed) - 0.5 * np.sum(off**2)), -slope

    middle = _middle_share(k_, n_, weight)
    starts = [np.array([logit(middle), logit(0.05), logit(0.1)]), np.array([logit(middle), logit(0.2), logit(0.02)])]
    mixtures = [_minimum(loss, start) for start in starts]
    plain = min((_minimum(loss, start[:2]) for start in starts), key=lambda found: found[0])
    mixture = min(mixtures, key=lambda found: found[0])
    best = (mixture if mixture[0] < plain[0] - GAIN else plain)[1]
    return HealthyFit(float(expit(best[0])), float(expit(best[1])), float(expit(best[2])) if len(best) == 3 else 0.0)


def _minimum(loss: Callable[[Floats], tuple[float, Floats]], start: Floats) -> tuple[float, Floats]:
    # Not L-BFGS-B: its linear algebra wakes BLAS threads for three parameters, which costs more than the fit.
    from scipy.optimize import minimize  # 0.2 s, which only a judge at work needs

    bounds = _BOUNDS[: len(start)]
    found = minimize(loss, start, jac=True, method="TNC", bounds=bounds, options={"maxfun": 100})
    return float(found.fun), np.asarray(found.x, dtype=np.float64)


def _distinct(k: NDArray[np.int64], n: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """Distinct (k, n) with n > 0, in order, and how often each occurs."""
    large = n > MOST
    k = np.where(large, np.floor(k / np.maximum(n, 1) * MOST).astype(np.int64), k)
    pairs = np.stack([k, np.minimum(n, MOST)], axis=1)[n > 0]
    if len(pairs) == 0:
        return pairs, np.zeros(0)
    values, times = np.unique(pairs, axis=0, return_counts=True)
    return values, times.astype(np.float64)


def _middle_share(k: Floats, n: Floats, weight: Floats) -> float:
    """A start for the mean: the failed share of the better seven tenths of the cases."""
    share = k / n
    order = np.argsort(share, kind="stable")
    kept = order[np.cumsum(weight[order]) <= 0.7 * weight.sum()]
    if len(kept) == 0:
        kept = order[:1]
    low = (np.sum(weight[kept] * k[kept]) + 0.5) / (np.sum(weight[kept] * n[kept]) + 10.0)
    return float(np.clip(low, 0.002, 0.4))
