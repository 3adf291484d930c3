"""Which auxiliary channels witness the glitches of the strain: hveto's rounds (hierarchical vetoes).

Smith et al. 2011, "A hierarchical method for vetoing noise transients in gravitational-wave detectors", Class. Quantum
Grav. 28, 235005 (arXiv 1107.2948). In each round the channel, threshold and window whose coincidences with the strain
are least likely by chance win; what its veto removes (triggers of strain and of all channels, and livetime) is gone in
the next round. Channels that carry the signal are left out before anything is counted (`opintel.gw.safety`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import gammainc, gammaln

from opintel.gw import segments as seg
from opintel.gw.safety import FAMILIES, Safety
from opintel.gw.trigger_tables import channel_numbers, times_and_snrs

THRESHOLDS = np.array([7.75, 8, 8.5, 9, 10, 11, 12, 15, 20, 40, 100, 300])
WINDOWS = np.array([0.1, 0.2, 0.4, 0.8, 1.0])
"""SNR and seconds: the grid of hveto's documentation."""
LEAST_SIGNIFICANCE = 5.0
_HALVES = np.rint(WINDOWS / 2 * 1e9).astype(np.int64)
_PAIRS = 1 << 22
_UNDERFLOW = 1e-280

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class VetoRound:
    """One round: the winner and what its veto does. Fractions but the cumulative ones are of what entered it."""

    channel: str
    snr_threshold: float
    window: float
    """Seconds, the whole of it: a veto is t ± window / 2."""
    significance: float
    """−log10 of the chance probability of `coincident` or more."""
    coincident: int
    """Strain triggers with at least one auxiliary trigger within ± window / 2, ends included."""
    expected: float
    """Of them by chance: μ = N_strain N_auxiliary window / livetime."""
    use_percentage: float
    """100 × auxiliary triggers above the threshold that meet a strain trigger ÷ all of them."""
    efficiency: float
    """Vetoed fraction of the strain triggers."""
    deadtime: float
    """Vetoed fraction of the livetime."""
    cumulative_efficiency: float
    cumulative_deadtime: float
    """What this round and all before it have vetoed, of all strain triggers and of the whole livetime."""
    segments: Floats
    """(n, 2) GPS seconds that the round vetoes: coalesced, cut to what was still live."""


class _Rows(NamedTuple):
    """Auxiliary triggers in order of time: GPS ns, the channel's number, and how many of `THRESHOLDS` it reaches."""

    time: Ints
    channel: Ints
    level: Ints

    def kept(self, keep: NDArray[np.bool_]) -> _Rows:
        return _Rows(self.time[keep], self.channel[keep], self.level[keep])


class _Winner(NamedTuple):
    """Numbers of the channel, of its threshold (1 = the lowest) and window, and what makes it win."""

    channel: int
    level: int
    window: int
    significance: float
    expected: float


