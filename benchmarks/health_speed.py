"""Speed and size of the health detector, beside river's HalfSpaceTrees in the same run.

python benchmarks/health_speed.py [--series 10000] [--repeat 5]

Rates are rows per CPU-second of this process (median of the repeats); river (score and learn each row, 25 trees, one
series) runs in turns with us and is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from opintel.health import MultiSeriesDetector

WARM, ROUNDS, SINGLE, RIVER = 300, 30, 3000, 1000


def rate(work: Callable[[], int]) -> float:
    """Rows per CPU-second of some work that returns its rows."""
    begun = time.process_time()
    rows = work()
    return rows / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    rng, n = np.random.default_rng(1), options.series
    keys, detector, now = np.arange(n), MultiSeriesDetector(n), 1_600_000_000.0
    values = rng.standard_normal((ROUNDS, n))
    for _ in range(WARM):
        now += 60.0
        detector.update_many(keys, np.full(n, now), rng.standard_normal(n))
    size = sum(array.nbytes for array in detector.state().values()) / n

    def scrape(order: np.ndarray) -> int:
        nonlocal now
        for row in values:
            now += 60.0
            detector.update_many(keys[order], np.full(n, now), row[order])
        return ROUNDS * n

    def one_by_one() -> int:
        nonlocal now
        key, when, value = np.array([7]), np.array([now]), np.array([0.0])
        for x in rng.standard_normal(SINGLE):
            now += 60.0
            when[0], value[0] = now, x
            detector.update_many(key, when, value)
        return SINGLE

    sorted_order, mixed = np.arange(n), rng.permutation(n)
    river = _river(rng)
    ours, shuffled, single, theirs = [], [], [], []
    for _ in range(options.repeat):
        ours.append(rate(lambda: scrape(sorted_order)))
        shuffled.append(rate(lambda: scrape(mixed)))
        single.append(1e6 / rate(one_by_one))
        if river is not None:
            theirs.append(rate(river))
    print(f"{n} series, {options.repeat} repeats: median (range)")
    print(f"a row of each series, keys in order   {_shown(ours, 1e6)} M rows per CPU-second")
    print(f"the same, keys in any order           {_shown(shuffled, 1e6)} M rows per CPU-second")
    print(f"one row a call                        {_shown(single, 1.0)} us")
    print(f"state                                 {size:.0f} bytes a series")
    if river is None:
        print("river is not installed")
    else:
        print(f"river HalfSpaceTrees, 25 trees        {_shown(theirs, 1e3)} k rows per CPU-second")
        print(f"ratio of the medians                  {statistics.median(ours) / statistics.median(theirs):.0f}")


def _river(rng: np.random.Generator) -> Callable[[], int] | None:
    try:
        from river.anomaly import HalfSpaceTrees
    except ImportError:
        return None
    model = HalfSpaceTrees(n_trees=25, seed=1)
    rows = [{"x": float(x)} for x in rng.uniform(size=RIVER)]

    def work() -> int:
        for row in rows:
            model.score_one(row)
            model.learn_one(row)
        return RIVER

    work()
    return work


def _shown(figures: list[float], unit: float) -> str:
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{middle / unit:8.2f} ({low / unit:.2f}-{high / unit:.2f})"


if __name__ == "__main__":
    main()
