"""Checks the report of a headless demo: faults found, few false incidents, tickets sent. Exit 1 says what fell short.

`.ci/run` calls it with the file that `opintel demo --report FILE` wrote.
"""

from __future__ import annotations

import json
import sys
from typing import Any

FOUND_AT_LEAST = 5 / 6
FALSE_AT_MOST = 1


def main(path: str) -> int:
    """Prints one line of figures, then one for each thing that fell short."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    injected, found = len(report["injected"]), sum(bool(ids) for ids in report["matches"].values())
    false, tickets = report["false_incidents"], len(report["tickets"])
    print(f"{found} of {injected} faults found, {false} false incidents, {tickets} tickets")
    short = shortcomings(report)
    for line in short:
        print(f"short: {line}", file=sys.stderr)
    return 1 if short else 0


def shortcomings(report: dict[str, Any]) -> list[str]:
    """What a demo's report lacks; empty where it is good."""
    injected, found = len(report["injected"]), sum(bool(ids) for ids in report["matches"].values())
    bare = [incident["title"] for incident in report["incidents"] if not incident["evidence"]]
    rules = [
        (injected > 0, "no fault was injected"),
        (found >= FOUND_AT_LEAST * injected, f"only {found} of {injected} faults found, missed {report['missed']}"),
        (report["false_incidents"] <= FALSE_AT_MOST, f"{report['false_incidents']} false incidents"),
        (bool(report["tickets"]), "no ticket was sent"),
        (not bare, f"incidents without evidence: {bare}"),
    ]
    return [text for holds, text in rules if not holds]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
