"""Precision, recall, calibration and speed of `opintel.fts.links.judge` on a foreign simulation, beside simple rules.

    python benchmarks/links.py [--windows 20]

150 sites, 5000 links, heavy-tailed traffic (median 5 files a link). What healthy links fail at is logit-normal, a part
of it by site so that links of a site resemble each other, or Beta. Per window 3 bad sources, 3 bad destinations and 40
bad links fail at rates drawn from a range. Counted are items (an endpoint, a link) with at least 5 files. Beside: the
rule of Jeffreys (lower end of the 95 % interval above .5) and a binomial test at the pooled share, both links only.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import expit
from scipy.stats import beta

from opintel.fts.links import judge
from opintel.stats.counts import log_mid_p, shape
from opintel.stats.fdr import benjamini_hochberg

SITES, LINKS, BAD_ENDS, CUTS, LEAST = 150, 5000, 3, 40, 5
SHARED = 0.25
"""Share of the variance of a link's logit that is its source's, and as much its destination's."""


class Population(NamedTuple):
    """What healthy links fail at (`spread`: standard deviation of the logit, or over-dispersion of the Beta), and the
    least at which bad ones do."""

    family: str
    mean: float
    spread: float
    bad_from: float


class Grid(NamedTuple):
    counts: pa.Table
    bad_ends: set[tuple[str, str]]
    down: np.ndarray
    """(links,) whether an endpoint of it is bad."""
    cut: np.ndarray
    """(links,) whether it is bad by itself."""


POPULATIONS = [
    Population("logit-normal", 0.05, 1.0, 0.8),
    Population("logit-normal", 0.05, 1.0, 0.9),
    Population("logit-normal", 0.07, 1.0, 0.85),
    Population("logit-normal", 0.03, 1.2, 0.7),
    Population("logit-normal", 0.12, 1.3, 0.8),
    Population("beta", 0.02, 0.02, 0.7),
    Population("beta", 0.05, 0.1, 0.7),
    Population("beta", 0.01, 0.3, 0.7),
    Population("beta", 0.1, 0.3, 0.7),
]


