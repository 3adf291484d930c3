"""Do names of clusters stay? `python benchmarks/cluster_names.py LABELLED.csv`.

The texts of LABELLED (column `example`) come and go for ten days: a random share of them comes in each six hours, and
what has not come for a day is forgotten, so that each clustering sees others. A row of the table is a share: clusters,
names given in all, the share of texts under the name they mostly have, splits, mergers, CPU-s a clustering.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from opintel.finding import NS
from opintel.fts.clusters import memory
from opintel.fts.clusters.memory import ClusterMemory
from opintel.fts.judging.errors import HourForm
from opintel.fts.texts.masking import mask

EVERY, CLUSTERINGS = 6 * 3600 * NS, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labelled", type=Path)
    with parser.parse_args().labelled.open() as file:
        texts = [mask(row["example"]) for row in csv.DictReader(file)]
    table = Table(title=f"{len(texts)} texts, {CLUSTERINGS} clusterings")
    for heading in ("come each six hours", "clusters", "names", "under their usual name", "splits", "mergers", "CPU-s"):
        table.add_column(heading, justify="right")
    for share in (0.15, 0.3, 0.6, 1.0):
        table.add_row(f"{share:.0%}", *played(texts, share))
    Console().print(table)


def played(texts: list[str], share: float) -> list[str]:
    memory.UNSEEN = 24 * 3600 * NS  # type: ignore[misc]
    chance, remembered = random.Random(1), ClusterMemory()
    names: dict[str, Counter[str]] = {}
    kinds, sizes = Counter[str](), list[int]()
    began = time.process_time()
    for k in range(CLUSTERINGS):
        come = [n for n in range(len(texts)) if chance.random() < share]
        hour = [HourForm(f"t{n}", texts[n], "", 1, texts[n], "") for n in come]
        remembered.take(k * EVERY, (k + 1) * EVERY, hour)
        kinds.update(change.kind for change in remembered.recluster())
        owned = [(form.template, form.cluster) for form in remembered.forms.values() if form.cluster is not None]
        for template, name in owned:
            names.setdefault(template, Counter())[name] += 1
        sizes.append(len({name for _, name in owned}))
    spent = (time.process_time() - began) / CLUSTERINGS
    usual = sum(max(counts.values()) for counts in names.values()) / sum(c.total() for c in names.values())
    counted = [f"{sum(sizes) / len(sizes):.1f}", str(len(remembered.clusters)), f"{usual:.3f}"]
    return [*counted, str(kinds["split"]), str(kinds["merged"]), f"{spent:.2f}"]


if __name__ == "__main__":
    main()
