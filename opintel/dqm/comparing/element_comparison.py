"""Monitor elements against others of the same names: all pairs of one form at once, each with a p or the reason for
none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing.aligned import AlignedPair, NotComparable, aligned
from opintel.dqm.comparing.compare import compare, compare_2d
from opintel.dqm.comparing.comparison import Comparison
from opintel.dqm.comparing.means import compare_means
from opintel.dqm.comparing.regions import Region
from opintel.dqm.elements import MonitorElement

LEAST = 20
"""Entries below which counts are not compared."""
BLOCK = 8_000_000
"""Contents that are compared at once."""


class NamedPair(NamedTuple):
    """An element and its reference; None for one that is not there."""

    name: str
    observed: MonitorElement | None
    reference: MonitorElement | None


class PairVerdict(NamedTuple):
    """What the comparison of a pair says."""

    pair: NamedPair
    p_value: float | None
    log10_p: float
    """NaN where there is no p."""
    effect: float | None
    """The largest pull, with its sign."""
    regions: list[Region]
    """Bins of the observed element from 0, inclusive; −1 is the underflow, their number the overflow."""
    remark: str
    """Why there is no p, or what was left out; empty where there is nothing to say."""
    pull: NDArray[np.float64] | None = None
    """In the form of the observed element without its flow bins; NaN for a bin that was not compared."""
    expected: NDArray[np.float64] | None = None
    """Likewise: what the reference lets expect at the observed total; of profiles the reference's means."""

    def where(self, most: int) -> str:
        """Its first regions in words."""
        texts = []
        for *places, kind in self.regions[:most]:
            half = len(places) // 2
            first, last = (",".join(map(str, end)) for end in (places[:half], places[half:]))
            texts.append(f"{kind} {first}" if first == last else f"{kind} {first}..{last}")
        return "; ".join(texts + [f"{len(self.regions) - most} more"] * (len(self.regions) > most))


def compare_pairs(pairs: Sequence[NamedPair]) -> list[PairVerdict]:
    """One verdict a pair: the smallest p first, those without a p last, by name among equals."""
    verdicts: list[PairVerdict] = []
    groups: dict[tuple[object, ...], list[tuple[NamedPair, AlignedPair]]] = {}
    for pair in pairs:
        if pair.observed is None or pair.reference is None:
            verdicts.append(_without(pair, "it is only here" if pair.reference is None else "it is only there"))
            continue
        try:
            one = aligned(pair.observed, pair.reference)
        except NotComparable as why:
            verdicts.append(_without(pair, str(why)))
            continue
        form = (one.observed.shape, one.mean, one.observed_variance is None, one.reference_variance is None)
        groups.setdefault(form, []).append((pair, one))
    for group in groups.values():
        step = max(1, BLOCK // max(1, group[0][1].observed.size))
        for begin in range(0, len(group), step):
            verdicts += _judged(group[begin : begin + step])
    return sorted(verdicts, key=_rank)


def _rank(one: PairVerdict) -> tuple[bool, float, str]:
    return one.p_value is None, 0.0 if one.p_value is None else one.log10_p, one.pair.name


def _without(pair: NamedPair, why: str) -> PairVerdict:
    return PairVerdict(pair, None, math.nan, None, [], why)


def _judged(group: list[tuple[NamedPair, AlignedPair]]) -> list[PairVerdict]:
    """The verdicts on pairs of one form."""
    ones = [one for _, one in group]
    observed, reference = np.stack([one.observed for one in ones]), np.stack([one.reference for one in ones])[None]
    here, there = (
        None if getattr(ones[0], name) is None else np.stack([getattr(one, name) for one in ones])
        for name in ("observed_variance", "reference_variance")
    )
    if ones[0].mean:
        assert here is not None
        assert there is not None
        found = compare_means(observed, here, reference, there[None])
    else:
        judge = compare if observed.ndim == 2 else compare_2d
        found = judge(
            observed,
            reference,
            observed_variance=here,
            reference_variance=None if there is None else there[None],
        )
    return [_verdict(pair, one, found, row) for row, (pair, one) in enumerate(group)]


def _verdict(pair: NamedPair, one: AlignedPair, found: Comparison, row: int) -> PairVerdict:
    p = float(found.p_value[row])
    if math.isnan(p):
        return _without(pair, _why(one))
    assert pair.observed is not None
    axes = len(one.bins)
    regions = [
        (*(int(one.bins[n % axes][place]) for n, place in enumerate(places)), str(kind))
        for *places, kind in found.located(row)
    ]
    shape = tuple(axis.bins for axis in reversed(pair.observed.axes))
    remark = f"{one.left_out} bins left out: only one of the two has their label" if one.left_out else ""
    pull, expected = (_spread(column[row], one, shape) for column in (found.pull, found.expected))
    return PairVerdict(pair, p, float(found.log10_p[row]), float(found.effect[row]), regions, remark, pull, expected)


def _spread(column: NDArray[np.float64], one: AlignedPair, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """In the bins of the observed element."""
    whole = np.full(shape, np.nan)
    inside = [(bins >= 0) & (bins < size) for bins, size in zip(one.bins, shape, strict=True)]
    whole[np.ix_(*(bins[kept] for bins, kept in zip(one.bins, inside, strict=True)))] = column[np.ix_(*inside)]
    return whole


def _why(one: AlignedPair) -> str:
    """Why there is no p."""
    if one.mean:
        return "insufficient: no bin has a mean with an error in both"
    sides = (("", one.observed, one.observed_variance), (" of the reference", one.reference, one.reference_variance))
    for whose, values, variances in sides:
        if not np.isfinite(values).all() or (variances is not None and not np.isfinite(variances).all()):
            return f"contents{whose} are not finite"
        if variances is None and (values < 0).any():
            return f"contents{whose} are negative, and have no errors"
    if one.observed.size == 1 or all(size == 3 for size in one.observed.shape):
        return "one bin: nothing to compare"
    for whose, values, _ in sides:
        if not values.any():
            return f"insufficient: no entries{whose or ' here'}"
    return f"insufficient: fewer than {LEAST} entries, or all in one bin"
