"""A message of records that are none costs little in every wire: few dead letters, few bytes, memory that is bounded;
and a row among them is taken."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opintel.detector import Message
from opintel.fts.wire import FtsWire
from opintel.health.wire import HealthWire
from opintel.rejects import OTHER, REASONS, Reject, Rejects

_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "refusal.py"
_SPEC = importlib.util.spec_from_file_location("refusal", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
refusal: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(refusal)
CASES = {case.name: case for case in refusal.cases() if case.refused}


@pytest.mark.parametrize("name", CASES)
def test_a_refused_message_leaves_little_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "REPEAT", 1)
    case = CASES[name]
    found = refusal.cost(case, case.refused)
    assert 1 <= found.letters <= REASONS + 1
    assert found.kept < 6000 + 300 * found.letters
    assert found.memory < 48 * len(case.refused) + 100_000


SAMPLE = {"timestamp": 1_700_000_000, "value": 1.5, "name": "load", "labels": {"job": "node"}}
TRANSFER = {
    "src_hostname": "a.example",
    "dst_hostname": "b.example",
    "tr_id": "t",
    "tr_timestamp_complete": 1_700_000_000_000,
    "t_final_transfer_state_flag": 1,
}


@pytest.mark.parametrize(("wire", "row"), [(HealthWire(), SAMPLE), (FtsWire(), TRANSFER)], ids=["health", "fts"])
def test_a_row_behind_thousands_that_are_none_is_taken(wire: Any, row: dict[str, Any]) -> None:
    found = wire.decode([Message(json.dumps([*[{}] * 9000, row]).encode())])
    assert found.n.tolist() == [9000]
    [reject] = found.rejects
    assert list(reject.records) == list(range(9000))


def test_few_reasons_a_message_whatever_comes() -> None:
    rejects = Rejects([Reject(3, [0], "a")])
    for n in range(100):
        rejects.add(3, n + 1, f"got {n}")
        rejects.add(5, n, "the same")
    rejects.add(3, 200, "a")
    found = rejects.found()
    assert [(r.message, len(r.records)) for r in found] == [(3, 2), *[(3, 1)] * (REASONS - 1), (3, 81), (5, 100)]
    assert found[REASONS].reason == OTHER
    assert list(found[0].records) == [0, 200]


def test_columns_are_put_into_words_only_as_far_as_they_are_kept() -> None:
    asked: list[int] = []

    def say(code: int) -> str:
        asked.append(code)
        return f"got {code}"

    rejects = Rejects()
    n = np.arange(1000)
    rejects.add_rows(n // 500, n % 500, np.where(n % 2, 7, n), say)
    found = rejects.found()
    assert len(asked) <= 2 * REASONS
    assert [sum(len(r.records) for r in found if r.message == m) for m in (0, 1)] == [500, 500]
    assert found[1] == Reject(0, list(range(1, 500, 2)), "got 7")
    assert found[REASONS].reason == OTHER
    firsts = [r.records[0] for r in found if r.message == 0]
    assert firsts == sorted(firsts)
