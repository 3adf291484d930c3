"""`opintel run archive`, and what reads an archive: `backfill`, `replay`, `run --ingest`. All find what the live run
found."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from called import printed

from opintel.cli import invoke
from opintel.finding import finding_json, findings_from_table
from opintel.streams.log_sqlite import SqliteLog

PARTITIONS = 4
AGAINST = ("--against", "archive")
BACKWARDS = ("--from", "2026-03-03", "--to", "2026-03-02")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its archive."""
    folder = tmp_path_factory.mktemp("site")
    printed("simulate", "fts", "--hours", "2", "--seed", "5", "--out", "in", cwd=folder)
    printed("run", "--data", "d", "--ingest", "fts=in", "--until-idle", "--archive", "archive", cwd=folder)
    return folder


@pytest.fixture
def asked(site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The JSON that a command says."""
    monkeypatch.chdir(site)

    def ask(*args: str) -> dict[str, Any]:
        assert invoke([*args, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def plain(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what says where they were made."""
    return [{key: value for key, value in f.items() if key not in ("origin", "downtime")} for f in findings]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_archive_holds_the_log_and_a_second_run_writes_the_same(site: Path) -> None:
    printed("run", "archive", "--data", "d", "--until-idle", "--archive", "again", cwd=site)
    assert tree(site / "again") == tree(site / "archive")
    log = SqliteLog(site / "d" / "log.db")
    for topic, partitions in (("fts.transfers", PARTITIONS), ("fts.controls", 1), ("opintel.findings", 1)):
        rows = pq.read_table(site / "archive" / topic)
        columns = (rows[name].to_pylist() for name in ("partition", "position", "value", "at"))
        records = [(p, *record) for p in range(partitions) for record in log.read(topic, p, 0, 10**6)]
        assert sorted(zip(*columns, strict=True)) == records
    log.close()


def test_a_backfill_finds_what_the_live_run_found(asked: Any, site: Path) -> None:
    live = asked("findings", "--data", "d")["findings"]
    assert len(live) > 20
    for _ in range(2):  # the second time from what is there
        found = asked("backfill", "fts", "--input", "archive", "--output", "out", "--local")
        assert plain(found["findings"]) == plain(live)
    assert (found["stream"], found["dead_letters"]) == ("fts", 0)
    assert found["rows"] > found["records"] > found["late"] > 0
    table = pq.read_table(site / "out" / "fts")
    kept = sorted((finding_json(f) for f in findings_from_table(table)), key=lambda f: (f["window"]["end"], f["id"]))
    assert plain(json.loads(msgspec.json.encode(kept))) == plain(live)
    assert str(table.schema.field("window_end").type) == "int64"


def test_a_backfill_into_a_store_opens_no_incident(asked: Any, site: Path) -> None:
    live = asked("findings", "--data", "d")["findings"]
    first, middle = live[0]["window"]["end"], live[len(live) // 2]["window"]["end"]
    span = ("--from", first, "--to", middle)
    (site / "b").mkdir(exist_ok=True)
    found = asked("backfill", "fts", "--input", "archive", "--output", "sqlite:///b/store.db", "--local", *span)
    expected = [f for f in live if first < f["window"]["end"] <= middle]
    assert plain(found["findings"]) == plain(expected) != []
    assert plain(asked("findings", "--data", "b")["findings"]) == plain(expected)
    assert asked("incidents", "--data", "b")["incidents"] == []
    for arguments in (("sqlite:///d/store.db",), ("sqlite:///b/store.db", "--set", "detectors.fts.failures.emit=-8")):
        assert invoke(["backfill", "fts", "--input", "archive", "--local", "--output", *arguments]) == 1


def test_the_names_of_clusters_are_those_of_the_live_run(asked: Any, site: Path) -> None:
    made = asked("fit", "fts", "--input", "archive", "--output", f"sqlite:///{site / 'named.db'}")
    live, fitted = (clusters(site / name) for name in ("d/store.db", "named.db"))
    assert fitted == live
    assert any(live["cluster"])
    assert sum(map(len, made["card"]["clusters"].values())) == len(live["cluster"])
    with sqlite3.connect(site / "named.db") as store:
        assert store.execute("SELECT DISTINCT kind FROM finding").fetchall() == [("errors",)]
        assert store.execute("SELECT count(*) FROM judged").fetchone() == (0,)
    assert invoke(["fit", "fts", "--input", "archive", "--output", f"sqlite:///{site / 'named.db'}"]) == 1


def clusters(store: Path) -> dict[str, list[Any]]:
    """What a store holds of clusters: not in how many turns they were made."""
    with sqlite3.connect(store) as opened:
        tables = dict.fromkeys(("cluster", "cluster_member"), "*")
        tables |= {"clustering": "stream, scope, through, clustered, changed"}
        tables |= {"cluster_event": "stream, scope, cluster, at, kind, detail"}
        return {name: sorted(opened.execute(f"SELECT {what} FROM {name}").fetchall()) for name, what in tables.items()}


def test_another_setting_says_what_it_changes(asked: Any, site: Path) -> None:
    live = asked("findings", "--data", "d")["findings"]
    incidents = asked("incidents", "--data", "d")["incidents"]
    strict = ("--set", "detectors.fts.failures.emit=-8", "--html", "strict.html")
    found = asked("backfill", "fts", "--input", "archive", "--output", "strict", "--local", *strict)
    compared = found["compare"]
    here, there = compared["only_here"], compared["only_there"]
    assert len(there) > 0
    assert len(found["findings"]) == len(live) - len(there) + len(here)
    # an endpoint that is no longer blamed explains its links no more
    assert all(f["kind"] in ("link", "endpoint") and f["log10_p"] <= -8 for f in here)
    gone = [f for f in live if f["kind"] in ("link", "endpoint") and f["log10_p"] > -8]
    assert {f["id"] for f in gone} <= {f["id"] for f in compared["only_there"]}
    assert {f["kind"] for f in compared["only_there"]} <= {"link", "endpoint"}
    ids = {i["id"] for i in incidents}
    assert {i["id"] for i in compared["incidents"]["only_there"]} <= ids
    assert compared["settings"] == [{"setting": "detectors.fts.failures.emit", "was": [-4.0], "now": -8}]
    page = (site / "strict.html").read_text(encoding="utf-8")
    assert "detectors.fts.failures.emit from −4 to −8" in page
    assert f'<td class="n">{len(live)}</td><td class="n">{len(found["findings"])}</td>' in page
    again = asked("backfill", "fts", "--input", "archive", "--output", "strict", "--local", *strict)
    assert again == found  # from the day that is done, incidents too
    # the archive holds what is found without the setting
    archived = asked("backfill", "fts", "--input", "archive", "--output", "strict", "--local", *strict, *AGAINST)
    for name in ("only_here", "only_there"):
        assert [f["id"] for f in archived["compare"][name]] == [f["id"] for f in compared[name]]
    assert archived["compare"]["incidents"] == compared["incidents"]


def test_this_build_finds_what_the_archive_holds(asked: Any, site: Path) -> None:
    page = ("--html", "same.html")
    found = asked("backfill", "fts", "--input", "archive", "--output", "out", "--local", *AGAINST, *page)["compare"]
    incidents = asked("incidents", "--data", "d")["incidents"]
    assert (found["only_here"], found["only_there"], found["changed"], found["unread"]) == ([], [], [], 0)
    assert {pair["here"]["id"] for pair in found["incidents"]["both"]} == {i["id"] for i in incidents} != set()
    assert "Nothing differs" in (site / "same.html").read_text(encoding="utf-8")
    (site / "without").mkdir()
    (site / "without" / "fts.transfers").symlink_to(site / "archive" / "fts.transfers")
    assert invoke(["backfill", "fts", "--input", "without", "--output", "o", "--local", *AGAINST]) == 1


def test_replay_and_ingest_of_an_archive_are_the_live_run_again(asked: Any, site: Path) -> None:
    printed("run", "--data", "copy", "--ingest", "fts=archive", "--until-idle", cwd=site)
    live = asked("findings", "--data", "d")["findings"]
    incidents = asked("incidents", "--data", "d")["incidents"]
    assert incidents
    replayed = asked("replay", "fts", "archive")
    assert replayed["late"] > 0
    for found, opened in (
        (replayed["findings"], replayed["incidents"]),
        (asked("findings", "--data", "copy")["findings"], asked("incidents", "--data", "copy")["incidents"]),
    ):
        assert plain(found) == plain(live)
        assert [i | {"opened": ""} for i in opened] == [i | {"opened": ""} for i in incidents]
    printed("run", "--data", "copy", "--ingest", "fts=archive", "--until-idle", cwd=site)
    assert len(asked("findings", "--data", "copy")["findings"]) == len(live)


def test_without_spark_a_backfill_names_the_extra_and_local(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    assert invoke(["backfill", "fts", "--input", "archive", "--output", "o"]) == 1
    message = capsys.readouterr().err
    assert "needs the extra spark" in message
    assert "--local" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "archive", "--data", "x"], "no archive: name a folder or URL with --archive"),
        (["run", "archive", "--data", "x", "--archive", "nosuch://x"], "fsspec knows no protocol 'nosuch'"),
        (["backfill", "fts", "--input", "archive", "--output", "o", "--local", "--master", "x"], "no --master"),
        (["backfill", "fts", "--input", "d", "--output", "o", "--local"], "d: no file with messages in it"),
        (
            [
                "backfill",
                "fts",
                "--input",
                "archive",
                "--output",
                "o",
                "--local",
                "--set",
                "detectors.fts.failures.emt=1",
            ],
            "fts.failures has the settings emit,",
        ),
        (["backfill", "ftx", "--input", "archive", "--output", "o", "--local"], "no stream 'ftx' is configured"),
        (["backfill", "fts", "--input", "archive", "--output", "o", "--local", "--from", "x"], "--from x: expected"),
        (
            ["backfill", "fts", "--input", "archive", "--output", "o", "--local", *BACKWARDS],
            "--to 2026-03-02: expected a time after --from 2026-03-03",
        ),
        (["fit", "fts", "--input", "archive", "--output", "o"], "--output: expected the SQLAlchemy URL of a store"),
        (["backfill", "fts", "--input", "archive", "--output", "nosuch://o", "--local"], "nosuch"),
        (["backfill", "fts", "--input", "archive", "--output", "o", "--local", "--html", "x"], "expected --set or"),
        (
            ["backfill", "fts", "--input", "archive", "--output", "o", "--local", *AGAINST, "--html", "no/x.html"],
            "no such folder",
        ),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site)
    assert invoke(arguments) == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
