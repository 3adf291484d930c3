"""`opintel dqm compare` on the small files of what goes wrong in the field, each with what is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opintel.cli import invoke


@pytest.fixture
def cases(shared_data: Path) -> Path:
    folder = shared_data / "dqm" / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


def compared(cases: Path, case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = invoke(["dqm", "compare", *(str(cases / name) for name in case["args"]), "--json"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_case_of_compare(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for case in json.loads((cases / "files.json").read_text()):
        if case["command"] != "compare":
            continue
        code, out, _ = compared(cases, case, capsys)
        assert code == 0, case["name"]
        listed = json.loads(out)["histograms"]
        judged = [row["p_value"] for row in listed if row["p_value"] is not None]
        assert judged == sorted(judged), case["name"]
        assert [row["p_value"] for row in listed[: len(judged)]] == judged, case["name"]
        wrong += [f"{case['name']}: {fact}" for fact in case["facts"] if not holds(fact, listed)]
    assert wrong == []


def holds(fact: dict[str, Any], listed: list[dict[str, Any]]) -> bool:
    if "count" in fact:
        return len(listed) == fact["count"]
    if "first" in fact:
        return bool(listed[0]["name"] == fact["first"])
    rows = listed if fact.get("only") else [row for row in listed if is_named(row["name"], fact["histogram"])]
    p = rows[0]["p_value"] if rows else None
    if fact.get("only") or "times" in fact:
        assert len(rows) == 1, fact
    if fact.get("judged") is False:
        return p is None
    if "p_or_none" in fact and p is None:
        return True
    expected = fact.get("p_or_none", fact.get("p"))
    if expected is None or not rows:
        return bool(rows) and p is None
    if p is None or not expected[0] <= p <= expected[1]:
        return False
    return "region" not in fact or any(is_near(row[:-1], fact["region"]) for row in rows[0]["regions"])


def is_named(name: str, wanted: str) -> bool:
    return name == wanted or ("/" not in wanted and name.endswith(f"/{wanted}"))


def is_near(region: list[int], wanted: list[int]) -> bool:
    return all(abs(a - b) <= 1 for a, b in zip(region, wanted, strict=True))


def test_what_is_refused_is_one_line_that_names_the_file(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case in json.loads((cases / "files.json").read_text()):
        if case["command"] == "refused":
            code, out, err = compared(cases, case, capsys)
            assert (code, out, len(err.splitlines())) == (1, "", 1), case["name"]
            assert case["args"][0] in err
