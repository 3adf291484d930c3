"""What holds of every comparison: order of references, scales, empty bins, neighbours, types, and how it is split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.dqm import compare, compare_2d
from opintel.dqm.comparing.compare import compare_with_floor

FIELDS = ("log10_p", "pull", "effect", "shift", "spoke", "expected", "error")
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, rows: int = 12, bins: int = 30, references: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Counts of falling shapes, from sparse to rich, some with a fault."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(0.3, 3.5, rows)
    shape = np.exp(-rng.uniform(0.0, 6.0, rows)[:, None] * np.arange(bins) / bins)
    mean = level[:, None] * shape
    observed = rng.poisson(mean)
    faulty = rng.random(rows) < 0.3
    observed[faulty, rng.integers(0, bins)] = 0
    return observed, rng.poisson(mean * rng.uniform(0.3, 3.0, (references, 1, 1)), (references, rows, bins))


def same(one: object, other: object, rows: slice | np.ndarray = slice(None)) -> bool:
    """Whether two comparisons are equal to the last bit, of some rows of the first."""
    return all(np.array_equal(getattr(one, name)[rows], getattr(other, name), equal_nan=True) for name in FIELDS)


@given(seed=seeds, cut=st.integers(1, 11), bins=st.sampled_from([2, 30, 300]))
def test_a_histogram_is_judged_alike_in_any_batch(seed: int, cut: int, bins: int) -> None:
    observed, references = drawn(seed, bins=bins)
    whole = compare(observed, references)
    assert same(whole, compare(observed[:cut], references[:, :cut]), slice(0, cut))
    assert same(whole, compare(observed[cut:], references[:, cut:]), slice(cut, None))


@given(seed=seeds)
def test_bad_neighbours_change_nothing(seed: int) -> None:
    observed, references = drawn(seed)
    alone = compare(observed[::2], references[:, ::2])
    spoiled, others = observed.astype(float), references.astype(float)
    spoiled[1::2] = np.random.default_rng(seed).choice([np.nan, np.inf, -1.0, 0.0, 1e300], spoiled[1::2].shape)
    others[:, 3] = np.nan
    assert same(compare(spoiled, others), alone, np.arange(0, 12, 2))
    assert np.isnan(compare(spoiled, others).p_value[3])


@given(seed=seeds)
def test_types_byte_orders_and_strides_do_not_matter(seed: int) -> None:
    observed, references = drawn(seed)
    right = compare(observed, references)
    wide = np.zeros((12, 60), dtype=">i8")
    wide[:, ::2] = observed
    frozen = references.astype(np.float32)
    frozen.setflags(write=False)
    assert same(compare(wide[:, ::2], frozen), right)
    assert same(compare(observed.astype(np.uint16), references[:, ::-1][:, ::-1].tolist()), right)


@given(seed=seeds, order=st.permutations(range(4)))
def test_the_order_of_references_does_not_matter(seed: int, order: list[int]) -> None:
    observed, references = drawn(seed)
    np.testing.assert_allclose(
        compare(observed, references[list(order)]).log10_p, compare(observed, references).log10_p, rtol=1e-6, atol=1e-6
    )


@given(seed=seeds, weight=st.sampled_from([0.02, 2.5, 1000.0]))
def test_one_weight_for_all_entries_is_a_scale(seed: int, weight: float) -> None:
    observed, references = drawn(seed, references=1)
    counts = compare(observed, references)
    weighted = compare(
        observed * weight,
        references,
        observed_variance=observed * weight**2,
    )
    np.testing.assert_allclose(weighted.pull, counts.pull, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(weighted.log10_p, counts.log10_p, rtol=0.05, atol=0.05)


@given(seed=seeds, before=st.integers(0, 40), after=st.integers(0, 40))
def test_bins_that_are_empty_everywhere_change_little(seed: int, before: int, after: int) -> None:
    observed, references = drawn(seed, bins=40)
    plain = compare(observed, references)
    padded = compare(np.pad(observed, [(0, 0), (before, after)]), np.pad(references, [(0, 0), (0, 0), (before, after)]))
    np.testing.assert_allclose(padded.log10_p, plain.log10_p, rtol=0.01, atol=0.01)
    clean = plain.p_value > 1e-3  # elsewhere which bins deviate decides what is expected
    np.testing.assert_allclose(padded.pull[clean, before : before + 40], plain.pull[clean], rtol=1e-9, atol=1e-9)


@given(seed=seeds)
def test_observed_and_reference_may_change_places(seed: int) -> None:
    observed, references = drawn(seed, references=1)
    forth, back = compare(observed, references), compare(references[0], observed[None])
    np.testing.assert_allclose(back.log10_p, forth.log10_p, rtol=0.02, atol=0.02)


def test_a_floor_widens_the_null() -> None:
    rng = np.random.default_rng(5)
    mean = np.full((400, 50), 1e6)
    observed = rng.poisson(mean * rng.normal(1.0, 0.02, mean.shape))
    references = rng.poisson(mean, (1, 400, 50))
    assert (compare(observed, references).p_value < 1e-10).all()
    p = compare_with_floor(observed, references, 0.02).p_value
    assert 0.01 < (p < 0.05).mean() < 0.1  # binomial(400, .05): wrong in 1e-4 of seeds
    dead = mean.copy()
    dead[:, 7] = 0.0
    regions = compare_with_floor(dead, references, np.full(50, 0.02)[None] + np.zeros((400, 1))).regions
    assert all(region == [(7, 7, "dead")] for region in regions)


@pytest.mark.parametrize("shared", [1, 2, 3])
@pytest.mark.parametrize("fault", [0.0, 3.0])
def test_a_fault_that_references_share_stands_out(shared: int, fault: float) -> None:
    rng = np.random.default_rng(shared)
    good = rng.poisson(1000.0, (200, 24))
    references = rng.poisson(1000.0, (8, 200, 24))
    references[:shared, :, 9] = rng.poisson(1000.0 * fault, (shared, 200))
    bad = good.copy()
    bad[:, 9] = rng.poisson(1000.0 * fault, 200)
    found = compare(bad, references)
    assert (np.abs(found.pull[:, 9]) >= 10.0).all()
    assert (np.abs(np.delete(found.pull, 9, axis=1)) < 6.0).all()
    right = [region == [(9, 9, "hot" if fault else "dead")] for region in found.regions]
    assert np.mean(right) > 0.95  # a neighbour 3 sigma off, or any bin 4, is listed too
    assert (compare(good, references).p_value > 1e-3).mean() > 0.985  # expected .999: wrong in 1e-3 of seeds


def test_of_two_references_that_contradict_none_is_believed() -> None:
    rng = np.random.default_rng(4)
    references = rng.poisson(1000.0, (2, 50, 24))
    references[0, :, 9] = 0
    for value in (0.0, 1000.0):
        observed = rng.poisson(1000.0, (50, 24))
        observed[:, 9] = rng.poisson(value, 50)
        assert (np.abs(compare(observed, references).pull[:, 9]) < 4.0).all()


def test_what_goes_wrong_is_told_apart_and_located() -> None:
    rng = np.random.default_rng(8)
    x = np.arange(40)
    mean = 4000.0 * np.exp(-0.5 * ((x - 18.0) / 6.0) ** 2) + 50.0
    references = rng.poisson(mean, (4, 1, 40))

    def regions(changed: np.ndarray) -> list[tuple[object, ...]]:
        return compare(rng.poisson(changed)[None], references).regions[0]

    assert regions(mean) == []
    assert regions(np.where((x >= 14) & (x <= 17), 0.0, mean)) == [(14, 17, "dead")]
    assert regions(np.where((x >= 14) & (x <= 17), mean / 2, mean)) == [(14, 17, "low")]
    assert regions(np.where((x >= 14) & (x <= 17), mean * 2, mean)) == [(14, 17, "hot")]
    assert regions(np.where(x == 35, 1000.0, mean)) == [(35, 35, "noisy")]
    assert [region[-1] for region in regions(np.roll(mean, 2))] == ["shifted"]
    moved = compare(rng.poisson(np.roll(mean, 2))[None], references)
    assert moved.shift[0, 0] == pytest.approx(2.0, abs=0.3)


def test_patches_of_maps_are_located() -> None:
    rng = np.random.default_rng(3)
    references = rng.poisson(30.0, (4, 2, 24, 30))
    observed = rng.poisson(30.0, (2, 24, 30))
    observed[1, 5:9, 20:23] = 0
    observed[1, 20, 3] = 400
    found = compare_2d(observed, references)
    assert found.regions[0] == []
    assert set(found.regions[1]) == {(5, 20, 8, 22, "dead"), (20, 3, 20, 3, "noisy")}
    assert found.pull.shape == found.expected.shape == (2, 24, 30)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (2, 2), (2, 30), (3, 5)])
def test_small_maps_are_judged(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    observed, references = rng.poisson(60.0, (50, *shape)), rng.poisson(60.0, (3, 50, *shape))
    observed[0, -1, -1] = 300
    found = compare_2d(observed, references)
    assert found.p_value[0] < 1e-6
    assert (found.p_value[1:] > 1e-4).all()  # wrong in 5e-3 of seeds
    if 1 in shape:
        flat = compare(observed.reshape(50, -1), references.reshape(3, 50, -1))
        np.testing.assert_allclose(found.pull.reshape(50, -1), flat.pull)


def test_what_cannot_be_judged_is_insufficient() -> None:
    rng = np.random.default_rng(1)
    references = rng.poisson(50.0, (2, 5, 10)).astype(float)
    observed = rng.poisson(50.0, (5, 10)).astype(float)
    observed[0] = 0.0
    observed[1, 3] = np.nan
    observed[2, 3] = -1.0
    observed[3] = 1.0
    found = compare(observed, references)
    assert [found.kind(row) for row in range(5)] == ["insufficient"] * 4 + [""]
    assert found.effect[:4].tolist() == [0.0] * 4
    assert np.isnan(compare(observed[:, :1], references[:, :, :1]).p_value).all()
    assert np.isnan(compare(observed, references[:0]).p_value).all()
    assert compare(observed[:0], references[:, :0]).regions == []


def test_log_p_is_finite_where_p_is_none() -> None:
    found = compare(np.array([[10**6, 0, 0, 10**6]]), np.array([[[0, 10**6, 10**6, 0]]]))
    assert found.p_value[0] == 0.0
    assert -1e8 < found.log10_p[0] < -1e5


@pytest.mark.parametrize(
    ("observed", "references"), [((10,), (1, 10)), ((3, 10), (3, 10)), ((3, 10), (1, 3, 11)), ((3, 4, 5), (1, 3, 4, 5))]
)
def test_shapes_that_do_not_fit_are_refused(observed: tuple[int, ...], references: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected observed"):
        compare(np.ones(observed), np.ones(references))
    with pytest.raises(ValueError, match="expected observed_variance of shape"):
        compare(np.ones((3, 10)), np.ones((1, 3, 10)), observed_variance=np.ones(10))
