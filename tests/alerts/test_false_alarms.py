"""What is spent of a budget, and that calibrated p-values stay within it."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from alert_story import (
    WIDTH,
    finding,
    play,
    settings,
    window,
    windows,
)

from opintel.alerts.settings import (
    Budget,
    Persistence,
)
from opintel.finding import Finding
from opintel.store import Store, queries


def test_a_week_of_windows_spends_the_week_s_budget(store: Store) -> None:
    week = 7 * 86_400 * 10**9
    first = (-window(0).start % week) // WIDTH
    play(store, windows({}, int(first + week // WIDTH) - 1, first=int(first)))
    told = {b["budget"]: b for b in queries.budgets(store)}
    assert told["failures"]["spent"] == pytest.approx(1.0, rel=1e-3)
    assert told["failures"]["alarms"] == 0
    assert told["failures"]["allowed"] == 1.0


def test_calibrated_p_values_stay_within_the_budget(store: Store) -> None:
    """100 windows of 100 uniform p-values, half of a budget of 700 a week for single windows: 34.7 false alarms
    expected; the seed is fixed.

    A Poisson number of mean 34.7 leaves [15, 60] with probability 2e-4.
    """
    how = settings()
    budgets = {"fts": {"all": Budget(kinds=["link"], false_alarms_a_week=700.0)}}
    persistence = msgspec.structs.replace(how.lifecycle.persistence, weak_needed=1, weak_margin=0.0)
    lifecycle = msgspec.structs.replace(how.lifecycle, persistence=persistence)
    how = msgspec.structs.replace(how, budgets=msgspec.structs.replace(how.budgets, streams=budgets))
    how = msgspec.structs.replace(how, lifecycle=lifecycle)
    rng = random.Random(20)
    story: dict[int, list[Finding]] = {}
    for k in range(100):
        ps = [(i, rng.random()) for i in range(100)]
        story[k] = [finding(k, {"endpoint": f"e{i}-{k}"}, math.log10(p)) for i, p in ps if p < 0.05]
    play(store, windows(story, 99, tests={"link": 100}), how)
    [told] = queries.budgets(store)
    assert told["spent"] == pytest.approx(700 * 100 / 1008, rel=1e-6)
    assert 15 <= told["alarms"] <= 60


def test_what_stays_keeps_within_the_budget_where_an_alarm_takes_several_findings(store: Store) -> None:
    """As above, but a p-value stays for three windows and an alarm takes three: again 34.7 false alarms are expected,
    where a threshold that did not ask for three would give 11.6.
    """
    how = settings()
    budgets = {"fts": {"all": Budget(kinds=["link"], false_alarms_a_week=700.0)}}
    rules = Persistence(strong_needed=3, weak_needed=3, weak_of=3, weak_margin=0.0, clear_after=3)
    lifecycle = msgspec.structs.replace(how.lifecycle, persistence_of={"fts": rules})
    how = msgspec.structs.replace(how, budgets=msgspec.structs.replace(how.budgets, streams=budgets))
    how = msgspec.structs.replace(how, lifecycle=lifecycle)
    rng = random.Random(20)
    story: dict[int, list[Finding]] = {}
    for k in range(0, 99, 3):
        ps = [(i, rng.random()) for i in range(100)]
        for n in range(k, k + 3):
            story[n] = [finding(n, {"endpoint": f"e{i}-{k}"}, math.log10(p)) for i, p in ps if p < 0.05]
    play(store, windows(story, 98, tests={"link": 100}), how)
    [told] = queries.budgets(store)
    assert told["spent"] == pytest.approx(700 * 99 / 1008, rel=1e-6)
    assert 15 <= told["alarms"] <= 60
