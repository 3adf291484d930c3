"""Calibration and power of the health detector on processes of known law.

python benchmarks/health_detection.py [--series 400] [--seed 1] [--only calibration|power|tail]

Calibration: share of rows with p below a level, over the level, on rows 1000–3000. Power: share of series whose fault
is found in time at the one threshold that one clean row in 10^4 (of all processes) crosses. `--only tail`: calibration
further out than the goals, where alarms of large fleets are decided, on rows 1000–9000.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from opintel.health import MultiSeriesDetector, Scores
from opintel.health.processes import FAULTS, NAMES, Process, inject, simulate
from opintel.health.scoring import STATISTICS

LEVELS = (1e-2, 1e-3, 1e-4)
FAR = (1e-4, 1e-5, 1e-6, 1e-7)
BEGIN, END, FAR_END = 1000, 3000, 9000
BLOCK = 500
FAULTY = 1500
"""Row at which faults begin."""
STILL = ("level", "drift")
"""Faults that say nothing on a random walk: 3 standard deviations of a step are one step of three."""


def feed(detector: MultiSeriesDetector, times: np.ndarray, values: np.ndarray) -> Scores:
    """Rows (n, K) at these times."""
    n, k = values.shape
    return detector.update_many(np.tile(np.arange(k), n), np.repeat(times, k), values.ravel())


def calibration(series: int, seed: int) -> list[np.ndarray]:
    """Prints observed over nominal, returns the clean p of each process."""
    print(f"calibration, {series} series, rows {BEGIN}-{END}: observed / nominal")
    print(f"{'':10}" + "".join(f"{level:>8g}" for level in LEVELS) + "   what speaks below 1e-4")
    clean = []
    for name in NAMES:
        process = simulate(name, series, END, seed)
        detector = MultiSeriesDetector(series)
        feed(detector, process.times[:BEGIN], process.values[:BEGIN])
        scores = feed(detector, process.times[BEGIN:], process.values[BEGIN:])
        clean.append(scores.p_value)
        count = np.bincount(scores.statistic[scores.p_value < 1e-4], minlength=len(STATISTICS))
        print(
            f"{name:10}"
            + "".join(f"{np.mean(scores.p_value < level) / level:8.2f}" for level in LEVELS)
            + "   "
            + " ".join(f"{STATISTICS[i]} {count[i]}" for i in np.argsort(-count) if count[i]),
            flush=True,
        )
    return clean


def tail(series: int, seed: int) -> None:
    """Prints observed over nominal where rows are rare."""
    print(f"far tail, {series} series, rows {BEGIN}-{FAR_END}: observed / nominal")
    print(f"{'':10}" + "".join(f"{level:>8g}" for level in FAR) + "    rows")
    for name in NAMES:
        process, detector = simulate(name, series, FAR_END, seed), MultiSeriesDetector(series)
        seen, rows = np.zeros(len(FAR)), 0
        for at in range(0, FAR_END, BLOCK):
            p = feed(detector, process.times[at : at + BLOCK], process.values[at : at + BLOCK]).p_value
            if at >= BEGIN:
                seen += [np.count_nonzero(p <= level) for level in FAR]
                rows += len(p)
        print(
            f"{name:10}"
            + "".join(f"{n / rows / level:8.2f}" for n, level in zip(seen, FAR, strict=True))
            + f"{rows:10}"
        )


def power(series: int, seed: int, threshold: float) -> None:
    """Prints the share of faults that are found at p <= threshold."""
    print(f"power at p <= {threshold:.3g} (1 false alarm in 10^4 rows), faults at row {FAULTY}: share found in time")
    print(f"{'':10}" + "".join(f"{name:>10}" for name in NAMES) + f"{'mean':>8}{'worst':>7}{'  without the walk'}")
    found: dict[str, list[float]] = {fault: [] for fault in FAULTS}
    for name in NAMES:
        process = simulate(name, series, FAULTY + max(FAULTS.values()), seed + 1)
        detector = MultiSeriesDetector(series)
        feed(detector, process.times[:FAULTY], process.values[:FAULTY])
        state = detector.state()
        for fault in FAULTS:
            detector.restore(state)
            found[fault].append(_found(detector, name, process, fault, seed, threshold))
    for fault, shares in found.items():
        others = [s for s, name in zip(shares, NAMES, strict=True) if name != "walk"]
        print(
            f"{fault:10}"
            + "".join(f"{s:10.3f}" for s in shares)
            + f"{np.mean(shares):8.3f}{min(shares):7.3f}"
            + f"{np.mean(others):9.3f}{min(others):7.3f}"
        )


def _found(
    detector: MultiSeriesDetector, name: str, process: Process, fault: str, seed: int, threshold: float
) -> float:
    values = inject(name, process, fault, FAULTY, seed)
    scores = feed(detector, process.times[FAULTY : FAULTY + len(values)], values)
    return float(np.mean((scores.p_value.reshape(values.shape) <= threshold).any(axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["calibration", "power", "tail"])
    options = parser.parse_args()
    begun = time.process_time()
    threshold = 1e-4
    if options.only == "tail":
        tail(options.series, options.seed)
        return
    if options.only != "power":
        threshold = float(np.quantile(np.concatenate(calibration(options.series, options.seed)), 1e-4))
    if options.only != "calibration":
        power(options.series, options.seed, threshold)
    print(f"{time.process_time() - begun:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
