"""Witnesses of glitches: what a round of `opintel.gw.vetoes.rank` costs beside hveto, how often safety errs, and how
good P(glitch | auxiliary) is beside river and scikit-learn.

    python benchmarks/gw_vetoes.py [rounds|safety|probability] [--hveto PYTHON]

PYTHON is the interpreter of an environment with hveto (GPL, so in one of its own: `python -m venv V; V/bin/pip
install hveto`); it ranks fewer channels, and its time is said for as many.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from opintel.gw.glitch_probability import GlitchProbability
from opintel.gw.injection_safety import injection_response
from opintel.gw.strain_copies import strain_copies
from opintel.gw.vetoes import THRESHOLDS, WINDOWS, rank

START, SPAN = 1_264_316_000.0, 3600.0

HVETO = """
import json, sys, time
import numpy as np
from gwpy.table import EventTable
from hveto.core import find_max_significance
given = json.load(open(sys.argv[1]))
strain = given["strain"]
primary = EventTable({"time": np.array(strain), "snr": np.full(len(strain), 9.0), "channel": ["strain"] * len(strain)})
auxiliary = {
    name: EventTable({"time": np.array(t), "snr": np.array(snr), "channel": [name] * len(t)})
    for name, (t, snr) in given["auxiliary"].items()
}
begin = time.process_time()
winner, _ = find_max_significance(primary, auxiliary, "strain", given["snrs"], given["windows"], given["livetime"])
print(json.dumps([time.process_time() - begin, winner.name, winner.significance]))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=("rounds", "safety", "probability"))
    parser.add_argument("--hveto", metavar="PYTHON")
    given = parser.parse_args()
    if given.part in (None, "rounds"):
        rounds(given.hveto)
    if given.part in (None, "safety"):
        safety()
    if given.part in (None, "probability"):
        probability()


def rounds(hveto: str | None) -> None:
    """CPU-seconds: all of it, by round; the second line has a witness in each of ten channels."""
    print("channels  triggers each  of strain  witnesses   rounds  CPU-s  of it a round")
    for channels, strain, witnesses in ((1000, 200, 1), (1000, 2000, 1), (1000, 2000, 10), (100, 2000, 1)):
        times, aux = hour(channels, 2000, strain, witnesses)
        table = pa.table({"t_peak": times, "snr": np.full(len(times), 9.0)})
        ranked, cost = timed(lambda table=table, aux=aux: rank(table, aux, (START, START + SPAN)))
        empty = aux.slice(0, 0)
        _, idle = timed(lambda table=table, aux=empty: rank(table, aux, (START, START + SPAN)))
        each = (cost - idle) / (len(ranked) + 1)
        print(f"{channels:8} {2000:14} {strain:10} {witnesses:10} {len(ranked):8} {cost:6.2f} {each:14.2f}")
    if hveto:
        print(beside(hveto))


def beside(hveto: str, channels: int = 20) -> str:
    times, aux = hour(channels, 2000, 200, 1)
    by_channel = {
        name: (aux["t_peak"].to_numpy()[there].tolist(), aux["snr"].to_numpy()[there].tolist())
        for name in sorted(set(aux["channel"].to_pylist()))
        for there in [np.array(aux["channel"].to_pylist()) == name]
    }
    given = {"strain": times.tolist(), "auxiliary": by_channel, "livetime": SPAN}
    given |= {"snrs": THRESHOLDS.tolist(), "windows": WINDOWS.tolist()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "given.json")
        path.write_text(json.dumps(given))
        run = subprocess.run([hveto, "-c", HVETO, str(path)], capture_output=True, text=True, check=True)
    seconds, name, significance = json.loads(run.stdout.splitlines()[-1])
    (first, *_), ours = timed(
        lambda: rank(pa.table({"t_peak": times, "snr": np.full(len(times), 9.0)}), aux, (START, START + SPAN))
    )
    same = (first.channel, round(first.significance, 6)) == (name, round(significance, 6))
    return (
        f"hveto, {channels} channels, one round: {seconds:.1f} CPU-s (1000 channels: {seconds * 1000 / channels:.0f}); "
        f"ours, all rounds: {ours:.3f}; same winner and significance: {same}"
    )


