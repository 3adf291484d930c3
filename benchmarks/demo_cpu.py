"""What a demo costs: CPU-seconds of each of its processes, the broker's among them.

`python benchmarks/demo_cpu.py [--for 40s] [--seed 6] [--bus kafka]`. Every quarter of a second the children of the demo
are asked for what they have used so far (Linux), so that wall clock and other work on the machine say little.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

EVERY = 0.25
"""Seconds between two looks."""


class Seen(NamedTuple):
    """A process, when it was looked at last."""

    name: str
    seconds: float
    """CPU time, user and system."""


def measure(command: list[str]) -> tuple[dict[int, Seen], int]:
    """Process → what it has cost, of the command and all that descends from it; and how the command ended."""
    seen: dict[int, Seen] = {}
    with subprocess.Popen(command) as demo:
        while demo.poll() is None:
            parents, now = _processes()
            for pid, found in now.items():
                if _descends(pid, demo.pid, parents):
                    seen[pid] = found if found.name or pid not in seen else seen[pid]
            time.sleep(EVERY)
        return seen, demo.returncode


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid != ancestor and pid in parents:
        pid = parents[pid]
    return pid == ancestor


def _processes() -> tuple[dict[int, int], dict[int, Seen]]:
    """Process → its parent; process → what it has cost."""
    parents, found = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            command = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue  # it ended meanwhile
        pid, ticks = int(folder.name), int(fields[11]) + int(fields[12])
        parents[pid], found[pid] = int(fields[1]), Seen(_name(title, command), ticks / os.sysconf("SC_CLK_TCK"))
    return parents, found


def _name(title: str, command: list[str]) -> str:
    """`title`: a service that was forked from the demo has one of its own."""
    if command[0].endswith("java"):
        return "broker" if "kafka.Kafka" in command else "format of the broker's folder"
    if "opintel.cli" in command:
        own = "demo" if title.startswith("python") else title.partition(" ")[0]
        return command[command.index("run") + 1] if "run" in command else own
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--for", dest="length", default="40s")
    parser.add_argument("--seed", default="6")
    parser.add_argument("--bus", default="kafka")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        story = ["--for", given.length, "--seed", given.seed, "--bus", given.bus, "--data", f"{folder}/demo"]
        seen, code = measure([sys.executable, "-m", "opintel.cli", "demo", "--headless", *story])
    spent: Counter[str] = Counter()
    for process in seen.values():
        spent[process.name] += process.seconds
    print("\n| processes | CPU-seconds |\n|---|---|")
    for name, seconds in spent.most_common():
        print(f"| {name or 'other'} | {seconds:.1f} |")
    print(f"| all | {spent.total():.1f} |")
    sys.exit(code)


if __name__ == "__main__":
    main()
