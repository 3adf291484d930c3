"""False discovery rate of many tests at once. Takes p-values of one family, says which are discoveries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Which of the p-values (N,) are discoveries at this false discovery rate.

    Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289, eq. (1); also valid under positive dependence.

    >>> benjamini_hochberg(np.array([0.04, 0.001, 0.5, 0.02]), 0.05).tolist()
    [False, True, False, True]
    """
    rank = np.arange(1, len(p) + 1)
    ordered = np.sort(p)
    passing = np.flatnonzero(ordered <= level * rank / max(len(p), 1))
    if len(passing) == 0:
        return np.zeros(len(p), dtype=np.bool_)
    return np.asarray(p <= ordered[passing[-1]], dtype=np.bool_)
