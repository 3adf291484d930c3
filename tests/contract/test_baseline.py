"""A baseline that is promoted in the middle of the health case: from a window on its young series begin with it.

That the live run, restarts, kills and backfills agree on it is among the tests of the contract: the case is one of
`CASES`.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opintel.finding import NS

from .cases import HEALTH_CASE
from .harness import Outcome, play

COLD = replace(HEALTH_CASE, controls=list)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return play(HEALTH_CASE, tmp_path_factory.mktemp("warm"))


def test_series_begin_with_their_own_state_or_that_of_their_metric(warm: Outcome) -> None:
    began = {(f["subject"]["instance"], text) for f in warm.findings.values() for text in told(f)}
    assert {text.split()[0] for host, text in began if host in ("h0", "h1", "h2")} == {"its"}
    assert {text.split()[0] for host, text in began if host in ("h3", "h4", "h5")} == {"what"}


def test_from_a_window_on_its_series_are_judged_and_it_is_part_of_the_model(warm: Outcome, tmp_path: Path) -> None:
    cold = play(COLD, tmp_path)
    assert first_judged(warm) < first_judged(cold) - 20 * 60 * NS
    models = [{f["model"] for f in said.findings.values() if f["kind"] == "unusual"} for said in (warm, cold)]
    assert models[0].isdisjoint(models[1])
    assert warm.judged.keys() == cold.judged.keys()


@pytest.mark.parametrize("partitions", [1, 7])
def test_the_number_of_partitions_shows_nowhere(warm: Outcome, partitions: int, tmp_path: Path) -> None:
    again = play(replace(HEALTH_CASE, stream=HEALTH_CASE.stream._replace(partitions=partitions)), tmp_path)
    assert again.findings == warm.findings


def test_a_file_that_is_no_baseline_is_a_cold_start(tmp_path: Path) -> None:
    bad = b"no baseline"
    value = {"sha256": sha256(bad).hexdigest()}
    controls = [(at, msgspec.structs.replace(control, value=value)) for at, control in HEALTH_CASE.controls()]
    said = play(replace(HEALTH_CASE, controls=lambda: controls, artefacts=(bad,)), tmp_path / "bad")
    cold = play(COLD, tmp_path / "cold")
    assert [summary(f) for f in said.findings.values()] == [summary(f) for f in cold.findings.values()]
    assert said.asides == cold.asides


def first_judged(said: Outcome) -> int:
    """End of the first window in which a series was judged."""
    return min(place[1] for place, seen in said.judged.items() if seen["tests"].get("unusual"))


def told(finding: dict[str, Any]) -> list[str]:
    """What the tables of a finding say it began with."""
    rows = [row for block in finding["evidence"] if block["type"] == "table" for row in block["rows"]]
    return [row[1] for row in rows if row[0] == "began with"]


def summary(finding: dict[str, Any]) -> tuple[str, str]:
    return finding["window"]["start"], finding["summary"]
