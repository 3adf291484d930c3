"""A second worker joins, leaves and dies: partitions move, the result does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest

from opintel.streams.kafka.membership import SESSION

from .rig import Row, Service, Site

pytestmark = pytest.mark.broker

OURS = r"partitions \[([\d, ]*)\] of fts\.transfers are ours"


def shares(*services: Service) -> list[set[str]]:
    """What each said last that it owns, as far as it did not say since that it let go of it."""
    found = []
    for service in services:
        owned: set[str] = set()
        for won, lost in re.findall(OURS + r"|lets go of partitions \[([\d, ]*)\]", service.told()):
            owned = set(won.split(", ")) if won else owned - set(lost.split(", "))
        found.append(owned)
    return found


def shared(*services: Service) -> bool:
    """Whether each has something, and together all partitions once."""
    owned = shares(*services)
    return all(owned) and sorted(p for one in owned for p in one) == ["0", "1", "2", "3"]


def test_a_member_joins_leaves_and_dies(make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    site = make_site()
    rounds = 8 if site.story.long else 1
    site.start("ingest")
    site.start("rest", "stage2", "alerts", "delivery")
    first = site.start("stage1")
    site.until(lambda: shared(first), "the first member has all")
    for n in range(rounds):
        site.feed((n + 0.2) / rounds)
        second = site.start(f"leaver {n}", "stage1")
        site.until(partial(shared, first, second), "the partitions are shared by the two")
        site.feed((n + 0.4) / rounds)
        site.leave(f"leaver {n}")
        site.until(lambda: shared(first), "the first member has taken back what the second left")
        site.feed((n + 0.6) / rounds)
        third = site.start(f"mortal {n}", "stage1")
        site.until(partial(shared, first, third), "the partitions are shared again")
        if n == rounds // 2:
            assert site.outcome().findings.keys() < site.story.expected.findings.keys(), "nothing is left to disturb"
        site.kill(f"mortal {n}")
        del site.services[f"mortal {n}"]
        site.feed((n + 0.8) / rounds)
        site.until(lambda: shared(first), "the first member has taken over from the dead one", SESSION + 20)
    site.finish()
    site.settle()
    report(site.check(f"stage1: a member joins, leaves, joins, is killed; {rounds} times"))
