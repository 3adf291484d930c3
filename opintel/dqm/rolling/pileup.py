"""What references say of histograms at another pile-up than their own: a line through each bin.

Multiplicities follow the pile-up, which decays with the luminosity. The share of a bin is taken as a + b × pile-up,
fitted to the references by weighted least squares; at the present pile-up that is a sum of their contents, each times a
number, so its variance is known: as long as shapes change slowly it is that of one reference with fewer entries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.rolling.histories import Floats

NEAR = 0.001
"""Share by which pile-up may differ from that of the references, and they among themselves, before it is looked at."""


class AtPileup(NamedTuple):
    """References (n, size) as they would be now."""

    chosen: NDArray[np.int64]
    """(m,) of which histograms: others have no pile-up, or that of their references."""
    contents: NDArray[np.float64]
    """(m, size) effective entries of one reference."""


def at_pileup(references: Floats, pileup: NDArray[np.float64], now: NDArray[np.float64]) -> AtPileup:
    """`references` (R, n, size), counts, zero where there is none; `pileup` (R, n) of each and `now` (n,); NaN unknown.

    >>> two = np.array([[[60.0, 40.0]], [[50.0, 50.0]]]) * 1000
    >>> found = at_pileup(two, np.array([[60.0], [50.0]]), np.array([45.0]))
    >>> (found.contents / found.contents.sum()).round(3).tolist()
    [[0.45, 0.55]]
    """
    total = references.sum(axis=2, dtype=np.float64)
    there = total > 0
    known = np.isfinite(now) & ~(there & ~np.isfinite(pileup)).any(axis=0)
    x = np.where(there, np.nan_to_num(pileup), 0.0)
    whole = np.maximum(total.sum(axis=0), 1e-300)
    middle = (total * x).sum(axis=0) / whole
    off = np.where(there, x - middle, 0.0)
    square = (total * off**2).sum(axis=0)
    wide = np.sqrt(square / whole) > NEAR * middle
    chosen = np.flatnonzero(known & wide & (np.abs(now - middle) > NEAR * middle))
    total, off = total[:, chosen], off[:, chosen]
    share = total / whole[chosen] + total * off * ((now - middle) / np.maximum(square, 1e-300))[chosen]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(total > 0, share / total, 0.0)
        entries = 1.0 / np.where(total > 0, share**2 / total, 0.0).sum(axis=0)
    factor *= entries
    counts = references[:, chosen].astype(np.float64)
    return AtPileup(chosen, np.maximum(np.einsum("rn,rnb->nb", factor, counts), 0.0))
