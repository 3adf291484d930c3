"""A group of histograms with equal axes against the references that stage 1 keeps of them: sums in, verdicts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing import compare_with_floor
from opintel.dqm.comparison import Comparison
from opintel.dqm.elements import Storage
from opintel.dqm.histories import Floats
from opintel.dqm.means import compare_means
from opintel.dqm.pictures import Explained, Place, pictures, placed
from opintel.evidence import Evidence

COUNTED = 5.0
"""Entries expected in a bin from which on its scatter says something of the systematic error."""
LARGEST = 1e6
"""Pulls are said to be no larger."""


class Compared(NamedTuple):
    """What is said of n histograms."""

    log10_p: NDArray[np.float64]
    """(n,); NaN where there was nothing to compare."""
    effect: NDArray[np.float64]
    """(n,) the largest pull, with its sign."""
    excess: NDArray[np.float64]
    """(n,) an estimate of the squared relative error of a bin beyond statistics; NaN where there is none."""
    kinds: list[str]
    """Of what stands out in those that are explained; else empty."""
    places: list[str]
    evidence: list[tuple[Evidence, ...]]

    def of(self, n: int) -> dict[str, Any]:
        """What a `HistogramOutcome` takes over of one of them."""
        return {
            "log10_p": float(self.log10_p[n]),
            "effect": float(self.effect[n]),
            "kind": self.kinds[n],
            "place": self.places[n],
            "evidence": self.evidence[n],
        }


class ToCompare(NamedTuple):
    """n histograms with equal axes and storage, to be compared."""

    paths: Sequence[str]
    axes: str
    storage: Storage
    x: int
    """Values of a row of a map; all of them in one dimension."""
    sums: Floats
    """(planes, n, size), as `histories` keeps them."""
    references: Floats
    """(R, planes, n, size)."""
    floor: NDArray[np.float64]
    """(n,) relative systematic errors."""


def compared(asked: Sequence[ToCompare], *, explain: float) -> list[Compared]:
    """Compares each with its references. Those with log10 p at most `explain` get pictures.

    Histograms of one dimension are filled up with empty bins to one of a few sizes, which says nothing of them, and
    compared together: a detector has hundreds of different axes.
    """
    answers: dict[int, Compared] = {}
    alike: dict[tuple[Storage, tuple[int, ...]], list[int]] = {}
    for at, one in enumerate(asked):
        if one.paths:
            alike.setdefault((one.storage, _room(one)), []).append(at)
        else:
            answers[at] = Compared(np.zeros(0), np.zeros(0), np.zeros(0), [], [], [])
    for (storage, room), places in alike.items():
        size = int(np.prod(room))
        sums = np.concatenate([_filled(asked[at].sums, size) for at in places], axis=1)
        references = np.concatenate([_filled(asked[at].references, size) for at in places], axis=2)
        floor = np.concatenate([asked[at].floor for at in places])
        found = _comparison(storage, sums, references, floor, (sums.shape[1], *room))
        excess = _excess(storage, found, sums, references)
        begin = 0
        for at in places:
            n = len(asked[at].paths)
            answers[at] = _answer(asked[at], found, excess, begin, explain)
            begin += n
    return [answers[at] for at in range(len(asked))]


def _room(one: ToCompare) -> tuple[int, ...]:
    """The shape in which it is compared."""
    size = one.sums.shape[2]
    return (max(16, 1 << (size - 1).bit_length()),) if one.x == size else (size // one.x, one.x)


def _filled(table: Floats, size: int) -> Floats:
    """The same with empty bins behind."""
    more = size - table.shape[-1]
    return np.concatenate([table, np.zeros((*table.shape[:-1], more), table.dtype)], axis=-1) if more else table


def _answer(one: ToCompare, found: Comparison, excess: NDArray[np.float64], begin: int, explain: float) -> Compared:
    n, size = one.sums.shape[1:]
    here = slice(begin, begin + n)
    log10_p = np.minimum(found.log10_p[here], 0.0)
    kinds, places = [""] * n, [""] * n
    evidence: list[tuple[Evidence, ...]] = [()] * n
    for row in np.flatnonzero(log10_p <= explain).tolist():
        regions = _regions(found, begin + row)
        kinds[row] = regions[0][4] if regions else "shifted" if found.test(begin + row) == "shape" else "changed"
        places[row] = placed(one.axes, regions)
        flat = (part[begin + row] for part in (found.observed, found.expected, found.error, found.pull))
        arrays = [np.asarray(part, dtype=np.float64).reshape(-1)[:size].reshape(-1, one.x) for part in flat]
        what = Explained(arrays[0], arrays[1], arrays[2], arrays[3], regions)
        evidence[row] = pictures(one.paths[row], one.axes, one.storage, what)
    effect = np.clip(np.nan_to_num(found.effect[here]), -LARGEST, LARGEST)
    return Compared(log10_p, effect, excess[here], kinds, places, evidence)


def _comparison(
    storage: Storage, sums: Floats, references: Floats, floor: NDArray[np.float64], shape: tuple[int, ...]
) -> Comparison:
    into = (len(references), *shape)
    if storage == "mean":
        (mean, variance), (means, variances) = _means(sums), _means(references.transpose(1, 0, 2, 3))
        error = floor[:, None] * np.abs(np.nan_to_num(mean))
        around = (mean.reshape(shape), variance.reshape(shape), means.reshape(into), variances.reshape(into))
        return compare_means(*around, floor=error.reshape(shape))
    if storage == "weighted":
        return compare_with_floor(
            sums[0].reshape(shape),
            references[:, 0].reshape(into),
            floor,
            observed_variance=sums[1].reshape(shape),
            reference_variance=references[:, 1].reshape(into),
            axes=len(shape) - 1,
        )
    return compare_with_floor(sums[0].reshape(shape), references[:, 0].reshape(into), floor, axes=len(shape) - 1)


def _means(sums: Floats) -> tuple[Floats, Floats]:
    """(means, their variances) of weighted means and weights (2, …); NaN where there is no weight."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[1] > 0, sums[0] / sums[1], np.nan), np.where(sums[1] > 0, 1.0 / sums[1], np.nan)


