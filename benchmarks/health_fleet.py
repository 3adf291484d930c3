"""Calibration on the simulated fleet from a cold start: how often clean series are as surprising as they say, by day.

python benchmarks/health_fleet.py [--days 3] [--seeds 1 2] [--metrics]

The simulator's samples without faults, counters as their rates, through `MultiSeriesDetector`; observed over nominal of
rows with p below a level. `--metrics`: by metric too, with what spoke.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import chain, islice

import numpy as np
from rich.progress import track

from opintel.detector import Message
from opintel.finding import NS
from opintel.health import MultiSeriesDetector
from opintel.health.scoring import STATISTICS
from opintel.health.series_names import is_counter, parts_of, series_parts
from opintel.health.simulate import HealthSimulator
from opintel.health.wire import HealthWire

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
DAY = 86_400.0


def samples(seed: int, days: float) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Metric of each key; (N,) key, time in s, value, in order of time; counters are rates, NaN over a reset."""
    wire, names = HealthWire(), {}  # type: ignore[var-annotated]
    keys, times, values = [], [], []
    bodies = (body for _, body in HealthSimulator(seed=seed, hours=24.0 * days, faults=()).messages())
    while some := list(islice(bodies, 2000)):
        rows = wire.decode([Message(body) for body in some]).rows
        code = np.array([names.setdefault(key, len(names)) for key in rows.key.values])
        keys.append(code[rows.key.code])
        times.append(rows.time / NS)
        values.append(np.where(rows.payload.missing == 0, rows.payload.value, np.nan))
    key, time, value = map(np.concatenate, (keys, times, values))
    metrics = [series_parts(parts_of(name)[1])[0] for name in names]
    for k in (k for k, metric in enumerate(metrics) if is_counter(metric)):
        mine = np.flatnonzero(key == k)
        mine = mine[np.argsort(time[mine], kind="stable")]
        gained = np.diff(value[mine], prepend=np.nan)
        value[mine] = np.where(gained >= 0, gained, np.nan) / np.diff(time[mine], prepend=np.nan)
    order = np.argsort(time, kind="stable")
    return metrics, key[order], time[order], value[order]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--metrics", action="store_true")
    options = parser.parse_args()
    days, judged, p_values, spoke = [], [], [], []
    for seed in track(options.seeds, "fleets", transient=True):
        metrics, key, time, value = samples(seed, options.days)
        detector, day = MultiSeriesDetector(len(metrics)), ((time - time[0]) // DAY).astype(int)
        for at in range(0, len(key), 50_000):
            scores = detector.update_many(*(column[at : at + 50_000] for column in (key, time, value)))
            ready = np.isfinite(scores.p_value)
            days.append(day[at : at + 50_000][ready])
            judged.append(np.array(metrics)[key[at : at + 50_000][ready]])
            p_values.append(scores.p_value[ready])
            spoke.append(scores.statistic[ready])
    day, metric, p, statistic = map(np.concatenate, (days, judged, p_values, spoke))
    print(f"{'':34}{'rows':>9}" + "".join(f"{level:>8g}" for level in LEVELS))
    groups = [(f"day {d + 1}", day == d) for d in np.unique(day)]
    if options.metrics:
        groups = list(
            chain.from_iterable(
                [(name, here), *((f"  {m}", here & (metric == m)) for m in np.unique(metric))] for name, here in groups
            )
        )
    for name, here in groups:
        ratios = "".join(f"{np.mean(p[here] <= level) / level:8.2f}" for level in LEVELS)
        said = Counter(STATISTICS[s] for s in statistic[here & (p <= 1e-3)]).most_common(4)
        print(
            f"{name:34}{here.sum():9}{ratios}  " + (", ".join(f"{s} {n}" for s, n in said) if options.metrics else "")
        )


if __name__ == "__main__":
    main()
