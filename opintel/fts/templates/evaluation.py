"""The field's published metrics of log parsing on labelled files: what `opintel evaluate templates` prints.

Files are CSV with the columns `content` and `event_id` (loghub-2k, or any labelled log); each is mined by a fresh
miner.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from opintel.fts.templates.miner import TemplateMiner


def evaluate(paths: Iterable[str | Path]) -> dict[str, Any]:
    """`{"files": [{"name", "messages", "templates", "ga", "fga", "messages_per_cpu_s"}], "mean": {"ga", "fga"}}`.

    Raises OSError where a file cannot be read, ValueError where it has no such columns or no rows.
    """
    files = [_evaluate_file(Path(path)) for path in paths]
    if not files:
        raise ValueError("no file to evaluate")
    return {"files": files, "mean": {metric: fmean(f[metric] for f in files) for metric in ("ga", "fga")}}


def grouping_accuracy(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """GA: the share of messages whose predicted group is, message for message, one of the true groups.

    Zhu et al., Tools and Benchmarks for Automated Log Parsing, ICSE-SEIP 2019, section III-C ("parsing accuracy").

    >>> grouping_accuracy(["a", "a", "b", "c"], [1, 1, 2, 2])
    0.5
    """
    return sum(map(len, _right_groups(truth, predicted))) / len(truth)


def f1_of_grouping(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """FGA: the harmonic mean of precision and recall over groups, which frequent templates cannot dominate.

    Jiang et al., A Large-Scale Evaluation for Log Parsing Techniques, ISSTA 2024, section 4.2.

    >>> f1_of_grouping(["a", "a", "b", "c"], [1, 1, 2, 2])
    0.4
    """
    right = len(_right_groups(truth, predicted))
    return 2 * right / (len(set(predicted)) + len(set(truth)))


def _right_groups(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> list[frozenset[int]]:
    true_groups = set(_groups(truth))
    return [group for group in _groups(predicted) if group in true_groups]


def _groups(labels: Sequence[Hashable]) -> list[frozenset[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        groups[label].append(row)
    return [frozenset(rows) for rows in groups.values()]


def _evaluate_file(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        if not {"content", "event_id"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path}: a labelled log is a CSV with the columns content and event_id")
        rows = [(row["content"] or "", row["event_id"]) for row in reader]
    if not rows:
        raise ValueError(f"{path}: no rows")
    miner = TemplateMiner()
    start = time.process_time()
    ids = miner.assign([content for content, _ in rows])
    predicted = [miner.resolve(id) for id in ids]
    spent = time.process_time() - start
    truth = [event for _, event in rows]
    return {
        "name": path.stem,
        "messages": len(rows),
        "templates": len(set(predicted)),
        "ga": grouping_accuracy(truth, predicted),
        "fga": f1_of_grouping(truth, predicted),
        "messages_per_cpu_s": round(len(rows) / max(spent, 1e-9)),
    }
