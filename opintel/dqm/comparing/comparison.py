"""What a comparison of H histograms with their references says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing.regions import LOCATED, Region, located
from opintel.stats.counts import Floats

Test = Literal["deviance", "pull", "window", "shape", ""]
TESTS: tuple[Test, ...] = ("deviance", "pull", "window", "shape", "")


@dataclass(frozen=True)
class Comparison:
    """The verdicts on H histograms of B bins, or of maps of (Y, X) bins, for which "B" below reads "Y, X"."""

    p_value: Floats
    """(H,) probability of a result this extreme or more if observed and references share one shape, whatever their
    totals; NaN where there was nothing to compare (*insufficient*)."""
    log10_p: Floats
    """(H,) log10 of it, finite where it is too small for a double."""
    pull: Floats
    """(H, B) each bin's deviation with unit variance, + = more than expected; 0 for a bin that is empty in both."""
    effect: Floats
    """(H,) the largest pull, with its sign."""
    shift: Floats
    """(H, 1), of maps (H, 2): mean of the observed less that of the reference along each axis (y, x), in bins."""
    spoke: NDArray[np.int8]
    """(H,) index into `TESTS` of the test with the smallest p."""
    observed: NDArray[Any]
    """(H, B) as it came."""
    expected: Floats
    """(H, B) contents that the references let expect at the observed total."""
    error: Floats
    """(H, B) standard deviation of observed − expected if both share one shape; NaN where nothing was compared, as
    `expected`."""
    means: bool = False
    """Whether these are the means of profiles, not contents."""

    def test(self, row: int | tuple[int, ...]) -> Test:
        """Which test had the smallest p: `deviance` (all pulls), `pull` (one bin), `window` (neighbours), `shape`;
        empty where nothing was compared."""
        return TESTS[int(self.spoke[row])]

    def located(self, row: int | tuple[int, ...]) -> list[Region]:
        """Where histogram `row` deviates, the strongest first: none where its p is above `regions.LOCATED`."""
        if not self.log10_p[row] <= LOCATED:
            return []
        return located(self.pull[row], self.observed[row], self.expected[row], self.error[row], means=self.means)

    def kind(self, row: int | tuple[int, ...]) -> str:
        """What it is with histogram `row`: the kind of its strongest region, `insufficient`, or empty where it is
        good."""
        if np.isnan(self.log10_p[row]):
            return "insufficient"
        return next((str(region[-1]) for region in self.located(row)), "")

    @cached_property
    def regions(self) -> list[list[Region]]:
        """(H) `located` of each histogram; of N of each (N, H, B) a list of N·H, in that order."""
        return [self.located(row) for row in np.ndindex(self.p_value.shape)]
