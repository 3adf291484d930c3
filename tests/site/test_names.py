"""Names in `alerts/`: those that nothing answers to are problems; and what the domains declare is what they find."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.cases import HEALTH_STREAM
from contract.harness import Case, play

from opintel.detector import ANY_LABEL
from opintel.fts.pipeline import PIPELINE as FTS
from opintel.fts.simulated.simulate import FAULT_KINDS as FTS_FAULTS
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.fts.wire import FtsWire
from opintel.health.pipeline import PIPELINE as HEALTH
from opintel.health.simulate import FAULT_KINDS as HEALTH_FAULTS
from opintel.health.simulate import HealthSimulator
from opintel.health.wire import HealthWire
from opintel.site.check import notes, require
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.shipped import copy_shipped
from opintel.streams.stream import Stream

FTS_STORY = FtsSimulator(seed=1, hours=2.0, rate=1000.0, faults=FTS_FAULTS)
HEALTH_STORY = HealthSimulator(seed=1, hours=2.0, faults=HEALTH_FAULTS, quiet_hours=1.0)
STORIES = [
    Case("fts", Stream("fts", "t"), FTS, FtsWire(), lambda: list(FTS_STORY.messages())),
    Case("health", HEALTH_STREAM, HEALTH, HealthWire(), lambda: list(HEALTH_STORY.messages())),
]


@pytest.mark.parametrize("case", STORIES, ids=lambda case: case.name)
def test_a_domain_finds_what_it_declares(case: Case, tmp_path: Path) -> None:
    findings = play(case, tmp_path).findings.values()
    assert len({finding["kind"] for finding in findings}) > 1
    for finding in findings:
        declared = case.pipeline.kinds[finding["kind"]]
        assert finding["subject"].keys() <= set(declared) or ANY_LABEL in declared, finding


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPINTEL_CONFIG", raising=False)
    copy_shipped(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "budgets",
            "streams:\n  fts:\n    a:\n      kinds:\n        - endpont\n",
            "budgets.yaml:5: streams.fts.a.kinds.0: no kind of finding 'endpont'; did you mean `endpoint`?",
        ),
        (
            "budgets",
            "streams:\n  haelth: {}\n",
            "budgets.yaml:2: streams.haelth: no stream 'haelth'; did you mean `health`?",
        ),
        (
            "budgets",
            "streams: {fts: {a: {kinds: [unusual]}}}",
            "budgets.yaml:1: streams.fts.a.kinds.0: no kind of finding",
        ),
        ("incidents", "persistence_of: {fst: {}}", "incidents.yaml:1: persistence_of.fst: no stream 'fst'"),
        (
            "incidents",
            "grouping: {entities: {fts: [endpoint, sorce]}}",
            "incidents.yaml:1: grouping.entities.fts.1: no label 'sorce'; did you mean `source`?",
        ),
        (
            "incidents",
            "grouping: {entities: {healthy: [x]}}",
            "incidents.yaml:1: grouping.entities.healthy: no stream 'healthy'",
        ),
        ("routes", "routes: [{sinks: [lgo]}]", "routes.yaml:1: routes.0.sinks.0: no sink 'lgo'; did you mean `log`?"),
        (
            "routes",
            "routes:\n- sinks: [log]\n- sinks: [log]\n  match: {kinds: [silnt]}\n",
            "routes.yaml:4: routes.1.match.kinds.0: no kind of finding 'silnt'; did you mean `silent`?",
        ),
        (
            "routes",
            "routes: [{sinks: [log], match: {streams: [health], kinds: [slow]}}]",
            "routes.yaml:1: routes.0.match.kinds.0: no kind of finding 'slow'",
        ),
        (
            "routes",
            "routes: [{sinks: [log], match: {streams: [ft]}}]",
            "routes.yaml:1: routes.0.match.streams.0: no stream",
        ),
        (
            "maintenance",
            "maintenance:\n- {stream: fts, subject: {endpoit: a}, start: '2026-01-01T00:00:00Z',"
            " end: '2026-01-02T00:00:00Z', reason: r}\n",
            "maintenance.yaml:2: maintenance.0.subject.endpoit: no label 'endpoit'; did you mean `endpoint`?",
        ),
        (
            "maintenance",
            "maintenance:\n- {stream: fs, subject: {a: b}, start: '2026-01-01T00:00:00Z',"
            " end: '2026-01-02T00:00:00Z', reason: r}\n",
            "maintenance.yaml:2: maintenance.0.stream: no stream 'fs'; did you mean `fts`?",
        ),
    ],
)
def test_a_name_that_nothing_answers_to_is_a_problem(folder: Path, file: str, text: str, expected: str) -> None:
    (folder / f"alerts/{file}.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        require(load_site(folder))
    (found,) = map(str, caught.value.problems)
    assert found.startswith(f"{folder}/alerts/{expected}")


def test_settings_of_a_stream_that_is_not_there_are_a_note(folder: Path) -> None:
    for name in ("fts", "logs"):  # what is said of people's names is another note
        (folder / f"streams/{name}.yaml").unlink()
    site = load_site(folder)
    require(site)
    assert [note.removeprefix(f"{folder}/alerts/") for note in notes(site)] == [
        "budgets.yaml:20: streams.fts: no stream 'fts'; known here: dqm, gw, health",
    ]


def test_labels_that_come_with_the_data_may_be_named(folder: Path) -> None:
    (folder / "alerts/maintenance.yaml").write_text(
        "maintenance:\n- {stream: health, subject: {mountpoint: /data}, start: '2026-01-01T00:00:00Z',"
        " end: '2026-01-02T00:00:00Z', reason: r}\n"
    )
    require(load_site(folder))
