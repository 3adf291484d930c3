"""How often `fts.failures` says p ≤ a level of healthy links and endpoints, over that level, where the truth is known.

    python benchmarks/link_calibration.py [--days 5] [--seeds 2] [--only binomial]

120 sites, 600 links, heavy-tailed traffic with a day's rhythm. A link has a habit (logit-normal) that never changes;
its windows vary around it as Beta (over-dispersion rho), or by logit-normal shifts of the link and of its ends. Counts
are drawn as they are: no messages, nothing of `opintel.fts.simulated`. After a day of learning each window's p of links
and endpoints with at least 20 files is collected, before it is divided by the look's share, an hour's and a day's once
a span; 'told' are findings at 1e-4 over tests × 1e-4. Last: the over-dispersion learned at means of .005, .02 and .1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from opintel.detector import Closing, Controls, Record
from opintel.finding import Window
from opintel.fts.judging import failures
from opintel.fts.judging.scales import SEPARATOR, by_group
from opintel.fts.judging.suspects import LinkLook, LinkVerdict, suspects_of
from opintel.fts.link_windows import LINK, LinkWindow
from opintel.fts.links import endpoints_of
from opintel.stats.counts import log_mid_p, shape

SITES, LINKS, SIZE, DAY, LEAST = 120, 600, 600 * 10**9, 144, 20
LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)


class Healthy(NamedTuple):
    """How windows vary: over-dispersion of a link, standard deviation of the logit of a link and of an end."""

    name: str
    rho: float
    link: float
    end: float
    middle: float = -3.8
    """Median logit of the habits."""


GRIDS = [
    Healthy("binomial", 0.0, 0.0, 0.0),
    Healthy("Beta .005", 0.005, 0.0, 0.0),
    Healthy("Beta .03", 0.03, 0.0, 0.0),
    Healthy("links shift by .5", 0.0, 0.5, 0.0),
    Healthy("links and ends shift by .3", 0.0, 0.3, 0.3),
]


def main() -> None:
    """Prints a table: a line a grid and look."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(
        f"{'grid':28} {'look':14} {'what':9} {'tests':>8}  "
        + " ".join(f"{level:>6.0e}" for level in LEVELS)
        + "  learned rho"
    )
    for healthy in GRIDS:
        if options.only in healthy.name:
            begin = time.process_time()
            line(healthy, options.days, range(options.seeds))
            print(f"{time.process_time() - begin:.0f} s of CPU", flush=True)


def line(healthy: Healthy, days: int, seeds: range) -> None:
    """Runs one grid and prints its lines."""
    below: dict[tuple[str, str], np.ndarray] = {}
    tests: dict[tuple[str, str], int] = {}
    told = {"link": 0, "endpoint": 0}
    all_tests = dict(told)
    looks: list[LinkLook] = []

    def recorded(look: LinkLook, emit: float) -> LinkVerdict:
        looks.append(look)
        return suspects_of(look, emit)

    failures.suspects_of = recorded
    spans: dict[str, int] = {"": 1, "the last hour": 6, "the last day": DAY}
    for seed in seeds:
        judged = failures.LinkJudge()
        for w, closing in enumerate(stream(healthy, days * DAY, seed)):
            looks.clear()
            found = judged.judge(closing)
            if w < DAY:
                continue
            for kind in told:
                told[kind] += sum(f.kind == kind for f in found)
                all_tests[kind] += judged.tests[kind]
            for look in looks:
                if w % spans[look.span]:
                    continue
                for what, p in (("link", links(look)), ("endpoint", ends(look))):
                    key = (look.span, what)
                    below[key] = below.get(key, np.zeros(len(LEVELS))) + [np.sum(p <= np.log(x)) for x in LEVELS]
                    tests[key] = tests.get(key, 0) + len(p)
    for (span, what), count in below.items():
        total = tests[span, what]
        shares = " ".join(f"{c / total / level:6.2f}" for c, level in zip(count, LEVELS, strict=True))
        rho = " ".join(f"{x:.5f}" for x in getattr(judged._teaching[span], what).rho(np.array([0.005, 0.02, 0.1])))
        print(f"{healthy.name:28} {span or 'window':14} {what:9} {total:8d}  {shares}  {rho}")
    for what, many in told.items():
        share = many / all_tests[what] / 1e-4
        print(f"{healthy.name:28} {'told':14} {what:9} {all_tests[what]:8d}  {many} findings, {share:.2f}")


