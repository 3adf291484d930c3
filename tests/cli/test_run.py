"""`opintel run` and `demo` as processes: leaving, tailing, services apart, and the report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from called import printed

from opintel.store import open_store, queries, sqlite_url


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "opintel.cli", *map(str, args)]


def stored(cwd: Path, data: str) -> dict[str, list[dict[str, Any]]]:
    """All findings and incidents in a run's store."""
    with closing(open_store(sqlite_url(cwd / data / "store.db"))) as store:
        return {"findings": queries.findings(store), "incidents": queries.incidents(store)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    printed("simulate", "fts", "--hours", "2.5", "--seed", "5", "--out", "in", cwd=folder)
    printed("run", "--data", "whole", "--ingest", "fts=in", "--until-idle", cwd=folder)
    return folder


@pytest.fixture
def started(site: Path) -> Iterator[list[subprocess.Popen[str]]]:
    children: list[subprocess.Popen[str]] = []
    yield children
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()


def start(site: Path, children: list[subprocess.Popen[str]], *args: object) -> subprocess.Popen[str]:
    child = subprocess.Popen(command(*args), cwd=site, stderr=subprocess.PIPE, text=True)
    children.append(child)
    return child


def url_of(child: subprocess.Popen[str], what: str = "console") -> str:
    """Where a process serves its console or its metrics; it says so when it is ready for signals and about to work."""
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith(f"{what}: "):
            return line.split()[1]
    raise AssertionError(f"no line that begins with '{what}: '")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def eventually(holds: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.2)


def test_until_idle_on_an_empty_folder_leaves_at_once(site: Path) -> None:
    (site / "none" / "messages").mkdir(parents=True)
    printed("run", "--data", "empty", "--ingest", "fts=none", "--until-idle", cwd=site)
    assert stored(site, "empty") == {"findings": [], "incidents": []}


def test_a_second_run_over_the_same_input_changes_nothing(site: Path) -> None:
    before = stored(site, "whole")
    printed("run", "--data", "whole", "--ingest", "fts=in", "--until-idle", cwd=site)
    assert stored(site, "whole") == before
    assert len(before["findings"]) > 5
    assert before["incidents"]


def test_sigterm_leaves_within_ten_seconds_and_a_tailed_folder_is_read_on(
    site: Path, started: list[subprocess.Popen[str]]
) -> None:
    tail = site / "tail"
    tail.mkdir()
    files = sorted((site / "in" / "messages").iterdir())
    assert len(files) > 2
    wanted = 0
    for some in (files[:1], files[1:]):
        child = start(site, started, "run", "--data", "tailed", "--port", "0", "--ingest", "fts=tail")
        url = url_of(child)
        for file in some:
            (tail / file.name).write_bytes(file.read_bytes())
            wanted += file.read_bytes().count(b"\n")
        eventually(
            lambda url=url, wanted=wanted: f'opintel_messages_total{{stream="fts"}} {wanted}.0' in get(url + "/metrics")
        )
        eventually(lambda url=url: 'opintel_lag_records{stream="fts"} 0.0' in get(url + "/metrics"))
        assert get(url + "/healthz").strip() == "ok"
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    printed("run", "--data", "tailed", "--ingest", "fts=tail", "--until-idle", cwd=site)
    found, whole = stored(site, "tailed"), stored(site, "whole")
    # other chunks, so other stamps: the same windows are judged, only what came late can differ
    assert [i["title"] for i in found["incidents"]] == [i["title"] for i in whole["incidents"]]


def test_a_sample_dated_far_ahead_in_a_tailed_file_does_not_make_the_rest_late(
    site: Path, started: list[subprocess.Popen[str]]
) -> None:
    now = time.time()
    (site / "ahead").mkdir()
    times = [now - 600.0, now + 1e9, *(now - 500.0 + n for n in range(100))]
    lines = [json.dumps({"timestamp": t, "value": 1.0, "name": "m", "labels": {"job": "j"}}) + "\n" for t in times]
    (site / "ahead" / "a.jsonl").write_text("".join(lines[:3]))
    child = start(site, started, "run", "--data", "ahead-data", "--port", "0", "--ingest", "health=ahead")
    url = url_of(child)

    def shows(*said: str) -> bool:
        text = get(url + "/metrics")
        return all(f"opintel_{one}\n" in text for one in said)

    eventually(lambda: shows('messages_total{stream="health"} 3.0'))
    with (site / "ahead" / "a.jsonl").open("a") as file:
        file.writelines(lines[3:])
    eventually(lambda: shows('messages_total{stream="health"} 102.0', 'lag_records{stream="health"} 0.0'))
    assert shows('asides_total{kind="dead",stream="health"} 1.0', 'asides_total{kind="late",stream="health"} 0.0')
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0


def test_services_as_processes_over_one_folder_one_of_them_killed(
    site: Path, started: list[subprocess.Popen[str]]
) -> None:
    whole = stored(site, "whole")
    for service in ("stage1", "stage2", "alerts", "delivery"):
        start(site, started, "run", service, "--data", "apart")
    printed("run", "ingest", "--data", "apart", "--ingest", "fts=in", "--until-idle", cwd=site)
    os.kill(started[0].pid, signal.SIGKILL)
    url_of(start(site, started, "run", "stage1", "--data", "apart", "--metrics-port", "0"), "metrics")
    eventually(
        lambda: (site / "apart/store.db").exists() and len(stored(site, "apart")["findings"]) >= len(whole["findings"])
    )
    for child in started[1:]:
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    printed("run", "--data", "apart", "--ingest", "fts=in", "--until-idle", cwd=site)
    assert stored(site, "apart") == whole


BRIEF = """
import opintel.cli as cli, opintel.demo.plan as plan, msgspec
tell = plan.tell
def brief(*args, **options):
    story = tell(*args, **options)
    chapters = tuple(msgspec.structs.replace(c, quiet_hours=0.5) for c in story.chapters)
    return msgspec.structs.replace(story, chapters=chapters)
plan.tell = brief
cli.main()
"""
"""A demo whose history is half an hour: what is tested comes after it, and CI runs the whole one."""


def demo(cwd: Path, children: list[subprocess.Popen[str]], *args: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", BRIEF, "demo", "--headless", "--clean", *args]
    child = subprocess.Popen(arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children.append(child)
    return child


def test_a_short_demo_reports_and_leaves(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    began = time.monotonic()
    child = demo(tmp_path, started, "--for", "4s", "--report", "r.json")
    out, err = child.communicate(timeout=180)
    assert child.returncode == 0, err
    report = json.loads((tmp_path / "r.json").read_text())
    assert 4.0 <= report["seconds"] < time.monotonic() - began
    assert report["injected"] == []
    assert report["false_incidents"] == len(report["incidents"])
    assert report["streams"]["fts"]["messages"] > 10_000
    assert report["streams"]["fts"]["dead_letters"] == 0
    assert report["services"][0]["pid"] > 0
    assert out.strip().endswith("s")


def test_ctrl_c_ends_a_demo(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    child = demo(tmp_path, started)
    assert child.stderr is not None
    assert any("console" in line for line in iter(child.stderr.readline, ""))
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0
