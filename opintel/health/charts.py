"""Control charts of a whitened residual: shift, change point, trend, spread and flatline, each as a z with its sign.

The residual is cut off and standardised, then averaged over three memories (Roberts 1959, Technometrics 1, 239); spread
is the same of sqrt|z|, which is nearly Gaussian (Hawkins & Wixley 1986, Am. Stat. 40, 296). Feeds `verdict`.
"""

from __future__ import annotations

from typing import NamedTuple

from opintel.health.arithmetic import Machine, Number

COLUMNS = (
    *("center", "variance", "root_center", "root_variance", "root_skewness"),
    *("shift", "change", "trend", "spread", "change_square", "trend_square", "spread_square"),
    *("value", "run", "repeats"),
)
FRESH = (0.0, 0.95, 0.82, 0.12, *(0.0,) * 11)
SHIFT, CHANGE, TREND, SPREAD = 3.0, 25.0, 100.0, 12.0
"""Memories of the charts, in rows."""
MEMORY = 2000.0
OVER = 1.5
"""A mean shift of so many standard deviations over 25 rows, and hardly any over 3, has ended: four standard errors."""
INFLATION = 1.1
"""What a slow chart's standard deviation grows by for learning less while it is high."""


class Charts(NamedTuple):
    """Signed z of the charts; `shift` still without its tail (see `tails`)."""

    shift: Number
    change: Number
    trend: Number
    spread: Number
    run: Number
    """Rows in a row that equal the one before them."""
    repeats: Number
    """Upper bound of the chance that a value comes again."""
    state: tuple[Number, ...]


def charts(
    m: Machine,
    x: Number,
    u: Number,
    absurd: Number,
    g: Number,
    memory: Number,
    trust: Number,
    state: tuple[Number, ...],
) -> Charts:
    """One row: value x, whitened residual u, whether it is no measurement, gap g, rows before it that count."""
    center, variance, root_center, root_variance, skewness = state[:5]
    shift, change, trend, spread, change_square, trend_square, spread_square, value, run, repeats = state[5:]
    cut = m.bounded(u, 3.0)
    learn = trust * g / (g + m.least(memory + 50.0, MEMORY))
    # a row as far off as can be is no measurement of a mean that moved
    off = m.where(absurd, 0.0, cut - center)
    z = off / m.root(variance)
    root = m.root(m.size(cut))
    root_off = m.where(absurd, 0.0, root - root_center)
    h = root_off / m.root(root_variance)
    length = m.least(memory, 1000.0)
    unsure = 0.5 / (length + 30.0)

    # a gap fades what was before it, and what comes after it is still one row
    step, faded = m.least(g, 1.0), m.most(g, 1.0)

    def mean(average: Number, value: Number, tau: float) -> Number:
        average = average * ((1.0 + tau) / (faded + tau))
        return average + step / (step + tau) * (value - average)

    def chart(average: Number, square: Number, value: Number, tau: float) -> tuple[Number, Number, Number]:
        average = mean(average, value, tau)
        expected = 1.0 / (2.0 * tau + 1.0)
        prior = 4.0 * tau
        var = (prior * expected + length * square) / (prior + length) + unsure
        energy = average * average
        return average, average / m.root(var), square + learn * (m.least(energy, 9.0 * var) - square)

    shift = mean(shift, z, SHIFT)
    change, change_z, change_square = chart(change, change_square, z, CHANGE)
    trend, trend_z, trend_square = chart(trend, trend_square, z, TREND)
    spread, spread_z, spread_square = chart(spread, spread_square, h, SPREAD)
    # what is clearly over starts again
    change = m.where((m.size(change - shift) > OVER) & (m.size(shift) < 0.5 * m.size(change)), 0.0, change)
    trend = m.where((m.size(trend - change) > 0.4 * OVER) & (m.size(change) < 0.5 * m.size(trend)), 0.0, trend)
    # first term of Cornish & Fisher 1938 for the skewness that is left in an average
    inner = m.bounded(spread_z, 8.0)
    spread_z = spread_z - 0.02177 * m.bounded(skewness, 2.0) * (inner * inner - 1.0)
    same = m.where((x == value) & (memory > 0.5), 1.0, 0.0)
    run = (run + 1.0) * same
    count = m.least(memory + 1.0, MEMORY)
    repeats = repeats + trust / count * (same - repeats)
    return Charts(
        shift=shift * SHIFT_SCALE,
        change=change_z / INFLATION,
        trend=trend_z / INFLATION,
        spread=spread_z,
        run=m.least(run, count),
        repeats=(repeats * count + 2.0) / (count + 4.0),
        state=(
            center + learn * off,
            variance + learn * (off * off - variance),
            root_center + learn * root_off,
            root_variance + learn * (root_off * root_off - root_variance),
            skewness + learn * (h * h * h - skewness),
            *(shift, change, trend, spread, change_square, trend_square, spread_square),
            *(x, run, repeats),
        ),
    )


SHIFT_SCALE = (2.0 * SHIFT + 1.0) ** 0.5
