"""A group of histograms with equal axes against the references that stage 1 keeps of them: sums in, verdicts out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.comparing.compare import compare_with_floor
from opintel.dqm.comparing.comparison import Comparison
from opintel.dqm.comparing.means import compare_means
from opintel.dqm.elements import Storage
from opintel.dqm.rolling.histories import SHARED, Floats, Ints
from opintel.dqm.rolling.pictures import NOTHING_NAMED, Explained, Place, pictures, placed
from opintel.dqm.rolling.quick_look import COUNTED, quick_look
from opintel.dqm.rolling.shared_scatter import carried
from opintel.evidence import Evidence

BINS = 65_536
"""That are looked at together."""
PICTURED = 500
"""Histograms of one storage and size that get pictures in a lumisection, the most surprising ones: where 10^4 change at
once, pictures would cost more than all else."""
LARGEST = 1e6
"""Pulls are said to be no larger."""


class Remark(NamedTuple):
    """What stands out in a histogram that is explained."""

    kind: str
    place: str
    evidence: tuple[Evidence, ...]
    test: str
    """As `Comparison.test` has it."""


NOTHING = Remark("", "", (), "")
"""Where nothing does."""


class Compared(NamedTuple):
    """What is said of n histograms."""

    log10_p: NDArray[np.float64]
    """(n,); 0 of those that a quick look calls calm; NaN where there was nothing to compare."""
    effect: NDArray[np.float64]
    """(n,) the largest pull, with its sign; 0 of those that are calm."""
    excess: NDArray[np.float64]
    """(n,) an estimate of the squared relative error of a bin beyond statistics; NaN where there is none."""
    shared: NDArray[np.float64]
    """(n, SHARED) estimates of the variance of the smooth components beyond statistics and floor; NaN likewise."""
    remarks: dict[int, Remark]
    """Which → what stands out."""


class ToCompare(NamedTuple):
    """n histograms with equal axes and storage, to be compared."""

    paths: Sequence[str]
    axes: str
    storage: Storage
    x: int
    """Values of a row of a map; all of them in one dimension."""
    sums: Floats
    """(planes, n, size), as `histories` keeps them."""
    references: Callable[[Ints], Floats]
    """(R, planes, some, size) of some of them."""
    floor: NDArray[np.float64]
    """(n,) relative systematic errors."""
    shared: NDArray[np.float64]
    """(n, SHARED) variance of the smooth components beyond statistics and floor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one of them."""
        size = self.sums.shape[2]
        return (size,) if self.x == size else (size // self.x, self.x)


class Explain(NamedTuple):
    """What is explained, and how."""

    log10_p: float
    """Histograms at most this get words on what stands out, and the most surprising get pictures."""
    elements: Mapping[str, Mapping[str, Sequence[float]]] = {}
    """Pattern of paths → name of a detector element → where it lies, as `placed` has it."""

    def named(self, path: str) -> Mapping[str, Sequence[float]]:
        """The elements that a histogram shows."""
        return next((its for pattern, its in self.elements.items() if fnmatchcase(path, pattern)), NOTHING_NAMED)


def compared(asked: Sequence[ToCompare], explain: Explain) -> list[Compared]:
    """Compares each with its references.

    Counts are looked at quickly first; what is not plainly calm, and what is weighted or a mean, is compared in full.
    There histograms of one dimension are filled up with empty bins to one of a few sizes, which says nothing of them,
    and compared together: a detector has hundreds of different axes.
    """
    answers = [_nothing_odd(len(one.paths)) for one in asked]
    rest = _not_calm(asked, answers)
    alike: dict[tuple[Storage, tuple[int, ...]], list[int]] = {}
    for at, one in enumerate(asked):
        if len(rest[at]):
            alike.setdefault((one.storage, _room(one)), []).append(at)
    for (storage, room), places in alike.items():
        size = int(np.prod(room))
        sums = np.concatenate([_filled(asked[at].sums[:, rest[at]], size) for at in places], axis=1)
        references = np.concatenate([_filled(asked[at].references(rest[at]), size) for at in places], axis=2)
        floor = np.concatenate([asked[at].floor[rest[at]] for at in places])
        shared = np.full((len(floor), SHARED), np.nan)
        if storage != "mean":
            usual = np.concatenate([asked[at].shared[rest[at]] for at in places])
            references, shared = carried(sums, references, floor, usual, room)
        found = _comparison(storage, sums, references, floor, (sums.shape[1], *room))
        excess = _excess(storage, found, sums, references)
        drawn = np.zeros(len(found.log10_p), dtype=np.bool_)
        drawn[np.argsort(found.log10_p, kind="stable")[:PICTURED]] = True
        begin = 0
        for at in places:
            _answer(asked[at], rest[at], found, begin, explain, drawn, answers[at])
            here = slice(begin, begin + len(rest[at]))
            answers[at].excess[rest[at]], answers[at].shared[rest[at]] = excess[here], shared[here]
            begin += len(rest[at])
    return answers


def _nothing_odd(n: int) -> Compared:
    return Compared(np.zeros(n), np.zeros(n), np.full(n, np.nan), np.full((n, SHARED), np.nan), {})


def _not_calm(asked: Sequence[ToCompare], answers: Sequence[Compared]) -> list[Ints]:
    """Which histograms of each are not calm; how those that are scatter is written into the answers."""
    rest = [np.arange(len(one.paths)) for one in asked]
    alike: dict[tuple[int, ...], list[int]] = {}
    for at, one in enumerate(asked):
        if one.storage == "count" and len(one.paths):
            alike.setdefault(one.shape, []).append(at)
    for shape, places in alike.items():
        calm = {at: np.zeros(len(asked[at].paths), dtype=np.bool_) for at in places}
        for parts in _parts(places, rest, max(1, BINS // int(np.prod(shape)))):
            observed = _joined([asked[at].sums[0, some[0] : some[-1] + 1] for at, some in parts], 0)
            references = _joined([asked[at].references(some)[:, 0] for at, some in parts], 1)
            look = quick_look(observed, references, _joined([asked[at].floor[some] for at, some in parts], 0), shape)
            begin = 0
            for at, some in parts:
                here = slice(begin, begin + len(some))
                calm[at][some], answers[at].excess[some] = look.calm[here], look.excess[here]
                answers[at].shared[some] = look.shared[here]
                begin += len(some)
        for at in places:
            rest[at] = np.flatnonzero(~calm[at])
    return rest


def _joined(tables: list[NDArray[Any]], axis: int) -> NDArray[Any]:
    return tables[0] if len(tables) == 1 else np.concatenate(tables, axis=axis)


def _parts(places: Sequence[int], rows: Sequence[Ints], most: int) -> Iterator[list[tuple[int, Ints]]]:
    """All rows in these places, at most so many at a time: (place, rows) each."""
    parts: list[tuple[int, Ints]] = []
    room = most
    for at in places:
        left = rows[at]
        while len(left):
            parts.append((at, left[:room]))
            room, left = room - len(left[:room]), left[room:]
            if not room:
                yield parts
                parts, room = [], most
    if parts:
        yield parts


def _room(one: ToCompare) -> tuple[int, ...]:
    """The shape in which it is compared in full."""
    return one.shape if len(one.shape) == 2 else (max(16, 1 << (one.x - 1).bit_length()),)


def _filled(table: Floats, size: int) -> Floats:
    """The same with empty bins behind."""
    more = size - table.shape[-1]
    return np.concatenate([table, np.zeros((*table.shape[:-1], more), table.dtype)], axis=-1) if more else table


def _answer(
    one: ToCompare,
    rows: Ints,
    found: Comparison,
    begin: int,
    explain: Explain,
    drawn: NDArray[np.bool_],
    answer: Compared,
) -> None:
    """Writes what is said of these rows, those from `begin` of what was found; with pictures where `drawn`."""
    size, here = one.sums.shape[2], slice(begin, begin + len(rows))
    answer.log10_p[rows] = np.minimum(found.log10_p[here], 0.0)
    answer.effect[rows] = np.clip(np.nan_to_num(found.effect[here]), -LARGEST, LARGEST)
    for at in np.flatnonzero(found.log10_p[here] <= explain.log10_p).tolist():
        row, n = begin + at, int(rows[at])
        regions = _regions(found, row)
        test = found.test(row)
        kind = regions[0][4] if regions else "shifted" if test == "shape" else "changed"
        place = placed(one.axes, regions, explain.named(one.paths[n]))
        if not drawn[row]:
            answer.remarks[n] = Remark(kind, place, (), test)
            continue
        flat = (part[row] for part in (found.observed, found.expected, found.error, found.pull))
        arrays = [np.asarray(part, dtype=np.float64).reshape(-1)[:size].reshape(-1, one.x) for part in flat]
        what = Explained(arrays[0], arrays[1], arrays[2], arrays[3], regions)
        shown = pictures(one.paths[n], one.axes, one.storage, what)
        answer.remarks[n] = Remark(kind, place, shown, test)


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
