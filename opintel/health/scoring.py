"""One row of each of many series through all formulas: on arrays (`score_rows`) or on plain floats (`score_row`).

Both read and write `state.SeriesState`, call the same formulas in the same order and give the same bits; `series` picks
the faster one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import exp10, log1p, ndtri_exp, xlogy

from opintel.health import baselines, charts, verdict
from opintel.health.arithmetic import ARRAYS, FLOATS, Machine, Number
from opintel.health.state import (
    BASELINES,
    BOUNDS,
    CHARTS,
    FAST,
    LIVE,
    MEMORY,
    RANKED,
    SIDES,
    TROUBLE,
    VALUE,
    VERDICT,
    SeriesState,
)
from opintel.stats.counts import Floats, Ints

STATISTICS = ("residual", "level", "shift", "change", "trend", "spread", "flat", "silent")
"""Against the best expert; against its baseline; a mean shifted over about 3, 25, 100 rows; scatter; stuck; a gap."""
VALIDATED = 4.0
"""−log10 of the p-value down to which calibration was measured."""
SHAPE = 3.0
"""Beyond, p falls with this power of the surprise only (see `_reported`)."""
_LN10 = float(np.log(10.0))
_FLAT, _SILENT = 6, 7
_LOG_HALF = float(np.log(0.5))


class RowScores(NamedTuple):
    """What `series.Scores` says of n rows: arrays (n,), `statistics` (8, n); of one row floats and a list."""

    score: Number
    latched: Number
    p_value: Number
    statistics: Number
    expected: Number
    band: Number
    baseline: Number
    baseline_spread: Number
    expert: Number


def score_rows(state: SeriesState, keys: Ints, time: Floats, x: Floats) -> RowScores:
    """A row of each of n series; keys (n,) ascending, none twice, values finite."""
    memory = state.columns[MEMORY, keys]
    scores = _rows(state, keys, time, x)
    young = np.flatnonzero(memory < baselines.EARLY)
    if len(young):
        _begin(state, keys[young], memory[young], time[young], x[young])
    return scores


def _rows(state: SeriesState, keys: Ints, time: Floats, x: Floats) -> RowScores:
    m, n = ARRAYS, len(keys)
    first, last = int(keys[0]), int(keys[-1])
    where: slice | Ints = slice(first, last + 1) if last - first + 1 == n else keys
    c = list(state.columns[:LIVE, where])
    tail_excess = list(state.columns[LIVE : LIVE + SIDES, where])
    at = baselines.moment(m, time, tuple(c[: BASELINES.start]))
    hour, week = at.hour.astype(np.int64), at.week_hour.astype(np.int64)
    following = np.where(hour == 23, 0, hour + 1)
    hours, weeks = state.hours, state.weeks
    low, high = hours[keys, 0, hour].astype(np.float64), hours[keys, 0, following].astype(np.float64)
    extra = weeks[keys, 0, week].astype(np.float64)
    r = baselines.residual(
        m, x, at, c[VERDICT.start], (1.0 - at.share) * low + at.share * high, extra, tuple(c[BASELINES])
    )
    t = charts.charts(m, x, r.whitened, r.absurd, at.gap, c[MEMORY], r.trust, tuple(c[CHARTS]))

    teach, teach_law = (
        verdict.teaches(m, at.age, c[MEMORY], c[TROUBLE], r.absurd, most) for most in (verdict.FIRST, verdict.BURST)
    )
    z = np.empty((len(STATISTICS), n))
    bounds, over = [], []
    ranked = ((r.whitened, np.True_), (r.level, r.stationary), (t.shift, np.True_))
    for k, (v, active) in enumerate(ranked):
        a, b = 2 * k, 2 * k + 1
        body, above, upper, lower = verdict.side(
            m, v, active, c[MEMORY], teach, (c[BOUNDS + a], tail_excess[a]), (c[BOUNDS + b], tail_excess[b])
        )
        np.copysign(body, v, out=z[k])
        bounds += [upper, lower]
        over.append(np.flatnonzero(above))
    rows = np.concatenate(over)
    if len(rows):
        kind = np.repeat(np.arange(RANKED), [len(o) for o in over])
        v = np.concatenate([ranked[k][0][o] for k, o in enumerate(over)])
        first = r.constant[rows] & ~r.absurd[rows]
        tails = state.exceed(keys[rows], 2 * kind + (v < 0.0), np.abs(v), teach[rows] > 0.5, first)
        z[kind, rows] = np.copysign(tails, v)
    z[3], z[4], z[5] = t.change, t.trend, t.spread
    z[_FLAT] = 0.0
    stuck = np.flatnonzero(t.run > 0.5)
    if len(stuck):
        z[_FLAT, stuck] = _stuck(t.run[stuck], t.repeats[stuck])
    z[_SILENT] = verdict.silence(m, at.overdue, c[4], c[0])
    v = verdict.verdict(m, np.abs(z).max(axis=0), c[0], c[MEMORY], teach_law, tuple(c[VERDICT]))
    p = np.where(c[0] < verdict.WARM, np.nan, v.body_p)
    rare = np.flatnonzero(v.over & (c[0] >= verdict.WARM))
    p[rare] = _reported(v.log10_p[rare])

    weight = hours[keys, 1, hour].astype(np.float64), hours[keys, 1, following].astype(np.float64)
    learned = baselines.profiles(m, at, r, (low, high, extra), (*weight, weeks[keys, 1, week].astype(np.float64)))
    hours[keys, 0, hour], hours[keys, 1, hour] = learned[0], learned[1]
    hours[keys, 0, following], hours[keys, 1, following] = learned[2], learned[3]
    weeks[keys, 0, week], weeks[keys, 1, week] = learned[4], learned[5]
    for k, column in enumerate((*at.state, *r.state, *t.state, *v.state, *bounds)):
        state.columns[k, where] = column
    again = np.flatnonzero(v.relearn)
    if len(again):
        state.relearn(keys[again], _middle(m, c[FAST], c[VALUE], x)[again], r.constant[again])
    return RowScores(v.score, v.latched, p, z, r.expected, r.band, r.baseline, r.spread, r.expert)


def score_row(state: SeriesState, key: int, time: float, x: float) -> RowScores:
    """A row of one series."""
    m = FLOATS
    c = state.columns[: LIVE + SIDES, key].tolist()
    at = baselines.moment(m, time, c[: BASELINES.start])
    hour, week = int(at.hour), int(at.week_hour)
    following = 0 if hour == 23 else hour + 1
    hours, weeks = state.hours[key], state.weeks[key]
    low, high, extra = hours.item(0, hour), hours.item(0, following), weeks.item(0, week)
    r = baselines.residual(m, x, at, c[VERDICT.start], (1.0 - at.share) * low + at.share * high, extra, c[BASELINES])
    t = charts.charts(m, x, r.whitened, r.absurd, at.gap, c[MEMORY], r.trust, c[CHARTS])

    teach, teach_law = (
        verdict.teaches(m, at.age, c[MEMORY], c[TROUBLE], r.absurd, most) for most in (verdict.FIRST, verdict.BURST)
    )
    z: list[float] = []
    bounds: list[float] = []
    over: list[tuple[int, float]] = []
    for k, v, active in ((0, r.whitened, True), (1, r.level, r.stationary), (2, t.shift, True)):
        a, b = 2 * k, 2 * k + 1
        body, above, upper, lower = verdict.side(
            m, v, active, c[MEMORY], teach, (c[BOUNDS + a], c[LIVE + a]), (c[BOUNDS + b], c[LIVE + b])
        )
        z.append(body if v >= 0.0 else -body)
        bounds += (upper, lower)
        if above:
            over.append((k, v))
    if over:
        kind = np.array([k for k, _ in over])
        signed = np.array([v for _, v in over])
        side, taught = 2 * kind + (signed < 0.0), np.full(len(over), teach > 0.5)
        first = np.full(len(over), r.constant and not r.absurd)
        tails = state.exceed(np.full(len(over), key), side, np.abs(signed), taught, first).tolist()
        for (k, v), tail in zip(over, tails, strict=True):
            z[k] = tail if v >= 0.0 else -tail
    flat = float(_stuck(t.run, t.repeats)) if t.run > 0.5 else 0.0
    z += (t.change, t.trend, t.spread, flat, verdict.silence(m, at.overdue, c[4], c[0]))
    v = verdict.verdict(m, max(map(abs, z)), c[0], c[MEMORY], teach_law, c[VERDICT])
    p = v.body_p
    if c[0] < verdict.WARM:
        p = float("nan")
    elif v.over:
        p = float(_reported(v.log10_p))

    learned = baselines.profiles(
        m, at, r, (low, high, extra), (hours.item(1, hour), hours.item(1, following), weeks.item(1, week))
    )
    hours[0, hour], hours[1, hour], hours[0, following], hours[1, following] = learned[:4]
    weeks[0, week], weeks[1, week] = learned[4:]
    state.columns[:LIVE, key] = [*at.state, *r.state, *t.state, *v.state, *bounds]
    if v.relearn:
        state.relearn(np.array([key]), np.array([_middle(m, c[FAST], c[VALUE], x)]), np.array([r.constant]))
    if c[MEMORY] < baselines.EARLY:
        _begin(state, np.array([key]), np.array([c[MEMORY]]), np.array([time]), np.array([x]))
    return RowScores(v.score, v.latched, p, z, r.expected, r.band, r.baseline, r.spread, r.expert)


def _middle(m: Machine, a: Number, b: Number, c: Number) -> Number:
    """The median of three."""
    return m.most(m.least(a, b), m.least(m.most(a, b), c))


def _begin(state: SeriesState, keys: Ints, memory: Floats, time: Floats, x: Floats) -> None:
    """Keeps one of a series' first rows; where the last of them shows that one was far off, all are learned again."""
    odd, times, values = state.begin(keys, memory.astype(np.int64), time, x)
    for n in range(times.shape[1] if len(odd) else 0):
        _rows(state, odd, times[:, n], values[:, n])


def _stuck(run: Number, repeats: Number) -> Number:
    """z of `run` equal values in a row where each comes again with chance `repeats`."""
    return -ndtri_exp(xlogy(run, repeats) + _LOG_HALF)


def _reported(decades: Number) -> Number:
    """The p-value of a row whose learned law says 10^−decades.

    The law's scale comes from a few hundred rows, and what is not exponential shows far out only: taken at its word,
    1e-7 came 10 to 45 times too often. Beyond what was measured the excess is taken to have a Pareto law with `SHAPE`,
    as of an exponential whose rate is known from so many values (Lomax 1954, JASA 49, 847).
    """
    beyond = np.maximum(_LN10 * (decades - VALIDATED), 0.0)
    return exp10(-(np.minimum(decades, VALIDATED) + SHAPE / _LN10 * log1p(beyond / SHAPE)))
