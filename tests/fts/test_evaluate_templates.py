"""The parsing metrics against their definitions, and what the miner reaches on loghub-2k."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.fts.templates.evaluation import evaluate, f1_of_grouping, grouping_accuracy

labels = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n) for _ in range(2)])
)


@given(labels)
def test_metrics_follow_their_definitions(both: tuple[list[int], list[int]]) -> None:
    truth, predicted = both
    rows = range(len(truth))
    right = [
        row
        for row in rows
        if {k for k in rows if truth[k] == truth[row]} == {k for k in rows if predicted[k] == predicted[row]}
    ]
    assert grouping_accuracy(truth, predicted) == len(right) / len(truth)
    groups = len({truth[row] for row in right})
    precision, recall = groups / len(set(predicted)), groups / len(set(truth))
    expected = 2 * precision * recall / (precision + recall) if groups else 0.0
    assert f1_of_grouping(truth, predicted) == pytest.approx(expected)


def test_a_labelled_file(tmp_path: Path) -> None:
    file = tmp_path / "Small.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(
            [
                ("content", "event_id"),
                *((f"read /data/f{n} done", "E1") for n in range(3)),
                ("a, b", "E2"),
                ("a, c", "E2"),
            ]
        )
    found = evaluate([file])
    assert {k: found["files"][0][k] for k in ("name", "messages", "templates", "ga")} == {
        "name": "Small",
        "messages": 5,
        "templates": 3,
        "ga": 0.6,
    }
    assert found["files"][0]["messages_per_cpu_s"] > 0
    assert found["mean"] == {"ga": 0.6, "fga": pytest.approx(0.4)}


def test_mistakes_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("message\nx\n")
    empty = tmp_path / "empty.csv"
    empty.write_text("content,event_id\n")
    with pytest.raises(ValueError, match="columns content and event_id"):
        evaluate([bad])
    with pytest.raises(ValueError, match="no rows"):
        evaluate([empty])
    with pytest.raises(ValueError, match="no file"):
        evaluate([])
    with pytest.raises(OSError, match="absent"):
        evaluate([tmp_path / "absent.csv"])


def test_grouping_on_logs_of_other_systems(shared_data: Path) -> None:
    mean = evaluate(sorted((shared_data / "fts" / "loghub2k").glob("*.csv")))["mean"]
    assert mean["ga"] >= 0.96
    assert mean["fga"] >= 0.9
