"""Clusters of error texts by density: hdbscan over the vectors of their different causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.fts.clusters.encoders import encoder as encoder_named
from opintel.fts.clusters.words import cause_words

SMALLEST: Final = 3
"""Different causes that a cluster has at least."""
TOGETHER: Final = 0.6
"""Euclidean distance of unit vectors below which clusters are not split further (Malzer & Baum, 2020,
doi 10.1109/MFI49285.2020.9235263): otherwise each spelling of one cause becomes a cluster."""
_DIGITS: Final = 6
"""Decimals of the vectors that count: rounding errors of another machine's linear algebra decide nothing."""


class Clusters(NamedTuple):
    """What `cluster` found."""

    labels: NDArray[np.int64]
    """(N,) cluster of each text, 0 … in order of first appearance; -1 is noise."""
    membership: NDArray[np.float64]
    """(N,) strength of each text in its cluster, 0 to 1; 0 for noise."""


def cluster(texts: Sequence[str], encoder: str = "tfidf", *, model: str | None = None) -> Clusters:
    """Clusters of raw messages or of template texts with placeholders `<…>`.

    `encoder` is `tfidf`, `sentence-transformers` or `combined`; `model` a folder with a sentence-transformers model.
    How often a text comes counts for nothing: the different causes are clustered. Deterministic: the same texts in
    another order give the same partition. Raises ValueError for an unknown encoder or a missing extra.

    >>> full = ["HTTP 507 Insufficient Storage", "No space left on device", "disk quota exceeded"]
    >>> late = ["Operation timed out", "idle timeout", "gave up: deadline exceeded"]
    >>> cluster([*full, *late, "certificate has expired"]).labels.tolist()
    [0, 0, 0, 1, 1, 1, -1]
    """
    return cluster_beside(texts, (), encoder, model=model)[0]


def cluster_beside(
    texts: Sequence[str], others: Sequence[str], encoder: str = "tfidf", *, model: str | None = None
) -> tuple[Clusters, NDArray[np.float64]]:
    """Clusters of N texts, as `cluster` finds them, and unit vectors, shape (N + M, D), of them and of M others that
    take no part in the clusters, all in one space: vectors of two calls cannot be compared.

    >>> texts = ["disk full", "no space left", "quota exceeded", "timed out", "idle timeout", "deadline exceeded"]
    >>> found, vectors = cluster_beside(texts, ["disks are full"])
    >>> found.labels.tolist(), np.round(vectors[:6] @ vectors[6]).tolist()
    ([0, 0, 0, 1, 1, 1], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    """
    encode = encoder_named(encoder, model)
    causes = [cause_words(text) for text in (*texts, *others)]
    different = sorted(set(causes))
    if not different:
        return Clusters(np.zeros(0, np.int64), np.zeros(0)), np.zeros((0, 1))
    at = np.searchsorted(np.array(different, object), np.array(causes, object))
    vectors = encode(different)
    own = np.unique(at[: len(texts)])
    labels, membership = np.full(len(different), -1, np.int64), np.zeros(len(different))
    if len(own) >= SMALLEST:
        labels[own], membership[own] = by_density(vectors[own])
    taking_part = at[: len(texts)]
    return Clusters(_by_appearance(labels[taking_part]), membership[taking_part]), vectors[at]


def by_density(vectors: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cluster (-1 is noise) and strength of membership of each of N unit vectors, shape (N, D)."""
    import hdbscan

    found = hdbscan.HDBSCAN(
        min_cluster_size=SMALLEST, min_samples=1, cluster_selection_epsilon=TOGETHER, core_dist_n_jobs=1
    ).fit(np.round(vectors, _DIGITS))
    return found.labels_.astype(np.int64), np.where(found.labels_ < 0, 0.0, found.probabilities_)


def _by_appearance(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    names: dict[int, int] = {-1: -1}
    return np.array([names.setdefault(label, len(names) - 1) for label in labels.tolist()], np.int64)
