"""From the statistics of a row to its p-value, score and latched score, by what each series is used to.

The strongest z of a row has its own law in each series (how many statistics speak, what whitening left over): the bound
that one row in twenty exceeds is tracked, and above it z² / 2 is exponential, with a scale learned from its excesses.
"""

from __future__ import annotations

from typing import NamedTuple

from opintel.health.arithmetic import Machine, Number
from opintel.health.baselines import DAY, SETTLED
from opintel.stats.tails import SHARE

COLUMNS = ("strangeness", "energy_bound", "energy_scale", "energy_count", "trouble", "hold", "peak")
FRESH = (0.0, 3.0, 0.92, 0.0, 0.0, 0.0, 0.0)
WARM = 100.0
"""Rows before the first p-value."""
START = 50.0
"""Rows (that count) before tails are learned: the scale is not settled before."""
PRIOR = 300.0
"""Excesses that the prior of the energy's scale is worth."""
LOG10_SHARE = 1.30103
ALARM = 3.0
"""−log10 p from which a row is a disturbance."""
FIRST, BURST = 1.0, 10.0
"""Rows of disturbance, less two for each that is none, before which a row may still teach the tails (as of a cluster of
exceedances only one counts: Coles 2001, An Introduction to Statistical Modeling of Extreme Values, 5.3.2), and the law
of rows, which has to know how long clusters are where they are usual."""
LASTING = 200.0
"""Rows of disturbance after which it is the new normal, and is learned afresh."""
HOLD = 60.0
"""Quiet rows that end a disturbance."""
RISE = 2.0
"""A disturbance rises again where −log10 p is so many times its peak."""


class Verdict(NamedTuple):
    """A row's judgement."""

    over: Number
    """Whether p is below SHARE: then it is 10^−log10_p, else `body_p`."""
    log10_p: Number
    """Minus log10 of p; in the body only monotone in it."""
    body_p: Number
    score: Number
    latched: Number
    relearn: Number
    state: tuple[Number, ...]


def teaches(m: Machine, age: Number, memory: Number, trouble: Number, absurd: Number, most: float) -> Number:
    """1 where a row may teach how rare values are, 0 where it comes after `most` rows of a disturbance: one fault must
    not make the next one usual. In the first two days (s of `age`) all rows do, as most of what is new then is usual,
    but not those that are `absurd`."""
    new = (age < 2.0 * DAY) | (memory < SETTLED)
    return m.where(trouble < most, 1.0, m.where(absurd, 0.0, m.where(new, 1.0, 0.0)))


def side(
    m: Machine,
    v: Number,
    active: Number,
    memory: Number,
    teach: Number,
    upper: tuple[Number, ...],
    lower: tuple[Number, ...],
) -> tuple[Number, ...]:
    """(z in the body, over the bound?, new upper bound, new lower bound) of a signed statistic with two tails.

    The bounds follow Robbins & Monro 1951 (Ann. Math. Stat. 22, 400), with the step best for an exponential tail.
    """
    up = v > 0.0
    size = m.size(v)
    bound = m.where(up, upper[0], lower[0])
    active = active & (memory >= START)
    over = active & (size > bound)
    step = m.where(active, teach * 20.0 / m.least(memory + 50.0, 1000.0), 0.0)
    return (
        1.6448536 * m.least(size / m.most(bound, 0.2), 1.0),
        over,
        m.most(upper[0] + step * m.most(upper[1], 0.02) * (m.where(over & up, 1.0, 0.0) - SHARE), 0.05),
        m.most(lower[0] + step * m.most(lower[1], 0.02) * (m.where(over, m.where(up, 0.0, 1.0), 0.0) - SHARE), 0.05),
    )


def silence(m: Machine, overdue: Number, jitter: Number, rows: Number) -> Number:
    """z of a row that comes after `overdue` of the longest spacings of late: as rare as by an exponential law of 1.4
    times the jitter."""
    energy = m.least((overdue - 1.0) / (1.4 * (jitter + 0.25)), 100.0)
    return m.where((energy > 1.0) & (rows > 20.0), m.root(m.most(2.0 * energy, 2.0)) - 0.6, 0.0)


def verdict(m: Machine, z: Number, rows: Number, memory: Number, teach: Number, state: tuple[Number, ...]) -> Verdict:
    """Judges the strongest z of a row; `rows` are those before it, `memory` those that count."""
    _, bound, scale, count, trouble, hold, peak = state
    energy = 0.5 * z * z
    over = energy > bound
    beyond = energy - bound
    log10_p = m.least(
        m.where(over, LOG10_SHARE + beyond / (2.302585 * scale), LOG10_SHARE * energy / m.most(bound, 0.1)), 300.0
    )
    ready = rows >= WARM
    loud = m.where(ready, log10_p, 0.0)
    taught = over & ready & (teach > 0.5)
    step = m.where(memory >= START, teach * 20.0 / m.least(memory + 50.0, 1000.0), 0.0)
    alarm = loud >= ALARM
    held = hold > 0.5
    rise = alarm & (loud > RISE * peak)
    shown = m.where(held, m.where(rise, loud, 0.0), loud)
    trouble = m.where(alarm, trouble + 1.0, m.most(trouble - 2.0, 0.0))
    hold = m.where(alarm, HOLD, m.most(hold - 1.0, 0.0))
    return Verdict(
        over=over,
        log10_p=log10_p,
        body_p=SHARE + (1.0 - SHARE) * m.most(1.0 - energy / m.most(bound, 0.1), 0.0),
        score=loud / (loud + 4.0),
        latched=shown / (shown + 4.0),
        relearn=trouble > LASTING,
        state=(
            z,
            m.most(bound + step * scale * (m.where(over, 1.0, 0.0) - SHARE), 0.3),
            m.where(
                taught, scale + (m.least(beyond, 5.0 * scale) - scale) / m.least(count + PRIOR, 2.0 * PRIOR), scale
            ),
            m.where(taught, count + 1.0, count),
            m.where(trouble > LASTING, 0.0, trouble),
            hold,
            m.where(hold > 0.5, m.most(m.where(held, peak, 0.0), loud), 0.0),
        ),
    )
