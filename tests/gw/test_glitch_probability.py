"""P(glitch | auxiliary): calibrated and better than the rate alone while couplings begin and end; restorable."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from opintel.gw.glitch_probability import GlitchProbability, glitch_seconds, second_features

SECONDS, CHANNELS = 12_000, 12


def drifting(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of channels that trigger at random: one couples always, one for the first half, one for the second (the
    louder, the more often), one sees what the first sees; glitches that nothing witnesses come twice as often in the
    end.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(SECONDS)
    seen = rng.random((SECONDS, CHANNELS)) < 0.03
    seen[:, 3] |= seen[:, 0] & (rng.random(SECONDS) < 0.8)
    loud = np.where(seen, np.log1p(rng.pareto(2, seen.shape)), 0.0)
    quiet = np.where(t < SECONDS * 0.7, 0.99, 0.98)
    for channel, when in ((0, t >= 0), (1, t < SECONDS // 2), (2, t >= SECONDS // 2)):
        coupling = np.clip(0.4 + 0.5 * loud[:, channel], 0.0, 0.95)
        quiet = quiet * np.where(seen[:, channel] & when, 1.0 - coupling, 1.0)
    features = np.concatenate([np.stack([seen, loud], axis=2).reshape(SECONDS, -1), np.log1p(seen.sum(1))[:, None]], 1)
    return features, rng.random(SECONDS) < 1.0 - quiet


def calibration_error(p: np.ndarray, outcome: np.ndarray) -> float:
    """Expected calibration error in ten bins of equal width (Naeini et al. 2015, AAAI)."""
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(p[bins == b].mean() - outcome[bins == b].mean()) * np.mean(bins == b) for b in np.unique(bins)]
    return float(sum(gaps))


@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_are_calibrated_and_skilful_through_a_drift(seed: int) -> None:
    features, glitch = drifting(seed)
    p = GlitchProbability(features.shape[1]).learn(features, glitch)
    assert ((p > 0) & (p < 1)).all()
    for part in (slice(0, SECONDS // 2), slice(SECONDS // 2, None)):
        skill = 1 - np.mean((p[part] - glitch[part]) ** 2) / np.var(glitch[part])
        assert calibration_error(p[part], glitch[part]) <= 0.02
        assert skill > 0.2
    assert p[-2000:][features[-2000:, 4] > 0].mean() > 3 * p[-2000:][features[-2000:, 2] > 0].mean(), "learnt again"


def test_where_nothing_couples_the_rate_is_said() -> None:
    features, _ = drifting(2)
    glitch = np.random.default_rng(3).random(SECONDS) < 0.05
    p = GlitchProbability(features.shape[1]).learn(features, glitch)[2000:]
    assert calibration_error(p, glitch[2000:]) < 0.01
    assert 1 - np.mean((p - glitch[2000:]) ** 2) / np.var(glitch[2000:]) > -0.01


def test_one_batch_or_one_by_one_or_restored_is_the_same() -> None:
    features, glitch = (part[:600] for part in drifting(4))
    whole = GlitchProbability(features.shape[1])
    said = whole.learn(features, glitch)
    single = GlitchProbability(features.shape[1])
    first = np.concatenate([single.learn(features[i : i + 1], glitch[i : i + 1]) for i in range(300)])
    other = GlitchProbability(features.shape[1])
    state = single.state()
    other.restore(state)
    second = other.learn(features[300:], glitch[300:])
    assert np.array_equal(np.concatenate([first, second]), said)
    assert all(np.array_equal(value, whole.state()[name]) for name, value in other.state().items())
    assert all(np.array_equal(value, state[name]) for name, value in single.state().items()), "a state is a copy"
    assert other.predict(features[:1]) == whole.predict(features[:1])


def test_what_is_said_comes_before_what_is_learnt() -> None:
    features, glitch = (part[:500] for part in drifting(5))
    flipped = glitch.copy()
    flipped[-1] ^= True
    one, other = (GlitchProbability(features.shape[1]).learn(features, y) for y in (glitch, flipped))
    assert np.array_equal(one, other)


def test_wrong_shapes_and_states_are_refused() -> None:
    model = GlitchProbability(3)
    with pytest.raises(ValueError, match=r"expected finite features \(N, 3\)"):
        model.predict(np.zeros((5, 4)))
    with pytest.raises(ValueError, match="expected finite features"):
        model.learn(np.full((5, 3), np.nan), np.zeros(5, dtype=bool))
    with pytest.raises(ValueError, match="an outcome for each of 5 seconds"):
        model.learn(np.zeros((5, 3)), np.zeros(4, dtype=bool))
    with pytest.raises(ValueError, match=r"expected mean of \(4,\) finite numbers"):
        model.restore(GlitchProbability(4).state())


def test_features_and_outcomes_come_from_triggers() -> None:
    aux = pa.table(
        {
            "channel": ["A", "A", "B", "C", "A", "B", None],
            "t_peak": [100.5, 100.6, 102.1, 100.5, 103.5, 99.0, 100.5],
            "snr": [15.5, 31.0, 7.75, 99.0, 7.0, 9.0, 9.0],
        }
    )
    features = second_features(aux, ["B", "A"], 100, 4)
    ln2, none = np.log(2.0), [0.0] * 5
    wanted = [[0, 0, 1, 2 * ln2, ln2], [1, 0, 0, 0, ln2], [1, 0, 0, 0, ln2], none]
    assert features == pytest.approx(np.array(wanted, dtype=float))
    strain = pa.table({"t_peak": [100.0, 101.999, 102.5, 104.0, float("nan")], "snr": [8.0, 9.0, 5.0, 9.0, 9.0]})
    assert glitch_seconds(strain, 100, 4).tolist() == [True, True, False, False]
    assert glitch_seconds(strain, 100, 4, snr=5.0).tolist() == [True, True, True, False]
    assert second_features(aux.slice(0, 0), ["A"], 100, 2).tolist() == [[0.0] * 3] * 2
