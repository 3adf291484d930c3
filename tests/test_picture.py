"""Histograms and images from arrays: nothing is lost that stands out, and nothing grows too large."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from opintel.evidence import MAX_BINS, MAX_BYTES, MAX_MARKS, MAX_PIXELS, MAX_SIDE, Axis, Image, Mark, Region, capped
from opintel.picture import histogram, image, shrunk, values_of

UNIT = Axis("x", "", 0.0, 1.0)


def make(values: object, **more: object) -> Image:
    return image("m", values, UNIT, UNIT, of="v", unit="u", **more)  # type: ignore[arg-type]


def levels(block: Image) -> list[list[int]]:
    return np.frombuffer(block.pixels, np.uint8).reshape(block.rows, block.columns).tolist()


@given(
    arrays.arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-1e9, 1e9) | st.just(math.nan)
    ),
    st.booleans(),
)
def test_a_pixel_is_within_half_a_step_of_its_value(values: np.ndarray, diverging: bool) -> None:
    block = make(values, diverging=diverging)
    shown = values_of(block.scale)[np.array(levels(block))]
    assert (np.isnan(shown) == np.isnan(values)).all()
    step = (block.scale.high - block.scale.low) / 254
    assert np.nanmax(np.abs(shown - values), initial=0.0) <= step / 2 * (1 + 1e-6)


def test_a_logarithmic_scale_has_equal_steps_of_the_logarithm() -> None:
    block = make([[1.0, 10.0, 100.0, 0.0, -3.0]], log=True)
    assert (block.scale.low, block.scale.high) == (1.0, 100.0)
    assert levels(block) == [[1, 128, 255, 1, 1]]
    assert values_of(block.scale)[128] == pytest.approx(10.0)


def test_a_diverging_scale_is_centred_on_zero() -> None:
    block = make([[-2.0, 0.0, 1.0, 2.0]], diverging=True)
    assert (block.scale.low, block.scale.high) == (-2.0, 2.0)
    assert levels(block) == [[1, 128, 192, 255]]


@pytest.mark.parametrize("values", [[[math.nan]], [[0.0]], [[7.0, 7.0]], [[-3.0]]])
@pytest.mark.parametrize("more", [{}, {"diverging": True}, {"log": True}])
def test_values_without_a_range_have_a_scale(values: list[list[float]], more: dict[str, bool]) -> None:
    assert make(values, **more).scale.low < make(values, **more).scale.high


def test_what_lies_beyond_a_given_scale_is_its_end() -> None:
    assert levels(make([[-math.inf, -9.0, 9.0, math.inf]], low=0.0, high=1.0)) == [[1, 1, 255, 255]]


def test_pooling_is_that_of_its_blocks() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1100, 700))
    values[rng.random(values.shape) < 0.3] = math.nan
    values[:3, :3] = math.nan
    mean, extreme = shrunk(values, "mean"), shrunk(values, "extreme")
    rows, columns = mean.shape
    assert (rows <= MAX_SIDE, columns <= MAX_SIDE, 0.9 * MAX_PIXELS < rows * columns <= MAX_PIXELS) == (
        True,
        True,
        True,
    )
    for row, column in [(0, 0), (rows - 1, columns - 1), *rng.integers(0, min(rows, columns), (50, 2)).tolist()]:
        a, b = (row * 1100 // rows, (row + 1) * 1100 // rows), (column * 700 // columns, (column + 1) * 700 // columns)
        there = [v for v in values[slice(*a), slice(*b)].ravel().tolist() if not math.isnan(v)]
        if there:
            assert mean[row, column] == pytest.approx(sum(there) / len(there))
            assert extreme[row, column] == max(there, key=abs)
        else:
            assert math.isnan(mean[row, column])
            assert math.isnan(extreme[row, column])


def test_a_lone_hot_cell_survives() -> None:
    values = np.zeros((3000, 3000))
    values[1234, 2345], values[5, 6] = 9.0, -9.0
    block = make(values, diverging=True, pool="extreme")
    assert sorted(v for row in levels(block) for v in row if v != 128) == [1, 255]


def test_blocks_of_any_array_fit_into_a_finding() -> None:
    rng = np.random.default_rng(2)
    n = 10_000
    numbers = rng.normal(0, 1e5, n)
    bins = histogram(
        "h",
        numbers,
        np.arange(n + 1) / 7,
        axis="x",
        unit="u",
        expected=numbers / 3,
        band=(numbers / 7, numbers / 5, 0.99),
        pulls=numbers / 11,
        regions=[Region(k, k, "dead") for k in range(500)],
    )
    large = make(rng.normal(size=(2000, 2000)), marks=[Mark("m", 0.5, 0.5)] * 500)
    for block in (bins, large):
        assert len(msgspec.json.encode(block)) < MAX_BYTES - 4096
        assert capped([block]) == (block,)
    assert (bins.merged, len(bins.regions), len(large.marks)) == (10, MAX_MARKS, MAX_MARKS)


def test_a_map_of_100_by_100_takes_13_kb() -> None:
    assert len(msgspec.json.encode(make(np.random.default_rng(3).normal(size=(100, 100)), diverging=True))) < 13_700


def test_merged_bins_add_up_and_keep_the_worst_pull() -> None:
    n = 2 * MAX_BINS + 1
    observed, pulls = np.ones(n), np.zeros(n)
    observed[:4], pulls[7], pulls[8] = [math.nan, math.nan, math.nan, 5.0], -6.0, 3.0
    limits = (np.zeros(n), np.full(n, 2.0), 0.9)
    block = histogram(
        "h", observed, np.arange(n + 1), axis="x", unit="u", band=limits, pulls=pulls, regions=[Region(7, 9, "hot")]
    )
    assert (block.merged, block.observed[:3], block.edges[:3], block.edges[-1]) == (
        3,
        [None, 7.0, 3.0],
        [0.0, 3.0, 6.0],
        n,
    )
    assert block.pulls is not None
    assert block.pulls[2] == -6.0
    assert block.regions == [Region(2, 3, "hot")]
    assert block.band is not None
    assert block.band.high[0] == 6.0


def test_categories_are_merged_by_name() -> None:
    names = [f"c{k}" for k in range(MAX_BINS + 1)]
    block = histogram("h", [1] * len(names), names, axis="x", unit="")
    assert (block.categories[0], block.categories[-1], block.edges) == ("c0 … c1", f"c{MAX_BINS}", [])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: make([1.0, 2.0]), "shape"),
        (lambda: make([[]]), "shape"),
        (lambda: histogram("h", [1, 2], [0, 1], axis="x", unit=""), "bins for 2 bins"),
        (lambda: histogram("h", [1, 2], [0, 1, 2], axis="x", unit="", pulls=[1]), "pulls for 2 bins"),
        (lambda: histogram("h", [1, 2], [0, 1, 2], axis="x", unit="", band=([0, 0], [1], 0.9)), "high for 2 bins"),
        (lambda: histogram("h", [], [0], axis="x", unit=""), "1 to 1024 bins"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
