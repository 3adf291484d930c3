"""How the failure rates of healthy cases are distributed, from counts of which some come from broken cases.

Unlike `dispersion`, which takes rates for Beta, this weighs two families, Beta and logit-normal: their upper tails
differ by more than what a p-value claims, and counts seldom tell which of them is right. All is a weight on a grid of
rates, so that counts, tails and scores are sums over it. `fts.links` is its user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, expit

from opintel.stats.counts import Floats, Ints, log_choose
from opintel.stats.groups import HIGHEST, LEVELS, LOWEST, STEP, MemberScores

LOGIT = np.arange(-9.5, 7.01, 0.125)
"""(J,) the grid; all rates below its first node are taken for that one."""
RATE = expit(LOGIT)
BROKEN = (3.0, 1.0)
"""A broken case fails at a rate that is Beta with this shape."""
MOST, MOST_SCORED = 400, 100
"""Larger counts are scaled down to these, share kept: healthy rates differ by more than their errors."""
GAIN = 2.0
"""Least gain in log-likelihood for which broken cases are believed in."""
TINY = 1e-300
_LOG_RATE, _LOG_REST = -np.log1p(np.exp(-LOGIT)), -np.log1p(np.exp(LOGIT))
_LOG_SHARES = [(-9.0, -0.2)]
_Density = Callable[[Floats], tuple[Floats, Floats]]


class Rates(NamedTuple):
    """What healthy cases fail at, and how many are not healthy.

    >>> rates = fit_rates(np.array([0, 1, 2, 1, 0, 3, 1, 0, 48, 50]), np.full(10, 50))
    >>> round(float(rates.weight @ RATE), 2), round(rates.broken, 1)
    (0.02, 0.2)
    """

    weight: Floats
    """(J,) of each rate of the grid; their sum is 1."""
    broken: float
    """Share of broken cases, 0 where there is no sign of any."""

    def log_pmf(self, k: Ints, n: Ints) -> Floats:
        """(N,) ln of the probability that a healthy case fails k times in n, scaled down to `MOST`."""
        return np.asarray(np.log(np.maximum(_likelihood(*scaled(k, n)) @ self.weight, TINY)), dtype=np.float64)

    def mid_p(self, k: Ints, n: Ints) -> Floats:
        """(N,) upper mid-p of k failures in n for a healthy case, its rate being unknown; at least `TINY`."""
        pairs, of = np.unique(np.stack([k, n], axis=1), axis=0, return_inverse=True)
        k_, n_ = (column[:, None].astype(np.float64) for column in pairs.T)
        above = np.where(k_ < n_, betainc(k_ + 1.0, np.maximum(n_ - k_, 1.0), RATE), 0.0)
        p = np.clip((above + 0.5 * _likelihood(*pairs.T)) @ self.weight, TINY, 1.0)
        return np.where(n == 0, 0.5, p[of.reshape(-1)])

    def healthy(self, k: Ints, n: Ints) -> Floats:
        """(N,) the probability that a case is healthy, given its count (Bayes)."""
        if self.broken == 0.0:
            return np.ones(len(k))
        odds = np.log(self.broken / (1.0 - self.broken)) + log_broken(*scaled(k, n)) - self.log_pmf(k, n)
        return np.asarray(expit(-odds), dtype=np.float64)

    def scores(self, k: Ints, n: Ints) -> MemberScores:
        """Scores of counts for `stats.groups`: ln of (broken) over (healthy), in its steps."""
        k, n = scaled(k, n, MOST_SCORED)
        level, pmf = np.zeros(len(k), dtype=np.int64), np.zeros((len(k), LEVELS))
        for size in np.unique(n).tolist():
            j = np.arange(size + 1)
            log_p = self.log_pmf(j, np.full(size + 1, size))
            ratio = (log_broken(j, np.full(size + 1, size)) - log_p) / STEP
            levels = np.maximum.accumulate(np.clip(np.rint(ratio), LOWEST, HIGHEST).astype(np.int64) - LOWEST)
            here = n == size
            level[here] = levels[k[here]]
            pmf[here] = np.bincount(levels, np.exp(log_p), minlength=LEVELS) / np.sum(np.exp(log_p))
        return MemberScores(level, pmf)


class _Family(NamedTuple):
    density: _Density
    """(2,) parameters → (J,) ln of the density of the logit, up to a constant, and (2, J) its slopes."""
    prior: tuple[float, float]
    width: tuple[float, float]
    """A weak prior: normal, of each parameter."""
    bounds: list[tuple[float, float]]
    starts: list[tuple[float, float]]


def fit_rates(k: Ints, n: Ints) -> Rates:
    """The rates of healthy cases (N,): maximum likelihood of each family, with and without broken cases; the families
    are weighed by their likelihoods (equal priors)."""
    some = n > 0
    pairs, count = np.unique(np.stack(scaled(k[some], n[some]), axis=1), axis=0, return_counts=True)
    pairs = pairs.reshape(-1, 2)
    table, broken = _likelihood(*pairs.T), np.exp(log_broken(*pairs.T))
    fits = [_fit(family, table, broken, count.astype(np.float64)) for family in _FAMILIES]
    loss = np.array([one[0] for one in fits])
    share = np.exp(loss.min() - loss)
    share /= share.sum()
    weight = np.sum([s * rates.weight for s, (_, rates) in zip(share, fits, strict=True)], axis=0)
    return Rates(weight, float(sum(s * rates.broken for s, (_, rates) in zip(share, fits, strict=True))))


def log_broken(k: Ints, n: Ints) -> Floats:
    """ln of the probability that a broken case fails k times in n."""
    a, b = BROKEN
    k_, n_ = k.astype(np.float64), n.astype(np.float64)
    return np.asarray(log_choose(n_, k_) + betaln(k_ + a, n_ - k_ + b) - betaln(a, b), dtype=np.float64)


def scaled(k: Ints, n: Ints, most: int = MOST) -> tuple[Ints, Ints]:
    """Counts of at most so many, shares kept."""
    share = k / np.maximum(n, 1)
    return np.where(n > most, np.floor(share * most).astype(np.int64), k), np.minimum(n, most)


def _likelihood(k: Ints, n: Ints) -> Floats:
    """(N, J) probability of k failures in n at each rate of the grid."""
    k_, n_ = k[:, None].astype(np.float64), n[:, None].astype(np.float64)
    return np.asarray(np.exp(log_choose(n_, k_) + k_ * _LOG_RATE + (n_ - k_) * _LOG_REST), dtype=np.float64)


def _fit(family: _Family, table: Floats, broken: Floats, count: Floats) -> tuple[float, Rates]:
    """(the loss, the rates) of one family."""
    # Not L-BFGS-B: its linear algebra wakes BLAS threads for three parameters, which costs more than the fit.
    from scipy.optimize import minimize  # 0.2 s, which only a judge at work needs

    prior, width = np.array(family.prior), np.array(family.width)

    def loss(theta: Floats) -> tuple[float, Floats]:
        weight, slope = _weights(family, theta[:2])
        eps = float(expit(theta[2])) if len(theta) == 3 else 0.0
        good = table @ weight
        mixed = np.maximum((1.0 - eps) * good + eps * broken, TINY)
        share = (count * (1.0 - eps) / mixed) @ table * weight
        off = (theta[:2] - prior) / width
        slopes = np.empty(len(theta))
        slopes[:2] = slope @ share - off / width
        if len(theta) == 3:
            slopes[2] = np.sum(count * (broken - good) / mixed) * eps * (1.0 - eps)
        return 0.5 * float(np.sum(off**2)) - float(np.sum(count * np.log(mixed))), -slopes

    def least(starts: list[NDArray[np.float64]], bounds: list[tuple[float, float]]) -> tuple[float, Floats]:
        found = [minimize(loss, s, jac=True, method="TNC", bounds=bounds, options={"maxfun": 100}) for s in starts]
        best = min(found, key=lambda one: float(one.fun))
        return float(best.fun), np.asarray(best.x, dtype=np.float64)

    plain = least([np.array(start) for start in family.starts], family.bounds)
    pairs = zip(family.starts, (-2.5, -4.5), strict=True)
    mixture = least([np.array([*start, share]) for start, share in pairs], family.bounds + _LOG_SHARES)
    value, theta = mixture if mixture[0] < plain[0] - GAIN else plain
    eps = float(expit(theta[2])) if len(theta) == 3 else 0.0
    return value, Rates(_weights(family, theta[:2])[0], eps)


def _weights(family: _Family, theta: Floats) -> tuple[Floats, Floats]:
    """(J,) the weights of a family's rates, and (2, J) the slopes of their logarithms."""
    log_density, slope = family.density(theta)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    return weight, slope - (slope @ weight)[:, None]


def _logit_normal(theta: Floats) -> tuple[Floats, Floats]:
    """Of mean and ln of the standard deviation."""
    pull = (LOGIT - theta[0]) / np.exp(theta[1])
    return -0.5 * pull**2, np.stack([pull / np.exp(theta[1]), pull**2])


def _beta(theta: Floats) -> tuple[Floats, Floats]:
    """Of ln a and ln b; the first node has all that lies below it, e^(a z) / a of the density."""
    a, b = np.exp(theta)
    log_density, slope = a * _LOG_RATE + b * _LOG_REST, np.stack([a * _LOG_RATE, b * _LOG_REST])
    below = 1.0 / (a * (LOGIT[1] - LOGIT[0]))
    log_density[0] += np.log1p(below)
    slope[0, 0] -= below / (1.0 + below)
    return log_density, slope


_FAMILIES = (
    _Family(_logit_normal, (-3.2, 0.2), (1.5, 0.7), [(-8.0, 2.0), (-1.5, 1.3)], [(-3.0, 0.0), (-1.8, 0.3)]),
    _Family(_beta, (-0.8, 2.1), (1.5, 1.5), [(-4.0, 5.0), (-1.0, 7.0)], [(-0.8, 2.0), (0.0, 2.5)]),
)
