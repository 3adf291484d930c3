"""One p-value from several that depend on each other in an unknown way."""

from __future__ import annotations

import numpy as np

from opintel.stats.counts import Floats

_MOST = 0.99
_DEEP = -25.0


def log_cauchy(log_p: Floats) -> Floats:
    """ln of the combined p-value (H,) of K tests (K, H), natural logs in and out; −inf never comes out of finite input.

    The Cauchy combination (Liu & Xie 2020, JASA 115, 393, eq. 1), whose tail does not depend on how the tests depend on
    each other. P-values above .99 count as .99: a test that finds nothing must not silence one that does.
    """
    p = np.minimum(np.exp(log_p), _MOST)
    value = (1.0 / np.tan(np.pi * np.maximum(p, 1e-15))).mean(axis=0)  # tan((1/2 − p) π)
    found = np.log(np.arctan2(1.0, value) / np.pi)
    # Far in the tail tan((1/2 − p) π) is 1 / (π p): the harmonic mean.
    least = log_p.min(axis=0)
    harmonic = least - np.log(np.exp(least - log_p).mean(axis=0))
    return np.asarray(np.where(least < _DEEP, harmonic, found), dtype=np.float64)


def log_sidak(log_p: Floats, count: Floats | float) -> Floats:
    """ln p of the smallest of `count` independent p-values, whose logarithm is `log_p` (Šidák 1967, JASA 62, 626)."""
    one = np.log1p(-np.minimum(np.exp(log_p), 1.0 - 1e-15))
    whole = np.log(np.maximum(-np.expm1(count * one), 1e-300))
    return np.asarray(np.where(log_p < -30.0, log_p + np.log(count), whole), dtype=np.float64)
