"""Comparing histograms: is p what it says, does a shared fault stand out, and how fast, beside what others do.

python benchmarks/dqm_compare.py [--quick] [--rows 100000]

Peers, each run on one histogram at a time as their users do: AutoDQM's beta-binomial as its documentation gives it
(written
again here, tolerance .01), Pearson's chi-squared and Kolmogorov's test on the sums of references, both by scipy;
the last
takes binned entries as if they were not. Speed is per CPU-second of one process; put OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import betabinom, chi2, chi2_contingency, kstwobign

from opintel.dqm import compare, compare_2d

LEVELS = (1e-2, 1e-3)
CASES = [
    (shape, bins, mean, references, richer)
    for bins in (20, 100)
    for shape in ("flat", "falling", "empty-tailed")
    for mean in (1.0, 3.0, 10.0, 100.0, 1e4)
    for references, richer in ((1, 1.0), (1, 0.3), (4, 1.0), (8, 4.0))
    if bins * mean >= 40 and bins * mean * references * richer >= 40
]


def contents(shape: str, bins: int, mean: float) -> np.ndarray:
    """Expected contents of `mean` a bin."""
    x = (np.arange(bins) + 0.5) / bins
    of = {"flat": x * 0.0, "falling": -5.0 * x, "empty-tailed": -0.5 * ((x - 0.3) / 0.07) ** 2}
    weights = np.exp(of[shape])
    return mean * weights / weights.mean()


def beta_binomial(observed: np.ndarray, references: np.ndarray, tolerance: float = 0.01) -> tuple[float, np.ndarray]:
    """AutoDQM's p of the greatest pull and its pulls, of one histogram (B,) and its references (R, B)."""
    total, sums = observed.sum(), references.sum(axis=1, keepdims=True)
    scale = (1.0 + (references * tolerance**2) ** 2) ** -0.5
    a, b = np.rint(scale * references) + 1.0, np.rint(scale * sums) - np.rint(scale * references) + 1.0
    mean = total * references / sums
    law = betabinom(total, a, b)
    most = np.maximum(law.pmf(np.ceil(mean)), law.pmf(np.floor(mean)))
    each = np.minimum(1.0, np.maximum(law.pmf(observed), 1e-300) / np.maximum(most, 1e-300))
    p = np.maximum(each.mean(axis=0), 1e-300)
    weighted = total * (references / sums * each).sum(axis=0) / np.maximum(each.sum(axis=0), 1e-300)
    pull = np.sqrt(chi2.isf(p, 1)) * np.sign(observed - weighted)
    filled = int(((observed + references.sum(axis=0)) > 0).sum())
    least = chi2.sf(np.abs(pull).max() ** 2, 1)
    return float(1.0 - (1.0 - least) ** filled if filled * least >= 0.01 else filled * least), pull


def pearson(observed: np.ndarray, references: np.ndarray) -> float:
    """Pearson's chi-squared of two histograms."""
    table = np.stack([observed, references.sum(axis=0)])
    return float(chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False).pvalue)


def kolmogorov(observed: np.ndarray, references: np.ndarray) -> float:
    """Kolmogorov's test with the asymptotic law, on bins."""
    reference = references.sum(axis=0)
    n, m = observed.sum(), reference.sum()
    distance = np.abs(np.cumsum(observed) / n - np.cumsum(reference) / m).max()
    return float(kstwobign.sf(distance * np.sqrt(n * m / (n + m))))


PEERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "AutoDQM's formula": lambda observed, references: beta_binomial(observed, references)[0],
    "Pearson": pearson,
    "Kolmogorov": kolmogorov,
}