def rank(
    strain: pa.Table,
    auxiliary: pa.Table,
    span: tuple[float, float],
    *,
    live: Sequence[tuple[float, float]] | Floats | None = None,
    unsafe: Sequence[str] = (),
) -> list[VetoRound]:
    """hveto's rounds over a span of GPS seconds; [] where nothing reaches significance 5.

    `strain` has columns `t_peak` (or `time`) and `snr`, `auxiliary` also `channel`; `live` is the span where it is
    None. Rows that are not live or no numbers are ignored, and so are channels of unsafe families and those named in
    `unsafe`. A tie goes to the name that sorts first, then to the lowest threshold and the shortest window; the order
    of rows does not matter. Times count to the microsecond. Raises ValueError for a missing column, a span without a
    length, and `live` that is no list of pairs.
    """
    live_at_first = _live(span, live)
    times, _ = times_and_snrs(strain, "strain")
    times = np.sort(times[seg.contains(live_at_first, times)])
    names, rows = _auxiliary(auxiliary, live_at_first, frozenset(unsafe))
    remaining, total, livetime = live_at_first, len(times), seg.duration(live_at_first)
    rounds: list[VetoRound] = []
    while (winner := _winner(times, rows, len(names), seg.duration(remaining))) is not None:
        half = _HALVES[winner.window]
        veto = rows.time[(rows.channel == winner.channel) & (rows.level >= winner.level)]
        met = _near(times, veto, half)
        vetoed = seg.intersection(remaining, seg.coalesce(np.stack([veto - half, veto + half], axis=1)))
        left = seg.minus(remaining, vetoed)
        rounds.append(
            VetoRound(
                channel=names[winner.channel],
                snr_threshold=float(THRESHOLDS[winner.level - 1]),
                window=float(WINDOWS[winner.window]),
                significance=winner.significance,
                coincident=int(met.sum()),
                expected=winner.expected,
                use_percentage=100.0 * float(_near(veto, times, half).mean()),
                efficiency=float(met.mean()),
                deadtime=seg.duration(vetoed) / seg.duration(remaining),
                cumulative_efficiency=1.0 - int((~met).sum()) / total,
                cumulative_deadtime=1.0 - seg.duration(left) / livetime,
                segments=seg.seconds(vetoed),
            )
        )
        times, rows, remaining = times[~met], rows.kept(~_near(rows.time, veto, half)), left
    return rounds


def log10_chance(n: NDArray[np.int64], mean: Floats) -> Floats:
    """log10 P(n or more | mean) of a Poisson count, shape of both, finite also where the probability underflows.

    P(>= n | μ) is the regularised lower incomplete gamma function P(n, μ); where it underflows, its series is
    taken, ln P(n, μ) = n ln μ − μ − ln Γ(n + 1) + ln Σ μ^k / ((n + 1) … (n + k)) (Abramowitz & Stegun 6.5.29).

    >>> log10_chance(np.array([0, 40, 200]), np.array([1.0, 100 * 60 * 0.1 / 3600, 0.1])).round(1).tolist()
    [0.0, -79.1, -574.9]
    """
    count, mu = np.asarray(n, dtype=np.float64), np.maximum(mean, 1e-300)
    p = np.where(count > 0, gammainc(np.maximum(count, 1.0), mu), 1.0)
    found = np.log(np.maximum(p, _UNDERFLOW))
    deep = p < _UNDERFLOW
    if deep.any():
        found[deep] = _log_series(count[deep], mu[deep])
    return np.asarray(found / np.log(10.0))


def _log_series(n: Floats, mu: Floats) -> Floats:
    term, total, k = np.ones_like(n), np.ones_like(n), 0
    while (term > 1e-16 * total).any():
        k += 1
        term = term * mu / (n + k)
        total = total + term
    return np.asarray(n * np.log(mu) - mu - gammaln(n + 1.0) + np.log(total))


def _winner(times: Ints, rows: _Rows, channels: int, livetime: int) -> _Winner | None:
    """The most significant channel, threshold and window, if it is significant enough."""
    if not len(times) or not len(rows.time) or livetime <= 0:
        return None
    met = _coincident(times, rows, channels)
    above = _at_least(rows.channel * (len(THRESHOLDS) + 1) + rows.level, (channels,))
    expected = len(times) * above[:, :, None] * WINDOWS / (livetime / 1e9)
    some = met > 0
    significance = np.zeros(met.shape)
    significance[some] = -log10_chance(met[some], expected[some])
    best = np.unravel_index(int(np.argmax(significance)), met.shape)
    channel, level, window = (int(i) for i in best)
    if significance[best] < LEAST_SIGNIFICANCE:
        return None
    return _Winner(channel, level + 1, window, float(significance[best]), float(expected[best]))


