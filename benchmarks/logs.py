"""The stream of logs beside Drain3: `python benchmarks/logs.py [LABELLED.csv…]` (columns content, event_id).

A row a file: lines, events that people found in it; the new forms that `opintel replay logs` tells, the grouping
accuracy (GA) of the forms of its lines, CPU seconds of the whole replay in this process (wire, log, both stages, store;
without the start); clusters, GA and CPU seconds of Drain3 alone with the masks of its examples. The data are those of
`../shared/data` unless files are named.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

from templates import DATA, MASKS, drain, resolved

from opintel.cli.replay import replay
from opintel.detector import Message
from opintel.fts.logs.wire import LogWire
from opintel.fts.templates.evaluation import grouping_accuracy
from opintel.fts.templates.miner import TemplateMiner

MANY = 20
"""Copies of a file's lines in the file that is timed."""


def main() -> None:
    labelled = [Path(name) for name in sys.argv[1:]] or sorted((DATA / "loghub2k").glob("*.csv"))
    heading = f"{'new':>5} {'GA':>6} {'s':>6}"
    print(f"{'log':12} {'lines':>6} {'events':>6} | {heading} | Drain3 {heading}")
    for path in labelled:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        lines, truth = [row["content"] for row in rows], [row["event_id"] for row in rows]
        ours, theirs = of_stream(lines), drain(MASKS)(lines)
        new, spent = replayed(lines)
        began = time.process_time()
        drain(MASKS)(lines * MANY)
        drained = time.process_time() - began
        mine = f"{new:5} {grouping_accuracy(truth, ours):6.3f} {spent:6.2f}"
        other = f"{len(set(theirs)):5} {grouping_accuracy(truth, theirs):6.3f} {drained:6.2f}"
        print(f"{path.stem:12} {len(lines):6} {len(set(truth)):6} | {mine} | {'':6} {other}")


def of_stream(lines: list[str]) -> list[str]:
    """Today's id of the form of each line, as the wire cleans it."""
    decoded = LogWire().decode([Message(line.encode(), "a.txt", n, n, "text") for n, line in enumerate(lines)])
    text = decoded.rows.payload.text
    found = dict(zip(decoded.message.tolist(), (text.values[code] for code in text.code), strict=True))
    return resolved(TemplateMiner(), [found.get(n, "") for n in range(len(lines))])


def replayed(lines: list[str]) -> tuple[int, float]:
    """(forms that are told, CPU seconds of `MANY` times the lines)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.txt"
        file.write_text("\n".join(lines * MANY))
        began = time.process_time()
        document = replay("logs", (file,), Path(folder) / "data", None, 64, lambda _: None)
        return len(document["findings"]), time.process_time() - began


if __name__ == "__main__":
    main()
