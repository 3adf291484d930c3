"""The quick look calls calm only what the full comparison would not call strange."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from opintel.dqm.comparing.compare import compare_with_floor
from opintel.dqm.rolling.quick_look import LIMIT, quick_look

Floats = NDArray[np.float64]
SHAPES = {"flat": 0.0, "falling": -5.0, "peak": 0.0}


def usual(form: str, mean: float, bins: int) -> Floats:
    """Expected contents of `mean` a bin."""
    x = (np.arange(bins) + 0.5) / bins
    weights = np.exp(SHAPES[form] * x - (0.5 * ((x - 0.4) / 0.05) ** 2 if form == "peak" else 0.0))
    return np.asarray(mean * weights / weights.mean())


def faults(rng: np.random.Generator, expected: Floats, rows: int, shape: tuple[int, ...]) -> Floats:
    """(rows, bins) what is expected of histograms with a fault of six kinds, hardly to be seen most of them."""
    mean, (n, bins) = np.tile(expected, (rows, 1)), (rows // 6, len(expected))
    at = rng.integers(bins, size=rows)
    mean[np.arange(n), at[:n]] = 0.0
    hot = np.arange(n, 2 * n)
    mean[hot, at[hot]] += 4.0 * np.sqrt(mean[hot, at[hot]]) + 4.0
    for row in range(2 * n, 3 * n):
        part = mean[row].reshape(shape)[tuple(slice(i := int(rng.integers(most - 3)), i + 4) for most in shape)]
        part *= max(0.0, 1.0 - 4.0 / np.sqrt(part.sum() + 1.0))
    slope = np.linspace(-1.0, 1.0, bins)
    mean[3 * n : 4 * n] *= np.exp(6.0 / np.sqrt(expected.sum()) * slope)
    mean[4 * n : 5 * n] *= np.exp(0.6 / np.sqrt(expected.mean()) * rng.standard_normal((n, bins)))
    return mean  # the last sixth has none


@pytest.mark.parametrize("shape", [(100,), (36,), (20, 20)])
def test_what_is_strange_in_full_is_hardly_ever_calm(shape: tuple[int, ...]) -> None:
    """Of those with p <= 1e-3 at most .5 % (some .03 % where thousands are tried), with p <= 1e-5 none; of those
    without a fault at most 5 % are compared in full (.4 to 1.8 % where thousands are tried)."""
    rng, bins = np.random.default_rng(11), int(np.prod(shape))
    rows = 600 if len(shape) == 1 else 90
    log10_p, calm = [], []
    for form in SHAPES:
        for mean in (1.0, 3.0, 30.0, 500.0):
            for floor in (0.0, 0.02):
                expected = usual(form, mean, bins)
                references = rng.poisson(10.0 * expected, (5, rows, bins)).astype("<f4")
                observed = rng.poisson(faults(rng, expected, rows, shape)).astype("<f4")
                floors = np.full(rows, floor)
                calm.append(quick_look(observed, references, floors, shape).calm)
                into = (references.reshape(5, rows, *shape), floors)
                log10_p.append(compare_with_floor(observed.reshape(rows, *shape), *into, axes=len(shape)).log10_p)
    p, is_calm = np.concatenate(log10_p), np.concatenate(calm)
    strange = p <= np.log10(LIMIT)
    assert strange.sum() > 500
    assert is_calm[strange].mean() <= 0.005
    assert not is_calm[p <= -5.0].any()
    good = np.concatenate([one[-(rows // 6) :] for one in calm])
    assert 1.0 - good.mean() <= 0.05


def ordinary(rows: int = 7) -> tuple[NDArray[np.float32], NDArray[np.float32], Floats]:
    """Observed, references and floors of histograms of 50 bins."""
    rng, expected = np.random.default_rng(12), usual("falling", 40.0, 50)
    observed, references = rng.poisson(expected, (rows, 50)), rng.poisson(10.0 * expected, (4, rows, 50))
    return observed.astype("<f4"), references.astype("<f4"), np.linspace(0.0, 0.1, rows)


@pytest.mark.parametrize("shape", [(50,), (5, 10)])
def test_what_is_said_of_one_does_not_depend_on_the_others(shape: tuple[int, ...]) -> None:
    observed, references, floor = ordinary()
    observed[3, 4], references[1, 5, 6] = np.nan, np.inf
    together = quick_look(observed, references, floor, shape)
    for row in range(len(observed)):
        at = slice(row, row + 1)
        alone = quick_look(observed[at], references[:, at], floor[at], shape)
        assert alone.calm[0] == together.calm[row]
        assert alone.excess.tobytes() == together.excess[at].tobytes()


def test_what_cannot_be_judged_is_not_calm() -> None:
    observed, references, floor = ordinary(10)
    assert quick_look(observed, references, floor, (50,)).calm.all()
    observed[0, 3] = np.nan
    observed[1, 3] = -1.0
    observed[2] = 0.0
    observed[2, :2] = 9.0  # fewer than 20 entries
    references[:, 3] = 0.0
    references[2, 4, 7] *= 3.0  # one of four contradicts the others
    references[:, 5, 7] = np.inf
    observed[6, 2:], references[:, 6, 2:] = 0.0, 0.0  # two bins are one thing to say
    assert quick_look(observed, references, floor, (50,)).calm.tolist() == [False] * 7 + [True] * 3


def test_a_sparse_map_under_a_floor_is_judged_as_counts() -> None:
    """A floor makes counts a little smaller than whole; 200 clean maps of .3 a cell: 2 ± 1.4 are below 1e-2."""
    rng = np.random.default_rng(13)
    references, observed = rng.poisson(3.0, (4, 200, 30, 30)), rng.poisson(0.3, (200, 30, 30))
    assert (compare_with_floor(observed, references, 0.02, axes=2).p_value <= 1e-2).sum() <= 8
