"""What a series should be now: four running experts, each whitened by its own AR(1), the best of them chosen.

The experts are the long-run mean, the hour of day on top of it, the day × hour on top of that, and a fast moving
average. Takes a row and the state of `series`, gives the residual that `charts` judges. Everything is of the past only.
"""

from __future__ import annotations

from typing import NamedTuple

from opintel.health.arithmetic import Machine, Number

COLUMNS = (
    *("rows", "first_time", "time", "spacing", "jitter", "longest"),
    *("memory", "mean", "fast", "deviation0", "deviation1", "deviation2"),
    *("square0", "square1", "square2", "product0", "product1", "product2"),
    *("error0", "error1", "error2", "error3", "scale", "residual", "doubt"),
)
LONG, SEASONAL, ERRORS, SCALE, FAST = 1000.0, 550.0, 300.0, 80.0, 3.0
"""Memories in rows: of the mean, the seasonal AR(1), the experts' errors, the scale, the moving average."""
BETTER = (1.0, 0.94, 0.88, 0.94)
"""An expert is chosen if its error is below that of simpler ones times this."""
DAY = 86400.0
SIGMA = 1.2533
"""Standard deviation over mean absolute deviation of a Gaussian: sqrt(π / 2)."""
UNRIPE, FRESH = 0.5, 60.0
"""Visits that a knot of the hour profile remembers in its first two days, while the mean still follows the day; rows
that a series remembers when its profile is first believed: tails and mean were learned without it."""
EARLY = 10.0
"""Rows during which nothing is cut off, for want of a scale; `state` looks at them again once all are there."""
OFF = 1e6
"""What `whitened` and `level` are cut off at. A row so far off is no measurement: scatter and charts learn nothing."""
ONE = 1.0
"""How far a constant series at 0 may go the first time, for want of any other scale."""
SETTLED = 300.0
"""Rows from which on a disturbance slows learning down."""
NO_LIMIT = 1e308
SHORTEST = 1e-9
"""s between two rows that count as one spacing at least."""
FORGOTTEN = 0.002
"""What a row takes from the longest step: an outage of a minute's series is forgotten in a day."""


class Moment(NamedTuple):
    """When a row came, in time since the last one and in day and week."""

    gap: Number
    """Usual spacings since the last row, bounded."""
    overdue: Number
    """The same in the longest spacings of late: two senders of a series make a short and a long one by turns."""
    age: Number
    ripe: Number
    """Whether this is the first row at which the hour profile may be believed."""
    hour: Number
    share: Number
    """The part of the hour profile's next knot (hour + 1); the rest is of knot `hour`."""
    week_hour: Number
    state: tuple[Number, ...]


class Residual(NamedTuple):
    """A row against the best expert."""

    whitened: Number
    """In units of the local scale."""
    level: Number
    """Deviation from the expert's baseline without whitening, in its long-run standard deviations."""
    stationary: Number
    """Whether the level may be judged: it is not on something like a random walk."""
    expected: Number
    band: Number
    """One standard deviation of the prediction."""
    baseline: Number
    spread: Number
    """The baseline, and the long-run standard deviation around it."""
    expert: Number
    trust: Number
    """How much this row may teach: 1, less during a disturbance."""
    constant: Number
    """Whether the series never moved, so that there is no scale yet."""
    absurd: Number
    """Whether the row is so far off that it is no measurement."""
    hour_error: Number
    week_error: Number
    """What the two profiles were wrong by, cut off."""
    state: tuple[Number, ...]


def moment(m: Machine, time: Number, state: tuple[Number, ...]) -> Moment:
    """Places a row in time; `state` is the first six columns. Equal and earlier times count as one usual spacing."""
    rows, first_time, last, spacing, jitter, longest = state
    new = rows < 0.5
    first_time = m.where(new, time, first_time)
    step = m.where(new, 0.0, time - last)
    later = step > 0.0
    usual = m.where(later & (spacing <= 0.0), step, spacing)
    gap = m.where(later, step / m.most(usual, SHORTEST), 1.0)
    rate = m.where(later, 1.0 / (m.least(rows, 50.0) + 1.0), 0.0)
    off = m.bounded(gap - 1.0, 3.0)
    overdue = m.where(later & (longest > 0.0), step / m.most(longest, SHORTEST), 1.0)
    # a step counts for twice the longest at most, so that one outage does not hide the next
    longest = m.most(m.least(step, 2.0 * m.where(longest > 0.0, longest, usual)), longest - FORGOTTEN * longest)
    state = (
        rows + 1.0,
        first_time,
        m.where(new, time, m.most(time, last)),
        usual + rate * m.bounded(step - usual, 0.5 * usual),
        jitter + 0.2 * rate * (m.size(off) - jitter),
        longest,
    )
    clock = time / 3600.0 - 0.5
    hour = m.floor(clock)
    day = m.floor(time / DAY)
    return Moment(
        gap=m.most(m.least(gap, 20.0), 0.1),
        overdue=overdue,
        age=time - first_time,
        ripe=(time - first_time >= 2.0 * DAY) & (last - first_time < 2.0 * DAY),
        hour=hour - 24.0 * m.floor(hour / 24.0),
        share=clock - hour,
        week_hour=24.0 * (day - 7.0 * m.floor(day / 7.0)) + m.floor((time - day * DAY) / 3600.0),
        state=state,
    )


