"""`opintel check`: every problem of streams, domain settings and alerts on stderr with exit 1, a summary with 0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opintel.cli import invoke

FTS = "name: fts\ndomain: fts\ntopic: fts.transfers\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPINTEL_CONFIG", raising=False)
    (tmp_path / "streams").mkdir()
    (tmp_path / "alerts").mkdir()
    (tmp_path / "streams" / "fts.yaml").write_text(FTS)
    return tmp_path


def test_the_shipped_configuration_is_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delenv("OPINTEL_CONFIG", raising=False)
    assert invoke(["check"]) == 0
    said = capsys.readouterr()
    assert "in order; 5 stream(s): dqm, fts, gw, health, logs" in said.out
    assert "shipped public key" in said.err


def test_every_problem_is_printed(site: Path, capsys: pytest.CaptureFixture) -> None:
    (site / "streams" / "fts.yaml").write_text(
        FTS + "wire:\n  instnace: a.example.org\ndetectors:\n  fts.silense: {}\n"
    )
    (site / "streams" / "broker.yaml").write_text(
        "name: broker\ndomain: fts\ntopic: b\nstomp:\n  host: h\n  destinations: [/queue/a]\n  password_file: nowhere\n"
    )
    (site / "site.yaml").write_text("bus:\n  bootstrap: [k:9094]\n  user: u\n  password_env: OPINTEL_NO_SUCH\n")
    (site / "streams" / "k.yaml").write_text(
        "name: k\ndomain: fts\ntopic: k\nkafka: {bootstrap: ['k:9094'], topics: [a], tls: true, ca_file: nowhere}\n"
    )
    (site / "streams" / "u.yaml").write_text(
        "name: u\ndomain: fts\ntopic: u\nkafka: {bootstrap: ['k:9094'], topics: [a], user: u}\n"
    )
    (site / "streams" / "other.yaml").write_text("name: other\ndomain: otherworld\ntopic: other\n")
    (site / "alerts" / "budgets.yaml").write_text("# comment\nstreams: {fst: {}}\n")
    (site / "alerts" / "routes.yaml").write_text(
        "sinks:\n  a: {type: webhook, url: 'https://h', secret_file: nowhere}\n"
    )
    assert invoke(["check", str(site)]) == 1
    lines = [line.replace(f"{site}/", "") for line in capsys.readouterr().err.splitlines()]
    expected = [
        "site.yaml:4: bus.password_env: the environment variable OPINTEL_NO_SUCH is not set or empty",
        "streams/k.yaml:4: kafka.ca_file: streams/nowhere cannot be read: No such file",
        "streams/u.yaml:4: kafka.user: needs password_file or password_env",
        "note: site.yaml: the bus is reached without TLS",
        "streams/fts.yaml:5: wire.instnace: unknown key; did you mean `instance`?",
        "streams/fts.yaml:7: detectors.fts.silense: unknown detector; did you mean `fts.silence`?",
        "streams/broker.yaml:7: stomp.password_file: streams/nowhere cannot be read",
        "streams/other.yaml:2: domain: no domain 'otherworld'; known here: dqm, fts, gw, health",
        "alerts/budgets.yaml:2: streams.fst: no stream 'fst'; did you mean `fts`?",
        "alerts/routes.yaml:2: sinks.a.secret_file: alerts/nowhere cannot be read: No such file or directory",
    ]
    for start in expected:
        assert any(line.startswith(start) for line in lines), (start, lines)


def test_a_mistake_in_one_file_hides_none_in_another(site: Path, capsys: pytest.CaptureFixture) -> None:
    mistakes = {
        "site.yaml": "replication: many\nmodels: s4://b\n",
        "streams/types.yaml": "name: types\ndomain: health\ntopic: x\nwindow: soon\n",
        "streams/yaml.yaml": "name: [\n",
        "streams/ranges.yaml": "name: ranges\ndomain: health\ntopic: r\nphase: 60m\n",
        "streams/domain.yaml": "name: domain\ndomain: heath\ntopic: d\n",
        "streams/fts.yaml": FTS + "wire:\n  instnace: a.example.org\ndetectors:\n  fts.silense: {}\n",
        "alerts/budgets.yaml": "streams:\n  fts: {a: {kinds: [endpont]}}\n  types: {a: {kinds: [donw]}}\n",
        "alerts/routes.yaml": "sinks:\n  w: {type: webhook, url: 'https://h', secret_file: nowhere}\n"
        "  f: {type: file, path: no/tickets}\n",
        "alerts/incidents.yaml": "reopen: 6\n",
    }
    for name, text in mistakes.items():
        (site / name).write_text(text)
    assert invoke(["check", str(site)]) == 1
    lines = [line.removeprefix(f"{site}/") for line in capsys.readouterr().err.splitlines()]
    assert sorted(":".join(line.split(": ")[:2]) for line in lines if not line.startswith("note: ")) == [
        "alerts/budgets.yaml:2:streams.fts.a.kinds.0",
        "alerts/budgets.yaml:3:streams.types.a.kinds.0",
        "alerts/incidents.yaml:1:reopen",
        "alerts/routes.yaml:2:sinks.w.secret_file",
        "alerts/routes.yaml:3:sinks.f.path",
        "site.yaml:1:replication",
        "streams/domain.yaml:2:domain",
        "streams/fts.yaml:5:wire.instnace",
        "streams/fts.yaml:7:detectors.fts.silense",
        "streams/ranges.yaml:4:phase",
        "streams/types.yaml:4:window",
        "streams/yaml.yaml:2:not YAML",
    ]


def test_a_wire_that_refuses_its_settings_is_a_problem(site: Path, capsys: pytest.CaptureFixture) -> None:
    (site / "streams" / "fts.yaml").write_text(FTS + "wire:\n  instance: 'no host'\n")
    assert invoke(["check", str(site)]) == 1
    assert "streams/fts.yaml:4: wire: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("store: nonsense", "site.yaml:2: store: is no SQLAlchemy URL; expected one such as "),
        ("store: postgresql://u:hunter2@h:port/d", "site.yaml:2: store: is no SQLAlchemy URL: its port is no number"),
        ("store: postgresql://u:hunter2@h:99999/d", "site.yaml:2: store: its port is not one of 1 to 65535"),
        ("store: postgres://u:hunter2@h/d", "site.yaml:2: store: SQLAlchemy knows no database 'postgres'"),
        ("checkpoints: s4://k:hunter2@b/x", "site.yaml:2: checkpoints: fsspec knows no protocol 's4'; expected "),
        ("checkpoints: simplecache::s4://b", "site.yaml:2: checkpoints: fsspec knows no protocol 's4'; expected "),
        ("models: s4://b", "site.yaml:2: models: fsspec knows no protocol 's4'; expected "),
    ],
)
def test_a_url_that_nothing_opens_is_a_problem(
    site: Path, line: str, expected: str, capsys: pytest.CaptureFixture
) -> None:
    (site / "site.yaml").write_text(f"replication: 1\n{line}\n")
    assert invoke(["check", str(site)]) == 1
    said = capsys.readouterr().err.replace(f"{site}/", "")
    assert any(told.startswith(expected) for told in said.splitlines()), said
    assert "hunter2" not in said


def test_a_missing_extra_of_a_url_says_how_to_install_it(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("opintel.site.check.find_spec", lambda name: None)
    (site / "site.yaml").write_text("checkpoints: s3://b/x\n")
    assert invoke(["check", str(site)]) == 1
    said = capsys.readouterr().err
    assert "site.yaml:1: checkpoints: s3:// needs the extra `s3`: pip install -e '.[s3]' in a checkout, or" in said


@pytest.mark.parametrize(
    "line",
    [
        "store: postgresql+psycopg://u@h:5432/d",
        "store: sqlite:////srv/store.db",
        "checkpoints: s3://b/x",
        "checkpoints: file:///srv/x",
        "checkpoints: simplecache::s3://b/x",
        "checkpoints: states",
        "# nothing",
    ],
)
def test_urls_that_can_be_opened_are_in_order(site: Path, line: str, capsys: pytest.CaptureFixture) -> None:
    (site / "site.yaml").write_text(f"{line}\n")
    assert invoke(["check", str(site)]) == 0, capsys.readouterr().err


def test_json_is_one_document(site: Path, capsys: pytest.CaptureFixture) -> None:
    (site / "streams" / "fts.yaml").write_text(FTS + "windwo: 5m\n")
    assert invoke(["check", str(site), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [(p["line"], p["key"]) for p in report["problems"]] == [(4, "windwo")]


def test_a_missing_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert invoke(["check", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/nowhere: no such folder; `opintel init DIR` makes one\n"
