"""`opintel replay` on real files and on bad ones, as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from called import Done, opintel, printed

from opintel.cli import invoke


def replay(*args: object, cwd: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed("replay", "fts", *args, "--json", cwd=cwd))
    return document


def test_ten_thousand_real_messages(shared_data: Path, tmp_path: Path) -> None:
    found = replay(shared_data / "fts/fts_10k_messages.csv", cwd=tmp_path)
    assert (found["messages"], found["dead_letters"]) == (10_000, 0)
    assert {f["kind"] for f in found["findings"]} == {"errors", "new-template"}
    assert sum(f["kind"] == "new-template" for f in found["findings"]) == 40  # the cap a day
    assert all(f["basis"] == "none" and f["p_value"] is None and f["origin"] == "replay" for f in found["findings"])
    order = [(f["window"]["end"], f["id"]) for f in found["findings"]]
    assert order == sorted(order)
    assert found["incidents"] == []


@pytest.mark.parametrize(
    ("file", "messages"), [("monit_fts_example_2020.jsonl", 2), ("monit_fts_example_2017_ok.json", 1)]
)
def test_real_monit_messages(shared_data: Path, tmp_path: Path, file: str, messages: int) -> None:
    found = replay(shared_data / "fts" / file, cwd=tmp_path)
    assert (found["messages"], found["dead_letters"]) == (messages, 0)


def test_the_real_duplicate_is_counted_once(shared_data: Path, tmp_path: Path) -> None:
    found = replay(shared_data / "fts/monit_fts_example_2020.jsonl", cwd=tmp_path)
    [new] = [f for f in found["findings"] if f["kind"] == "new-template"]
    assert new["effect"] == {"value": 1.0, "unit": "messages"}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    done = opintel("simulate", "fts", "--hours", "2", "--seed", "4", "--out", "in", cwd=folder)
    assert done.code == 0, done.err
    written = sum(file.read_bytes().count(b"\n") for file in (folder / "in" / "messages").iterdir())
    assert done.err == f"in: {written} messages, 6 faults in truth.json\n"
    return folder / "in"


@pytest.fixture(scope="module")
def replayed(story: Path) -> Done:
    return opintel("replay", "fts", story, "--json", cwd=story.parent)


def test_that_the_key_is_public_is_said_once(replayed: Done) -> None:
    assert replayed.err.count("shipped public key") == 1


def test_batch_size_and_hash_seed_change_nothing(story: Path, replayed: Done) -> None:
    plain = json.loads(replayed.out)
    assert len(plain["findings"]) > 5
    command = [sys.executable, "-m", "opintel.cli", "replay", "fts", str(story), "--json", "--batch-size", "7"]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == plain


def test_what_is_simulated_is_the_same_for_the_same_seed(story: Path, tmp_path: Path) -> None:
    opintel("simulate", "fts", "--hours", "2", "--seed", "4", "--out", "again", cwd=tmp_path)
    for file in sorted(p.relative_to(story) for p in story.rglob("*") if p.is_file()):
        assert (tmp_path / "again" / file).read_bytes() == (story / file).read_bytes()
    truth = json.loads((story / "truth.json").read_text())
    assert {"id", "kind", "subject", "start", "end", "cause"} == set(truth[0])


def test_garbage_among_good_messages(shared_data: Path, tmp_path: Path) -> None:
    good = (shared_data / "fts/monit_fts_example_2020.jsonl").read_bytes().splitlines()[0]
    lines = [good, b"", b"{", b"\xff\xfe", b"[" * 50_000, b"null", b'{"data": {}, "metadata": 7}', b"x" * 3_000_000]
    (tmp_path / "mixed.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    found = replay("mixed.jsonl", cwd=tmp_path)
    assert (found["messages"], found["dead_letters"]) == (len(lines), len(lines) - 1)
    assert found["set_aside"] == {"dead": len(lines) - 1}


def test_what_was_read_used_dropped_and_refused_is_said(tmp_path: Path) -> None:
    rows = [f"2026-01-01T00:{minute:02}:00Z,{host},1,x\n" for minute in range(20) for host in ("a", "b")]
    table = tmp_path / "a.csv"
    table.write_text("timestamp,instance,load,\n" + "".join(rows) + "noon,a,1,x\n" * 3 + "2026-01-01,a\n")
    done = opintel("replay", "health", table, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["messages"], found["dead_letters"], found["late"]) == (44, 4, 0)
    [noon, short] = found["input"].pop("rejected")
    assert (noon["place"], noon["count"], "noon" in noon["reason"]) == ("a.csv:41", 3, True)
    assert (short["place"], short["count"]) == ("a.csv:44", 1)
    used = ["instance", "load", "timestamp"]
    assert found["input"] == {"rows": 40, "keys": 2, "columns_used": used, "columns_dropped": []}
    again = opintel("replay", "health", table, cwd=tmp_path)
    assert again.err == ""  # the note about names of people is for streams that may have some
    said = again.out
    assert "columns used: instance, load, timestamp" in said
    assert "44 messages, 40 rows of 2 keys, 4 dead letters, 0 late" in said
    assert "refused: 3, the first at a.csv:41" in said


def test_many_late_rows_are_a_loud_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["timestamp,name,value\n"]
    for host in ("a", "b", "c"):
        lines += [f"2026-01-0{1 + n // 1440}T{n // 60 % 24:02}:{n % 60:02}:00Z,{host},1\n" for n in range(2500)]
    (tmp_path / "a.csv").write_text("".join(lines))
    done = opintel("replay", "health", "a.csv", "--json", cwd=tmp_path)
    found = json.loads(done.out)
    assert done.code == 3
    assert found["late"] > 0.05 * found["input"]["rows"]
    assert f"WARNING: {found['late']} of {found['input']['rows']} rows of health came too late" in done.err
    fed = opintel("run", "--data", "d", "--ingest", "health=a.csv", "--until-idle", cwd=tmp_path)
    assert fed.code == 0, fed.err
    assert f"{found['late']} of {found['input']['rows']} rows of health came too late" in caplog.text
    assert f"health: 7500 messages, 0 dead letters, {found['late']} late; in all 0 findings, 0 incidents" in fed.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("replay", "fts", "nowhere.csv"), "nowhere.csv: no such file"),
        (("replay", "fts", "empty.jsonl"), "empty.jsonl: the file is empty"),
        (("replay", "fts", "junk.jsonl"), "none of 1 messages could be decoded as fts; the first: junk.jsonl:1"),
        (("replay", "fts", "junk.hdf5"), "got '.hdf5'"),
        (("replay", "fts", "metrics.csv"), "got the columns 'timestamp', 'value', the first of numbers or times"),
        (("replay", "fts", "junk.jsonl.gz"), "junk.jsonl.gz:1: no gzip file"),
        (("run", "--ingest", "fts=junk.jsonl.gz"), "got '.jsonl.gz'; `gunzip` it first"),
        (
            ("simulate", "fts", "--hours", "-1", "--seed", "1", "--out", "o"),
            "--hours: expected above 0 and at most 8784",
        ),
        (("replay", "nosuch", "junk.jsonl"), "no stream 'nosuch' is configured; there are: dqm, fts, gw, health"),
        (("replay", "fts"), "Missing argument"),
        (("run", "nosuch"), "no service 'nosuch'; there are: ingest"),
        (("run", "--ingest", "fts"), "write STREAM=PATH"),
        (("run", "--ingest", "fts=nowhere"), "no such file or folder"),
        (("run", "stage1", "--ingest", "fts=junk.jsonl"), "--ingest needs the service `ingest`"),
        (("run", "--data", "junk.jsonl"), "junk.jsonl"),
        (("run", "--host", "0.0.0.0", "--data", "d"), "give it a token"),
        (("run", "--config", "nowhere"), "nowhere: no such folder"),
        (("findings", "--data", "nowhere"), "no store there"),
        (("simulate", "fts", "--hours", "1", "--seed", "1", "--out", "o", "--faults", "fire"), "unknown fault kind"),
        (
            ("simulate", "fts", "--hours", "1", "--seed", "1", "--out", "o", "--faults", "none,fire"),
            "unknown fault kind",
        ),
        (("simulate", "health", "--hours", "1", "--seed", "1", "--out", "o", "--faults", ","), "unknown fault kind ''"),
        (("simulate", "fts", "--hours", "1", "--seed", "1", "--out", "o", "--start", "noon"), "--start"),
        (("simulate", "fts", "--hours", "9", "--seed", "1", "--out", "o", "--start", "2099-12-31T20:00:00Z"), "2100"),
        (("evaluate", "templates"), "at least one FILE.csv"),
        (("evaluate", "fts", "nowhere"), "nowhere: no such file or folder"),
        (("demo", "--for", "soon"), "expected a duration"),
        (("demo", "--report", "nowhere/r.json"), "no such folder"),
        (("nosuch",), "No command 'nosuch'"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "junk.jsonl").write_text("junk\n")
    (tmp_path / "junk.hdf5").write_text("junk\n")
    (tmp_path / "metrics.csv").write_text("timestamp,value\n2026-01-01T00:00:00Z,1\n")
    (tmp_path / "junk.jsonl.gz").write_text("junk\n")
    done = opintel(*args, cwd=tmp_path)
    assert done.code in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if "WARNING" not in line]
    assert len(lines) == 1, done.err
    assert done.out == ""


def test_what_it_says_is_about_its_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("nothing\n")
    assert invoke(["replay", "health", str(tmp_path / "a.jsonl")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "a.jsonl:1" in line
