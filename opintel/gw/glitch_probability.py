"""P(glitch | auxiliary): how probable a glitch in the strain is in a second, from what the safe auxiliary channels saw.

A logistic regression that learns second by second, by Bayes' rule linearised at each (an extended Kalman filter on
the weights: Penny and Roberts 1999, "Dynamic logistic regression", IJCNN), here with a diagonal covariance. Weights
drift: their variance grows a little each second, up to the prior's, so that a coupling that begins or ends is learnt
again. Predictions average over what is not known of the weights (MacKay 1992, Neural Comput. 4, 720): a channel that
was hardly seen says little. What comes out is calibrated once more by a logistic map of its log odds, learnt in the
same way.

Features are of this second alone and the state is plain arrays: the same seconds give the same probabilities, in one
batch or one by one, live or replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opintel.finding import NS
from opintel.gw.trigger_tables import channel_numbers, times_and_snrs

LEAST_SNR = 7.75
BESIDE = 0.25
"""Seconds: a second's features also look this far beyond its ends, as a witness may come before its glitch."""
_PRIOR, _DRIFT = 1.0, 5e-5
"""Variance of a weight at first, and by how much it grows a second."""
_RATE_PRIOR, _RATE_DRIFT = 4.0, 1e-4
"""The same for the rate of glitches that nothing witnesses."""
_FIRST_LOG_ODDS = -4.0
_CALIBRATION_PRIOR, _CALIBRATION_DRIFT = np.array([0.25, 0.05]), np.array([1e-5, 1e-6])
_STEEPEST = 30.0

Floats = NDArray[np.float64]


def second_features(auxiliary: pa.Table, channels: Sequence[str], start: int, seconds: int) -> Floats:
    """(seconds, 2 C + 1) from GPS second `start` on: by channel whether it triggered and ln(loudest SNR / 7.75); then
    ln(1 + channels that triggered).

    >>> aux = pa.table({"channel": ["B"], "t_peak": [101.9], "snr": [15.5]})
    >>> second_features(aux, ["A", "B"], 100, 3).round(2).tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.69, 0.69], [0.0, 0.0, 1.0, 0.69, 0.69]]
    """
    time, snr = times_and_snrs(auxiliary, "auxiliary")
    names, number = channel_numbers(auxiliary, "auxiliary", frozenset(channels).__contains__)
    place = {name: at for at, name in enumerate(channels)}
    column = np.array([*(place[name] for name in names), -1], dtype=np.int64)[number]
    loudest = np.zeros((seconds, len(channels)))
    beside = round(BESIDE * NS)
    for shift in (-beside, 0, beside):
        second = (time + shift) // NS - start
        kept = (column >= 0) & (snr >= LEAST_SNR) & (second >= 0) & (second < seconds)
        np.maximum.at(loudest, (second[kept], column[kept]), snr[kept])
    triggered = loudest > 0
    by_channel = np.stack([triggered, np.log(np.where(triggered, loudest, LEAST_SNR) / LEAST_SNR)], axis=2)
    count = np.log1p(triggered.sum(axis=1, keepdims=True))
    return np.concatenate([by_channel.reshape(seconds, -1), count], axis=1)


def glitch_seconds(strain: pa.Table, start: int, seconds: int, *, snr: float = LEAST_SNR) -> NDArray[np.bool_]:
    """(seconds,) whether the strain has a trigger of at least this SNR in each second from GPS second `start` on."""
    time, loudness = times_and_snrs(strain, "strain")
    second = time // NS - start
    found = np.zeros(seconds, dtype=bool)
    found[second[(loudness >= snr) & (second >= 0) & (second < seconds)]] = True
    return found