def links(look: LinkLook) -> np.ndarray:
    """ln p of links with enough files."""
    at = look.counts.files >= LEAST
    return log_mid_p(look.counts.failed[at], look.counts.files[at], *shape(look.mean[at], look.rho[at]))


def ends(look: LinkLook) -> np.ndarray:
    """ln p of endpoints with enough files, as `suspects` reckons it."""
    pairs = [key.split(SEPARATOR) for key in look.counts.keys]
    _, groups = endpoints_of([a for a, _ in pairs], [b for _, b in pairs])
    groups = [g for g in groups if len(g) > 1 and look.counts.files[g].sum() >= LEAST]
    if not groups:
        return np.zeros(0)
    k, n, mean, unsure = by_group(look.counts, groups)
    files = look.counts.files
    spread = np.array([np.sum(files[g] * (files[g] - 1.0) * look.rho[g]) for g in groups]) / (n * (n - 1.0))
    return log_mid_p(k, n, *shape(mean, np.maximum(look.endpoint_rho(mean) + unsure, spread)))


def stream(healthy: Healthy, windows: int, seed: int, change: Any = None) -> Iterator[Closing]:
    """The windows of a healthy grid; `change(w, source, destination, p)` may spoil one."""
    rng = np.random.default_rng([seed, 77])
    weight = np.outer(rng.lognormal(0.0, 1.2, SITES), rng.lognormal(0.0, 1.2, SITES))
    np.fill_diagonal(weight, 0.0)
    s, d = np.divmod(rng.choice(SITES**2, LINKS, replace=False, p=(weight / weight.sum()).ravel()), SITES)
    level = 6.0 * np.exp(np.minimum(1.2 * rng.standard_t(4, LINKS), 4.5))
    habit = rng.normal(healthy.middle, 1.0, LINKS)
    keys = [f"s{a:03d}{SEPARATOR}s{b:03d}" for a, b in zip(s.tolist(), d.tolist(), strict=True)]
    for w in range(windows):
        n = rng.poisson(level * (1.0 + 0.4 * np.sin(2 * np.pi * w / DAY)) * rng.gamma(4.0, 0.25, LINKS))
        shift = rng.normal(0.0, healthy.end, SITES)
        logit = habit + rng.normal(0.0, healthy.link, LINKS) + shift[s] + rng.normal(0.0, healthy.end, SITES)[d]
        p = 1.0 / (1.0 + np.exp(-logit))
        if healthy.rho:
            p = rng.beta(*shape(p, healthy.rho))
        if change:
            change(w, s, d, p)
        k = rng.binomial(n, p)
        window = Window(w * SIZE, (w + 1) * SIZE)
        yield closing(window, keys, k.tolist(), n.tolist())


def closing(window: Window, keys: list[str], failed: list[int], files: list[int]) -> Closing:
    """What a worker would hand the judge of these counts."""
    records = []
    for key, k, n in zip(keys, failed, files, strict=True):
        if n:
            source, destination = key.split(SEPARATOR)
            link = LinkWindow(source, destination, n - k, k, 0, n, 0, [(0, n - k, k, 0, 0.0)], (0, 0.0, 0.0), [])
            records.append(Record(window, LINK, key, "fts", link))
    return Closing(window, "fts", records, Controls(), failures.LinkSettings(), "", complete=True)


if __name__ == "__main__":
    main()
