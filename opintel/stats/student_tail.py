"""Tails of Student's t as logarithms, finite however far out: for values whose standard deviation was estimated."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, log_ndtr, stdtr

from opintel.stats.counts import Floats

NORMAL = 300.0
"""Degrees of freedom from which it is the normal law."""
_DEEP = 1e-250


def upper_log_p(z: Floats, degrees: Floats) -> Floats:
    """ln P(T > z) of Student's t; arrays broadcast.

    Far out the density over its logarithmic slope, the first term of the tail's asymptotic series.

    >>> float(upper_log_p(np.array([0.0]), np.array([5.0])).round(6)[0]) == float(np.log(0.5).round(6))
    True
    """
    z, degrees = np.broadcast_arrays(z, degrees)
    tail = stdtr(degrees, -z)
    found = np.log(np.maximum(tail, _DEEP))
    deep = tail <= _DEEP
    if deep.any():
        x, n = z[deep], degrees[deep]
        density = gammaln((n + 1) / 2) - gammaln(n / 2) - 0.5 * np.log(n * np.pi) - (n + 1) / 2 * np.log1p(x * x / n)
        found[deep] = density + np.log((n + x * x) / ((n + 1) * x))
    return np.asarray(np.where(degrees > NORMAL, log_ndtr(-z), found), dtype=np.float64)
