"""Clusters of error texts: by meaning, whatever the spelling, the order and the number of copies."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from opintel.fts.clusters import cluster
from opintel.fts.clusters.concepts import CONCEPTS, concepts
from opintel.fts.clusters.encoders import encoder
from opintel.fts.clusters.words import cause_words

CAUSES = {
    "space": [
        "TRANSFER ERROR: Copy failed (3rd pull). Last attempt: https://a.example:1094/x status code 507",
        "DESTINATION [28] No space left on device",
        "TRANSFER globus_ftp_client: the server responded with an error 552 allocation used up",
        "[ERROR] Server responded with an error: [3009] write of /x refused",
    ],
    "absent": [
        "SOURCE [2] No such file or directory",
        "HTTP 404 : File not found after 1 attempts",
        "[ERROR] Server responded with an error: [3011] /store/x",
        "srm_ifce : 2 [SE][Ls][SRM_INVALID_PATH] /pnfs/x",
    ],
    "time": [
        "TRANSFER [110] TRANSFER Operation timed out",
        "TRANSFER transfer took too long, 17 MB left",
        "globus_xio: idle timeout of the data channel",
        "[ERROR] Operation expired",
    ],
}


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
    """Error patterns of 2019 with families given by people: adjusted mutual information, noise, nearest neighbour."""
    from sklearn.metrics import adjusted_mutual_info_score

    with (shared_data / "fts" / "fts_patterns_labelled.csv").open() as file:
        rows = list(csv.DictReader(file))
    family = np.array([row["family"] for row in rows])
    found = cluster([row["example"] for row in rows])
    noise = found.labels < 0
    alone = np.where(noise, np.cumsum(noise) + found.labels.max(), found.labels)
    assert adjusted_mutual_info_score(family, alone) >= 0.8
    assert noise.mean() <= 0.1
    causes = [cause_words(row["example"]) for row in rows]
    different = sorted(set(causes))
    at = np.searchsorted(different, causes)
    near = (encoder("tfidf")(different) @ encoder("tfidf")(different).T)[np.ix_(at, at)]
    near[at[:, None] == at[None, :]] = -1  # the nearest of another wording
    assert (family[near.argmax(1)] == family).mean() >= 0.9
