"""How surprising the findings of a what-if are, before and after: histograms of −log10 p with the threshold marked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from opintel.backfill.report import WhatIf
from opintel.evidence import Histogram, Region
from opintel.finding import Finding
from opintel.picture import histogram
from opintel.quantity import number

STEP = 0.5
"""Width of the bins."""
LEAST, MOST = 8, 40
"""Decades that are shown at least, and at most."""
DETECTORS = 4
"""Whose p-values are drawn."""


def p_value_pictures(report: WhatIf) -> Iterator[Histogram]:
    """Two histograms, before and after, of each judge whose settings change; of all findings where it is none's."""
    there = {finding.detector for finding in (*report.here, *report.there)}
    changed = dict.fromkeys(one.detector for one in report.settings if one.detector in there)
    limits = {one.detector: (one.was[-1] if one.was else None, one.now) for one in report.settings if one.key == "emit"}
    for name in list(changed)[:DETECTORS] or [""]:
        yield from _pair(name, _surprises(report.there, name), _surprises(report.here, name), limits.get(name))


def _pair(
    name: str, before: NDArray[np.float64], after: NDArray[np.float64], limits: tuple[object, object] | None
) -> Iterator[Histogram]:
    """On one axis, so that they can be compared."""
    shut = [_decades(limit) for limit in limits or (None, None)]
    reach = max([LEAST, *shut, *before, *after]) + STEP
    edges = np.arange(min(math.ceil(reach / STEP), int(MOST / STEP)) + 1) * STEP
    for when, surprises, limit in zip(("before", "after"), (before, after), shut, strict=True):
        counts, _ = np.histogram(surprises, edges)
        closed = int(limit / STEP)
        beyond = len(surprises) - int(counts.sum())
        yield histogram(
            f"{name or 'All detectors'}, {when}",
            counts.astype(float),
            edges,
            axis="surprise, −log10 p",
            unit="",
            counted="findings",
            regions=[Region(0, closed - 1, f"emit −{number(limit)}")] if closed else [],
            over=float(beyond) if beyond else None,
        )


def _surprises(findings: Sequence[Finding], detector: str) -> NDArray[np.float64]:
    """−log10 p of those that have one, (n,)."""
    of = (f for f in findings if detector in ("", f.detector))
    return np.array([-f.log10_p for f in of if f.log10_p is not None], np.float64)


def _decades(limit: object) -> float:
    """A threshold on log10 p as its place on the axis; 0 for what is none."""
    return -float(limit) if isinstance(limit, (int, float)) and -MOST <= limit < 0 else 0.0