def main() -> None:
    """Prints a line a population: with faults, and clean."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=20)
    windows = parser.parse_args().windows
    print("P(p <= level) / level of healthy links with at least 20 files; 'false' a clean window: flagged items")
    print("population                    precision recall  FDR links   level .1   .01  false  | Jeffreys  | binomial")
    for population in POPULATIONS:
        print(line(population, windows), flush=True)
    begin = time.process_time()
    judge(window(np.random.default_rng(0), POPULATIONS[0]).counts)
    print(f"{LINKS} links: {time.process_time() - begin:.2f} s of CPU")


def line(population: Population, windows: int) -> str:
    """Sums over windows with seeds 0, 1, …"""
    ours, jeffreys, binomial = np.zeros(4), np.zeros(4), np.zeros(4)
    links, clean, p = np.zeros(2), 0, list[np.ndarray]()
    for seed in range(windows):
        grid = window(np.random.default_rng(seed), population)
        n, k = (grid.counts[name].to_numpy() for name in ("transfers", "failures"))
        rows = judge(grid.counts).to_pylist()
        flagged = np.array([row["flagged"] for row in rows if row["kind"] == "link"])
        ends = {(r["kind"], r[r["kind"]]): (r["transfers"], r["flagged"]) for r in rows if r["kind"] != "link"}
        wanted = {end for end in grid.bad_ends if ends[end][0] >= LEAST}
        hit = {end for end, (_, is_flagged) in ends.items() if is_flagged}
        ours += tally(flagged, n, grid)
        ours += np.array([len(hit & grid.bad_ends), len(hit), len(hit & wanted), len(wanted)])
        links += [np.sum(flagged & ~grid.cut), np.sum(flagged)]
        jeffreys += tally((beta.ppf(0.025, k + 0.5, n - k + 0.5) > 0.5) & ~grid.down, n, grid)
        plain = np.exp(log_mid_p(k, n, *shape(k.sum() / n.sum(), 1e-6)))
        binomial += tally(benjamini_hochberg(plain, 0.05) & ~grid.down, n, grid)
        healthy = judge(window(np.random.default_rng(seed), population, faults=False).counts).to_pylist()
        clean += sum(row["flagged"] for row in healthy)
        p.append(np.array([r["p_value"] for r in healthy if r["kind"] == "link" and r["transfers"] >= 20]))
    every = np.concatenate(p)
    found = "  ".join(f"{np.mean(every <= level) / level:5.2f}" for level in (0.1, 0.01))
    name = f"{population.family} {population.mean} {population.spread}, bad from {population.bad_from}"
    false = links[0] / max(links[1], 1)
    rules = " | ".join(" {:.2f} {:.2f}".format(*shares(rule)) for rule in (jeffreys, binomial))
    precision, recall = shares(ours)
    return f"{name:38} {precision:.3f}  {recall:.3f}  {false:.3f}  {found}  {clean / windows:.2f} |{rules}"


def tally(flagged: np.ndarray, n: np.ndarray, grid: Grid) -> np.ndarray:
    """(truly bad of the flagged links, flagged; found of the bad ones with enough files, these)."""
    large = grid.cut & (n >= LEAST)
    return np.array([np.sum(flagged & grid.cut), np.sum(flagged), np.sum(flagged & large), np.sum(large)], dtype=float)


def shares(counts: np.ndarray) -> tuple[float, float]:
    """Precision and recall."""
    return counts[0] / max(counts[1], 1), counts[2] / max(counts[3], 1)


def window(rng: np.random.Generator, population: Population, *, faults: bool = True) -> Grid:
    """One window's counts and its truth."""
    family, mean, spread, bad_from = population
    weight = np.outer(rng.lognormal(0.0, 1.5, SITES), rng.lognormal(0.0, 1.5, SITES))
    np.fill_diagonal(weight, 0.0)
    s, d = np.divmod(rng.choice(SITES**2, LINKS, replace=False, p=(weight / weight.sum()).ravel()), SITES)
    n = np.clip(np.rint(5.0 * np.exp(np.minimum(1.1 * rng.standard_t(3, LINKS), 9.0))), 1, 20_000).astype(np.int64)
    if family == "beta":
        p = rng.beta(*shape(mean, spread), LINKS)
    else:
        site, own = spread * SHARED**0.5, spread * (1.0 - 2.0 * SHARED) ** 0.5
        logit = rng.normal(0.0, site, SITES)[s] + rng.normal(0.0, site, SITES)[d] + rng.normal(0.0, own, LINKS)
        p = expit(logit + _middle(mean, spread))
    ends, cuts = (BAD_ENDS, CUTS) if faults else (0, 0)
    bad = [rng.choice(SITES, ends, replace=False) for _ in range(2)]
    down = np.isin(s, bad[0]) | np.isin(d, bad[1])
    for side, hosts in zip((s, d), bad, strict=True):
        for host in hosts.tolist():
            own_links = side == host
            p[own_links] = np.clip(rng.normal(rng.uniform(bad_from, 1.0), 0.08, own_links.sum()), 0.3, 1.0)
    cut = np.zeros(LINKS, dtype=np.bool_)
    cut[rng.choice(np.flatnonzero(~down), cuts, replace=False)] = True
    p[cut] = rng.uniform(bad_from, 1.0, cuts)
    names = {"source": [f"s{i}" for i in s], "destination": [f"s{i}" for i in d]}
    sides = zip(("source", "destination"), bad, (s, d), strict=True)
    ends_of = {(role, f"s{i}") for role, hosts, side in sides for i in hosts.tolist() if (side == i).any()}
    return Grid(pa.table({**names, "transfers": n, "failures": rng.binomial(n, p)}), ends_of, down, cut)


def _middle(mean: float, spread: float) -> float:
    """The median logit of a logit-normal of this mean, by bisection over a normal's quantiles."""
    points = np.sort(np.random.default_rng(0).standard_normal(20_000)) * spread
    low, high = -15.0, 5.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if expit(points + middle).mean() > mean else (middle, high)
    return low


if __name__ == "__main__":
    main()
