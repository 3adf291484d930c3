"""`opintel fit`: an archive's baseline, named in a site's YAML, is what its series begin with in a replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opintel.cli import invoke

HOURS = "2"


@pytest.fixture
def asked(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The JSON that a command says."""
    monkeypatch.chdir(tmp_path)

    def ask(*args: str) -> dict[str, Any]:
        capsys.readouterr()
        assert invoke([*args, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def simulate(folder: str, *more: str) -> None:
    assert invoke(["simulate", "health", "--hours", HOURS, "--seed", "5", "--out", folder, *more]) == 0


def test_a_site_begins_with_the_baseline_that_its_yaml_names(
    asked: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate("past", "--faults", "none")
    run = ["run", "--data", "d", "--ingest", "health=past", "--until-idle", "--archive", "archive", "--port", "0"]
    assert invoke(run) == 0
    assert invoke(["init", "etc"]) == 0
    made = asked("fit", "health", "--input", "archive", "--output", "etc/models")
    assert made["card"]["series"] == 264
    assert invoke(["fit", "health", "--input", "archive", "--output", "etc/models"]) == 0
    printed = capsys.readouterr().out
    assert "start 2026-03-02T" in printed, "times are for people"
    assert f"\n{made['sha256']} in etc/models\n" in printed
    simulate("now", "--start", "2026-06-01T00:00:00Z")
    yaml = tmp_path / "etc" / "streams" / "health.yaml"
    text = yaml.read_text()
    yaml.write_text(f"{text}\nmodels: {{{made['name']}: {made['sha256']}}}\n")
    said = asked("replay", "health", "now", "--config", "etc", "--data", "warm")
    assert began(said) == {"its own history, from a baseline"}
    yaml.write_text(f"{text}\nmodels: {{health.base: {made['sha256']}}}\n")
    assert invoke(["check", "etc"]) == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["health", "--input", "nowhere"], "no file of topic 'health.metrics'"),
        (["helth", "--input", "nowhere"], "no stream 'helth' is configured"),
        (["health", "--input", "nowhere", "--from", "yesterday"], "--from yesterday: expected a date such as"),
        (
            ["health", "--input", "nowhere", "--from", "2026-03-03", "--to", "2026-03-02"],
            "--to 2026-03-02: expected a day not before --from 2026-03-03",
        ),
    ],
)
def test_a_mistake_is_one_line(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["fit", *args, "--output", "models"]) == 1
    assert said in capsys.readouterr().err


def began(document: dict[str, Any]) -> set[str]:
    blocks = [block for finding in document["findings"] for block in finding["evidence"] if block["type"] == "table"]
    return {row[1] for block in blocks for row in block["rows"] if row[0] == "began with"}
