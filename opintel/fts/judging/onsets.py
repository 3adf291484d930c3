"""When in a window failures became more: `onset_slice`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from opintel.fts.link_windows import LinkWindow

SUPPORT: Final = 2.0
"""ln of the likelihood ratio within which a later beginning is as well supported as the best one (Edwards 1972,
*Likelihood*: the interval of two units of support, about 95 %). The latest of them is said: a stray failure shortly
before a fault would else put its beginning before the fault, and take a symptom for the cause."""


def onset_slice(own: Sequence[LinkWindow], usual: float) -> int:
    """The slice of the window in which these links began to fail more: `usual` share before, freely higher after.

    A binomial change point by maximum likelihood; the latest one within `SUPPORT` of the best. 0 where nothing failed.

    >>> slices = [(0, 9, 1, 0, 0.0), (1, 9, 0, 0, 0.0), (5, 0, 9, 0, 0.0), (6, 0, 9, 0, 0.0)]
    >>> onset_slice([LinkWindow("a", "b", 18, 19, 0, 37, 0, slices, (0, 0.0, 0.0), [])], usual=0.02)
    5
    """
    ok, failed = np.sum([link.by_slice()[:, :2] for link in own], axis=0).T
    after_k, after_n = failed[::-1].cumsum()[::-1], (ok + failed)[::-1].cumsum()[::-1]
    rate = np.clip(np.maximum(after_k / np.maximum(after_n, 1.0), usual), 1e-6, 1.0 - 1e-6)
    after = after_k * np.log(rate) + (after_n - after_k) * np.log1p(-rate)
    before = np.concatenate([[0.0], (failed * np.log(usual) + ok * np.log1p(-usual)).cumsum()[:-1]])
    likelihood = before + after
    supported = np.flatnonzero((likelihood >= likelihood.max() - SUPPORT) & (failed > 0))
    return int(supported.max(initial=0))