def residual(
    m: Machine, x: Number, at: Moment, strangeness: Number, hourly: Number, weekly: Number, state: tuple[Number, ...]
) -> Residual:
    """The row x against the best expert, and the state after it.

    `state` is the columns from `memory` on; `hourly`, `weekly` are the profiles' values now; `strangeness` is the
    last row's z. AR(1) by moments with Kendall's correction of its bias (Kendall 1954, Biometrika 41, 403); over a gap
    g the coefficient φ becomes φ / (φ + g (1 − φ)), which is φ at g = 1, 1 for a random walk and needs no power.
    """
    g = at.gap
    memory, mean, fast, d0, d1, d2, c0, c1, c2, k0, k1, k2, q0, q1, q2, q3, scale, last, doubt = state
    new, early = memory < 0.5, memory < EARLY
    mean, fast = m.where(new, x, mean), m.where(new, x, fast)
    length = m.least(memory, LONG)
    odd = strangeness * strangeness / 12.25
    trust = m.where(memory < SETTLED, 1.0, m.most(0.05, 1.0 / (1.0 + odd * odd)))
    learn = trust * g / (g + length)
    regular = (g > 0.5) & (g < 1.5)
    pair0 = m.where(regular, learn, 0.0)
    pair1 = m.where(regular, trust * g / (g + m.least(memory, SEASONAL)), 0.0)
    # of what was there before: a floor that followed x would let it set its own limits
    floor = 1e-12 * m.most(m.size(mean), m.size(fast)) + 1e-300
    correction = 1.0 / (length + 20.0)
    e0 = x - mean
    e1 = e0 - hourly
    e2 = e1 - weekly
    e3 = x - fast

    def whiten(e: Number, d: Number, c: Number, k: Number, q: Number, pair: Number) -> tuple[Number, ...]:
        phi = k / (c + 1e-300)
        phi = m.most(m.least(phi + (1.0 + 3.0 * phi) * correction, 1.0), -0.5)
        size = m.size(phi)
        carried = phi / (size + g * (1.0 - size) + 1e-300) * d
        r = e - carried
        filtered = carried + m.bounded(r, m.where(early, NO_LIMIT, 6.0 * m.most(q, scale) + floor))
        return r, carried, phi, filtered, c + pair * (d * d - c), k + pair * (filtered * d - k)

    r0, b0, p0, n0, nc0, nk0 = whiten(e0, d0, c0, k0, q0, pair0)
    r1, b1, p1, n1, nc1, nk1 = whiten(e1, d1, c1, k1, q1, pair1)
    r2, b2, p2, n2, nc2, nk2 = whiten(e2, d2, c2, k2, q2, pair1)
    r, phi, off, square, q, expert = r0, p0, e0, c0, q0, m.where(new, 0.0, 0.0)
    # not x less what it is off by: beside a huge x the baseline would be lost
    base, carried = mean, b0
    better = (q1 < q * BETTER[1]) & (at.age >= 2.0 * DAY)
    remembered = m.where(at.ripe & better, m.least(memory, FRESH), memory) + 1.0
    r, phi, off, square = (
        m.where(better, r1, r),
        m.where(better, p1, phi),
        m.where(better, e1, off),
        m.where(better, c1, square),
    )
    base, carried = m.where(better, mean + hourly, base), m.where(better, b1, carried)
    q, expert = m.where(better, q1, q), m.where(better, 1.0, expert)
    better = (q2 < q * BETTER[2]) & (at.age >= 14.0 * DAY)
    r, phi, off, square = (
        m.where(better, r2, r),
        m.where(better, p2, phi),
        m.where(better, e2, off),
        m.where(better, c2, square),
    )
    base, carried = m.where(better, mean + hourly + weekly, base), m.where(better, b2, carried)
    q, expert = m.where(better, q2, q), m.where(better, 2.0, expert)
    better = q3 < q * BETTER[3]
    r, expert = m.where(better, e3, r), m.where(better, 3.0, expert)
    expected = m.where(better, fast, base + carried)

    sigma = m.most(scale, floor)
    size = m.size(r)
    limit = 4.4 * sigma
    # a series that was constant has no scale: leaving its value by no more than that value teaches it one, leaving it
    # farther only as much as it did so the time before
    constant, leaves = scale <= floor, (size > floor) & (m.size(last) <= floor)
    room = m.most(m.size(mean), ONE)
    first = m.where(leaves, m.where(size <= room, size, m.least(size, doubt)), 0.0)
    absurd = (size >= OFF * SIGMA * sigma) & (early | (scale > floor) | (size > m.most(room, doubt)))
    cap = m.where(early, size, m.where(constant, first, limit))
    # by successive differences: a shifted level must not pass for a larger scale
    change = r - last
    change = 0.70710678 * m.size(change)
    pace = m.where(absurd & (scale > floor), 0.0, g / (g + m.least(memory, SCALE)))
    rate = trust * g / (g + m.least(memory, ERRORS))
    a0, a1, a2, a3 = m.size(r0), m.size(r1), m.size(r2), m.size(e3)
    nq0 = q0 + rate * (m.least(a0, cap) - q0)
    # a profile in its first days is a moving average by another name: it counts from the second visit on
    nq1 = m.where(at.age < DAY, nq0, q1 + rate * (m.least(a1, cap) - q1))
    nq2 = m.where(at.age < 8.0 * DAY, nq1, q2 + rate * (m.least(a2, cap) - q2))
    nc1, nk1 = m.where(at.age < DAY, 0.0, nc1), m.where(at.age < DAY, 0.0, nk1)
    nc2, nk2 = m.where(at.age < 8.0 * DAY, 0.0, nc2), m.where(at.age < 8.0 * DAY, 0.0, nk2)
    nq3 = q3 + rate * (m.least(a3, cap) - q3)
    spread = m.root(square + 1e-280)
    judged = length * (1.0 - phi) > 50.0 * (1.0 + phi)
    return Residual(
        whitened=m.bounded(r / (SIGMA * sigma), OFF),
        level=m.where(judged, m.bounded(off / spread, OFF), 0.0),
        stationary=judged,
        expected=expected,
        band=SIGMA * sigma,
        baseline=base,
        spread=spread,
        expert=expert,
        trust=trust,
        constant=constant,
        absurd=absurd,
        hour_error=m.bounded(e1, m.where(early, NO_LIMIT, 6.0 * m.most(q1, scale))),
        week_error=m.bounded(e2, m.where(early, NO_LIMIT, 6.0 * m.most(q2, scale))),
        state=(
            remembered,
            mean + learn * m.bounded(off, m.where(early, NO_LIMIT, 6.0 * m.most(q, scale))),
            fast + g / (g + m.least(memory, FAST)) * m.bounded(e3, m.where(early, NO_LIMIT, 6.0 * m.most(q3, scale))),
            *(n0, n1, n2, nc0, nc1, nc2, nk0, nk1, nk2, nq0, nq1, nq2, nq3),
            scale + pace * (m.least(change, cap) - scale),
            r,
            m.where(constant & leaves, size, doubt),
        ),
    )


def profiles(
    m: Machine, at: Moment, r: Residual, values: tuple[Number, Number, Number], weights: tuple[Number, Number, Number]
) -> tuple[Number, ...]:
    """(value, weight) of the two hour knots and of the day × hour after a row, from those before it.

    A knot learns in proportion to its share of the row; its weight is bounded by 20 (day × hour: 8) visits, by less in
    the first two days.
    """
    low, high, extra = values
    low_weight, high_weight, extra_weight = weights
    hourly = 3600.0 / m.most(at.state[3], 1.0)
    visits = m.where(at.age < 2.0 * DAY, UNRIPE, 20.0)
    most, most_extra = m.most(visits * hourly, visits), m.most(8.0 * hourly, 8.0)
    rest = 1.0 - at.share
    low_weight = m.least(low_weight + rest, most)
    high_weight = m.least(high_weight + at.share, most)
    extra_weight = m.least(extra_weight + 1.0, most_extra)
    error = r.trust * r.hour_error
    return (
        *(low + rest * error / (low_weight + 2.0), low_weight),
        *(high + at.share * error / (high_weight + 2.0), high_weight),
        *(extra + r.trust * r.week_error / (extra_weight + 6.0), extra_weight),
    )
