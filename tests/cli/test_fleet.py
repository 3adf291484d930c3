"""The processes of a demo: forked, started again from scratch, gone with the demo."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

DEMO = """
import json, os, sys, time
from pathlib import Path
from opintel.demo.fleet import Fleet

def invoke(arguments):
    print("forked:", *arguments, flush=True)
    while os.read(0, 1):  # as `opintel run --story` waits for the end of the demo
        pass
    print("left", flush=True)
    return 0

fleet = Fleet(Path(sys.argv[1]), invoke, 3)
for name in ("one", "two", "three"):
    fleet.start(name, "version")
fleet.kill("two")
while not (two := fleet.listing()[1])["restarts"]:
    fleet.look()
    time.sleep(0.01)
logs = [Path(sys.argv[1], name + ".log") for name in ("one", "three")]
while not all(log.exists() and "forked" in log.read_text() for log in logs):
    time.sleep(0.01)
fleet.leave("two")
fleet.leave("three")
print(json.dumps([*fleet.listing(), two]), flush=True)
os._exit(1)  # nothing is tidied up
"""


def test_processes_are_forked_started_again_and_gone_with_the_demo(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DEMO, str(tmp_path)], capture_output=True, text=True, timeout=120)
    one, two = json.loads(done.stdout)
    assert (one["name"], one["restarts"], two["name"], two["restarts"]) == ("one", 0, "two", 1)

    def said(name: str) -> str:
        return (tmp_path / f"{name}.log").read_text()

    deadline = time.monotonic() + 60
    while "left" not in said("one") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert said("one").split("\n") == ["forked: version", "left", ""]
    assert "forked: version" in said("three")
    assert "left" not in said("three"), "it was told to leave by SIGTERM"
