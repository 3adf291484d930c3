"""A healthy week that our simulator did not make: what the judges of FTS say of it is false.

    python benchmarks/fts_foreign.py MESSAGES.csv [--days 7] [--rate 4000] [--seed 1]

150 sites with heavy-tailed traffic, 1500 links. Files come in datasets of Pareto size, each on one link within an hour.
An attempt fails with a logit-normal probability: of the link, its two ends, the dataset, and two slow drifts (of the
link and of its ends, with hours of memory), so that healthy links have bad hours. Rates drift likewise and dip in the
afternoon. Error texts are drawn from MESSAGES.csv (column `message`), a few favourites a link. Nothing is taken from
`opintel.fts.simulated`. Prints findings a day by kind, and incidents a week.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from opintel.cli.replay import replay

SITES, LINKS, WINDOW = 150, 1500, 600
START = 1_767_571_200
"""s since 1970: 2026-01-05, a Monday."""


def drifts(rng: np.random.Generator, steps: int, many: int, spread: float, hours: float) -> Any:
    """(steps, many) stationary AR(1) of this spread and memory, a step every ten minutes."""
    keep = np.exp(-WINDOW / 3600 / hours)
    out = np.empty((steps, many))
    out[0] = rng.normal(0, spread, many)
    for step in range(1, steps):
        out[step] = keep * out[step - 1] + np.sqrt(1 - keep**2) * rng.normal(0, spread, many)
    return out


def write(folder: Path, texts: list[str], days: int, rate: float, seed: int) -> int:
    """Writes a file of messages a day; how many there are."""
    rng = np.random.default_rng(seed)
    steps = days * 144
    weight = rng.pareto(1.2, SITES) + 0.05
    pairs = np.outer(weight, weight * rng.lognormal(0, 0.7, SITES)) * rng.lognormal(0, 1.2, (SITES, SITES))
    np.fill_diagonal(pairs, 0)
    chosen = np.argsort(-pairs, axis=None)[:LINKS]
    source, destination = np.divmod(chosen, SITES)
    share = np.minimum(pairs.ravel()[chosen] ** 0.7, np.quantile(pairs.ravel()[chosen] ** 0.7, 0.995))
    share /= share.sum()
    favourites = rng.integers(0, len(texts), (LINKS, 4))
    usual = rng.normal(-3.8, 1.2, LINKS) + rng.normal(0, 0.4, SITES)[source] + rng.normal(0, 0.4, SITES)[destination]
    of_link, of_site = drifts(rng, steps, LINKS, 0.6, 4.0), drifts(rng, steps, SITES, 0.3, 8.0)
    speed, slower = rng.normal(np.log(2e7), 0.9, LINKS), drifts(rng, steps, LINKS, 0.25, 6.0)
    mean_size = float(np.mean(np.minimum(rng.pareto(1.3, 100_000) * 4 + 1, 400)))
    count = 0
    for day in range(days):
        lines: list[tuple[int, str]] = []
        for step in range(day * 144, day * 144 + 144):
            hour = step / 6 % 24
            busy = 1 + 0.3 * np.cos((hour - 15) * np.pi / 12)
            sets = rng.poisson(rate / 6 / mean_size * busy)
            for link in rng.choice(LINKS, sets, p=share).tolist():
                files = int(min(rng.pareto(1.3) * 4 + 1, 400))
                odds = usual[link] + of_link[step, link] + rng.normal(0, 0.7)
                odds += of_site[step, source[link]] + of_site[step, destination[link]]
                failed = rng.random(files) < 1 / (1 + np.exp(-odds))
                begin = START + step * WINDOW + rng.random() * WINDOW
                ends = begin + rng.random(files) * min(3600, 20 * files)
                rates = np.exp(speed[link] + slower[step, link] - 0.1 * (hour > 12) + rng.normal(0, 0.6, files))
                ids = rng.integers(10**8, 10**9, files)
                for n in range(files):
                    count += 1
                    text = ""
                    if failed[n]:
                        any_of = (
                            rng.integers(0, len(texts)) if rng.random() < 0.15 else favourites[link, rng.integers(4)]
                        )
                        text = texts[any_of]
                    end = int(ends[n] * 1000)
                    message = {
                        "endpnt": "fts-main.example.net",
                        "vo": "vo1",
                        "job_id": f"job-{day}-{step}-{link}",
                        "file_id": str(ids[n]),
                        "src_url": f"davs://store{source[link]:03d}.example.net:443/d/f{ids[n]}",
                        "dst_url": f"davs://store{destination[link]:03d}.example.net:443/d/f{ids[n]}",
                        "t_final_transfer_state": "Error" if failed[n] else "Ok",
                        "t__error_message": text,
                        "f_size": 10**9,
                        "throughput": -1.0 if failed[n] else round(float(rates[n])),
                        "tr_timestamp_start": end - 60_000,
                        "tr_timestamp_complete": end,
                    }
                    lines.append((end, json.dumps(message)))
        lines.sort()
        (folder / f"{day:02d}.jsonl").write_text("".join(line + "\n" for _, line in lines))
    return count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("messages", type=Path)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--rate", type=float, default=4000.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with arguments.messages.open(newline="") as file:
        texts = [row["message"] for row in csv.DictReader(file)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        began = time.process_time()
        count = write(folder / "in", texts, arguments.days, arguments.rate, arguments.seed)
        said = replay("fts", (folder / "in",), folder / "data", None, 64, warn=print)
        spent = time.process_time() - began
    kinds = Counter(f["kind"] for f in said["findings"])
    aside = f"{said['late']} late, {said['dead_letters']} dead letters"
    print(f"{count} files in {arguments.days} days, {aside}, {spent:.0f} CPU s")
    for kind, n in sorted(kinds.items()):
        print(f"{kind:14} {n / arguments.days:8.2f} findings a day")
    print(f"{len(said['incidents'])} incidents: {len(said['incidents']) * 7 / arguments.days:.1f} a week")
    for incident in said["incidents"]:
        print("  ", incident["opened"], incident["title"])


if __name__ == "__main__":
    main()