def _regions(found: Comparison, row: int) -> list[Place]:
    """The regions of a histogram or map, in one form."""
    regions: list[Any] = found.located(row)
    return [(0, one[0], 0, one[1], one[2]) if len(one) == 3 else one for one in regions]


def _excess(storage: Storage, found: Comparison, sums: Floats, references: Floats) -> NDArray[np.float64]:
    """The mean squared departure beyond statistics as a share of the contents squared, over the bins that have entries
    enough. (observed − expected)² has the mean v + f² expected²; of counts v = expected (1 + observed total / reference
    total), else v is the sum of the variances.
    """
    n = len(found.log10_p)
    observed, expected = found.observed.reshape(n, -1), found.expected.reshape(n, -1)
    if storage == "count":
        total = references[:, 0].sum(axis=(0, 2), dtype=np.float64)
        ratio = 1.0 + expected.sum(axis=1) / np.maximum(total, 1.0)
        enough, variance = expected >= COUNTED, expected * ratio[:, None]
    elif storage == "mean":
        weight = references[:, 1].sum(axis=0, dtype=np.float64)
        enough = (sums[1] > 0) & (weight > 0) & np.isfinite(expected)
        variance = 1.0 / np.where(enough, sums[1], 1.0) + 1.0 / np.where(enough, weight, 1.0)
    else:
        whole = references.sum(axis=0, dtype=np.float64)
        scale = expected.sum(axis=1) / np.where(whole[0].sum(axis=1) > 0, whole[0].sum(axis=1), np.inf)
        with np.errstate(over="ignore"):
            enough = np.square(expected) >= COUNTED * sums[1]
        variance = sums[1] + whole[1] * np.square(scale)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(enough, np.square(observed - expected) - variance, 0.0).sum(axis=1)
        weight = np.where(enough, np.square(expected), 0.0).sum(axis=1)
        return np.where(weight > 0, off / weight, np.nan)
