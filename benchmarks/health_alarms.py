"""What a shift must be for an alarm, by how many series are judged together: detector, budget and persistence.

python benchmarks/health_alarms.py [--sigma 8 30]

A clean Gaussian series shifts after some hours of history and stays there for an hour; share of 40 series that alarm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from opintel.alerts.budget import decide
from opintel.alerts.lifecycle import ALARMING, AlertState, alert_step
from opintel.finding import NS, Effect, Finding, Window
from opintel.health import MultiSeriesDetector
from opintel.site.load import load_site
from opintel.streams.findings import Judged

SERIES, HOUR = 40, 60
ROWS = (360, 1440, 10_000)
TOGETHER = (24, 264, 1000, 5000, 20_000)
FACTORS = (1.0, 0.25)
ALERTS = load_site(Path(__file__).parent.parent).alerts


def after_shift(rows: int, sigma: float) -> np.ndarray:
    """log10 p (HOUR, SERIES) of the hour after `rows` minutes of history."""
    rng, detector = np.random.default_rng(1), MultiSeriesDetector(SERIES)
    values = rng.standard_normal((rows + HOUR, SERIES))
    values[rows:] += sigma
    key, time = np.tile(np.arange(SERIES), len(values)), 60.0 * np.repeat(np.arange(len(values)), SERIES)
    return np.log10(detector.update_many(key, time, values.ravel()).p_value[-HOUR * SERIES :]).reshape(HOUR, SERIES)


def alarms(log10_p: np.ndarray, together: int, factor: float) -> bool:
    """Whether the findings (HOUR,) of one series alarm, of so many that were judged."""
    state: AlertState
    rules, state, history = ALERTS.lifecycle.rules("health"), "pending", ""
    for minute, p in enumerate(log10_p.tolist()):
        window = Window(60 * NS * minute, 60 * NS * (minute + 1))
        finding = Finding(
            id=f"{minute:032x}",
            detector="health.unusual",
            kind="unusual",
            subject={"scope": "s"},
            window=window,
            log10_p=p,
            basis="ranked",
            effect=Effect(1.0, "x"),
            severity="warning",
            summary="x",
        )
        judged = Judged("health", "s", window, {"unusual": together}, True)
        told = decide(judged, [finding], ALERTS.budgets, {"unusual": factor}, (), {}, rules).signals
        sign = next((signal.sign for signal in told.values()), ".")
        state, history = alert_step(state, history, sign, rules)
        if state in ALARMING:
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sigma", type=float, nargs="+", default=[8.0, 30.0])
    for sigma in parser.parse_args().sigma:
        print(f"a shift of {sigma:g} sigma; series judged together: {TOGETHER}")
        for rows in ROWS:
            p = after_shift(rows, sigma)
            for factor in FACTORS:
                shares = (np.mean([alarms(p[:, k], m, factor) for k in range(SERIES)]) for m in TOGETHER)
                print(f"{rows:7} minutes before, budget x {factor:<5}" + "".join(f"{share:7.2f}" for share in shares))


if __name__ == "__main__":
    main()
