"""The encoders that need the extra `nlp`: the model whose weights a package brings, with nothing fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled_causes import CAUSES, agreement

from opintel.fts.clusters import cluster
from opintel.fts.clusters.encoders import encoder, sentences

pytestmark = pytest.mark.extras
NAMES = ["sentence-transformers", "combined"]
TEXTS = [text for texts in CAUSES.values() for text in texts]


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_model_hears_what_words_mean() -> None:
    """Sentences of one meaning without a telling word in common."""
    near, far = "the storage is full", "the storm is fierce"
    vectors = sentences()(["no room left on the disk", near, far])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_synonyms_of_one_cause_are_one_cluster(name: str) -> None:
    assert cluster(TEXTS, name).labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_texts_changes_no_vector(name: str) -> None:
    encode = encoder(name)
    assert encode(TEXTS[::-1])[::-1] == pytest.approx(encode(TEXTS), abs=1e-5)


def test_another_folder_is_another_model(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        cluster(TEXTS, "sentence-transformers", model=str(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_families_of_the_field(shared_data: Path, name: str) -> None:
    found = agreement(shared_data, name)
    assert found.ami >= 0.8
    assert found.noise <= 0.1
    assert found.neighbour >= 0.9
