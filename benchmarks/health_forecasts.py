"""Forecasts to a limit: how soon they come, and how often they are false.

python benchmarks/health_forecasts.py [--seeds 8] [--clean-days 3]

Simulated fleets of 24 machines with a memory leak and a filling disk, under the shipped limits: minutes from the
fault's beginning to its forecast, forecasts about others, and forecasts in clean fleets. Then processes whose limit
lies ten standard deviations away and is never reached (of the daily course three amplitudes): stretches of three hours
with a forecast, by series and day.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from rich.progress import track

from opintel.detector import Closing, Controls, Message, Record
from opintel.finding import NS, Finding, Window
from opintel.health.limits import Limit, LimitJudge, LimitSettings
from opintel.health.series_names import metric_of, parts_of, series_text
from opintel.health.simulate import HealthSimulator
from opintel.health.windows import SERIES, Point, SeriesWindow
from opintel.health.wire import HealthWire

MINUTE, DAY, BEGIN = 60 * NS, 1440, 1_700_000_040 * NS
DISK, MEMORY = "node_filesystem_avail_bytes", "node_memory_MemAvailable_bytes"
SHIPPED = LimitSettings((Limit(metric=DISK, below=0.0, hours=48.0), Limit(metric=MEMORY, below=0.0, hours=3.0)))
FAR = LimitSettings((Limit(metric="m", below=-10.0, hours=48.0),))
SERIES_EACH, DAYS = 30, 4

Windows = Iterator[tuple[int, list[tuple[str, int, float]]]]
"""(start, [(series, time, value)]) of each window."""


def forecasts(windows: Windows, settings: LimitSettings) -> list[Finding]:
    """What the judge says of them."""
    judge, told = LimitJudge(), []
    for start, samples in windows:
        window = Window(start, start + MINUTE)
        records = [
            Record(window, SERIES, series, "s", SeriesWindow(1, 0, Point(t, x, None, None), None, False, "", 0, start))
            for series, t, x in sorted(samples)
        ]
        told += judge.judge(Closing(window, "s", records, Controls(), settings, "m", True))
    return [finding for finding in told if finding.kind == "forecast"]


def fleet(simulator: HealthSimulator) -> Windows:
    """The last value of each series with a limit, minute by minute."""
    wire, found = HealthWire(), {}  # type: ignore[var-annotated]
    bodies = (body for _, body in simulator.messages())
    while some := list(islice(bodies, 2000)):
        rows = wire.decode([Message(body) for body in some]).rows
        series = [parts_of(key)[1] for key in rows.key.values]
        wanted = [metric_of(name) in (DISK, MEMORY) for name in series]
        payload = rows.payload
        columns = (rows.key.code.tolist(), rows.time.tolist(), payload.value.tolist(), payload.missing.tolist())
        for code, time, value, missing in zip(*columns, strict=True):
            if wanted[code] and not missing:
                found.setdefault(time // MINUTE, {})[series[code]] = time, value
    for minute in sorted(found):
        yield minute * MINUTE, [(name, time, value) for name, (time, value) in found[minute].items()]


def fleets(seeds: Sequence[int]) -> None:
    soon: dict[str, list[float]] = {MEMORY: [], DISK: []}
    missed, false = 0, set()
    for seed in track(seeds, "fleets with faults", transient=True):
        simulator = HealthSimulator(seed=seed, hours=24.0, faults=("memory-leak", "disk-filling"), quiet_hours=3.0)
        told = forecasts(fleet(simulator), SHIPPED)
        for fault in simulator.truth:
            metric, instance = MEMORY if fault.kind == "memory-leak" else DISK, fault.subject["instance"]
            during = range(fault.start, fault.end + 40 * MINUTE)
            mine = [
                f
                for f in told
                if (f.subject["metric"], f.subject["instance"]) == (metric, instance) and f.window.start in during
            ]
            if mine:
                soon[metric].append((mine[0].window.end - fault.start) / MINUTE)
            missed += not mine
            told = [f for f in told if f not in mine]
        false |= {(seed, f.subject["instance"], f.subject["metric"]) for f in told}
    print(f"{'':44}{'median':>8}{'range':>14}")
    for metric, what in ((MEMORY, "memory leak"), (DISK, "filling disk")):
        spread = f"{min(soon[metric]):.0f}-{max(soon[metric]):.0f}"
        print(f"{what + ', minutes to its forecast':44}{statistics.median(soon[metric]):8.0f}{spread:>14}")
    print(f"{missed} of {2 * len(seeds)} faults missed, {len(false)} other series with a forecast")


def clean_fleets(seeds: Sequence[int], days: float) -> None:
    told = [
        f
        for seed in track(seeds, "clean fleets", transient=True)
        for f in forecasts(fleet(HealthSimulator(seed=seed, hours=24.0 * days, faults=())), SHIPPED)
    ]
    print(f"{len(told)} forecasts in {len(seeds)} clean fleets of {days:g} days\n")


def processes() -> None:
    rng = np.random.default_rng(3)
    n, t = DAYS * DAY, np.arange(DAYS * DAY)[:, None]

    def ar(phi: float) -> np.ndarray:
        x = rng.standard_normal((n + 2000, SERIES_EACH))
        for i in range(1, len(x)):
            x[i] += phi * x[i - 1]
        return x[2000:] * np.sqrt(1.0 - phi * phi)  # type: ignore[no-any-return]

    def saw(period: int) -> np.ndarray:
        return ((t + rng.integers(0, period, SERIES_EACH)) % period) / period * 6.0 - 3.0 + 0.1 * ar(0.0)

    day = 3.0 * np.sin(2.0 * np.pi * (t / DAY + rng.uniform(0.0, 1.0, SERIES_EACH)))
    kinds = {
        "white noise": ar(0.0),
        "AR(1) .8": ar(0.8),
        "AR(1) .99": ar(0.99),
        "AR(1) .998": ar(0.998),
        "walk, 5 sigma in four days": np.cumsum(rng.standard_normal((n, SERIES_EACH)), axis=0) * 5.0 / n**0.5,
        "jobs of 2 hours": saw(120),
        "jobs of 6 hours": saw(360),
        "bursts of half an hour": np.repeat(rng.exponential(1.0, (n // 30, SERIES_EACH)), 30, axis=0) + 0.2 * ar(0.5),
        "daily, noise a tenth of it": day + 0.3 * ar(0.8),
        "daily, noise a fifth of it": day + 0.6 * ar(0.95),
    }
    names = [series_text("m", {"instance": f"h{k:02}"}) for k in range(SERIES_EACH)]
    print(f"{'forecasts of nothing a series and day':44}{'first':>8}{'later':>8}")
    for kind, x in track(kinds.items(), "processes", transient=True):
        windows = (
            (BEGIN + i * MINUTE, [(name, BEGIN + i * MINUTE, float(v)) for name, v in zip(names, row, strict=True)])
            for i, row in enumerate(x)
        )
        stretches = {
            (f.subject["instance"], (f.window.start - BEGIN) // (180 * MINUTE)) for f in forecasts(windows, FAR)
        }
        count = Counter(place < 10 for _, place in stretches)
        print(f"{kind:44}{count[True] / SERIES_EACH / 1.25:8.3f}{count[False] / SERIES_EACH / (DAYS - 1.25):8.3f}")
    print("(first: of the first 30 hours, in which yesterday is not known)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--clean-days", type=float, default=3.0)
    given = parser.parse_args()
    fleets(range(1, given.seeds + 1))
    clean_fleets((21, 22), given.clean_days)
    processes()


if __name__ == "__main__":
    main()
