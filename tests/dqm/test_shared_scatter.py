"""A histogram that moves to and fro as a whole within a run: known after some lumisections, and faults are found beside
it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from opintel.dqm import compare
from opintel.dqm.comparing.statistics import shape_components
from opintel.dqm.rolling.histories import SHARED
from opintel.dqm.rolling.shared_scatter import carried
from opintel.stats.counts import Floats

from .lumisections import Stages, element, shape

MOVES = 0.35
"""Bins by which the moving histogram lies off, one standard deviation: four times what its entries let one know."""


def line(rng: np.random.Generator, moves: float) -> NDArray[np.int64]:
    """Some 3000 entries."""
    return rng.poisson(shape(peak=12.0 + moves * rng.standard_normal()))


def out(stages: Stages, contents: NDArray[np.int64], number: int) -> bool:
    """Whether a lumisection stands out."""
    stages.play(5, [number], lambda _: [element("h", contents)])
    (outcome,) = [r.payload for r in stages.records if r.key.endswith("|h")]
    return outcome.log10_p is not None and bool(outcome.log10_p <= -4.0)


def test_what_moves_as_it_used_to_stands_out_hardly_ever() -> None:
    """Of 150 lumisections after 50, p <= 1e-4 in at most 3; in a comparison by counts with the 20 before in 15 or
    more."""
    stages, rng = Stages(), np.random.default_rng(1)
    lumisections = [line(rng, MOVES) for _ in range(200)]
    flagged = [out(stages, contents, n) for n, contents in enumerate(lumisections, start=1)]
    counted = [
        compare(lumisections[n][None], np.sum(lumisections[n - 20 : n], axis=0)[None, None]).log10_p[0] <= -4.0
        for n in range(50, 200)
    ]
    assert sum(flagged[50:]) <= 3
    assert sum(counted) >= 15


@pytest.mark.parametrize("fault", ["dead", "hot", "moved further"])
def test_a_fault_is_found_in_what_moves(fault: str) -> None:
    stages, rng = Stages(), np.random.default_rng(2)
    for n in range(1, 61):
        out(stages, line(rng, MOVES), n)
    contents = line(rng, MOVES)
    if fault == "moved further":
        contents = rng.poisson(shape(peak=14.5))
    else:
        contents[13] *= 0 if fault == "dead" else 3
    assert out(stages, contents, 61)


def test_what_is_still_learns_nothing_of_the_kind() -> None:
    """Two stages, one of a histogram that does not move: a move of a bin is nothing new in the other alone."""
    for moves, found in ((0.0, True), (0.5, False)):
        stages, rng = Stages(), np.random.default_rng(3)
        for n in range(1, 61):
            out(stages, line(rng, min(moves, 0.25 + 0.01 * n)), n)
        assert out(stages, rng.poisson(shape(peak=13.0)), 61) == found


def test_a_component_of_known_variance_becomes_standard_normal() -> None:
    """Its definition, at counts so high that they are normal: Z / sqrt(1 + λ), along each axis of a map; the others
    stay as they are."""
    rng = np.random.default_rng(4)
    shares = np.outer(shape(12, 5.0), shape(20, 8.0))
    shares /= shares.sum()
    tilt = 1.0 + 2e-3 * np.linspace(-1, 1, 20) + 1e-3 * np.linspace(-1, 1, 12)[:, None] ** 2
    observed = rng.poisson(3e8 * shares * tilt).reshape(1, 1, -1).astype(float)
    references = rng.poisson(3e9 * shares).reshape(1, 1, 1, -1).astype(float)
    shared = np.array([[8.0, 0.0, 3.0, 99.0, 0.0, 0.0]])

    def components(references: Floats) -> Floats:
        a, b = observed[0], references[0, 0]
        variance = (a + b) / a.sum() / b.sum()
        off = a / a.sum() - b / b.sum()
        tables = [part.reshape(1, 12, 20) for part in (off, variance)]
        return np.concatenate([shape_components(*(t.sum(axis=axis) for t in tables), bound=True) for axis in (2, 1)], 1)

    before = components(references)
    moved, estimate = carried(observed, references, np.zeros(1), shared, (12, 20))
    assert np.abs(before).max() > 5.0
    np.testing.assert_allclose(estimate, before**2 - 1.0, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(components(moved), before / np.sqrt(1.0 + shared), atol=0.02 * np.abs(before).max())


def test_weights_go_with_their_variances_and_odd_references_stay() -> None:
    observed = np.array([[[90.0, 100, 110], [100.0, 100, 100]], [[90.0, 100, 110], [100.0, 100, 100]]])
    references = np.full((1, 2, 2, 3), 1000.0)
    references[0, :, 1, 2] = np.inf
    moved, _ = carried(observed, references, np.zeros(2), np.full((2, SHARED), 50.0), (3,))
    assert moved[0, 0, 0, 0] < 970.0
    np.testing.assert_allclose(moved[0, 1, 0], moved[0, 0, 0] ** 2 / 1000.0)
    assert (moved[0, :, 1] == references[0, :, 1]).all()
