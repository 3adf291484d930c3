"""`compare` and `compare_2d` on the numeric cases beside the checkout, each with what is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opintel.dqm import Comparison, compare, compare_2d

FUNCTIONS = {"compare": compare, "compare_2d": compare_2d}


def test_every_numeric_case_is_judged_right(shared_data: Path) -> None:
    folder = shared_data / "dqm" / "cases"
    if not (folder / "compare.json").exists():
        pytest.skip(f"no cases at {folder}")
    arrays = np.load(folder / "compare.npz")
    found: dict[str, Comparison] = {}
    wrong = []
    for case in json.loads((folder / "compare.json").read_text()):
        given = {name: arrays[f"{case['name']}.{name}"] for name in case["arrays"]}
        found[case["name"]] = FUNCTIONS[case["function"]](**given)
        wrong += [(case["name"], fact) for fact in case["facts"] if not _holds(found[case["name"]], fact, found)]
    assert found
    assert wrong == []


def _holds(comparison: Comparison, fact: dict[str, Any], others: dict[str, Comparison]) -> bool:
    row = fact["row"]
    p = float(comparison.p_value[row])
    if "p" in fact and fact["p"] is None:
        return bool(np.isnan(p))
    if "p" in fact:
        return bool(fact["p"][0] <= p <= fact["p"][1])
    if "p_or_nan" in fact:
        return bool(np.isnan(p) or fact["p_or_nan"][0] <= p <= fact["p_or_nan"][1])
    if "pull" in fact:
        return bool(fact["value"][0] <= comparison.pull[row].flat[fact["pull"]] <= fact["value"][1])
    if "region" in fact:
        return any(_near(region, fact["region"], fact["kind"].split("|")) for region in comparison.regions[row])
    if "same" in fact:
        ratio = p / float(others[fact["same"]].p_value[row])
        return bool(fact["ratio"][0] <= ratio <= fact["ratio"][1])
    raise AssertionError(f"expected a fact that is known here, got {fact}")


def _near(region: tuple[Any, ...], place: list[int], kinds: list[str]) -> bool:
    return region[-1] in kinds and all(abs(a - b) <= 1 for a, b in zip(region[:-1], place, strict=True))
