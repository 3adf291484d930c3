"""Upper tails of sums of many small terms from their first three cumulants, and of two quadratic forms, as log p."""

from __future__ import annotations

import numpy as np
from scipy.special import dawsn, erfcx, gammaincc, gammaln, log_ndtr

from opintel.stats.counts import Floats

_LEAST_SKEW = 0.02
_UNDERFLOW = 1e-280
_LEAST_SHAPE, _DEEP = 8.0, -9.0


def log_tail_of_sum(x: Floats, mean: Floats, variance: Floats, third: Floats) -> Floats:
    """ln P(X > x), shape (H,), of the shifted gamma law (Pearson's type III) with these cumulants; 0 without variance.

    Exact where X is chi-squared; right to some per cent at 1e-3 for the sums of squared pulls of sparse histograms.
    """
    spread = np.sqrt(np.maximum(variance, 0.0))
    known = spread > 1e-9 * np.maximum(np.abs(mean), 1.0)
    spread = np.where(known, spread, 1.0)
    skew = np.maximum(third / spread**3, _LEAST_SKEW)
    shape = 4.0 / skew**2
    at = np.maximum(shape + (x - mean) / spread * np.sqrt(shape), 0.0)
    # Wilson and Hilferty (1931, PNAS 17, 684): a twentieth of the time, and right to a per cent where p is above 1e-4.
    cube = (np.cbrt(at / shape) - 1.0 + 1.0 / (9.0 * shape)) * 3.0 * np.sqrt(shape)
    found = np.asarray(log_ndtr(-cube), dtype=np.float64)
    exact = (shape < _LEAST_SHAPE) | (found < _DEEP)
    if exact.any():
        found[exact] = log_gamma_tail(shape[exact], at[exact])
    return np.where(known, found, 0.0)


def log_gamma_tail(shape: Floats, x: Floats) -> Floats:
    """ln of the regularised upper incomplete gamma function Q(shape, x), finite where Q underflows."""
    q = gammaincc(shape, x)
    found = np.log(np.maximum(q, _UNDERFLOW))
    deep = q < _UNDERFLOW
    if deep.any():
        found[deep] = _log_fraction(shape[deep], x[deep])
    return np.asarray(found, dtype=np.float64)


def log_tail_of_shape(x: Floats) -> Floats:
    """ln P(X > x) of X = Z1² + (Z2² + Z3²) / 4 with standard normal Z, in closed form: the exponential law of the
    second
    part folded with the first gives erfc(√(x/2)) + 2 e^(−x/2) D(√(3x/2)) / √(3π), D being Dawson's integral.

    >>> log_tail_of_shape(np.array([0.0, 5.0])).round(3).tolist()
    [0.0, -3.325]
    """
    root = np.sqrt(np.maximum(x, 0.0) / 2.0)
    scaled = erfcx(root) + 2.0 / np.sqrt(3.0 * np.pi) * dawsn(np.sqrt(3.0) * root)
    return np.asarray(np.minimum(np.log(scaled) - root * root, 0.0), dtype=np.float64)


def _log_fraction(shape: Floats, x: Floats) -> Floats:
    """Legendre's continued fraction (Abramowitz & Stegun 6.5.31) by Lentz' method: for x far above the shape."""
    b = x + 1.0 - shape
    d = 1.0 / b
    c = np.full_like(x, 1e300)
    h = d.copy()
    for i in range(1, 200):
        term = -i * (i - shape)
        b = b + 2.0
        d = 1.0 / (term * d + b)
        c = b + term / c
        h = h * d * c
    return np.asarray(shape * np.log(x) - x - gammaln(shape) + np.log(h), dtype=np.float64)
