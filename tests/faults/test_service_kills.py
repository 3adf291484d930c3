"""SIGKILL of any service at any moment, while the story goes on: nothing lost, nothing doubled."""

from __future__ import annotations

import random
from collections import Counter
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


def test_alerts_and_delivery_are_killed_again_and_again(
    make_site: Callable[..., Site], report: Callable[[Row], None]
) -> None:
    """The two that write what leaves the house, while findings come and tickets go: 20 times each in the long form."""
    site = make_site()
    names = ("alerts", "delivery")
    kills = 20 * len(names) if site.story.long else 4
    rng = random.Random(13)
    site.start("ingest")
    site.start("workers", "stage1", "stage2")
    for name in names:
        site.start(name)
    victims: Counter[str] = Counter()
    for n in range(kills):
        site.feed(0.1 + 0.85 * n / kills)
        site.wait(rng.uniform(0.3, 2.5))
        victim = names[n % len(names)]
        site.kill(victim)
        victims[victim] += 1
        site.look()
    assert set(victims.values()) == {kills // len(names)}
    site.finish()
    site.settle()
    report(site.check(f"SIGKILL of alerts and delivery, {kills // len(names)} times each"))
