"""Faults of a whole FTS, of one organisation, of recalls from tape; links that flap; an upgrade that rewords errors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from opintel.detector import Message
from opintel.fts.simulated.faults import FLAP, KINDS
from opintel.fts.simulated.simulate import Fault, FtsSimulator
from opintel.fts.transfers import FAILED, Transfer
from opintel.fts.wire import FtsWire
from opintel.rows import Row

WIDE = ("instance-dark", "instance-trouble", "vo-credentials", "flapping-link", "staging-timeouts", "reworded")
Story = tuple[FtsSimulator, dict[str, Fault], list[Row[Transfer]]]


@pytest.fixture(scope="module")
def story() -> Story:
    """Three FTS, all with states: the simulator, its truth by kind and its rows."""
    simulator = FtsSimulator(seed=5, hours=4.0, rate=5000.0, faults=WIDE, instances=3, states=True)
    bodies = [body for _, body in simulator.messages()]
    found = FtsWire().decode([Message(body) for body in bodies])
    assert not found.rejects
    rows = list({row.id: row for row in found.rows.rows()}.values())
    return simulator, {f.kind: f for f in simulator.truth}, rows


def share(rows: list[Row[Transfer]]) -> float:
    return sum(row.payload.outcome == FAILED for row in rows) / len(rows)


def tried(rows: list[Row[Transfer]], scope: str) -> list[Row[Transfer]]:
    return [row for row in rows if row.payload.kind == "complete" and row.payload.scope == scope]


def test_each_fts_has_one_fault_of_its_own(story: Story) -> None:
    simulator, truth, rows = story
    scopes = [truth[kind].subject["scope"] for kind in ("instance-dark", "instance-trouble", "vo-credentials")]
    assert sorted(scopes) == sorted(simulator.instances)
    assert scopes[0] == simulator.instances[1]
    assert {row.payload.scope for row in rows} == set(simulator.instances)
    assert truth["reworded"].end == simulator.end


def test_a_file_that_is_not_tried_again_has_a_state(story: Story) -> None:
    simulator, _, rows = story
    for scope in simulator.instances:
        mine = [row for row in rows if row.payload.scope == scope]
        ended = {row.payload.file for row in mine if row.payload.kind == "complete" and row.payload.outcome != FAILED}
        told = {row.payload.file for row in mine if row.payload.kind == "state"}
        assert len(ended & told) > 0.98 * len(ended) > 100, scope


def test_an_fts_in_trouble_fails_everywhere_and_another_does_not(story: Story) -> None:
    simulator, truth, rows = story
    fault = truth["instance-trouble"]
    for scope in simulator.instances:
        during = [row for row in tried(rows, scope) if fault.start <= row.time < fault.end]
        ours = [row for row in during if "internal error" in row.payload.error]
        if scope == fault.subject["scope"]:
            assert len(ours) / len(during) == pytest.approx(KINDS[fault.kind].probability, abs=0.1)
            assert len({row.key for row in ours}) > 50
        elif during:
            assert not ours


def test_one_organisation_s_credentials_expire(story: Story) -> None:
    simulator, truth, _ = story
    fault = truth["vo-credentials"]
    outcomes = dict[bool, Counter[str]]()
    for _, body in simulator.messages():
        data = json.loads(body)["data"]
        if "t_final_transfer_state" not in data or data["endpnt"] != fault.subject["scope"]:
            continue
        if fault.start <= data["tr_timestamp_complete"] * 1_000_000 < fault.end:
            its = data["vo"] == fault.subject["vo"]
            outcomes.setdefault(its, Counter())["expired" in data["t__error_message"]] += 1
    assert outcomes[True][True] > 0.9 * outcomes[True].total() > 100
    assert outcomes.get(False, Counter())[True] <= 0.02 * max(1, outcomes.get(False, Counter()).total())


def test_a_flapping_link_is_cut_half_of_the_time(story: Story) -> None:
    _, truth, rows = story
    fault = truth["flapping-link"]
    mine = [
        row
        for row in rows
        if row.payload.kind == "complete" and fault.start <= row.time < fault.end
        if (row.payload.source, row.payload.destination) == (fault.subject["source"], fault.subject["destination"])
    ]
    cut = [row for row in mine if (row.time - fault.start) // FLAP % 2 == 0]
    assert share(cut) == 1
    assert share([row for row in mine if row not in cut]) < 0.5


def test_recalls_from_one_tape_time_out(story: Story) -> None:
    _, truth, rows = story
    fault = truth["staging-timeouts"]
    recalls = [row for row in rows if row.payload.source == row.payload.destination]
    assert len({row.payload.source for row in recalls}) > 10
    mine = [row for row in recalls if row.payload.source == fault.subject["endpoint"]]
    ill = [row for row in mine if fault.start <= row.time < fault.end]
    assert share(ill) > 0.7
    assert share([row for row in mine if row not in ill]) < 0.1


def test_an_upgrade_changes_words_and_nothing_else(story: Story) -> None:
    _, truth, rows = story
    fault = truth["reworded"]
    mine = [row for row in tried(rows, fault.subject["scope"]) if row.payload.error]
    after = [row for row in mine if row.time >= fault.start]
    assert all("[transfer-agent" in row.payload.error for row in after)
    assert after
    assert not any(
        "[transfer-agent" in row.payload.error for row in rows if row.payload.scope != fault.subject["scope"]
    )


def test_an_expired_authority_is_one_region_s(story: Story) -> None:
    simulator = FtsSimulator(seed=2, hours=1.5, rate=4000.0, faults=("authority-expired",))
    (fault,) = simulator.truth
    region = {one.host: one.region for one in simulator.grid.storages}
    found = FtsWire().decode([Message(body) for _, body in simulator.messages()])
    failed = [row for row in found.rows.rows() if "authority has expired" in row.payload.error]
    assert len(failed) > 50
    assert all("america" in (region[row.payload.source], region[row.payload.destination]) for row in failed)
    assert all(fault.start <= row.time < fault.end for row in failed)


def test_the_true_family_is_one_that_the_shipped_rules_name() -> None:
    models = Path(__file__).parents[2] / "models" / "fts-causes.yaml"
    names = {family["name"] for family in yaml.safe_load(models.read_text())["families"]}
    assert {name for kind in KINDS.values() for name in kind.families} <= names


def test_more_faults_of_an_fts_than_there_are_fts() -> None:
    with pytest.raises(ValueError, match="no FTS is left for"):
        FtsSimulator(seed=1, hours=2.0, faults=("instance-trouble", "authority-expired"))
