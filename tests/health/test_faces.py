"""river's and scikit-learn's ways to call the detector give the detector's own scores, and scoring leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest

from opintel.health import MultiSeriesDetector
from opintel.health.faces import RiverDetector, SklearnDetector


def rows() -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((300, 2))
    x[280, 1] = 15.0
    return x


def test_river_scores_are_the_detectors() -> None:
    river, plain = RiverDetector(step=10.0), MultiSeriesDetector(2)
    for i, (a, b) in enumerate(rows()):
        score = river.score_one({"a": a, "b": b})
        river.learn_one({"a": a, "b": b})
        expected = plain.update_many([0, 1], [10.0 * i] * 2, [a, b]).score.max()
        assert score == (expected if i else 0.0)
    assert river.score_one({"a": 0.0, "b": 15.0}) > 0.5 > river.score_one({"a": 0.0, "b": 0.0})


def test_river_takes_a_time_and_new_features() -> None:
    river = RiverDetector(time="t")
    river.learn_one({"t": 0.0, "a": 1.0})
    river.learn_one({"t": 60.0, "a": 1.0, "b": 2.0})
    assert river.score_one({"t": 120.0, "c": 5.0}) == 0.0


def test_sklearn_scores_are_larger_where_more_normal() -> None:
    x = rows()
    detector = SklearnDetector().fit(x[:200])
    scores = detector.score_samples(x[200:])
    assert scores.shape == (100,)
    assert np.argmin(scores) == 80
    np.testing.assert_array_equal(scores, detector.score_samples(x[200:]))


def test_sklearn_learns_in_parts() -> None:
    x = rows()
    whole, parts = SklearnDetector().fit(x[:200]), SklearnDetector()
    for part in np.split(x[:200], 4):
        parts.partial_fit(part)
    np.testing.assert_array_equal(whole.score_samples(x[200:]), parts.score_samples(x[200:]))


def test_sklearn_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="fitted"):
        SklearnDetector().score_samples(rows())
    with pytest.raises(ValueError, match="features"):
        SklearnDetector().fit(rows()).score_samples(rows()[:, :1])
    with pytest.raises(ValueError, match="X must be"):
        SklearnDetector().fit(np.zeros(5))
    with pytest.raises(ValueError, match="unknown"):
        SklearnDetector().set_params(bogus=1)
    assert SklearnDetector(step=5.0).get_params() == {"step": 5.0}
