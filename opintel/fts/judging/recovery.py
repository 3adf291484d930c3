"""Whether what an hour or a day shows is over: `recovered`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np

from opintel.fts.judging.scales import LinkCounts
from opintel.fts.judging.suspects import Suspect
from opintel.stats.counts import log_pmf, shape

SUPPORT: Final = 2.0
"""ln of the likelihood ratio from which on a window speaks for the usual share: two units of support (Edwards 1972,
*Likelihood*)."""


def recovered(suspect: Suspect, shorter: Sequence[LinkCounts]) -> bool:
    """Whether the files of a shorter time than its look's fit what is usual for the suspect clearly better than the
    share that failed in its look's time. `shorter`: the window that closes, and the last hour.

    A sum of hours keeps what is long over; a window alone says nothing of a drip, so it must speak against it. Never
    where the look is the window itself.
    """
    times = itertools.takewhile(lambda counts: counts is not suspect.look.counts, shorter)
    return bool(suspect.look.span) and any(_speaks_for_usual(suspect, counts) for counts in times)


def _speaks_for_usual(suspect: Suspect, now: LinkCounts) -> bool:
    mine = set(suspect.keys)
    at = np.array([key in mine for key in now.keys], dtype=np.bool_)
    failed, files, expected = (float(values[at].sum()) for values in (now.failed, now.files, now.expected))
    lost, total, _, rho = suspect.files
    share = lost / total
    if not files or failed >= files * share:
        return False
    usual, ill = (shape(np.clip(mean, 1e-4, 0.9999), rho) for mean in (expected / files, share))
    return bool(log_pmf(failed, files, *usual) - log_pmf(failed, files, *ill) > SUPPORT)
