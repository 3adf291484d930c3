"""Texts of three causes, error patterns of 2019 with families given by people, and how an encoder agrees with those."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score

from opintel.fts.clusters import cluster
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


class Agreement(NamedTuple):
    ami: float
    """Adjusted mutual information; a noise point is a cluster of its own."""
    noise: float
    """Share of the texts."""
    neighbour: float
    """Share of the texts whose nearest neighbour of another wording is of their family."""


def agreement(shared_data: Path, name: str) -> Agreement:
    """Of the encoder of this name."""
    with (shared_data / "fts" / "fts_patterns_labelled.csv").open() as file:
        rows = list(csv.DictReader(file))
    family = np.array([row["family"] for row in rows])
    found = cluster([row["example"] for row in rows], name)
    noise = found.labels < 0
    alone = np.where(noise, np.cumsum(noise) + found.labels.max(), found.labels)
    causes = [cause_words(row["example"]) for row in rows]
    different = sorted(set(causes))
    at = np.searchsorted(different, causes)
    vectors = encoder(name)(different)
    near = (vectors @ vectors.T)[np.ix_(at, at)]
    near[at[:, None] == at[None, :]] = -1
    return Agreement(
        adjusted_mutual_info_score(family, alone), float(noise.mean()), float((family[near.argmax(1)] == family).mean())
    )
