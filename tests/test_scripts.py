"""The developer's scripts: real parts are found where they should be, and a demo's report is judged."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
REPORT: dict[str, Any] = {
    "injected": [{"id": str(n)} for n in range(6)],
    "matches": {str(n): ["i"] for n in range(5)} | {"5": []},
    "missed": ["5"],
    "false_incidents": 1,
    "incidents": [{"title": "a", "evidence": 3}],
    "tickets": [{}],
}


def test_parts_are_listed_where_opintel_parts_says(tmp_path: Path) -> None:
    jars = tmp_path / "activemq"
    jars.mkdir()
    for name in ("activemq-stomp-1.jar", "activemq-kahadb-store-1.jar", "slf4j-simple-2.jar"):
        (jars / name).touch()
    java = tmp_path / "java"
    java.touch()
    java.chmod(0o755)
    # no HOME, and nothing on the PATH but a Java
    environment = {"OPINTEL_PARTS": str(tmp_path), "PATH": str(tmp_path)}
    listed = subprocess.run(
        [sys.executable, SCRIPTS / "parts.py", "--list"], env=environment, capture_output=True, text=True
    )
    assert f"activemq   {jars}" in listed.stdout
    assert "chromium   MISSING: not there; run `make parts`" in listed.stdout
    assert listed.returncode == 1


def test_what_is_present_is_not_fetched_again(tmp_path: Path) -> None:
    for name in ("chromium", "promtool"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o755)
    environment = {"OPINTEL_PARTS": str(tmp_path / "none"), "PATH": str(tmp_path)}
    command = [sys.executable, SCRIPTS / "parts.py", "chromium", "promtool"]
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    assert not (tmp_path / "none").exists()


def test_a_part_that_cannot_be_had_says_what_it_needs(tmp_path: Path) -> None:
    environment = {"OPINTEL_PARTS": str(tmp_path), "PATH": str(tmp_path)}
    fetched = subprocess.run(
        [sys.executable, SCRIPTS / "parts.py", "activemq"], env=environment, capture_output=True, text=True
    )
    assert fetched.returncode == 1
    assert "MISSING: needs a Java runtime" in fetched.stdout


def test_faketime_and_kafka_are_found(tmp_path: Path) -> None:
    library = tmp_path / "faketime/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    jars = tmp_path / "home" / "libs" / "kafka_2.13-4.1.1.jar", tmp_path / "home" / "libs" / "kafka-clients-4.1.1.jar"
    for file in (library, *jars, tmp_path / "java"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
    environment = {"OPINTEL_PARTS": str(tmp_path), "PATH": str(tmp_path), "KAFKA_HOME": str(tmp_path / "home")}
    command = [sys.executable, SCRIPTS / "parts.py", "--list", "faketime", "kafka"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"faketime   {library}" in listed.stdout
    assert f"kafka      {tmp_path / 'home' / 'libs'}" in listed.stdout
    assert listed.returncode == 0


def test_the_broker_in_docker_has_the_shipped_properties() -> None:
    deploy = SCRIPTS.parent / "deploy" / "kafka"
    lines = (deploy / "server.properties").read_text().splitlines()
    shipped = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    compose = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]["kafka"]
    there = {key.removeprefix("KAFKA_").lower().replace("_", "."): v for key, v in compose["environment"].items()}
    of_the_place = {
        "listeners",
        "log.dirs",
        "heap.opts",
        "controller.quorum.voters",
        "controller.quorum.bootstrap.servers",
    }
    assert {k: v for k, v in there.items() if k not in of_the_place} == {
        k: v for k, v in shipped.items() if k not in of_the_place
    }
    version = next(
        iter(re.findall(r"kafka_2.13</artifactId>\s*<version>(.*)</version>", (deploy / "pom.xml").read_text()))
    )
    assert compose["image"] == f"apache/kafka:{version}"


@pytest.mark.parametrize(
    ("change", "short"),
    [
        ({}, ""),
        ({"matches": {str(n): ["i"] for n in range(4)}}, "only 4 of 6 faults found"),
        ({"false_incidents": 2}, "2 false incidents"),
        ({"tickets": []}, "no ticket was sent"),
        ({"incidents": [{"title": "a", "evidence": 0}]}, "incidents without evidence"),
        ({"injected": []}, "no fault was injected"),
    ],
)
def test_a_demos_report_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture, change: dict[str, Any], short: str
) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(REPORT | change))
    assert runpy.run_path(os.fspath(SCRIPTS / "check_report.py"))["main"](str(report)) == bool(short)
    assert short in capsys.readouterr().err
