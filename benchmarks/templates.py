"""Speed of masking, template mining and FTS stage 1 on real error messages: `python benchmarks/templates.py [CSV]`.

Prints microseconds of CPU a message or row. The messages are those of `../shared/data` unless a CSV with a column
`message` is named.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opintel.detector import Controls, NoSettings, WindowRows
from opintel.finding import NS, Window
from opintel.fts.masking import mask
from opintel.fts.reducer import FtsReducer
from opintel.fts.templates import TemplateMiner
from opintel.fts.transfers import FAILED, OK, Transfer, Transfers
from opintel.rows import Batch, Row

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "fts" / "fts_10k_messages.csv"
ROWS = 100_000
LINKS = 500


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    with path.open(newline="") as file:
        texts = [row["message"] for row in csv.DictReader(file)]
    report("mask, caches empty", len(texts), lambda: [mask(text) for text in texts])
    report("mask, caches warm", len(texts), lambda: [mask(text) for text in texts])
    report("TemplateMiner.assign", len(texts), lambda: TemplateMiner().assign(texts))
    for name, errors in (("successful rows", None), ("failed rows", texts)):
        report(f"FtsReducer, {name}, update + close", ROWS, reduce, make_rows(errors))


def make_rows(errors: list[str] | None) -> list[Row[Transfer]]:
    rows = []
    for n in range(ROWS):
        source, destination = f"se{n % LINKS}.example.org", "se.example.net"
        outcome, error = (OK, "") if errors is None else (FAILED, errors[n % len(errors)])
        payload = Transfer("complete", "fts", source, destination, n, outcome, error, 10**9, 1e7)
        rows.append(Row(f"fts|{source}|{destination}", n * NS // 200, n, payload))
    return rows


def reduce(rows: list[Row[Transfer]]) -> None:
    reducer = FtsReducer()
    batch, none = Batch.of(rows, Transfers).by_key(), Batch.of([], Transfers)
    reducer.close(WindowRows(Window(0, 600 * NS), batch, none, Controls(), NoSettings(), {}))


def report(name: str, items: int, work: Callable[..., Any], *arguments: Any) -> None:
    start = time.process_time()
    work(*arguments)
    spent = time.process_time() - start
    print(f"{name:42} {spent / items * 1e6:7.2f} us each, {items / spent:9.0f} a CPU-second")


if __name__ == "__main__":
    main()
