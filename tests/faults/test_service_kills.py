"""SIGKILL of any service at any moment, while the story goes on: nothing lost, nothing doubled."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from .rig import Row, Site

pytestmark = pytest.mark.broker

NAMES = ("ingest", "stage1 a", "stage1 b", "stage2", "alerts", "delivery")


def test_services_are_killed_at_random(make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    site = make_site()
    kills, longest = (100, 3.0) if site.story.long else (8, 1.5)
    rng = random.Random(4)
    for name in NAMES:
        site.start(name)
    site.feed(0.1)
    for name in ("stage1 a", "stage1 b"):
        site.says(name, "are ours")
    victims: list[str] = []
    while len(victims) < kills:
        victims += rng.sample(NAMES, len(NAMES))  # each has its turn
    for n, victim in enumerate(victims[:kills]):
        site.feed(0.1 + 0.85 * n / kills)
        site.wait(rng.uniform(0.0, longest))
        if n == kills * 3 // 4:
            assert site.outcome().findings.keys() < site.story.expected.findings.keys(), "nothing is left to disturb"
        site.kill(victim)
        site.look()
    site.finish()
    site.settle()
    assert site.kills == kills
    report(site.check(f"SIGKILL of {len(NAMES)} services at random"))
