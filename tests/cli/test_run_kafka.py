"""`opintel run` over a real Kafka broker: services as processes that share the work, one killed; metrics of a process
without a console, while the broker is there and while it is not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from called import printed

from opintel.demo.broker import Broker
from opintel.store.database import open_store, sqlite_url
from opintel.store.queries import findings, incidents

pytestmark = pytest.mark.broker
PLACES = ("--config", "etc", "--data", "data")


class Site:
    """A configuration over a broker of its own, simulated transfers, and what a replay of them finds."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder, self.broker = folder, broker
        self.children: list[subprocess.Popen[str]] = []
        self.cli("init", "etc")
        (folder / "etc/site.yaml").write_text(json.dumps({"bus": {"bootstrap": [broker.bootstrap]}}))
        self.cli("simulate", "fts", "--hours", "2.5", "--seed", "5", "--out", "in")
        self.replayed = json.loads(self.cli("replay", "fts", "in", "--json"))

    def cli(self, *arguments: str) -> str:
        return printed(*arguments, cwd=self.folder)

    def until_idle(self, *arguments: str) -> None:
        self.cli("run", *arguments, *PLACES, "--until-idle")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "opintel.cli", "run", *arguments, *PLACES]
        child = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        store = open_store(sqlite_url(self.folder / "data/store.db"))
        try:
            return {"findings": findings(store), "incidents": incidents(store)}
        finally:
            store.close()


@pytest.fixture(scope="module")
def site(part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Broker(tmp_path_factory.mktemp("broker"), jars=part("kafka")) as broker:
        made = Site(tmp_path_factory.mktemp("site"), broker)
        yield made
        for child in made.children:
            child.kill()
            child.wait()


def line_of(child: subprocess.Popen[str], wanted: str) -> str:
    assert child.stderr is not None
    for line in child.stderr:
        if wanted in line:
            return line
    raise AssertionError(f"it said nothing of {wanted!r}")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def eventually(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


def told(document: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By id as JSON has it, without what a replay says of itself."""
    document = json.loads(msgspec.json.encode(document))
    return {one["id"]: {k: v for k, v in one.items() if k != "origin"} for one in document}


def test_processes_share_the_work_and_find_what_a_replay_finds(site: Site) -> None:
    for service in ("stage1", "stage1", "stage2", "alerts"):
        site.start(service)
    site.start("archive", "--archive", "archive")
    first = site.children[0]
    line_of(first, "are ours")
    site.until_idle("ingest", "--ingest", "fts=in")
    first.send_signal(signal.SIGKILL)
    wanted = told(site.replayed["findings"])
    assert len(wanted) > 20
    eventually(lambda: len(site.stored()["findings"]) >= len(wanted))
    assert told(site.stored()["findings"]) == wanted
    for child in site.children[1:]:
        child.send_signal(signal.SIGTERM)
    assert [child.wait(10) for child in site.children[1:]] == [0, 0, 0, 0]
    # what is left to the alert service is done by the process that comes next
    site.until_idle("alerts")
    titles = sorted(i["title"] for i in site.replayed["incidents"])
    assert sorted(i["title"] for i in site.stored()["incidents"]) == titles
    assert titles
    # so is what lies behind the last cut of the archive
    site.until_idle("archive", "--archive", "archive")
    again = json.loads(site.cli("backfill", "fts", "--input", "archive", "--output", "out", "--local", "--json"))
    assert told(again["findings"]) == wanted


def test_a_process_without_a_console_serves_its_metrics_and_says_when_the_log_is_away(
    site: Site, part: Callable[[str], Path]
) -> None:
    child = site.start("stage1", "--metrics-port", "0")
    url = line_of(child, "metrics: ").split()[1].removesuffix("/metrics")
    line_of(child, "are ours")
    status, text = get(url + "/metrics")
    assert status == 200
    assert "opintel_log_up 1.0" in text
    assert 'opintel_messages_total{stream="fts"}' in text
    checked = subprocess.run([part("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert get(url + "/healthz") == (200, "ok\n")
    assert get(url + "/readyz") == (200, "ok\n")
    assert get(url + "/")[0] == 404
    site.broker.kill()
    try:
        line_of(child, "beginning again when the log can be reached")
        assert "opintel_log_up 0.0" in get(url + "/metrics")[1]
        status, text = get(url + "/readyz")
        assert status == 503
        assert text.startswith("the log cannot be reached")
        assert get(url + "/healthz") == (200, "ok\n")
    finally:
        site.broker.start()
    line_of(child, "the log is back")
    eventually(lambda: "opintel_log_up 1.0" in get(url + "/metrics")[1])
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) == 0
