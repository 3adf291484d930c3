"""Clusters of error texts beside families that people gave: `python benchmarks/fts_clusters.py LABELLED.csv`.

LABELLED has the columns `family` and `example` (an error text as sent). A row of the table is an encoder: adjusted
mutual information with the families (a noise point is a cluster of its own), noise, the share of texts whose nearest
neighbour of another wording is of their family, texts a CPU-second once the libraries are loaded. The encoders of the
extra `nlp` are among them where it is installed; `--model FOLDER` takes another model than the one it brings.
"""

from __future__ import annotations

import argparse
import csv
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import adjusted_mutual_info_score

from opintel.fts.clusters import cluster
from opintel.fts.clusters.density import by_density
from opintel.fts.clusters.encoders import Encoder, by_characters, encoder, sentences
from opintel.fts.clusters.words import cause_words
from opintel.fts.texts.masking import mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labelled", type=Path)
    parser.add_argument("--model", help="folder of a sentence-transformers model")
    asked = parser.parse_args()
    with asked.labelled.open() as file:
        rows = list(csv.DictReader(file))
    texts, family = [row["example"] for row in rows], np.array([row["family"] for row in rows])
    table = Table(title=f"{asked.labelled.name}: {len(rows)} texts of {len(set(family))} families")
    for heading in ("encoder", "AMI", "noise", "clusters", "1-NN family", "texts/CPU-s"):
        table.add_column(heading, justify="left" if heading == "encoder" else "right")
    rows_of: list[tuple[str, Encoder, bool]] = [
        ("characters of the masked text", by_characters, False),
        ("characters of the cause", by_characters, True),
        ("characters and concepts of the cause (default)", encoder("tfidf"), True),
    ]
    if find_spec("sentence_transformers"):
        rows_of.append(("sentence-transformers without concepts", sentences(asked.model), True))
        rows_of += [(name, encoder(name, asked.model), True) for name in ("sentence-transformers", "combined")]
    for name, encode, stripped in rows_of:
        table.add_row(name, *measured(texts, family, encode, stripped))
    Console().print(table)
    default = cluster(texts)
    Console().print(f"`cluster(texts)` gives {default.labels.max() + 1} clusters")


def measured(texts: list[str], family: np.ndarray, encode: Encoder, stripped: bool) -> list[str]:
    encode(["what is loaded", "at first use"])
    began = time.process_time()
    words = [cause_words(text) if stripped else mask(text) for text in texts]
    different = sorted(set(words))
    at = np.searchsorted(np.array(different, object), np.array(words, object))
    vectors = encode(different)
    labels = by_density(vectors)[0][at]
    spent = time.process_time() - began
    noise = labels < 0
    alone = np.where(noise, np.cumsum(noise) + labels.max(), labels)
    near = (vectors @ vectors.T)[np.ix_(at, at)]
    near[at[:, None] == at[None, :]] = -1
    neighbour = (family[near.argmax(1)] == family).mean()
    score = adjusted_mutual_info_score(family, alone)
    return [
        f"{score:.3f}",
        f"{noise.mean():.3f}",
        str(labels.max() + 1),
        f"{neighbour:.3f}",
        f"{len(texts) / spent:,.0f}",
    ]


if __name__ == "__main__":
    main()
