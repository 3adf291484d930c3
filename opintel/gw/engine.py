"""From samples of many channels in one window to triggers: condition, whiten, tile, cluster.

A window is seen with what lies before and after it. A trigger belongs to the window that its peak lies in, so that
windows in a row have each event once; what is known of a channel from the past is `EngineState`, plain arrays with a
row a channel. A channel's result depends on its own samples and state only, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, gcd, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from opintel.gw.clusters import GAINED, GAP, LoudTiles, TilePeak, clusters, interpolated
from opintel.gw.conditioning import Conditioned, conditioned
from opintel.gw.search import TileSearch
from opintel.gw.spectrum import Periodograms, RunningSpectrum, band_rms, periodograms, segment_samples
from opintel.gw.whitening import SURROUNDINGS, eroded, filters, whiten

Q_LIMITS = 4.0, 140.0
"""Of a peak between and beyond the planes."""
MARGIN = 0.25
"""Seconds next to what whitening spoiled, where a peak is not trusted."""
HOP = 0.5
"""Seconds between segments of the spectrum, which are a second long."""
LEARNT = 8
"""Segments from which a spectrum is known."""
BLOCK = 655_360
"""Samples that are worked on together, of at least 16 channels."""
RIVAL = 0.6
"""Of an event's greatest energy: a tile of another plane with less is not where its peak is."""
BESIDE = 0.5
"""Seconds beside a window in which loud tiles are sought as well: an event may begin there."""
EDGES = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0])
"""Hz, of the bands of `band_rms`, as far as a rate allows."""
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class EngineState:
    """What is known of C channels from before a window."""

    spectrum: RunningSpectrum
    last: NDArray[np.int64]
    """(C,): the time of the last trigger, ns; `NEVER`."""

    def take(self, rows: NDArray[np.int64] | slice) -> EngineState:
        return EngineState(RunningSpectrum(self.spectrum.centre[rows], self.spectrum.weight[rows]), self.last[rows])

    @classmethod
    def joined(cls, parts: list[EngineState]) -> EngineState:
        return cls(
            RunningSpectrum(
                np.concatenate([part.spectrum.centre for part in parts]),
                np.concatenate([part.spectrum.weight for part in parts]),
            ),
            np.concatenate([part.last for part in parts]),
        )


@dataclass(frozen=True)
class TriggersFound:
    """The triggers of a window, sorted by channel and time; a column each."""

    channel: NDArray[np.int64]
    """Its number among those given."""
    time: NDArray[np.int64]
    """Of the peak, ns; inside the window."""
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    """Of the tiles that belong to it, ns; may be outside of the window."""
    frequency: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    q: NDArray[np.float64]
    snr: NDArray[np.float64]
    """sqrt(2 E), E the energy of the peak, of mean 1 in noise, less what noise adds by moving the peak."""


@dataclass(frozen=True)
class EngineWindow:
    """What is said of a window of C channels."""

    found: TriggersFound
    live: NDArray[np.bool_]
    """(C, n): whether the sample was judged, of the window's n samples."""
    band_rms: NDArray[np.float32]
    """(C, B): RMS in the bands between `TriggerEngine.bands`, in the channel's unit; NaN where no second was whole."""


