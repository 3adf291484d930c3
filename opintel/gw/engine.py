"""From samples of many channels in one window to triggers: condition, whiten, tile, cluster.

A window is seen with what lies before and after it. A trigger belongs to the window that its peak lies in, so that
windows in a row have each event once; what is known of a channel from the past is `EngineState`, plain arrays with a
row a channel. A channel's result depends on its own samples and state only, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opintel.gw.clusters import GAP, LoudTiles, Peak, clusters, interpolated
from opintel.gw.conditioning import Conditioned, conditioned
from opintel.gw.spectrum import RunningSpectrum, Segments, band_rms, periodograms, segment_samples
from opintel.gw.tiling import QTiling, TileRow
from opintel.gw.whitening import eroded, filters, whiten

Q_RANGE = 5.5, 96.0
"""In four planes, of Q 8 to 67. A sine-Gaussian exp(-t^2 / tau^2) with tau = Q / (sqrt(2) pi f) is sqrt(2) Q here."""
Q_LIMITS = 4.0, 140.0
"""Of a peak between and beyond the planes."""
MARGIN = 0.25
"""Seconds next to what whitening spoiled, where a peak is not trusted."""
NEAR = 0.95
"""Of the least SNR: a tile this loud may have a peak beside it that is loud enough."""
KEPT = 0.25
"""Least power behind the whitening filter that tiles are normalised by."""
LEARNT = 8
"""Segments from which a spectrum is known."""
BLOCK = 32
"""Channels that are worked on together."""
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
class Found:
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
    """sqrt(2 E), E the energy of the peak, of mean 1 in noise."""


@dataclass(frozen=True)
class EngineWindow:
    """What is said of a window of C channels."""

    found: Found
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
        inner = (self.samples - 2 * self._half) / sample_rate
        self._tiling = QTiling(sample_rate, inner, Q_RANGE, (self.band[0], self.band[1] * 0.9))
        self._white_start = self._half / sample_rate - before
        self._rows = [
            _SearchedRow.of(row, self._tiling, sample_rate, self._white_start, window) for row in self._tiling.rows
        ]

    def fresh(self, channels: int) -> EngineState:
        """The state of channels of which nothing is known."""
        return EngineState(RunningSpectrum.unknown(channels, self.sample_rate), np.full(channels, NEVER, np.int64))

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
        windows, states = [], []
        for first in range(0, len(data), BLOCK):
            rows = slice(first, first + BLOCK)
            window, after = self._block(conditioned(data[rows], self.sample_rate), start, state.take(rows))
            windows.append(window)
            states.append(after)
        if not windows:
            raise ValueError("expected at least one channel, got 0")
        return _joined(windows), EngineState.joined(states)

    def learnt(self, data: NDArray[np.generic], state: EngineState) -> EngineState:
        """The state after all whole seconds of `data` (C, any number of samples) as well, without a search."""
        block = conditioned(data, self.sample_rate)
        hop = self.sample_rate / 2.0
        starts = range(int((data.shape[1] - segment_samples(self.sample_rate)) / hop) + 1)
        segments = self._periodograms(block, [round(i * hop) for i in starts])
        return EngineState(state.spectrum.updated(segments), state.last)

    def _periodograms(self, block: Conditioned, starts: list[int]) -> Segments:
        return periodograms(block.data, block.good, self.sample_rate, block.log_scale, starts)

    def _block(self, block: Conditioned, start: int, state: EngineState) -> tuple[EngineWindow, EngineState]:
        segments, own, new = self._segments(block)
        known = state.spectrum.weight > 0
        fresh = Segments(segments.log_power, segments.whole & (known[:, None] <= new[None, :]))
        spectrum = state.spectrum.updated(fresh)
        features = band_rms(Segments(segments.log_power[:, own], segments.whole[:, own]), self.bands)
        whitening = filters(spectrum, self.sample_rate, block.log_scale, self.band)
        white, sound = whiten(block.data, block.good, self.sample_rate, whitening.response)
        live = eroded(sound, round(MARGIN * self.sample_rate)) & (spectrum.weight >= LEARNT)[:, None]
        found = self._found(white, live, whitening.kept, start, state.last)
        last = state.last.copy()
        np.maximum.at(last, found.channel, found.time)
        a = round((self.before) * self.sample_rate) - self._half
        b = a + round(self.window * self.sample_rate)
        return EngineWindow(found, live[:, a:b], features), EngineState(spectrum, last)

    def _segments(self, block: Conditioned) -> tuple[Segments, NDArray[np.bool_], NDArray[np.bool_]]:
        """Periodograms on a grid of half seconds; which lie in the window; which end in what the last one had not."""
        size, hop = 1.0, 0.5
        total = self.before + self.window + self.after
        count = int((total - size) / hop + 1e-9) + 1
        begin = total - size - hop * np.arange(count)[::-1]
        own = (begin >= self.before - 1e-9) & (begin + size <= self.before + self.window + 1e-9)
        new = begin + size > total - self.window + 1e-9
        return self._periodograms(block, [round(t * self.sample_rate) for t in begin]), own, new

    def _found(
        self,
        white: NDArray[np.float32],
        live: NDArray[np.bool_],
        kept: NDArray[np.float32],
        start: int,
        last: NDArray[np.int64],
    ) -> Found:
        searched = np.flatnonzero(live.any(axis=1))
        spectrum = self._tiling.spectrum(white[searched])
        tiles = LoudTiles.joined(list(self._loud(spectrum, kept[searched], searched)))
        events = clusters(tiles)
        place = {int(channel): i for i, channel in enumerate(searched)}
        columns: list[tuple[int, float, float, float, float, float, float, float, float]] = []
        for i in range(len(events.start)):
            channel = int(events.peak.channel[i])
            tile = Peak(*(float(getattr(events.peak, n)[i]) for n in ("time", "frequency", "q", "energy")))
            peak = interpolated(spectrum[place[channel]], self._tiling.duration, tile, Q_LIMITS)
            snr = (2.0 * peak.energy) ** 0.5
            at = min(max(round(peak.time * self.sample_rate), 0), white.shape[1] - 1)
            time = peak.time + self._white_start
            if snr < self.snr or not live[channel, at] or not -GAP <= time < self.window:
                continue
            if last[channel] != NEVER and abs(start + time * 1e9 - float(last[channel])) < 2e9 * GAP and time < GAP:
                continue
            columns.append(
                (
                    channel,
                    max(time, 0.0),
                    events.start[i] + self._white_start,
                    events.end[i] + self._white_start,
                    peak.frequency,
                    events.low[i],
                    events.high[i],
                    peak.q,
                    snr,
                )
            )
        table = np.array(columns, np.float64).reshape(-1, 9).T
        ns = [start + np.rint(column * 1e9).astype(np.int64) for column in table[1:4]]
        return Found(table[0].astype(np.int64), *ns, *table[4:])

    def _loud(
        self, spectrum: NDArray[np.complex64], kept: NDArray[np.float32], channels: NDArray[np.int64]
    ) -> Iterator[LoudTiles]:
        least = (NEAR * self.snr) ** 2 / 2.0
        for row in self._rows:
            energy = self._tiling.row_energies(row.row, spectrum)[:, row.first : row.end]
            norm = np.maximum((kept[:, row.low : row.low + len(row.share)] * row.share).sum(axis=1), KEPT)
            threshold = norm * np.float32(least)
            some = np.flatnonzero(energy.max(axis=1) > threshold)
            if not len(some):
                continue
            channel, tile = np.nonzero(energy[some] > threshold[some, None])
            level = energy[some[channel], tile].astype(np.float64) / norm[some[channel]].astype(np.float64)
            number = len(channel)
            yield LoudTiles(
                channels[some[channel]],
                np.multiply(tile + row.first, self._tiling.duration / row.row.tiles),
                np.full(number, row.row.frequency + 1.0 / self._tiling.duration),
                np.full(number, row.row.q),
                level,
            )


@dataclass(frozen=True)
class _SearchedRow:
    row: TileRow
    first: int
    end: int
    """Tiles that are looked at: of the window, and as much beside it as clusters need."""
    low: int
    share: NDArray[np.float32]
    """Of the row's energy that comes from the hertz `low`, `low` + 1, …"""

    @classmethod
    def of(cls, row: TileRow, tiling: QTiling, sample_rate: float, white_start: float, window: float) -> _SearchedRow:
        spacing = tiling.duration / row.tiles
        beside = 0.5
        first = max(0, int((-beside - white_start) / spacing))
        end = min(row.tiles, int((window + beside - white_start) / spacing) + 1)
        hertz = (np.arange(len(row.window)) + row.first) / tiling.duration
        low = int(hertz[0])
        width = sample_rate / segment_samples(sample_rate)
        share = np.zeros(int(hertz[-1] / width) + 2 - low)
        part = hertz / width - np.floor(hertz / width)
        place = np.floor(hertz / width).astype(int) - low
        np.add.at(share, place, np.square(row.window) * (1.0 - part))
        np.add.at(share, place + 1, np.square(row.window) * part)
        last = segment_samples(sample_rate) // 2 + 1 - low
        return cls(row, first, end, low, share[:last].astype(np.float32))


def _joined(windows: list[EngineWindow]) -> EngineWindow:
    columns = {
        name: np.concatenate(
            [getattr(w.found, name) + (i * BLOCK if name == "channel" else 0) for i, w in enumerate(windows)]
        )
        for name in Found.__dataclass_fields__
    }
    return EngineWindow(
        Found(**columns),
        np.concatenate([w.live for w in windows]),
        np.concatenate([w.band_rms for w in windows]),
    )
