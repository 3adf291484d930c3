"""A stream of link windows for tests of the judges: heavy-tailed, diurnal, over-dispersed, with chronic links.

Not the product's simulator: this one draws the counts themselves, so that what is healthy is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from opintel.detector import Closing, Controls, Record
from opintel.finding import Window
from opintel.fts.link_windows import LINK, SLICES, LinkWindow

MINUTE = 60 * 10**9
SIZE = 10 * MINUTE
START = 1_700_000_400 * 10**9

Change = Callable[[int, dict[str, Any]], None]
"""Called with the window's number and the arrays `source, destination, n, p, rate`, which it may change: a fault."""


def windows(
    count: int,
    *,
    seed: int,
    sites: int = 40,
    links: int = 500,
    traffic: float = 1.0,
    shift: float = 0.3,
    change: Change | None = None,
) -> Iterator[tuple[Window, list[LinkWindow]]]:
    """Windows of a healthy instance, or of one with a fault. `shift`: spread of an endpoint's own hours (logit)."""
    rng = np.random.default_rng(seed)
    weight = np.outer(rng.pareto(1.5, sites) + 0.3, rng.pareto(1.5, sites) + 0.3)
    np.fill_diagonal(weight, 0.0)
    chosen = rng.choice(sites * sites, links, replace=False, p=(weight / weight.sum()).ravel())
    source, destination = chosen // sites, chosen % sites
    level = traffic * np.minimum(rng.lognormal(0.5, 1.3, links), 200.0)
    habit = rng.beta(0.5, 15.0, links)
    chronic = rng.random(links) < 0.05
    habit[chronic] = rng.uniform(0.1, 0.4, chronic.sum())
    bursty = rng.random(links) < 0.4
    on = rng.random(links) < 0.7
    rate = rng.normal(16.5, 1.0, links)
    size = 9.0
    for w in range(count):
        on = np.where(on, rng.random(links) > 0.05, rng.random(links) < 0.1) | ~bursty
        day = 1.0 + 0.6 * np.sin(2.0 * np.pi * w / 144.0)
        n = rng.poisson(level * day * rng.gamma(4.0, 0.25, links)) * on
        odds = np.log(habit / (1.0 - habit))
        odds = odds + rng.normal(0.0, shift, sites)[source] + rng.normal(0.0, shift, sites)[destination]
        mean = 1.0 / (1.0 + np.exp(-odds))
        state: dict[str, Any] = {
            "source": source,
            "destination": destination,
            "n": n,
            "p": rng.beta(np.maximum(mean * size, 1e-3), (1.0 - mean) * size),
            "rate": rate + rng.normal(0.0, 0.25, links),
        }
        if change:
            change(w, state)
        window = Window(START + w * SIZE, START + (w + 1) * SIZE)
        yield window, list(_records(rng, state))


def closing(
    judge: Any, window: Window, links: list[LinkWindow], *, complete: bool = True, settings: Any = None
) -> Closing:
    """What the worker hands a judge."""
    records = [
        Record(window, LINK, f"{w.source}\x1f{w.destination}", "fts.example", msgspec.to_builtins(w)) for w in links
    ]
    records.sort(key=lambda r: (r.kind, r.key))
    return Closing(window, "fts.example", records, Controls(), settings or judge.Settings(), "model", complete)


def host(site: int) -> str:
    """The host name of a site."""
    return f"se{site:03d}.example"


def _records(rng: np.random.Generator, state: dict[str, Any]) -> Iterator[LinkWindow]:
    for s, d, n, p, rate in zip(*(state[name] for name in ("source", "destination", "n", "p", "rate")), strict=True):
        if n == 0:
            continue
        failed = int(rng.binomial(n, p))
        ok = int(n) - failed
        parts_ok, parts_failed = (rng.multinomial(c, np.full(SLICES, 1.0 / SLICES)) for c in (ok, failed))
        x = rng.normal(rate, 0.6, ok)
        yield LinkWindow(
            source=host(s),
            destination=host(d),
            ok=ok,
            failed=failed,
            aborted=0,
            attempts=int(n),
            bytes=ok * 10**9,
            slices=[
                (at, int(a), int(b), 0, 0.0)
                for at, (a, b) in enumerate(zip(parts_ok, parts_failed, strict=True))
                if a or b
            ],
            log_rate=(ok, float(x.sum()), float((x**2).sum())),
            forms=[("t1", "connection to <host> timed out", failed, "connection to a timed out")] if failed else [],
        )
