"""How surprising a finding must be to alarm: a budget of false alarms a week, shared among the tests that were made.

Half of the budget is for single windows: a finding fires at once if p <= T = budget / 2 x (window / week) / tests.
With calibrated p-values a week's false alarms then add up to that half at most, by linearity of expectation,
however the tests depend on each other (the per-family error rate of Bonferroni's procedure; Tukey 1953, Hochberg
and Tamhane 1987, ch. 1). Where a stream wants k such findings in some windows, each alarm uses up k of them: p <= k T
keeps the half as well. The other half is for what stays: weak signs, p <= 100 T, in three of four windows. If a
subject that was surprising by chance is so again in a later window with probability q, such a triple has at most
3 q^2 100 T: within the half for q <= 0.057. `docs/measurements.md` has q on healthy traffic. Where windows are short
and q is near 1, n weak signs of p <= n T keep the half by the same count as strong ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from opintel.alerts.incidents import OF_SCOPE, OF_STREAM, fingerprint
from opintel.alerts.lifecycle import Sign
from opintel.alerts.settings import Budgets, Persistence, Rate, severity_rank
from opintel.finding import NS, Finding
from opintel.store import schema as t
from opintel.streams.findings import Judged

WEEK = 7 * 86_400 * NS
LEAST_FACTOR = 1 / 16
"""Operators' 'false alarm' halves the budget of a kind in a scope down to this share; 'confirmed' doubles it up to
1."""


# Asked in every window; made once, because to make a statement costs more than to run it.
_FACTORS = sa.select(t.tuning).where(t.tuning.c.stream == OF_STREAM, t.tuning.c.scope == OF_SCOPE)
_SPENT_HERE = (
    t.budget_spend.c.stream == OF_STREAM,
    t.budget_spend.c.scope == OF_SCOPE,
    t.budget_spend.c.week == sa.bindparam("of_week"),
)
_SPENT = sa.select(t.budget_spend).where(*_SPENT_HERE)
_SPEND = sa.update(t.budget_spend).where(*_SPENT_HERE, t.budget_spend.c.budget == sa.bindparam("of_budget"))


class Signal(NamedTuple):
    """What a window says about one alert: its sign and the findings behind it, the most surprising first."""

    sign: Sign
    findings: list[Finding]


class Spending(NamedTuple):
    """What one budget spent on a window: expected false alarms."""

    budget: str
    rate: Rate
    spent: float


class Spent(NamedTuple):
    """What a budget has cost in a week so far: expected false alarms; alarms, of these without a p-value."""

    spent: float
    alarms: int
    unranked: int


class Bill(NamedTuple):
    """What a window cost a budget, the alarms that rose in it, and of these those without a p-value."""

    spending: Spending
    alarms: int
    unranked: int


class BudgetVerdict(NamedTuple):
    """The findings of a window, judged: fingerprint → signal; findings that raise no alarm; what it cost."""

    signals: dict[str, Signal]
    others: list[Finding]
    spending: list[Spending]


def decide(
    judged: Judged,
    found: Sequence[Finding],
    budgets: Budgets,
    factors: Mapping[str, float],
    alarming: Collection[str],
    unranked_left: Mapping[str, int],
    rules: Persistence,
) -> BudgetVerdict:
    """Judges a window's findings.

    `factors`: kind → share of its budget (operators' answers); `alarming`: fingerprints that fire already, which a
    finding without a p-value keeps firing; `unranked_left`: budget → how many alarms without a p-value it may still
    raise this week; `rules`: how many findings an alarm takes.
    """
    tests = _tests(judged, found)
    total: dict[str, int] = {}
    rates: dict[str, Rate] = {}
    for kind, n in tests.items():
        name, rates[name] = budgets.of(judged.stream, kind)
        total[name] = total.get(name, 0) + n
    share = (judged.window.end - judged.window.start) / WEEK
    threshold = {
        kind: 0.5
        * rules.strong_needed
        * rates[name].false_alarms_a_week
        * factors.get(kind, 1.0)
        * share
        / max(1, total[name])
        for kind in tests
        for name in [budgets.of(judged.stream, kind)[0]]
    }
    signals: dict[str, Signal] = {}
    others: list[Finding] = []
    left = dict(unranked_left)
    for f in sorted(found, key=surprise):
        mark = fingerprint(judged.stream, f)
        sign: Sign = "."
        if f.log10_p is None:
            name = budgets.of(judged.stream, f.kind)[0]
            if f.severity != "info" and (mark in alarming or mark in signals or left.get(name, 0) > 0):
                left[name] = left.get(name, 0) - (mark not in alarming and mark not in signals)
                sign = "s"
        elif f.log10_p <= math.log10(threshold[f.kind]) + rules.weak_margin:
            sign = "s" if f.log10_p <= math.log10(threshold[f.kind]) else "w"
        if mark in signals:
            signals[mark].findings.append(f)
        elif sign != ".":
            signals[mark] = Signal(sign, [f])
        else:
            others.append(f)
    spending = [
        Spending(
            name,
            rates[name],
            sum(
                2 * tests[kind] * threshold[kind] / rules.strong_needed
                for kind in tests
                if budgets.of(judged.stream, kind)[0] == name
            ),
        )
        for name in sorted(total)
    ]
    return BudgetVerdict(signals, others, spending)


def surprise(finding: Finding) -> tuple[float, int, str]:
    """Sorts the most surprising first; those without a p-value come last, by severity."""
    p = 1.0 if finding.log10_p is None else finding.log10_p
    return p, -severity_rank(finding.severity), finding.id


def load_factors(connection: sa.Connection, stream: str, scope: str) -> dict[str, float]:
    """Kind → share of its budget that operators' answers left it, where it is not 1."""
    here = {"of_stream": stream, "of_scope": scope}
    return {row.kind: row.factor for row in connection.execute(_FACTORS, here)}


def retune(connection: sa.Connection, stream: str, kind: str, scope: str, by: float) -> float:
    """Multiplies a kind's share by `by`, within [`LEAST_FACTOR`, 1]; returns the new share."""
    old = load_factors(connection, stream, scope).get(kind)
    new = min(1.0, max(LEAST_FACTOR, (1.0 if old is None else old) * by))
    here = (t.tuning.c.stream == stream) & (t.tuning.c.scope == scope) & (t.tuning.c.kind == kind)
    if old is None:
        connection.execute(sa.insert(t.tuning).values(stream=stream, kind=kind, scope=scope, factor=new))
    else:
        connection.execute(sa.update(t.tuning).where(here).values(factor=new))
    return new


def load_spent(connection: sa.Connection, judged: Judged) -> dict[str, Spent]:
    """Budget → what this window's week has cost it so far."""
    here = {"of_stream": judged.stream, "of_scope": judged.scope, "of_week": week_of(judged)}
    return {row.budget: Spent(row.spent, row.alarms, row.unranked) for row in connection.execute(_SPENT, here)}


def unranked_left(stream: str, spent: Mapping[str, Spent], budgets: Budgets) -> dict[str, int]:
    """Budget → alarms without a p-value that it may still raise, of which `spent` says those of the week."""
    rates = budgets.streams.get(stream, {})
    left = {"other": budgets.default.unranked_a_week} | {name: b.unranked_a_week for name, b in rates.items()}
    return left | {name: left.get(name, 0) - week.unranked for name, week in spent.items()}


def book(connection: sa.Connection, judged: Judged, spent: Mapping[str, Spent], bills: Iterable[Bill]) -> None:
    """Adds what a window cost to what its week has `spent` before."""
    here = {"of_stream": judged.stream, "of_scope": judged.scope, "of_week": week_of(judged)}
    new, more = [], []
    for (name, rate, cost), alarms, unranked in bills:
        old = spent.get(name, Spent(0.0, 0, 0))
        sums = {"spent": cost + old.spent, "alarms": alarms + old.alarms, "unranked": unranked + old.unranked}
        values = {"allowed": rate.false_alarms_a_week, **sums}
        if name in spent:
            more.append({**here, "of_budget": name, **values})
        else:
            key = {"stream": judged.stream, "budget": name, "scope": judged.scope, "week": week_of(judged)}
            new.append(key | values)
    if new:
        connection.execute(sa.insert(t.budget_spend), new)
    if more:
        connection.execute(_SPEND, more)


def week_of(judged: Judged) -> int:
    """Start of the week (of event time, counted from 1970-01-01) that the window ends in, ns."""
    last = judged.window.end - 1
    return last - last % WEEK


def _tests(judged: Judged, found: Sequence[Finding]) -> dict[str, int]:
    """Kind → tests made; never fewer than its findings with a p-value, each of which was a test."""
    tests = {kind: n for kind, n in judged.tests.items() if n > 0}
    for kind in sorted({f.kind for f in found}):
        ranked = sum(f.log10_p is not None for f in found if f.kind == kind)
        tests[kind] = max(tests.get(kind, 0), ranked)
    return tests