def hour(channels: int, each: int, strain: int, witnesses: int) -> tuple[np.ndarray, pa.Table]:
    """Times of the strain, none too near to another, and triggers of channels of which some meet a tenth of them."""
    rng = np.random.default_rng(channels + strain)
    times = START + SPAN * (np.arange(strain) + 0.5 * rng.random(strain)) / strain
    at = START + SPAN * rng.random((channels, each))
    snr = 7.0 + rng.pareto(2.0, (channels, each))
    for channel in range(witnesses):
        met = rng.choice(times, strain // 10, replace=False)
        at[channel, : len(met)], snr[channel, : len(met)] = met + rng.normal(0.0, 0.01, len(met)), 30.0
    names = np.repeat([f"H1:PEM-{c:04d}" for c in range(channels)], each)
    return times, pa.table({"channel": names, "t_peak": at.ravel(), "snr": snr.ravel()})


def safety() -> None:
    """Channels called unsafe that are safe, and copies that are found, with their own noise."""
    rng = np.random.default_rng(1)
    injections, live = np.linspace(START + 5, START + SPAN - 5, 100), np.array([[START, START + SPAN]])
    names, times = [], []
    for channel in range(3000):
        number = rng.poisson(10 ** rng.uniform(0.5, 3.0))
        names += [f"c{channel:04d}"] * number
        times.append(START + SPAN * rng.random(number))
    quiet = pa.table({"channel": names, "t_peak": np.concatenate(times), "snr": np.full(len(names), 9.0)})
    found, cost = timed(lambda: injection_response(injections, quiet, live))
    p = found["p_value"].to_numpy()
    print(f"injections: of {len(p)} safe channels p < .05: {np.mean(p < 0.05):.3f}, < 1e-3: {np.mean(p < 1e-3):.4f}")
    for share in (0.02, 0.05, 0.1, 0.2):
        hits = [injections[rng.random(100) < share] for _ in range(300)]
        own = [np.concatenate([START + SPAN * rng.random(360), hit]) for hit in hits]
        table = pa.table(
            {
                "channel": np.repeat([f"c{i:03d}" for i in range(300)], [len(t) for t in own]),
                "t_peak": np.concatenate(own),
                "snr": np.full(sum(map(len, own)), 9.0),
            }
        )
        unsafe = np.mean(injection_response(injections, table, live)["unsafe"].to_pylist())
        print(f"  answers {share:4.0%} of 100 injections, a trigger in 10 s by itself: unsafe {unsafe:.2f}")
    print(f"  {cost:.2f} CPU-s for {len(names)} triggers")
    h = rng.normal(size=32 * 1024)
    for noise in (0.0, 1.0, 3.0, 5.0, 10.0):
        copies = h + np.sqrt(noise) * rng.normal(size=(100, len(h)))
        found_copies, cost = timed(lambda copies=copies: strain_copies(h, copies, 1024.0))
        share = found_copies.copy.mean()
        print(f"  copy with noise of {noise:4} times its power: found {share:.2f}, {cost / 100:.4f} CPU-s")
    others = rng.normal(size=(300, len(h)))
    print(f"  independent: copies {strain_copies(h, others, 1024.0).copy.mean():.3f}")


def probability() -> None:
    """Every model says each second before it learns its outcome: 40,000 s, 40 channels, of which one couples in the
    first half, one in the second, two always and one sees what another sees; `ideal` knows the simulation.
    """
    from river import linear_model, optim
    from sklearn.linear_model import SGDClassifier

    def river_says(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        model = linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.1), intercept_lr=0.05)
        said = np.zeros(len(x))
        for i, (row, outcome) in enumerate(zip(x, y, strict=True)):
            there = {int(k): float(row[k]) for k in np.flatnonzero(row)}
            said[i] = model.predict_proba_one(there)[True]
            model.learn_one(there, bool(outcome))
        return said

    def sklearn_says(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        model, said = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0), np.full(len(x), y[:300].mean())
        for at in range(300, len(x) + 1, 300):
            model.partial_fit(x[at - 300 : at], y[at - 300 : at], classes=[False, True])
            if at < len(x):
                said[at : at + 300] = model.predict_proba(x[at : at + 300])[:, 1]
        return said

    def ours(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return GlitchProbability(x.shape[1]).learn(x, y)

    print("seed model                      ECE   worst bin  Brier skill  µs a second")
    for seed in range(2):
        x, y, ideal = drifting(seed)
        models: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
            "ideal": lambda x, y, ideal=ideal: ideal,
            "opintel": ours,
            "river, AdaGrad": river_says,
            "sklearn SGD, each 300 s": sklearn_says,
        }
        for name, says in models.items():
            said, cost = timed(lambda says=says, x=x, y=y: says(x, y))
            error, worst = calibration(said, y)
            skill = 1 - np.mean((said - y) ** 2) / np.var(y)
            print(f"{seed:4} {name:24} {error:8.4f} {worst:8.3f} {skill:12.3f} {cost / len(y) * 1e6:12.0f}")


def drifting(seed: int, seconds: int = 40_000, channels: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = np.arange(seconds)
    seen = rng.random((seconds, channels)) < 10 ** rng.uniform(-3, -1, channels)
    loud = np.where(seen, np.log1p(rng.pareto(2, seen.shape)), 0.0)
    quiet = 1.0 - np.where(t < 0.6 * seconds, 0.004, 0.012)
    when = {0: t >= 0, 1: t < seconds // 2, 2: t >= seconds // 2, 3: t >= 0}
    for (channel, active), (least, more) in zip(
        when.items(), ((0.3, 0.6), (0.5, 0.4), (0.5, 0.4), (0.1, 0.1)), strict=True
    ):
        coupling = np.clip(least + more * loud[:, channel], 0.0, 0.95)
        quiet = quiet * np.where(seen[:, channel] & active, 1.0 - coupling, 1.0)
    beside_it = seen[:, 0] & (rng.random(seconds) < 0.8)
    loud[:, 4] = np.where(beside_it, np.maximum(loud[:, 4], loud[:, 0]), loud[:, 4])
    seen[:, 4] |= beside_it
    counted = np.log1p(seen.sum(axis=1, keepdims=True))
    features = np.concatenate([np.stack([seen, loud], axis=2).reshape(seconds, -1), counted], axis=1)
    return features, rng.random(seconds) < 1.0 - quiet, 1.0 - quiet


def calibration(p: np.ndarray, outcome: np.ndarray) -> tuple[float, float]:
    """Expected calibration error in ten bins of equal width, and the worst of those with 50 seconds or more."""
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = {b: abs(p[bins == b].mean() - outcome[bins == b].mean()) for b in np.unique(bins)}
    error = sum(gap * np.mean(bins == b) for b, gap in gaps.items())
    return float(error), float(max(gap for b, gap in gaps.items() if np.sum(bins == b) >= 50))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


if __name__ == "__main__":
    main()