def calibration(rows: int, peer_rows: int, quick: bool) -> None:
    """Observed ÷ nominal share of p below a level."""
    peers = "  ".join(f"{name:>17s}" for name in PEERS)
    print(f"Observed ÷ nominal at {LEVELS} ({rows} clean histograms a line; peers at 1e-2, {peer_rows})")
    print(f"{'shape':13s}{'bins':>5s}{'mean':>8s}{'R':>3s}{'richer':>7s}{'opintel':>14s}  {peers}")
    worst = {level: [1.0, 1.0] for level in LEVELS}
    for shape, bins, mean, references, richer in CASES[:: 7 if quick else 1]:
        rng = np.random.default_rng([bins, int(mean * 10), references, len(shape)])
        of = contents(shape, bins, mean)
        found = []
        for start in range(0, rows, 20_000):
            n = min(20_000, rows - start)
            found.append(compare(rng.poisson(of, (n, bins)), rng.poisson(of * richer, (references, n, bins))).p_value)
        p = np.concatenate(found)
        p = p[np.isfinite(p)]
        ratios = [(p <= level).mean() / level for level in LEVELS]
        if mean >= 10:
            for level, ratio in zip(LEVELS, ratios, strict=True):
                worst[level] = [min(worst[level][0], ratio), max(worst[level][1], ratio)]
        observed, others = rng.poisson(of, (peer_rows, bins)), rng.poisson(of * richer, (references, peer_rows, bins))
        beside = [
            np.mean([peer(observed[i], others[:, i]) <= 1e-2 for i in range(peer_rows)]) / 1e-2
            for peer in PEERS.values()
        ]
        print(
            f"{shape:13s}{bins:5d}{mean:8g}{references:3d}{richer:7g}{ratios[0]:8.2f}{ratios[1]:6.2f}  "
            + "  ".join(f"{ratio:17.2f}" for ratio in beside),
            flush=True,
        )
    for level, (least, most) in worst.items():
        chance = 2.0 / np.sqrt(level * rows)
        print(f"10 to 10^4 a bin at {level:g}: {least:.2f} to {most:.2f} (chance alone ± {chance:.2f})")


def contamination() -> None:
    """Pulls of a bin whose fault some of eight references share, at 1000 counts; the share of good histograms
    below 1e-3."""
    titles = "8 references, 1000 a bin", "least pull of 100", "AutoDQM, median", "good below 1e-3"
    print("\n{:26s}{:>20s}{:>17s}{:>17s}".format(*titles))
    for name, factor in (("dead", 0.0), ("half", 0.5), ("hot x 3", 3.0)):
        for shared in (0, 1, 2, 3):
            rng = np.random.default_rng(shared)
            good, references = rng.poisson(1000.0, (5000, 50)), rng.poisson(1000.0, (8, 5000, 50))
            references[:shared, :, 20] = rng.poisson(1000.0 * factor, (shared, 5000))
            bad = good[:100].copy()
            bad[:, 20] = rng.poisson(1000.0 * factor, 100)
            pull = np.abs(compare(bad, references[:, :100]).pull[:, 20]).min()
            theirs = np.median([abs(beta_binomial(bad[i], references[:, i])[1][20]) for i in range(20)])
            below = (compare(good, references).p_value < 1e-3).mean()
            print(f"{f'{name}, shared by {shared}':26s}{pull:20.1f}{theirs:17.1f}{below:17.4f}")


def cpu_seconds(run: Callable[[], object]) -> float:
    """The least of three runs."""
    run()
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def one_by_one(peer: Callable[[np.ndarray, np.ndarray], float], observed: np.ndarray, references: np.ndarray) -> None:
    """A peer on fifty histograms."""
    for i in range(50):
        peer(observed[i], references[:, i])


def speed(quick: bool) -> None:
    """Histograms a CPU-second, R = 4."""
    rows = 4_000 if quick else 20_000
    print(f"\n{'histograms a CPU-second':34s}{'opintel':>10s}" + "".join(f"{name:>19s}" for name in PEERS))
    for name, mean, shape in (
        ("TH1 x 100, 1000 a bin", 1000.0, "flat"),
        ("TH1 x 100, 100 a bin", 100.0, "flat"),
        ("TH1 x 100, 100 a bin, falling", 100.0, "falling"),
        ("TH1 x 100, 5 a bin", 5.0, "flat"),
    ):
        rng = np.random.default_rng(1)
        of = contents(shape, 100, mean)
        observed = rng.poisson(of, (rows, 100)).astype(np.float32)
        references = rng.poisson(of, (4, rows, 100)).astype(np.float32)
        ours = rows / cpu_seconds(partial(compare, observed, references))
        beside = [50 / cpu_seconds(partial(one_by_one, peer, observed, references)) for peer in PEERS.values()]
        print(f"{name:34s}{ours:10.0f}" + "".join(f"{rate:10.0f} ({ours / rate:5.0f}x)" for rate in beside), flush=True)
    rng = np.random.default_rng(2)
    maps = 60 if quick else 300
    observed = rng.poisson(100.0, (maps, 100, 100)).astype(np.float32)
    references = rng.poisson(100.0, (4, maps, 100, 100)).astype(np.float32)
    print(f"{'TH2 100 x 100, 100 a cell':34s}{maps / cpu_seconds(lambda: compare_2d(observed, references)):10.0f}")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every seventh case, a fifth of the histograms")
    parser.add_argument("--rows", type=int, default=100_000, help="clean histograms a line")
    given = parser.parse_args()
    rows = given.rows // 5 if given.quick else given.rows
    calibration(rows, rows // 100, given.quick)
    contamination()
    speed(given.quick)


if __name__ == "__main__":
    main()
