"""`opintel topics plan | apply`: what is printed, what is made, and how a cluster that cannot be used is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opintel.cli import invoke
from opintel.demo.broker import Broker, free_port
from opintel.streams.kafka import reach

RAW = "site-topics.raw"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPINTEL_CONFIG", str(tmp_path))
    monkeypatch.setattr(reach, "PATIENCE", 1.0)
    (tmp_path / "alerts").mkdir()
    (tmp_path / "streams").mkdir()
    stream = f"name: site-topics\ndomain: fts\ntopic: {RAW}\npartitions: 2\nretention: 3d\n"
    (tmp_path / "streams" / "site-topics.yaml").write_text(stream)
    return tmp_path


def test_plan_changes_nothing_and_apply_does(site: Path, kafka: Broker, capsys: pytest.CaptureFixture) -> None:
    (site / "site.yaml").write_text(f"bus: {{bootstrap: ['{kafka.bootstrap}']}}\n")

    def raw(command: str) -> str:
        assert invoke(["topics", command, "--json"]) == 0
        return next(t["action"] for t in json.loads(capsys.readouterr().out)["topics"] if t["topic"] == RAW)

    assert [raw("plan"), raw("plan"), raw("apply"), raw("plan"), raw("apply")] == [
        "create",
        "create",
        "create",
        "same",
        "same",
    ]
    assert invoke(["topics", "plan"]) == 0
    shown = capsys.readouterr().out
    assert RAW in shown
    assert "3 d" in shown
    (site / "streams" / "site-topics.yaml").write_text(
        (site / "streams" / "site-topics.yaml").read_text().replace("partitions: 2", "partitions: 3")
    )
    assert invoke(["topics", "apply"]) == 1
    assert "error" in capsys.readouterr().out


def test_the_option_goes_before_the_file(site: Path, kafka: Broker, capsys: pytest.CaptureFixture) -> None:
    (site / "site.yaml").write_text(f"bus: {{bootstrap: ['127.0.0.1:{free_port()}']}}\n")
    assert invoke(["topics", "plan", "--bootstrap", kafka.bootstrap]) == 0
    assert RAW in capsys.readouterr().out


def test_rights_need_an_authorizer(site: Path, kafka: Broker, capsys: pytest.CaptureFixture) -> None:
    assert invoke(["topics", "plan", "--acls", "--bootstrap", kafka.bootstrap]) == 1
    assert "the cluster has no authorizer" in capsys.readouterr().err


def test_a_cluster_that_cannot_be_used_is_one_line(site: Path, capsys: pytest.CaptureFixture) -> None:
    assert invoke(["topics", "plan"]) == 1
    assert capsys.readouterr().err.startswith("opintel: site.yaml names no `bus`")
    nobody = f"127.0.0.1:{free_port()}"
    assert invoke(["topics", "apply", "--bootstrap", nobody]) == 1
    assert capsys.readouterr().err == f"opintel: the cluster cannot be reached: {nobody}: Connection refused\n"
    assert invoke(["topics", "plan", "--bootstrap", "nowhere"]) == 1
    assert "expected `host:port`, got 'nowhere'" in capsys.readouterr().err
