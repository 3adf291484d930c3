"""What kind of glitch a trigger is, with "unknown" for what is like none of the kinds that were learnt.

Each kind is a normal law of the logarithms of a trigger's features; how strange a trigger is to a kind is its
Mahalanobis distance. Split conformal prediction by class (Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a
Random World", chapter 4) turns distances into p-values against examples that were kept back: of the glitches of any
learnt kind at most a share of `error` is called unknown, whatever the true law of its features, as long as new ones
are like the examples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

UNKNOWN = "unknown"
FEATURES = ("f_peak", "bandwidth", "duration", "q", "snr")
LEAST = 40
"""Examples of a kind: half to learn it, half to judge by."""
_RIDGE = 1e-3

Floats = NDArray[np.float64]


class GlitchClasses(NamedTuple):
    """Of each of the kinds (K): its law in the features (F) and its conformal scores; plain arrays throughout."""

    names: tuple[str, ...]
    mean: Floats
    """(K, F)"""
    precision: Floats
    """(K, F, F): the inverse covariance."""
    scores: tuple[Floats, ...]
    """Sorted distances of the examples that were kept back, by kind."""

    def p_values(self, features: Floats) -> Floats:
        """(N, K) for features (N, F): the share of the kind's examples that are as strange or stranger."""
        found = [
            _p_value(_distance(features, m, c), s)
            for m, c, s in zip(self.mean, self.precision, self.scores, strict=True)
        ]
        return np.stack(found, axis=1)

    def classify(self, features: Floats, error: float = 0.05) -> list[str]:
        """The likeliest kind of each trigger, or `unknown` where every kind's p is at most `error`."""
        p = self.p_values(features)
        best = p.argmax(axis=1)
        return [self.names[k] if row[k] > error else UNKNOWN for k, row in zip(best, p, strict=True)]


def trigger_features(triggers: pa.Table) -> Floats:
    """(N, F) logarithms of `FEATURES` of a table of triggers; NaN, and so unknown, where one is not above 0."""
    column = {name: triggers[name].to_numpy() for name in triggers.column_names if name != "channel"}
    column["bandwidth"] = column["f_high"] - column["f_low"]
    column["duration"] = column["t_end"] - column["t_start"]
    values = np.stack([column[name] for name in FEATURES], axis=1)
    return np.log(np.where(values > 0, values, np.nan))


def learn_classes(features: Floats, kinds: list[str]) -> GlitchClasses:
    """Kinds from labelled examples (N, F): of each kind one in two is learnt from, the others are kept to judge by.

    Raises ValueError for a kind with fewer than 40 examples, and for features that are not finite.
    """
    if features.ndim != 2 or len(kinds) != len(features) or not np.isfinite(features).all():
        raise ValueError(f"expected finite features (N, F) and a kind for each, got {features.shape} and {len(kinds)}")
    labels = np.array(kinds, dtype=object)
    names = tuple(sorted(set(kinds)))
    means, precisions, scores = [], [], []
    for name in names:
        rows = features[labels == name]
        if len(rows) < LEAST:
            raise ValueError(f"kind {name}: expected at least {LEAST} examples, got {len(rows)}")
        learnt, kept = rows[::2], rows[1::2]
        means.append(learnt.mean(axis=0))
        covariance = np.cov(learnt.T) + _RIDGE * np.eye(features.shape[1])
        precisions.append(np.asarray(np.linalg.inv(covariance), dtype=np.float64))
        scores.append(np.sort(_distance(kept, means[-1], precisions[-1])))
    return GlitchClasses(names, np.stack(means), np.stack(precisions), tuple(scores))


def _distance(features: Floats, mean: Floats, precision: Floats) -> Floats:
    beside = features - mean
    found = np.einsum("nf,fg,ng->n", beside, precision, beside)
    return np.where(np.isfinite(found), found, np.inf)


def _p_value(distance: Floats, scores: Floats) -> Floats:
    stranger = len(scores) - np.searchsorted(scores, distance, side="left")
    return np.asarray((stranger + 1) / (len(scores) + 1))