class TriggerEngine:
    """Triggers of channels of `sample_rate` Hz, in windows of `window` seconds seen with `before` and `after` ones.

    `band`: Hz; 20 Hz, less below 1280 Hz, to .9 of the Nyquist frequency where none is given. At least .75 s are
    needed before and after.
    """

    def __init__(
        self,
        sample_rate: float,
        window: float = 2.0,
        before: float = 2.0,
        after: float = 1.0,
        *,
        snr: float = 5.5,
        band: tuple[float, float] | None = None,
    ) -> None:
        least = 0.5 + MARGIN
        if sample_rate < 16 or window < 1 or min(before, after) < least or not snr > 3:
            raise ValueError(
                f"expected a rate of at least 16 Hz, a window of at least 1 s, {least} s before and after, and an SNR "
                f"above 3, got {sample_rate}, {window}, {before}, {after}, {snr}"
            )
        self.sample_rate, self.window, self.before, self.after, self.snr = sample_rate, window, before, after, snr
        self.band = band or (min(20.0, max(2.0, sample_rate / 64.0)), 0.45 * sample_rate)
        self.samples = round((before + window + after) * sample_rate)
        self.bands = np.append(EDGES[self.band[1] > EDGES], self.band[1])
        self._half = (segment_samples(sample_rate) + 1) // 2
        self._decimation = self._decimated()
        self._rate = sample_rate / self._decimation
        self._bins = min(segment_samples(sample_rate) // 2 + 1, ceil(self.band[1]) + SURROUNDINGS + 1)
        self._offset = before - self._half / sample_rate
        """Seconds of whitened samples before the window."""
        duration = (self.samples - 2 * self._half) / sample_rate
        span = self._offset - BESIDE, self._offset + window + BESIDE
        self._search = TileSearch(self._rate, duration, (self.band[0], 0.9 * self.band[1]), span, snr)
        self._block = max(16, BLOCK // self.samples)

    def _decimated(self) -> int:
        """One sample in how many is enough for the band."""
        lengths = gcd(self.samples, segment_samples(self.sample_rate), self._half)
        return max(
            n for n in range(1, 65) if n == 1 or (lengths % n == 0 and self.sample_rate / n >= 2.2 * self.band[1])
        )

    def fresh(self, channels: int) -> EngineState:
        """The state of channels of which nothing is known."""
        return EngineState(RunningSpectrum.unknown(channels, self._bins), np.full(channels, NEVER, np.int64))

    def process(self, data: NDArray[np.generic], start: int, state: EngineState) -> tuple[EngineWindow, EngineState]:
        """The window that starts at `start` ns, and the state for the next one.

        `data` (C, samples), of any real type, begin `before` seconds earlier; NaN is a gap. The spectrum learns from
        what is new first: it knows the seconds up to `after`, so that a window right behind a start can be judged.
        """
        if data.ndim != 2 or data.shape[1] != self.samples or len(data) != len(state.last):
            raise ValueError(
                f"expected data of shape ({len(state.last)}, {self.samples}), a row a channel of the state, "
                f"got {data.shape}"
            )
        if not len(data):
            raise ValueError("expected at least one channel, got 0")
        windows, states = [], []
        for first in range(0, len(data), self._block):
            rows = slice(first, first + self._block)
            block = conditioned(data[rows], self.sample_rate)
            window, after = self._processed(block, start, state.take(rows))
            windows.append(window)
            states.append(after)
        return _joined(windows, self._block), EngineState.joined(states)

    def learnt(self, data: NDArray[np.generic], state: EngineState) -> EngineState:
        """The state after all whole seconds of `data` (C, any number of samples) as well, without a search."""
        states = []
        for first in range(0, len(data), self._block):
            rows = slice(first, first + self._block)
            block, known = conditioned(data[rows], self.sample_rate), state.take(rows)
            count = int((data.shape[1] - segment_samples(self.sample_rate)) / (HOP * self.sample_rate)) + 1
            segments = self._periodograms(block, HOP * np.arange(count))
            states.append(EngineState(known.spectrum.updated(segments), known.last))
        return EngineState.joined(states)

    def _periodograms(self, block: Conditioned, begin: NDArray[np.floating]) -> Periodograms:
        starts = [round(t * self.sample_rate) for t in begin]
        return periodograms(block.data, block.good, self.sample_rate, block.log_scale, starts, self._bins)

    def _processed(self, block: Conditioned, start: int, state: EngineState) -> tuple[EngineWindow, EngineState]:
        spectrum, features = self._followed(block, state.spectrum)
        whitening = filters(spectrum, self._rate, block.log_scale, self.band)
        white, sound = whiten(block.data, block.good, self.sample_rate, whitening.response, self._decimation)
        live = eroded(sound, round(MARGIN * self._rate)) & (spectrum.weight >= LEARNT)[:, None]
        found = self._found(white, live, whitening.kept, start, state.last)
        last = state.last.copy()
        np.maximum.at(last, found.channel, found.time)
        first = round(self._offset * self._rate)
        own = live[:, first : first + round(self.window * self._rate)]
        return EngineWindow(found, own, features), EngineState(spectrum, last)

    def _followed(self, block: Conditioned, spectrum: RunningSpectrum) -> tuple[RunningSpectrum, NDArray[np.float32]]:
        """The spectrum after the half seconds that the last window had not seen, and the RMS in bands of this window.

        Of a channel that is not known yet all seconds count.
        """
        total = self.before + self.window + self.after
        begin = total - 1.0 - HOP * np.arange(int((total - 1.0) / HOP + 1e-9) + 1)[::-1]
        new = begin + 1.0 > total - self.window + 1e-9
        own = (begin >= self.before - 1e-9) & (begin + 1.0 <= self.before + self.window + 1e-9)
        unknown = spectrum.weight == 0
        needed = new | own | bool(unknown.any())
        segments, new, own = self._periodograms(block, begin[needed]), new[needed], own[needed]
        learnt = Periodograms(segments.log_power, segments.whole & (unknown[:, None] | new[None, :]))
        inside = Periodograms(segments.log_power[:, own], segments.whole[:, own])
        return spectrum.updated(learnt), band_rms(inside, self.bands)

    def _found(
        self,
        white: NDArray[np.float32],
        live: NDArray[np.bool_],
        kept: NDArray[np.float32],
        start: int,
        last: NDArray[np.int64],
    ) -> TriggersFound:
        searched = np.flatnonzero(live.any(axis=1))
        tiling = self._search.tiling
        spectrum = tiling.spectrum(white[searched])
        events = clusters(self._search.loud(spectrum, kept[searched]))
        columns: list[tuple[float, ...]] = []
        for i, (first, end) in enumerate(pairwise(np.searchsorted(events.event, np.arange(len(events.start) + 1)))):
            row = int(events.loudest.channel[first])
            channel = int(searched[row])
            if not -2 * GAP < events.loudest.time[first] - self._offset < self.window + GAP:
                continue
            peak = self._peak(spectrum[row], events.loudest.take(np.arange(first, end)))
            snr = sqrt(2.0 * max(peak.energy - GAINED, 0.0))
            at = min(max(round(peak.time * self._rate), 0), white.shape[1] - 1)
            time = peak.time - self._offset
            if snr < self.snr or not live[channel, at] or not self._is_new(peak, start, int(last[channel])):
                continue
            reach = min(events.start[i], peak.time) - self._offset, max(events.end[i], peak.time) - self._offset
            bounds = min(events.low[i], peak.frequency), max(events.high[i], peak.frequency)
            columns.append((channel, max(time, 0.0), *reach, peak.frequency, *bounds, peak.q, snr))
        table = np.array(columns, np.float64).reshape(-1, 9).T
        ns = [start + np.rint(column * 1e9).astype(np.int64) for column in table[1:4]]
        return TriggersFound(table[0].astype(np.int64), *ns, *table[4:])

    def _peak(self, spectrum: NDArray[np.complex64], tiles: LoudTiles) -> TilePeak:
        """The loudest peak near one of an event's `tiles`, the loudest of each plane, loudest first."""
        near = tiles.energy >= RIVAL * tiles.energy[0]
        starts = zip(tiles.time[near], tiles.frequency[near], tiles.q[near], tiles.energy[near], strict=True)
        duration = self._search.tiling.duration
        peaks = [interpolated(spectrum, duration, TilePeak(*map(float, at)), Q_LIMITS) for at in starts]
        return max(peaks, key=lambda peak: peak.energy)

    def _is_new(self, peak: TilePeak, start: int, last: int) -> bool:
        """Whether `peak` is one of the window that starts at `start`, whose channel's `last` trigger is known.

        What the next window sees of the same event may peak a little earlier or later, across its edge. So a peak a
        little before the window counts, unless the last window has said it. An event that lasts long may be cut by
        the end of what the last window saw, and its peak moves by as much as a tile is long.
        """
        time = peak.time - self._offset
        if time < -GAP or time >= self.window:
            return False
        same = min(max(GAP, peak.q / (2.0 * pi * peak.frequency)), BESIDE)
        return time >= same or last == NEVER or start + round(time * 1e9) - last > round(2e9 * same)


def _joined(windows: list[EngineWindow], block: int) -> EngineWindow:
    columns = {
        name: np.concatenate(
            [getattr(w.found, name) + (i * block if name == "channel" else 0) for i, w in enumerate(windows)]
        )
        for name in TriggersFound.__dataclass_fields__
    }
    return EngineWindow(
        TriggersFound(**columns),
        np.concatenate([w.live for w in windows]),
        np.concatenate([w.band_rms for w in windows]),
    )