def _coincident(times: Ints, rows: _Rows, channels: int) -> Ints:
    """Strain triggers met, by channel, threshold and window, shape (C, T, W).

    Pairs are listed for the longest window only: a pair says how loud the channel is beside the strain trigger, from
    its own window on. Of the sorted pairs of one (channel, strain trigger, window) the last is the loudest.
    """
    levels, windows = len(THRESHOLDS) + 1, len(WINDOWS)
    first = np.searchsorted(rows.time, times - _HALVES[-1], side="left")
    size = np.searchsorted(rows.time, times + _HALVES[-1], side="right") - first
    met = np.zeros((windows, channels, levels - 1), dtype=np.int64)
    for part in _parts(size):
        trigger, at = _ragged(first[part], size[part])
        window = np.searchsorted(_HALVES, np.abs(rows.time[at] - times[part][trigger]), side="left")
        pair = ((rows.channel[at] * len(size) + trigger) * windows + window) * levels + rows.level[at]
        pair.sort()
        of, level = pair // levels, pair % levels
        last = np.append(of[1:] != of[:-1], True)[: len(of)]
        of, level = of[last], level[last]
        of, window = of // windows, of % windows
        new = np.append(True, of[1:] != of[:-1])[: len(of)]
        group = of[new]
        loudest = np.zeros((len(group), windows), dtype=np.int64)
        loudest[np.cumsum(new) - 1, window] = level
        loudest = np.maximum.accumulate(loudest, axis=1)
        key = (np.arange(windows) * channels + group[:, None] // len(size)) * levels + loudest
        met += _at_least(key.ravel(), (windows, channels))
    return met.transpose(1, 2, 0)


def _at_least(key: Ints, shape: tuple[int, ...]) -> Ints:
    """How many keys (cell × levels + level) of each cell reach each level from 1 on, (*shape, T)."""
    levels = len(THRESHOLDS) + 1
    counts = np.bincount(key, minlength=int(np.prod(shape)) * levels).reshape(*shape, levels)
    return np.asarray(counts[..., :0:-1].cumsum(axis=-1)[..., ::-1], dtype=np.int64)


def _parts(size: Ints) -> Iterator[slice]:
    """Strain triggers in runs of about `_PAIRS` pairs, so that bursts do not take all the memory."""
    bounds = np.unique(np.searchsorted(np.cumsum(size), np.arange(0, int(size.sum()) + _PAIRS, _PAIRS)))
    edges = [0, *(int(b) + 1 for b in bounds if 0 < b + 1 < len(size)), len(size)]
    yield from (slice(a, b) for a, b in pairwise(edges) if a < b)


def _ragged(first: Ints, size: Ints) -> tuple[Ints, Ints]:
    """For ranges of `size` from `first` on: the number of the range and the place, of each of their items."""
    of = np.repeat(np.arange(len(size)), size)
    return of, np.arange(len(of)) - np.repeat(np.cumsum(size) - size - first, size)


def _near(times: Ints, others: Ints, half: int) -> NDArray[np.bool_]:
    """Whether one of `others` (sorted) lies within ± half of each time, ends included."""
    return np.searchsorted(others, times - half, side="left") < np.searchsorted(others, times + half, side="right")


def _live(span: tuple[float, float], live: Sequence[tuple[float, float]] | Floats | None) -> seg.Segments:
    if not (np.isfinite(span).all() and span[0] < span[1]):
        raise ValueError(f"span: expected a start before an end, got {span}")
    whole = seg.of_seconds([span])
    return whole if live is None else seg.intersection(whole, seg.of_seconds(live))


def _auxiliary(table: pa.Table, live: seg.Segments, unsafe: frozenset[str]) -> tuple[list[str], _Rows]:
    """Names in order, and the rows of safe channels that reach the lowest threshold while live, in order of time."""
    time, snr = times_and_snrs(table, "auxiliary")
    level = np.searchsorted(THRESHOLDS, snr, side="right")
    names, channel = channel_numbers(
        table, "auxiliary", lambda name: name not in unsafe and FAMILIES.judge(name) is not Safety.UNSAFE
    )
    kept = np.flatnonzero((level > 0) & (channel >= 0) & seg.contains(live, time))
    kept = kept[np.argsort(time[kept])]
    return names, _Rows(time[kept], channel[kept], level[kept])
