"""Calibration, power and speed of `opintel.fts.links.judge` on simulated windows, beside a plain binomial test.

    python benchmarks/links.py [--windows 20]

Healthy links are beta-binomial with heavy-tailed counts; faults are dead endpoints and single cut links. The plain test
is a binomial upper mid-p at the pooled failed share with the same false discovery rate, links only.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyarrow as pa

from opintel.fts.links import judge
from opintel.stats.counts import log_mid_p, shape
from opintel.stats.fdr import benjamini_hochberg

SITES, LINKS = 60, 1200


def main() -> None:
    """Prints one line a healthy population and kind of fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=20)
    windows = parser.parse_args().windows
    print(
        "mean rho  faults    link p<=.1   .01    .001   endpoints found/false   links found/false   plain: false links"
    )
    for mean, rho in ((0.02, 0.02), (0.05, 0.1), (0.1, 0.3), (0.01, 0.3)):
        for ends, cuts in ((0, 0), (6, 0), (0, 20), (6, 20)):
            print(f"{mean:4} {rho:4}  {2 * ends:2} + {cuts:2} ", line(mean, rho, ends, cuts, windows))
    large, _, _, _ = window(np.random.default_rng(0), 0.05, 0.1, 10, 50, sites=200, links=5000)
    begin = time.perf_counter()
    judge(large)
    print(f"5000 links, 400 endpoints: {time.perf_counter() - begin:.2f} s")


def line(mean: float, rho: float, ends: int, cuts: int, windows: int) -> str:
    """Sums over windows with seeds 0, 1, …"""
    p_healthy, counts = [], np.zeros(7, dtype=np.int64)
    for seed in range(windows):
        table, bad_end, down, cut = window(np.random.default_rng(seed), mean, rho, ends, cuts)
        rows = judge(table).to_pylist()
        hit_ends = {(r["kind"], r[r["kind"]]) for r in rows if r["kind"] != "link" and r["flagged"]}
        p = np.array([r["p_value"] for r in rows if r["kind"] == "link"])
        hit = np.array([r["flagged"] for r in rows if r["kind"] == "link"])
        n, k = table["transfers"].to_numpy(), table["failures"].to_numpy()
        binomial = np.exp(log_mid_p(k, n, *shape(k.sum() / n.sum(), 1e-6)))
        plain = benjamini_hochberg(binomial, 0.05)
        healthy = ~down & ~cut
        p_healthy.append(p[healthy])
        counts += [
            len(hit_ends & bad_end),
            len(bad_end),
            len(hit_ends - bad_end),
            hit[cut].sum(),
            cut.sum(),
            hit[healthy].sum(),
            plain[healthy].sum(),
        ]
    p = np.concatenate(p_healthy)
    shares = "  ".join(f"{(p <= level).mean():.4f}" for level in (0.1, 0.01, 0.001))
    found, bad, false, cut_found, cut_all, cut_false, plain_false = counts.tolist()
    ends_text, cuts_text = f"{found:4}/{bad:4}  {false:3}", f"{cut_found:4}/{cut_all:4}  {cut_false:3}"
    return f"{shares}   {ends_text}          {cuts_text}          {plain_false}"


def window(
    rng: np.random.Generator, mean: float, rho: float, ends: int, cuts: int, *, sites: int = SITES, links: int = LINKS
) -> tuple[pa.Table, set[tuple[str, str]], np.ndarray, np.ndarray]:
    """(counts, bad endpoints with at least three links, links of bad endpoints, cut links)."""
    weight = np.outer(rng.pareto(1.0, sites) + 0.1, rng.pareto(1.0, sites) + 0.1).ravel()
    s, d = np.divmod(rng.choice(sites * sites, links, replace=False, p=weight / weight.sum()), sites)
    n = np.minimum(rng.zipf(1.5, links), 5000)
    p = rng.beta(*shape(mean, rho), links)
    bad_s, bad_d = rng.choice(sites, ends, replace=False), rng.choice(sites, ends, replace=False)
    down = np.isin(s, bad_s) | np.isin(d, bad_d)
    p[down] = rng.uniform(0.7, 1.0, down.sum())
    cut = np.zeros(links, dtype=np.bool_)
    cut[rng.choice(np.flatnonzero(~down), cuts, replace=False)] = True
    n[cut], p[cut] = np.maximum(n[cut], 20), rng.uniform(0.7, 1.0, cuts)
    table = pa.table(
        {
            "source": [f"s{i}" for i in s],
            "destination": [f"d{i}" for i in d],
            "transfers": n,
            "failures": rng.binomial(n, p),
        }
    )
    bad = {("source", f"s{i}") for i in bad_s if (s == i).sum() > 2}
    return table, bad | {("destination", f"d{i}") for i in bad_d if (d == i).sum() > 2}, down, cut


if __name__ == "__main__":
    main()
