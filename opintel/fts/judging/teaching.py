"""Which counts may teach how much links and endpoints vary: not those of a fault that half of the grid shares.

A wide fault, counted as chance, would make everything that follows look like chance too. `failures` asks here for each
of its looks; what an endpoint explains never teaches, and a look in which too much surprises teaches nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from opintel.fts.judging.scales import SEPARATOR, by_group
from opintel.fts.judging.suspects import LinkLook, LinkVerdict
from opintel.fts.links import endpoints_of
from opintel.stats.groups import Bools
from opintel.stats.learned_dispersion import Dispersion

HOUR: Final = 3600 * 10**9
SURPRISING: Final = -3.0
"""log10 p below which a link surprises."""
WIDE: Final = 0.1
"""A look teaches nothing where links that surprise, or that an endpoint explains, carry more than this share of its
files: by chance it is a thousandth."""
PATIENCE: Final = 36 * HOUR
"""ns for which that may go on; then it is no fault but how things are, and teaches."""
HALF_LIFE: Final = 24 * HOUR
"""ns after which what was learned of how counts vary counts half: a window teaches hundreds of counts at once."""


class Teaching:
    """How much links and endpoints vary in one kind of look, and what may teach it.

    >>> teaching = Teaching()
    >>> teaching.link.rho(np.array([0.05])).round(1).tolist()
    [0.1]
    """

    def __init__(self) -> None:
        self.link, self.endpoint = Dispersion(), Dispersion()
        self._wide_since = 0
        """End of the first of the looks in a row in which too much surprised, ns; 0: the last was not such a one."""

    def learn(self, look: LinkLook, verdict: LinkVerdict, until: int, span: int) -> None:
        """Takes what a look over `span` ns until `until` teaches."""
        files, odd = look.counts.files, _odd(verdict)
        if np.sum(files[odd]) > WIDE * np.sum(files):
            self._wide_since = self._wide_since or until
            if until - self._wide_since <= PATIENCE:
                return
        else:
            self._wide_since = 0
        self._take(look, ~verdict.explained, 0.5 ** (span / HALF_LIFE))

    def state(self) -> Any:
        """Plain data."""
        return [self.link.state(), self.endpoint.state(), self._wide_since]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        link, endpoint, self._wide_since = state
        self.link.restore(link)
        self.endpoint.restore(endpoint)

    def _take(self, look: LinkLook, free: Bools, keep: float) -> None:
        counts = look.counts
        several = free & (counts.files > 1)
        k, n = counts.failed[several], counts.files[several]
        self.link.learn(k, n, look.mean[several], keep, counts.unsure[several] / n)
        ends = [key.split(SEPARATOR) for key in counts.keys]
        _, groups = endpoints_of([end[0] for end in ends], [end[1] for end in ends])
        failed, files, usual, unsure = by_group(counts, [g for g in groups if free[g].all()])
        self.endpoint.learn(failed, files, usual, keep, unsure)


def odd_keys(look: LinkLook, verdict: LinkVerdict) -> list[str]:
    """The links that surprise in a look or that an endpoint explains there: their habits should not follow."""
    return [look.counts.keys[n] for n in np.flatnonzero(_odd(verdict)).tolist()]


def _odd(verdict: LinkVerdict) -> Bools:
    return (verdict.surprise <= SURPRISING) | verdict.explained
