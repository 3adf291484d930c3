"""A model of good runs: its p is calibrated where good runs vary, it finds what does not vary so, and it says what it
needs.

Rates are of p <= .01 and .001 over some thousand histograms; limits are three binomial standard deviations beyond
what is promised: at most 1.25 of nominal for statistics alone, at most 2.5 (.01) and 12 (.001) of it where 20
references or fewer say how far a pattern goes, which nobody can know better.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from opintel.dqm import ReferenceModel

Floats = NDArray[np.float64]
BINS = 40
SHARE = np.exp(-np.arange(BINS) / 12.0)
SHARE /= SHARE.sum()
LINE = np.linspace(-1.0, 1.0, BINS)


def tilted(rng: np.random.Generator, runs: int, rows: int, entries: float, tilt: float = 0.2) -> Floats:
    """Good runs (runs, rows, BINS) that are tilted by a random amount, as by a gain."""
    shares = SHARE * (1.0 + tilt * np.clip(rng.normal(size=(runs, rows, 1)), -2.5, 2.5) * LINE)
    return rng.poisson(entries * shares).astype(np.float64)


def rates(p: Floats) -> tuple[float, float]:
    return float((p <= 0.01).mean()), float((p <= 0.001).mean())


@pytest.mark.parametrize("references", [8, 20, 60])
@pytest.mark.parametrize("entries", [300.0, 10_000.0])
def test_p_is_calibrated_where_statistics_are_all(references: int, entries: float) -> None:
    rng = np.random.default_rng([references, int(entries)])
    good = rng.poisson(entries * SHARE, (references, 100, BINS))
    p = ReferenceModel().fit(good).judge(rng.poisson(entries * SHARE, (40, 100, BINS))).p_value
    often, rarely = rates(p)
    assert often <= 0.0125 + 3 * np.sqrt(0.0125 / p.size)
    assert rarely <= 0.00125 + 3 * np.sqrt(0.00125 / p.size)
    assert 0.25 < np.median(p) < 0.95


@pytest.mark.parametrize("references", [8, 20, 60])
def test_p_is_calibrated_where_good_runs_vary(references: int) -> None:
    rng = np.random.default_rng(references)
    model = ReferenceModel().fit(tilted(rng, references, 100, 5000.0))
    p = model.judge(tilted(rng, 40, 100, 5000.0)).p_value
    often, rarely = rates(p)
    assert often <= 0.025 + 3 * np.sqrt(0.025 / p.size)
    assert rarely <= 0.012 + 3 * np.sqrt(0.012 / p.size)


def test_what_good_runs_do_is_no_fault_and_what_they_do_not_is_found_at_any_statistics() -> None:
    rng = np.random.default_rng(3)
    model = ReferenceModel().fit(tilted(rng, 40, 20, 20_000.0))
    for entries, factor in ((2000.0, 0.0), (20_000.0, 0.6), (200_000.0, 0.85)):
        faulty = tilted(rng, 5, 20, entries)
        assert np.median(model.judge(faulty).p_value) > 0.05
        faulty[..., 3] = rng.binomial(faulty[..., 3].astype(int), factor)
        found = model.judge(faulty)
        assert (found.p_value <= 0.001).mean() > 0.9
        assert (found.pull.argmin(axis=-1) == 3).mean() > 0.9


def of_runs(rng: np.random.Generator, runs: int, each: int, rows: int) -> Floats:
    """Lumisections (runs * each, rows, BINS): each run is tilted, and its lumisections a third of that besides."""
    tilt = 0.2 * rng.normal(size=(runs, 1, rows, 1)) + 0.07 * rng.normal(size=(runs, each, rows, 1))
    shares = SHARE * (1.0 + np.clip(tilt, -0.6, 0.6) * LINE)
    return rng.poisson(5000.0 * shares).reshape(-1, rows, BINS).astype(np.float64)


@pytest.mark.parametrize(("runs", "limit"), [(3, 0.06), (4, 0.06), (12, 0.025)])
def test_lumisections_of_few_runs_do_not_pass_for_many(runs: int, limit: float) -> None:
    """Lumisections of runs that the model has not seen, 1200 histograms: p <= .01 in at most `limit` and three standard
    deviations; three runs that pass for 45 references give more than twice as many. Of twelve, faults are found."""
    rng = np.random.default_rng([14, runs])
    good, new = of_runs(rng, runs, 15, 60), of_runs(rng, 20, 1, 60)
    run = np.repeat(np.arange(runs), 15)
    often, _ = rates(ReferenceModel().fit(good, run).judge(new).p_value)
    assert often <= limit + 3 * np.sqrt(limit / new[..., 0].size)
    if runs == 3:
        assert rates(ReferenceModel().fit(good).judge(new).p_value)[0] > 2 * often
    if runs == 12:
        new[..., 3] = 0.0
        assert (ReferenceModel().fit(good, run).judge(new).p_value <= 0.01).mean() > 0.9


def test_a_run_that_stays_where_lumisections_only_pass_by_is_found() -> None:
    """Five standard deviations of what lumisections do besides their runs, threshold at 1 % of 800 new good ones: a
    model that takes lumisections for runs finds a sixth of these."""
    rng = np.random.default_rng(15)
    wave = np.cos(np.arange(BINS) / 2.0)

    def lumisections(runs: int, each: int) -> Floats:
        gain = np.repeat(0.1 * rng.normal(size=(runs, 20, 1)), each, axis=0) * LINE
        drift = (0.1 * rng.normal(size=(runs * each, 20, 1)) * wave).clip(-0.3, 0.3)
        return rng.poisson(20_000.0 * SHARE * (1.0 + gain + drift)).astype(np.float64)

    good, new = lumisections(4, 30), lumisections(40, 1)
    far = rng.poisson(20_000.0 * SHARE * (1.0 + 0.5 * wave), (10, 20, BINS))
    found = []
    for runs in (np.repeat(["a", "b", "c", "d"], 30), None):
        model = ReferenceModel().fit(good, runs)
        found.append((model.judge(far).log10_p < np.quantile(model.judge(new).log10_p, 0.01)).mean())
    assert found[0] > 0.95
    assert found[1] < 0.4


def test_labels_of_one_run_or_of_as_many_as_references_change_nothing() -> None:
    rng = np.random.default_rng(16)
    good, observed = tilted(rng, 12, 3, 3000.0), tilted(rng, 1, 3, 3000.0)[0]
    plain = ReferenceModel().fit(good).judge(observed).log10_p
    for runs in (np.zeros(12), np.arange(12)):
        np.testing.assert_array_equal(ReferenceModel().fit(good, runs).judge(observed).log10_p, plain)
    with pytest.raises(ValueError, match="expected the runs of 12 references"):
        ReferenceModel().fit(good, np.zeros(11))


def test_a_histogram_that_one_run_alone_has_is_insufficient() -> None:
    rng = np.random.default_rng(17)
    good, observed = of_runs(rng, 3, 10, 3), of_runs(rng, 1, 1, 3)[0]
    run = np.repeat([7, 8, 9], 10)
    whole = ReferenceModel().fit(good, run).judge(observed).p_value
    good[10:, 0] = 0.0
    good[21:, 1] = np.nan
    found = ReferenceModel().fit(good, run).judge(observed).p_value
    assert np.isnan(found).tolist() == [True, False, False]
    assert found[2] == whole[2]


def test_a_region_says_what_and_where() -> None:
    rng = np.random.default_rng(4)
    model = ReferenceModel().fit(tilted(rng, 30, 2, 20_000.0))
    observed = tilted(rng, 1, 2, 20_000.0)[0]
    observed[1, 11] = 0.0
    first, second = model.judge(observed).regions
    assert first == []
    assert (11, 11, "dead") in second


def test_a_strange_reference_is_not_learned_from() -> None:
    rng = np.random.default_rng(5)
    good = tilted(rng, 20, 5, 20_000.0)
    good[3, :, 7] = 0.0
    good[12, :, 20] *= 4.0
    model = ReferenceModel().fit(good)
    assert (model.given <= 18).all()
    dead = tilted(rng, 1, 5, 20_000.0)[0]
    dead[:, 7] = 0.0
    assert (model.judge(dead).p_value < 1e-4).all()


def test_the_variation_can_be_moved_to_another_mean() -> None:
    """After conditions changed, one good run says where the mean is; the pattern of good runs stays."""
    rng = np.random.default_rng(6)
    model = ReferenceModel().fit(tilted(rng, 30, 30, 10_000.0))
    other = np.exp(-np.square(np.arange(BINS) - 20.0) / 200.0)
    other /= other.sum()

    def good(runs: int) -> Floats:
        return rng.poisson(1e4 * other * (1.0 + 0.2 * rng.normal(size=(runs, 30, 1)).clip(-2, 2) * LINE)).astype(float)

    moved = model.around(good(4))
    now = good(20)
    assert (model.judge(now).p_value < 1e-6).mean() > 0.99
    assert (moved.judge(now).p_value <= 0.01).mean() < 0.1
    now[..., 20] = 0.0
    assert (moved.judge(now).p_value <= 0.001).mean() > 0.95


def test_histograms_are_judged_each_for_itself() -> None:
    rng = np.random.default_rng(7)
    good, observed = tilted(rng, 12, 6, 3000.0), tilted(rng, 1, 6, 3000.0)[0]
    whole = ReferenceModel().fit(good).judge(observed)
    spoiled, alone = good.copy(), ReferenceModel().fit(good[:, 2:3]).judge(observed[2:3])
    spoiled[:, 0] = np.nan
    spoiled[:, 1] = 0.0
    beside = ReferenceModel().fit(spoiled).judge(observed)
    assert np.isnan(beside.p_value[:2]).all()
    np.testing.assert_array_equal(beside.p_value[2:], whole.p_value[2:])
    np.testing.assert_array_equal(beside.pull[2:], whole.pull[2:])
    np.testing.assert_allclose(alone.log10_p, whole.log10_p[2:3], rtol=1e-9)
    many = ReferenceModel().fit(good).judge(np.stack([observed, observed[::-1]]))
    np.testing.assert_array_equal(many.p_value[0], whole.p_value)
    assert many.pull.shape == (2, 6, BINS)
    assert len(many.regions) == 12


def test_observed_that_cannot_be_judged_is_insufficient() -> None:
    rng = np.random.default_rng(8)
    observed = np.repeat(tilted(rng, 1, 1, 3000.0)[0], 5, axis=0)
    observed[0] = 0.0
    observed[1, 4] = np.inf
    observed[2, 4] = -1.0
    observed[3] = 0.0
    observed[3, :19] = 1.0
    found = ReferenceModel().fit(tilted(rng, 10, 5, 3000.0)).judge(observed)
    assert np.isnan(found.p_value).tolist() == [True, True, True, True, False]
    assert found.regions[:4] == [[], [], [], []]


def test_log_p_is_finite_where_p_is_none() -> None:
    rng = np.random.default_rng(9)
    model = ReferenceModel().fit(tilted(rng, 10, 1, 1e6))
    found = model.judge(1e9 * SHARE[None, ::-1])
    assert found.p_value[0] == 0.0 or found.p_value[0] < 1e-20
    assert np.isfinite(found.log10_p).all()


def test_the_state_is_plain_arrays() -> None:
    rng = np.random.default_rng(10)
    model, observed = ReferenceModel().fit(tilted(rng, 15, 3, 3000.0)), tilted(rng, 1, 3, 3000.0)[0]
    state = model.state()
    assert all(isinstance(part, np.ndarray) and part.dtype != object for part in state.values())
    restored = ReferenceModel().restore(state)
    np.testing.assert_array_equal(restored.judge(observed).log10_p, model.judge(observed).log10_p)
    np.testing.assert_array_equal(restored.given, [15, 15, 15])


def test_it_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="expected at least 8 references, got 7"):
        ReferenceModel().fit(np.ones((7, 1, 10)))
    with pytest.raises(ValueError, match="expected references"):
        ReferenceModel().fit(np.ones((10, 10)))
    with pytest.raises(ValueError, match="fitted"):
        ReferenceModel().judge(np.ones((1, 10)))
    model = ReferenceModel().fit(np.full((8, 2, 10), 50.0))
    with pytest.raises(ValueError, match="expected observed"):
        model.judge(np.ones((3, 10)))
    with pytest.raises(ValueError, match="expected references"):
        model.around(np.ones((3, 10)))


def test_real_variation_of_shapes(shared_data: Path) -> None:
    """Six of the histograms, 300 clean draws each: p <= .01 in at most 2.5 %, and the goals that need no luck."""
    from opintel.dqm.modelled.evaluate_references import SHAPES, shapes

    if not (shared_data / "dqm" / SHAPES).exists():
        pytest.skip(f"no {SHAPES} in the sample data")
    found = shapes(shared_data / "dqm", references=40, cases=20, clean=300, histograms=6)
    assert max(found["false_positives_at_p_0.01"].values()) < 0.025
    cells = found["true_positive_rate"]
    for cell, rate in (("dead@2000", 0.95), ("dead@100000", 0.99), ("half@100000", 0.99), ("shift@100000", 0.95)):
        assert cells[cell] >= rate, cell
    assert found["mean"] > 0.75
