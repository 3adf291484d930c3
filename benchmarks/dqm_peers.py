"""What the field compares histograms with, in our words, for `dqm_references.py`: larger scores are stranger.

AutoDQM's beta-binomial pulls and its principal components are after its documented formulas, EWMA templates after
Gavrikov, García Pardiñas & Garfagnini 2025 (arXiv 2501.19237, DINAMO-S); all re-written, no code was taken over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]
TOLERANCE = 0.01


def peer_scores(x: Floats, good: Floats) -> dict[str, Floats]:
    """Scores (n,) of histograms x (n, B) by references good (R, B), by name."""
    shares, references = x / x.sum(axis=1, keepdims=True), good / good.sum(axis=1, keepdims=True)
    mean, total = references.mean(axis=0), good.sum(axis=0)
    pooled = total / total.sum()
    n, m = x.sum(axis=1, keepdims=True), total.sum()
    both = (x + total) / (n + m)
    error = np.sqrt(np.maximum(both * (1 / n + 1 / m), 1e-300))
    pull = np.where(both > 0, (shares - pooled) / error, 0.0)
    gap = np.cumsum(shares - pooled, axis=1)
    _, size, patterns = np.linalg.svd(references - mean, full_matrices=False)
    off = shares - mean
    amplitude = off @ patterns[:2].T
    left = off - amplitude @ patterns[:2]
    kept = min(len(size), len(good) // 3)
    rest = references - mean - (references - mean) @ patterns[:kept].T @ patterns[:kept]
    whitened = np.concatenate(
        [
            (off @ patterns[:kept].T) / (size[:kept] / np.sqrt(len(good) - 1)),
            (off - off @ patterns[:kept].T @ patterns[:kept])
            / np.maximum(rest.std(axis=0), np.sqrt(pooled / m) + 1e-9),
        ],
        axis=1,
    )
    z = _beta_binomial(x, good[np.linspace(0, len(good) - 1, 8).astype(int)])
    return {
        "chi2": np.square(pull).sum(axis=1),
        "max pull": np.abs(pull).max(axis=1),
        "PCA SSE": np.square(left).sum(axis=1),
        "whitened max-z": np.abs(whitened).max(axis=1),
        "KS": np.abs(gap).max(axis=1),
        "W1": np.abs(gap).sum(axis=1),
        "AutoDQM chi2": np.square(z).sum(axis=1),
        "AutoDQM pull": np.abs(z).max(axis=1),
        "AutoDQM PCA": _beta_binomial_pca(x, mean, patterns[:2], amplitude),
    }


def _beta_binomial(x: Floats, references: Floats, tolerance: float = TOLERANCE) -> Floats:
    """AutoDQM's pulls (n, B): the mean over references of P(count) ÷ P(most probable count), as a χ² of one degree."""
    from scipy.special import chdtri

    n = x.sum(axis=1, keepdims=True)
    relative = np.zeros_like(x)
    for r in references:
        whole = r.sum()
        shrunk = 1.0 / np.sqrt(1.0 + np.square(r * tolerance**2))
        a = np.rint(shrunk * r) + 1.0
        b = np.maximum(np.rint(shrunk * whole) - np.rint(shrunk * r), 0.0) + 1.0
        mu = n * r / whole

        def log_pmf(k: Floats, a: Floats = a, b: Floats = b) -> Floats:
            choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
            return np.asarray(choose + betaln(k + a, n - k + b) - betaln(a, b))

        best = np.maximum(log_pmf(np.ceil(np.minimum(mu, n))), log_pmf(np.floor(mu)))
        relative += np.exp(np.minimum(log_pmf(x) - best, 0.0))
    p = np.maximum(relative / len(references), 1e-300)
    return np.asarray(np.sqrt(chdtri(1, np.minimum(p, 1.0))))


def _beta_binomial_pca(x: Floats, mean: Floats, patterns: Floats, amplitude: Floats) -> Floats:
    """Its components: χ² of the pulls against the histogram that two components rebuild, at 100 times the
    statistics."""
    rebuilt = np.maximum(mean + amplitude @ patterns, 0.0) * x.sum(axis=1, keepdims=True)
    found = [
        np.square(_beta_binomial(one[None], 100.0 * back[None], 0.0)).sum()
        for one, back in zip(x, rebuilt, strict=True)
    ]
    return np.asarray(found) * x.sum(axis=1) ** (-1 / 3)


class EwmaTemplate:
    """A template of shares that follows good runs, weighted with their statistics, and its scatter: the reduced χ² of
    each run before it is learned from (DINAMO-S, equations of section 3.1)."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def scores(self, contents: Floats, bad: NDArray[np.bool_]) -> Floats:
        """(n,) of runs (n, B) in order; those that turn out to be bad are not learned from."""
        keep, tiny, bins = self._alpha, 1e-9, contents.shape[1]
        template = np.full(bins, 1.0 / bins)
        scatter = np.sqrt(template * (1.0 - template) / (100.0 * bins))
        weight = (1.0 - keep) / (np.square(scatter) + tiny)
        sum_mean, sum_scatter = weight * template, weight * np.square(scatter)
        found = np.empty(len(contents))
        for n, one in enumerate(contents):
            total = one.sum()
            share = one / total
            error = np.where(one > 0, np.sqrt(share * (1.0 - share) / total), 1.0 / total)
            found[n] = (np.square(share - template) / (np.square(error) + np.square(scatter))).mean()
            if not bad[n]:
                new = (1.0 - keep) / (np.square(error) + tiny)
                weight = keep * weight + new
                sum_scatter = keep * sum_scatter + new * np.square(share - template)
                sum_mean = keep * sum_mean + new * share
                template, scatter = sum_mean / weight, np.sqrt(sum_scatter / weight)
        return np.log(found)

    @classmethod
    def best(cls, contents: Floats, bad: NDArray[np.bool_], history: int) -> Floats:
        """With the memory that separates the first `history` runs best (area under the curve)."""
        from scipy.stats import rankdata

        def area(alpha: float) -> float:
            score = cls(alpha).scores(contents[:history], bad[:history])
            return float(rankdata(score)[bad[:history]].mean())

        return cls(max(np.arange(0.1, 1.0, 0.1), key=area)).scores(contents, bad)
