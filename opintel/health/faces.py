"""The detector as river and scikit-learn know detectors: `learn_one / score_one`, `partial_fit / score_samples`.

Neither library is imported. Every feature is a series of its own; a row is as strange as its strangest feature. Scoring
alone changes nothing: the row is judged, then forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from opintel.health.series import MultiSeriesDetector, Scores
from opintel.stats.counts import Floats


class RiverDetector:
    """`river.anomaly.base.AnomalyDetector` in form: features {name: number}; scores in [0, 1], larger = stranger.

    `time`, if given, names the feature that holds seconds since 1970; otherwise rows are `step` seconds apart.

    >>> detector = RiverDetector()
    >>> for i in range(300):
    ...     detector.learn_one({"load": float(i % 7)})
    >>> detector.score_one({"load": 50.0}) > 0.5 > detector.score_one({"load": 6.0})
    True
    """

    def __init__(self, time: str | None = None, step: float = 60.0) -> None:
        self.time = time
        self.step = step
        self._names: dict[str, int] = {}
        self._rows = 0
        self._detector = MultiSeriesDetector(0)

    def learn_one(self, x: Mapping[str, float]) -> None:
        """Learns a row."""
        for name in x:
            if name != self.time:
                self._names.setdefault(name, len(self._names))
        self._update(x)
        self._rows += 1

    def score_one(self, x: Mapping[str, float]) -> float:
        """Score of a row that would come next; features never learned say nothing."""
        before = self._detector.state()
        scores = self._update(x)
        self._detector.restore(before)
        return float(scores.score.max(initial=0.0))

    def _update(self, x: Mapping[str, float]) -> Scores:
        known = [name for name in x if name in self._names]
        now = float(x[self.time]) if self.time is not None else self._rows * self.step
        keys = np.array([self._names[name] for name in known], dtype=np.int64)
        return self._detector.update_many(keys, np.full(len(known), now), np.array([float(x[n]) for n in known]))


class SklearnDetector:
    """An outlier detector in scikit-learn's form: X (rows, features), rows in order of time, `step` seconds apart."""

    def __init__(self, step: float = 60.0) -> None:
        self.step = step

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters, for `sklearn.base.clone`."""
        return {"step": self.step}

    def set_params(self, **params: Any) -> Self:
        """Sets constructor parameters; ValueError for an unknown one."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"unknown parameter {name}")
            setattr(self, name, value)
        return self

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Forgets everything, then learns these rows."""
        self.__dict__.pop("_detector", None)
        return self.partial_fit(X)

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learns rows that follow those learned before; NaN is a missing value."""
        rows = self._rows(X)
        if "_detector" not in self.__dict__:
            self.n_features_in_ = rows.shape[1]
            self.n_samples_seen_ = 0
            self._detector = MultiSeriesDetector(self.n_features_in_)
        self._feed(rows)
        self.n_samples_seen_ += len(rows)
        return self

    def score_samples(self, X: ArrayLike) -> Floats:
        """(rows,) minus the score of each row, were these rows to come next: larger = more normal, 0 the most."""
        if "_detector" not in self.__dict__:
            raise ValueError("not fitted yet")
        before = self._detector.state()
        scores = self._feed(self._rows(X))
        self._detector.restore(before)
        return np.asarray(-scores.score.reshape(-1, self.n_features_in_).max(axis=1), dtype=np.float64)

    def _feed(self, rows: Floats) -> Scores:
        n, features = rows.shape
        if features != self.n_features_in_:
            raise ValueError(f"X has {features} features, not {self.n_features_in_}")
        times = (self.n_samples_seen_ + np.arange(n)) * self.step
        return self._detector.update_many(np.tile(np.arange(features), n), np.repeat(times, features), rows.ravel())

    def _rows(self, X: ArrayLike) -> Floats:
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise ValueError(f"X must be (rows, features), not {rows.shape}")
        return rows
