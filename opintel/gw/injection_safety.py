"""Does an auxiliary channel answer signals that were injected into the strain alone? Then it is unsafe.

Windows around injections are compared with all other windows of the same length while the detector was live: of N
injections k have a trigger in their window, of M windows elsewhere m. Under the null hypothesis, that a channel's
triggers are a Poisson process (or any whose windows are alike and independent) that knows nothing of injections, k
given k + m is hypergeometric: Fisher's exact test, as a mid-p (Lancaster 1961, JASA 56, 223), so that the channel's
unknown rate does not enter.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import betaincinv

from opintel.finding import NS
from opintel.gw import segments as seg
from opintel.gw.trigger_tables import channel_numbers, times_and_snrs
from opintel.stats.counts import log_choose

UNSAFE_P = 1e-3
"""Of a thousand safe channels one is called unsafe: the side on which to err."""
_BESIDE = NS
"""An injection may ring on: what is nearer than this is no background."""
_COVERAGE = 0.95

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def injection_response(
    injections: Floats, auxiliary: pa.Table, live: Floats, *, window: float = 0.2, snr: float = 7.75
) -> pa.Table:
    """How each channel answers injections at GPS seconds (N,), while live (segments (n, 2), GPS s); a row a channel.

    Columns: `channel`, in order; `injections` whose windows of `window` s were live; `answered` by a trigger of at
    least `snr`; `expected` of them by chance; `p_value`; `excess`, the share of injections answered beyond chance,
    with the 95 % interval `low`, `high` (Clopper and Pearson 1934, Biometrika 26, 404); `unsafe` where p < 1e-3. Few
    injections say little: `high` is what a channel may still answer. Without any, p is NaN and every channel unsafe.
    """
    width = round(window * NS)
    names, channel, time, loudness = _triggers(auxiliary)
    kept = (loudness >= snr) & (channel >= 0)
    channel, time = channel[kept], time[kept]
    alive = seg.of_seconds(live)
    centres = np.unique(seg.nanoseconds(np.asarray(injections, dtype=np.float64)))
    whole = seg.contains(alive, centres - width // 2) & seg.contains(alive, centres + width // 2)
    near = seg.coalesce(np.stack([centres - _BESIDE - width, centres + _BESIDE + width], axis=1))
    background = seg.minus(alive, near)
    answered = _hit_injections(channel, time, centres[whole], width // 2, len(names))
    elsewhere, windows = _hit_windows(channel, time, background, width, len(names))
    return _judged(names, answered, int(whole.sum()), elsewhere, windows)


def _judged(names: list[str], answered: Ints, injections: int, elsewhere: Ints, windows: int) -> pa.Table:
    n, hits = injections, answered + elsewhere
    if n and windows:
        p = _mid_p(answered, hits, n, windows)
        chance = elsewhere / windows
    else:
        p = np.full(len(names), np.nan)
        chance = np.full(len(names), np.nan)
    tail, share = (1 - _COVERAGE) / 2, answered / max(n, 1)
    low = np.where(answered > 0, betaincinv(np.maximum(answered, 1), n - answered + 1, tail), 0.0)
    high = np.where(answered < n, betaincinv(answered + 1, np.maximum(n - answered, 1), 1 - tail), 1.0)
    columns = {
        "injections": np.full(len(names), n),
        "answered": answered,
        "expected": n * chance,
        "p_value": p,
        "excess": share - chance,
        "low": low - chance,
        "high": high - chance,
        "unsafe": ~(p >= UNSAFE_P),
    }
    return pa.table({"channel": pa.array(names, pa.string()), **columns})


def _mid_p(answered: Ints, hits: Ints, injections: int, windows: int) -> Floats:
    """P(K > k) + P(K = k) / 2 of how many of `hits` windows are those of injections, (C,); p below 1e-300 is 0."""
    k = np.arange(injections + 1.0)
    elsewhere = hits[:, None] - k
    possible = (elsewhere >= 0) & (elsewhere <= windows)
    ways = _log_choose(injections, k) + _log_choose(windows, elsewhere.clip(0, windows))
    pmf = np.where(possible, np.exp(ways - _log_choose(injections + windows, hits.astype(np.float64))[:, None]), 0.0)
    weight = (k > answered[:, None]) + (k == answered[:, None]) / 2
    return np.asarray((pmf * weight).sum(axis=1))


def _log_choose(n: int, k: Floats) -> Floats:
    return log_choose(np.full_like(k, n), k)


def _hit_injections(channel: Ints, time: Ints, centres: Ints, half: int, channels: int) -> Ints:
    """Injections (C,) with a trigger within ± half; a trigger between two that are closer counts for the nearer one."""
    if not len(centres):
        return np.zeros(channels, dtype=np.int64)
    right = np.searchsorted(centres, time).clip(1, max(len(centres) - 1, 1)) % len(centres)
    left = np.maximum(right - 1, 0)
    nearest = np.where(time - centres[left] <= centres[right] - time, left, right)
    hit = np.abs(time - centres[nearest]) <= half
    return _distinct(channel[hit], nearest[hit], len(centres), channels)


def _hit_windows(channel: Ints, time: Ints, background: seg.Segments, width: int, channels: int) -> tuple[Ints, int]:
    """Of windows laid end to end over the background: how many have a trigger (C,), and how many there are."""
    number = (background[:, 1] - background[:, 0]) // width
    first = np.cumsum(number) - number
    if not number.sum():
        return np.zeros(channels, dtype=np.int64), 0
    of = (np.searchsorted(background[:, 0], time, side="right") - 1).clip(0)
    place = (time - background[of, 0]) // width
    hit = (place >= 0) & (place < number[of])
    return _distinct(channel[hit], (first[of] + place)[hit], int(number.sum()), channels), int(number.sum())


def _distinct(channel: Ints, window: Ints, windows: int, channels: int) -> Ints:
    pairs = np.sort(channel * windows + window)
    first = np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]
    return np.bincount(pairs[first] // windows, minlength=channels)


def _triggers(table: pa.Table) -> tuple[list[str], Ints, Ints, Floats]:
    time, snr = times_and_snrs(table, "auxiliary")
    names, channel = channel_numbers(table, "auxiliary", lambda _: True)
    return names, channel, time, snr
