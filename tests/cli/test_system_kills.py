"""The whole system, killed with SIGKILL at random moments of its work: the same findings, incidents and tickets by key.

`make test` kills five times; `make soak` a hundred times and prints the table for `docs/measurements.md`.
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from called import printed

from opintel.alerts.sinks.webhook import read_secret
from opintel.demo.receiver import Receiver

ROUTES = """
sinks:
  tickets: {{type: webhook, url: "{url}/tickets", secret_file: {secret}}}
routes:
  - {{sinks: [tickets], ticket: auto}}
"""


class Site:
    """A configuration with a ticket system behind it, and the simulated transfers that it is fed with."""

    def __init__(self, folder: Path, hours: float) -> None:
        self.folder = folder
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        (folder / "secret").write_text(secret)
        self.receiver = Receiver(read_secret(secret)).start()
        self.cli("init", "etc")
        routes = ROUTES.format(url=self.receiver.url, secret=folder / "secret")
        (folder / "etc/alerts/routes.yaml").write_text(routes)
        self.cli("simulate", "fts", "--hours", str(hours), "--seed", "1", "--out", "in")

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "opintel.cli", *args]

    def cli(self, *args: str) -> str:
        return printed(*args, cwd=self.folder)

    def run(self, data: str) -> list[str]:
        return ["run", "--data", data, "--config", "etc", "--ingest", "fts=in", "--until-idle"]

    def result(self, data: str) -> dict[str, Any]:
        findings = json.loads(self.cli("findings", "--data", data, "--json"))["findings"]
        incidents = json.loads(self.cli("incidents", "--data", data, "--json"))["incidents"]
        return {"findings": findings, "incidents": incidents}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), hours=3.0)
    yield made
    made.receiver.close()


def killed(site: Site, data: str, kills: int, rng: random.Random, longest: float) -> int:
    """Kills the system up to `kills` times at random moments, then lets it finish; returns how often it was killed."""
    for done in range(kills):
        child = subprocess.Popen(
            site.command(*site.run(data)),
            cwd=site.folder,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            child.wait(rng.uniform(0.3, longest))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        else:
            assert child.returncode == 0
            return done
    site.cli(*site.run(data))
    return kills


def check(site: Site, whole: dict[str, Any], data: str) -> dict[str, Any]:
    found = site.result(data)
    assert found == whole
    tickets = site.receiver.tickets()
    keys = sorted(ticket["key"] for incident in whole["incidents"] for ticket in incident["tickets"])
    assert keys
    assert sorted(t["key"] for t in tickets) == keys
    assert all(t["created"] == 1 for t in tickets)
    return found


@pytest.fixture(scope="module")
def whole(site: Site) -> dict[str, Any]:
    site.cli(*site.run("whole"))
    found = site.result("whole")
    assert len(found["findings"]) > 10
    assert len(found["incidents"]) >= 3
    return found


def test_killed_five_times_at_random(site: Site, whole: dict[str, Any]) -> None:
    assert killed(site, "killed", 5, random.Random(1), longest=2.0) >= 3
    check(site, whole, "killed")


@pytest.mark.soak
def test_killed_a_hundred_times_at_random(
    site: Site, whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows, total, seed = [], 0, 0
    began = time.monotonic()
    while total < 100:
        seed += 1
        data = f"soak{seed}"
        kills = killed(site, data, 20, random.Random(seed), longest=1.6)
        found = check(site, whole, data)
        total += kills
        tickets = sum(len(i["tickets"]) for i in found["incidents"])
        rows.append(f"| {seed} | {kills} | {len(found['findings'])} | {len(found['incidents'])} | {tickets} | same |")
    with capsys.disabled():
        print(f"\n{total} SIGKILLs in {time.monotonic() - began:.0f} s; each run is held against the undisturbed one")
        print("| run | kills | findings | incidents | tickets | against the undisturbed run |")
        print("|---|---|---|---|---|---|")
        print("\n".join(rows))