class GlitchProbability:
    """The probability of a glitch, second by second, for a fixed number of features.

    Assumes that features add up in the log odds and that couplings change over hours, not seconds; it knows nothing of
    what no channel sees: there it says the rate of such glitches.

    >>> rng = np.random.default_rng(0)
    >>> seen = (rng.random((4000, 2)) < 0.1).astype(float)
    >>> glitch = rng.random(4000) < np.where(seen[:, 0] > 0, 0.7, 0.01)
    >>> model = GlitchProbability(2)
    >>> _ = model.learn(seen, glitch)
    >>> model.predict(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(1).tolist()
    [0.0, 0.7, 0.0]
    """

    def __init__(self, features: int) -> None:
        self._most = np.append(np.full(features, _PRIOR), _RATE_PRIOR)
        self._drift = np.append(np.full(features, _DRIFT), _RATE_DRIFT)
        self._mean = np.append(np.zeros(features), _FIRST_LOG_ODDS)
        self._variance = self._most.copy()
        self._map_mean = np.array([0.0, 1.0])
        self._map_variance = _CALIBRATION_PRIOR.copy()

    def predict(self, features: Floats) -> Floats:
        """Probabilities (N,) for features (N, F), by what was learnt so far."""
        x = self._checked(features)
        z = _moderated(x @ self._mean, np.square(x) @ self._variance)
        calibrated = self._map_mean[0] + self._map_mean[1] * z
        return np.asarray(_sigmoid(calibrated))

    def learn(self, features: Floats, glitch: NDArray[np.bool_]) -> Floats:
        """Probabilities (N,) for seconds in order of time, each said before its own outcome is learnt."""
        x = self._checked(features)
        if glitch.shape != (len(x),):
            raise ValueError(f"expected an outcome for each of {len(x)} seconds, got shape {glitch.shape}")
        said = np.zeros(len(x))
        for i, (row, outcome) in enumerate(zip(x, glitch.astype(np.float64), strict=True)):
            np.minimum(self._variance + self._drift, self._most, out=self._variance)
            at = np.flatnonzero(row)
            z = self._step(self._mean, self._variance, at, row[at], outcome)
            np.minimum(self._map_variance + _CALIBRATION_DRIFT, _CALIBRATION_PRIOR, out=self._map_variance)
            both = np.array([1.0, z])
            said[i] = _sigmoid(float(both @ self._map_mean))
            self._step(self._map_mean, self._map_variance, np.arange(2), both, outcome)
        return said

    def state(self) -> dict[str, Floats]:
        """All that was learnt, as copies of plain arrays."""
        return {
            "mean": self._mean.copy(),
            "variance": self._variance.copy(),
            "map_mean": self._map_mean.copy(),
            "map_variance": self._map_variance.copy(),
        }

    def restore(self, state: dict[str, Floats]) -> None:
        """Goes on from a state; ValueError where its shapes are not this model's or it holds what is no number."""
        for name, there in self.state().items():
            given = np.asarray(state[name], dtype=np.float64)
            if given.shape != there.shape or not np.isfinite(given).all():
                raise ValueError(f"state: expected {name} of {there.shape} finite numbers, got shape {given.shape}")
            setattr(self, f"_{name}", given.copy())

    @staticmethod
    def _step(mean: Floats, variance: Floats, at: NDArray[np.int64], x: Floats, outcome: float) -> float:
        """One second learnt in place; the moderated log odds as they were before it."""
        spread = float(np.square(x) @ variance[at])
        z = float(_moderated(float(x @ mean[at]), spread))
        p = _sigmoid(z)
        gain = variance[at] * x
        damping = 1.0 / (1.0 + p * (1.0 - p) * spread)
        mean[at] += gain * (outcome - p) * damping
        variance[at] -= np.square(gain) * p * (1.0 - p) * damping
        return z

    def _checked(self, features: Floats) -> Floats:
        if features.ndim != 2 or features.shape[1] != len(self._mean) - 1 or not np.isfinite(features).all():
            raise ValueError(f"expected finite features (N, {len(self._mean) - 1}), got shape {features.shape}")
        return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _moderated(mean: Any, variance: Any) -> Any:
    """The log odds that stand for a logistic averaged over a normal law of its argument (MacKay 1992)."""
    return mean / np.sqrt(1.0 + np.pi / 8.0 * variance)


def _sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.clip(z, -_STEEPEST, _STEEPEST)))
