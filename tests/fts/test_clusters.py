"""Clusters of error texts: by meaning, whatever the spelling, the order and the number of copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled_causes import CAUSES, agreement

from opintel.fts.clusters import cluster
from opintel.fts.clusters.concepts import CONCEPTS, concepts


def test_codes_and_synonyms_of_one_cause_are_one_cluster() -> None:
    texts = [text for texts in CAUSES.values() for text in texts]
    found = cluster(texts)
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert ((found.membership > 0) & (found.membership <= 1)).all()


def test_order_and_copies_change_nothing() -> None:
    texts = [text for texts in CAUSES.values() for text in texts] + ["a pipe organ out of tune"]
    first = cluster(texts)
    order = np.random.default_rng(3).permutation(np.arange(4 * len(texts)) % len(texts))
    second = cluster([texts[at] for at in order])
    same = first.labels[order][:, None] == first.labels[order][None, :]
    assert (same == (second.labels[:, None] == second.labels[None, :])).all()
    assert second.membership == pytest.approx(first.membership[order])
    assert first.labels[-1] == -1
    assert first.membership[-1] == 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Result HTTP 507 after 1 attempts", ("space",)),
        ("curl error (28): something", ("time",)),
        ("curl error 6", ("name",)),
        ("TRANSFER [28] TRANSFER x", ("space",)),
        ("the server responded with an error 530 x", ("identity",)),
        ("[3010] x", ("permission",)),
        ("PUT failed: 403", ("permission",)),
        ("[3009] unable to pass credentials", ("identity",)),
        ("checksum calculation for ADLER32 not supported", ("checksum", "unsupported")),
        ("Source and destination checksums do not match", ("checksum", "differs")),
        ("429 bytes were moved in 507 s", ()),
        ("\ud800 lone surrogate", ()),
        ("", ()),
    ],
)
def test_what_phrases_and_codes_mean(text: str, wanted: tuple[str, ...]) -> None:
    assert concepts(text) == wanted


def test_every_concept_is_spoken_by_some_phrase() -> None:
    assert len(CONCEPTS) == len(set(CONCEPTS)) > 20


@pytest.mark.parametrize("texts", [[], ["one"], ["one", "one", "one"], ["", "", " "], ["\ud800"] * 4])
def test_too_few_different_causes_are_noise(texts: list[str]) -> None:
    found = cluster(texts)
    assert found.labels.tolist() == [-1] * len(texts)
    assert found.membership.tolist() == [0.0] * len(texts)


def test_an_unknown_encoder_is_named() -> None:
    with pytest.raises(ValueError, match="got 'word2vec'"):
        cluster(["a", "b", "c"], encoder="word2vec")


def test_families_of_the_field(shared_data: Path) -> None:
    found = agreement(shared_data, "tfidf")
    assert found.ami >= 0.8
    assert found.noise <= 0.1
    assert found.neighbour >= 0.9
