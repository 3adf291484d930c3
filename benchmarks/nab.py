"""The Numenta Anomaly Benchmark on the groups that are at hand, with the health detector's latched score.

python benchmarks/nab.py [--data FOLDER] [--files] [--score latched|score]

Scoring as published: Lavin & Ahmad 2015 (ICMLA, arXiv:1510.03336), section II: scaled sigmoid of a detection's place in
its window, false positives by the distance from the window before, probation of 15 % (at most 750 rows), one threshold
for all files chosen to maximise the profile's score, normalised between no detection (0) and a perfect one (100).
One configuration, each file a fresh series, rows fed in order. Groups: artificial, AWS and traffic of NAB v1.1.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from opintel.health import MultiSeriesDetector

PROFILES = {"standard": (1.0, 0.11, 1.0), "reward low FP": (1.0, 0.22, 1.0), "reward low FN": (1.0, 0.11, 2.0)}
"""Weights of a true positive, a false positive, a false negative."""
OTHERS = "as published for all of NAB, standard profile: ARTime 74.9, HTM 70.1, RCF 51.7"


class File(NamedTuple):
    """A labelled series with its scores."""

    name: str
    score: np.ndarray
    windows: list[list[int]]
    """First and last row of each."""
    probation: int


def sigmoid(place: np.ndarray) -> np.ndarray:
    """2 / (1 + e^(5y)) − 1: +1 well before a window's end (y = −1: its first row), 0 at its end, −1 far behind."""
    return np.where(place > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(place, 3.0))) - 1.0)


def contributions(file: File) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(score, window, value) of the rows after probation: window is −1 outside, value the unweighted sigmoid."""
    rows = np.arange(len(file.score))
    inside, value = np.full(len(rows), -1), np.full(len(rows), -1.0)
    for k, (first, last) in enumerate(file.windows):
        within = (rows >= first) & (rows <= last)
        inside[within] = k
        value[within] = sigmoid(-(last - rows[within] + 1.0) / (last - first + 1.0)) / sigmoid(np.array(-1.0))
        behind = rows > last
        width = max(last - first, 1)
        value[behind & (inside < 0)] = sigmoid((rows[behind & (inside < 0)] - last) / width)
    use = rows >= file.probation
    return file.score[use], inside[use], value[use]


def totals(files: list[File], thresholds: np.ndarray, weights: tuple[float, float, float]) -> tuple[np.ndarray, float]:
    """Raw score of each file at each threshold (files, thresholds), and the number of windows."""
    tp, fp, fn = weights
    raw = np.zeros((len(files), len(thresholds)))
    for i, file in enumerate(files):
        score, inside, value = contributions(file)
        for j, threshold in enumerate(thresholds):
            hit = score >= threshold
            raw[i, j] = fp * value[hit & (inside < 0)].sum()
            for k in range(len(file.windows)):
                best = value[hit & (inside == k)]
                raw[i, j] += tp * best.max() if len(best) else -fn
    return raw, float(sum(len(file.windows) for file in files))


def normalised(raw: float, windows: float, weights: tuple[float, float, float]) -> float:
    """100 for a perfect detector, 0 for one that says nothing."""
    tp, _, fn = weights
    return 100.0 * (raw + fn * windows) / (windows * (tp + fn))


def load(folder: Path, kind: str) -> list[File]:
    """Scores of every file of nab.npz."""
    arrays = np.load(folder / "nab.npz")
    files = []
    for i, entry in enumerate(json.loads((folder / "nab_windows.json").read_text())):
        times = arrays[f"ts_{i}"].astype(np.float64)
        values = arrays[f"v_{i}"].astype(np.float64)
        scores = MultiSeriesDetector(1).update_many(np.zeros(len(times), dtype=np.int64), times, values)
        files.append(File(entry["name"], getattr(scores, kind), entry["windows"], int(entry["probation"])))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("OPINTEL_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default / "health" / "nab")
    parser.add_argument("--score", choices=["latched", "score"], default="latched")
    parser.add_argument("--files", action="store_true", help="a line for each file")
    options = parser.parse_args()
    begun = time.process_time()
    files = load(options.data, options.score)
    rows = sum(len(file.score) for file in files)
    print(f"{len(files)} files, {rows} rows, {time.process_time() - begun:.1f} CPU-seconds, {options.score}")
    seen = np.unique(np.concatenate([contributions(file)[0] for file in files]))
    thresholds = np.append(np.quantile(seen[seen > 0.3], np.linspace(0.0, 1.0, 400)), 1.1)
    for profile, weights in PROFILES.items():
        raw, windows = totals(files, thresholds, weights)
        best = int(np.argmax(raw.sum(axis=0)))
        print(
            f"{profile:14} {normalised(raw[:, best].sum(), windows, weights):6.1f} at score >= {thresholds[best]:.3f}"
        )
        if profile == "standard":
            _details(files, raw[:, best], thresholds[best], weights, options.files)
    print(OTHERS)


def _details(
    files: list[File], raw: np.ndarray, threshold: float, weights: tuple[float, float, float], each: bool
) -> None:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, file in enumerate(files):
        groups[file.name.split("/")[0]].append(i)
        if each:
            score, inside, _ = contributions(file)
            hit = score >= threshold
            found = len(set(inside[hit & (inside >= 0)].tolist()))
            false = np.sum(hit & (inside < 0))
            print(f"  {file.name:55} {raw[i]:6.2f}  windows {found}/{len(file.windows)}  false {false}")
    for name, members in groups.items():
        windows = float(sum(len(files[i].windows) for i in members))
        total = raw[members].sum()
        share = f"{normalised(total, windows, weights):6.1f}" if windows else "     -"
        print(f"  {name:25} {share}  raw {total:6.2f} of {windows:.0f}")


if __name__ == "__main__":
    main()
