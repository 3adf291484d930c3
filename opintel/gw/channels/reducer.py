"""Stage 1 of GW: a window of all channels at once, grouped by their rate.

What is said of a channel depends on its own samples only: not on its neighbours, not on flags, which are keys of their
own. The judges know when the interferometer was in science mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Record, Reduced, Reducer, WindowRows
from opintel.evidence import Evidence
from opintel.finding import NS
from opintel.gw.channels import features, known
from opintel.gw.channels.known import KnownChannel
from opintel.gw.channels.lines import lines
from opintel.gw.channels.pieces import SLOWEST, RateGroup, channels_of, groups_of
from opintel.gw.channels.qscan import qscan
from opintel.gw.engine import EngineState, EngineWindow, TriggerEngine
from opintel.gw.records import ChannelWindow, FlagWindow, GwRecord, TriggerSaid
from opintel.gw.samples import FLAG, Pieces, scope_of

BEFORE, AFTER = 2 * NS, NS
"""What is seen beside a window, ns: whitening reaches half a second, the longest tiles the rest."""
HIGHEST = 2000.0
"""Hz up to which triggers are looked for."""
LEAST = 8.0
"""s of good samples from which on a spectrum is known, where no more follow; …"""
ENOUGH = {True: 16.0, False: 8.0}
"""… and s that are held back where more follow: of strain, and of other channels, which are many."""
LONGEST = 32 * NS
"""Samples older than this are not held back any more, ns."""


class GwReducerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `GwReducer`."""

    picture: Annotated[float, msgspec.Meta(ge=5.5, le=1e9)] = 8.0
    """SNR from which on a window's loudest trigger of a channel has a Q-scan."""


class GwReducer(Reducer[Pieces]):
    """Rows of a window → what is said of each channel and flag."""

    name = "gw.samples"
    version = 1
    Settings = GwReducerSettings

    def __init__(self) -> None:
        self._known: dict[str, KnownChannel] = {}

    def scope(self, key: str) -> str:
        """The interferometer."""
        return scope_of(key)

    def close(self, closing: WindowRows[Pieces]) -> Reduced:
        """What is said of each channel and flag with rows in the window."""
        window = closing.window
        said: dict[str, GwRecord] = dict(_flags(closing))
        channels, left_out = channels_of(closing, {one.rate for one in self._known.values()})
        for group in groups_of(closing, channels, BEFORE, AFTER):
            said |= self._channels(closing, group)
        for one in left_out:
            said[one.key] = ChannelWindow("absent", one.rate, features.is_strain(one.key, one.unit), [])
        for known_channel in self._known.values():
            if len(known_channel.held) and _is_stale(known_channel, window.start):
                known_channel.held = np.zeros(0, dtype=np.float32)
        kinds = {ChannelWindow: "channel", FlagWindow: "flag"}
        return Reduced(
            [Record(window, kinds[type(said[key])], key, self.scope(key), said[key]) for key in sorted(said)]
        )

    def _channels(self, closing: WindowRows[Pieces], group: RateGroup) -> dict[str, ChannelWindow]:
        """The channels of one rate."""
        window, size = closing.window, group.data.shape[1]
        first, end = (min(group.sample(t), size) for t in (window.start, window.end))
        own = group.data[:, first:end]
        good = np.isfinite(own)
        there = good.any(axis=1)
        states = np.where(there, "good", "absent").astype(object)
        states[there & features.constant(own, good)] = "constant"
        states[(states == "good") & features.saturated(own, good)] = "saturated"
        strain = [features.is_strain(key, unit) for key, unit in zip(group.keys, group.units, strict=True)]
        phases = features.phases(own, group.rate) if own.shape[1] > 1 else [b""] * len(own)
        said = {
            key: ChannelWindow(
                states[n],
                group.rate,
                strain[n],
                [],
                fringes=_fringes(group, n, first, end),
                phases=b"" if states[n] == "constant" else phases[n],
            )
            for n, key in enumerate(group.keys)
        }
        if group.rate < SLOWEST or end - first < 1:
            return {
                key: msgspec.structs.replace(one, state="slow" if one.state == "good" else one.state)
                for key, one in said.items()
            }
        engine = engine_of(group.rate, window.end - window.start)
        if engine.samples != size:
            raise ValueError(f"expected {engine.samples} samples of {group.rate} Hz, got {size}")
        old = [
            (n, key) for n, key in enumerate(group.keys) if key in self._known and self._known[key].rate != group.rate
        ]
        early = {key: self._given_up(closing, key) for _, key in old}
        for key in group.keys:
            if key not in self._known:
                self._known[key] = _unknown(engine)
        for learning in (False, True):
            rows = [n for n, key in enumerate(group.keys) if self._known[key].learning == learning]
            if rows:
                judged = self._held_back if learning else self._judged
                said |= judged(closing, engine, group, rows, said)
        for key, before in early.items():
            said[key] = _joined(before, said[key])
        return said

    def _judged(
        self,
        closing: WindowRows[Pieces],
        engine: TriggerEngine,
        group: RateGroup,
        rows: Sequence[int],
        said: dict[str, ChannelWindow],
    ) -> dict[str, ChannelWindow]:
        """Those whose spectrum is known."""
        keys = [group.keys[n] for n in rows]
        channels = [self._known[key] for key in keys]
        before, data = known.engine_state(channels), group.data[rows]
        found, after = engine.process(data, closing.window.start, before)
        known.learn(channels, after)
        told = _told(
            engine, keys, data, closing.window.start, group.offset[rows], found, after, closing.settings.picture
        )
        ranges = {key: _range(said[key], channel) for key, channel in zip(keys, channels, strict=True)}
        return {
            key: msgspec.structs.replace(
                said[key],
                live=live,
                triggers=triggers,
                pictures=pictures,
                bands=channel.louder(found.band_rms[n]),
                range=ranges[key],
                lines=lines(channel.centre, engine.band[1]) if said[key].strain else [],
            )
            for n, (key, channel, (live, triggers, pictures)) in enumerate(zip(keys, channels, told, strict=True))
        }

    def _held_back(
        self,
        closing: WindowRows[Pieces],
        engine: TriggerEngine,
        group: RateGroup,
        rows: Sequence[int],
        said: dict[str, ChannelWindow],
    ) -> dict[str, ChannelWindow]:
        """Those that are learning: held back, or judged from the first sample on where enough is known now."""
        window, found = closing.window, dict[str, ChannelWindow]()
        first, end = group.sample(window.start), group.sample(window.end)
        ready: dict[tuple[int, int], list[int]] = {}
        for n in rows:
            key, channel = group.keys[n], self._known[group.keys[n]]
            _hold(channel, group.data[n, first:end], window.start)
            after = group.data[n, end:]
            seconds = (np.isfinite(channel.held).sum() + np.isfinite(after).sum()) / group.rate
            goes_on = bool(np.isfinite(after).any()) and bool(np.isfinite(channel.held[-1]))
            state = "learning" if said[key].state in ("good", "saturated") else said[key].state
            found[key] = msgspec.structs.replace(said[key], state=state)
            enough = seconds >= ENOUGH[said[key].strain] or (seconds >= LEAST and not goes_on)
            if enough and _varies(channel.held, after):
                ready.setdefault((channel.since, len(channel.held)), []).append(n)
        for together in ready.values():
            keys = [group.keys[n] for n in together]
            flushed = self._flushed(closing, engine, keys, group.data[together, end:], group.offset[together])
            found |= {key: _joined(early, said[key]) for key, early in flushed.items()}
        return found

    def _given_up(self, closing: WindowRows[Pieces], key: str) -> ChannelWindow:
        """What is left to be said of a channel whose rate changes; it starts over."""
        channel = self._known[key]
        said = ChannelWindow("learning", channel.rate, False, [])
        if (
            channel.learning
            and not _is_stale(channel, closing.window.start)
            and np.isfinite(channel.held).sum() >= LEAST * channel.rate
        ):
            engine = engine_of(channel.rate, closing.window.end - closing.window.start)
            nothing = np.zeros((1, 0), dtype=np.float32)
            said = self._flushed(closing, engine, [key], nothing, np.zeros(1, dtype=np.int64)).get(key, said)
        del self._known[key]
        return said

    def _flushed(
        self,
        closing: WindowRows[Pieces],
        engine: TriggerEngine,
        keys: Sequence[str],
        after: NDArray[np.float32],
        offset: NDArray[np.int64],
    ) -> dict[str, ChannelWindow]:
        """Learns spectra from what is held back of channels, from one time on and equally much of each, and what
        follows it, `after` (C, n); what is to be said of those held back, window by window. None of a channel whose
        spectrum stays unknown.
        """
        data = np.concatenate([np.stack([self._known[key].held for key in keys]), after], axis=1)
        learned = engine.learnt(data, engine.fresh(len(keys)))
        rows = np.flatnonzero(learned.spectrum.weight > 0)
        if not len(rows):
            return {}
        keys, data, offset, learned = [keys[n] for n in rows.tolist()], data[rows], offset[rows], learned.take(rows)
        channels = [self._known[key] for key in keys]
        since, rate, size = channels[0].since, engine.sample_rate, closing.window.end - closing.window.start
        state, said = learned, dict[str, ChannelWindow]()
        for start in range(since, since + round(len(channels[0].held) / rate) * NS, size):
            part = np.full((len(keys), engine.samples), np.nan, dtype=np.float32)
            at = round((start - since - BEFORE) * rate / NS)
            low, high = max(at, 0), min(at + engine.samples, data.shape[1])
            part[:, low - at : high - at] = data[:, low:high]
            found, after_it = engine.process(part, start, state)
            state = EngineState(learned.spectrum, after_it.last)  # these samples are part of it already
            told = _told(engine, keys, part, start, offset, found, state, closing.settings.picture)
            for n, (key, channel, (live, triggers, pictures)) in enumerate(zip(keys, channels, told, strict=True)):
                bands = channel.louder(found.band_rms[n])
                one = ChannelWindow("good", rate, False, live, triggers, bands, pictures=pictures)
                said[key] = _joined(said[key], one) if key in said else one
        known.learn(channels, state)
        for channel in channels:
            channel.learning, channel.held = False, np.zeros(0, dtype=np.float32)
        return said

    def drop(self, key: str) -> None:
        """Forgets a channel."""
        self._known.pop(key, None)

    def state(self) -> Any:
        """Plain data."""
        return known.plain(self._known)

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._known = known.restored(state)


@lru_cache(maxsize=128)
def engine_of(rate: float, size: int) -> TriggerEngine:
    """The engine of channels of a rate, Hz, for windows of `size` ns."""
    band = (min(20.0, max(2.0, rate / 64.0)), min(0.45 * rate, HIGHEST))
    return TriggerEngine(rate, size / NS, BEFORE / NS, AFTER / NS, band=band)


def _unknown(engine: TriggerEngine) -> KnownChannel:
    fresh = engine.fresh(1)
    return KnownChannel(engine.sample_rate, fresh.spectrum.centre[0], 0)


def _varies(*parts: NDArray[np.float32]) -> bool:
    """Whether samples, NaN where there is none, have more than one value: a constant channel, as a sensor that is off,
    has no spectrum, and to find that out in every window would cost as much as to judge it."""
    samples = np.concatenate(parts)
    there = samples[np.isfinite(samples)]
    return bool((there != there[:1]).any())


def _hold(channel: KnownChannel, samples: NDArray[np.float32], start: int) -> None:
    """Holds the samples of a window back, which starts then; NaN stands for windows between without rows, unless there
    are more of these than of others."""
    rate = channel.rate
    held, since = channel.held, channel.since
    end = since + round(len(held) / rate * NS)
    if not len(held) or start < end or start - end > min(end - since, LONGEST):
        held, since = samples, start
    else:
        gap = np.full(round((start - end) * rate / NS), np.nan, dtype=np.float32)
        held = np.concatenate([held, gap, samples])
    too_many = round(len(held) / rate * NS) - LONGEST
    if too_many > 0:
        size = round(len(samples) / rate * NS)
        windows = -(-too_many // size)
        held, since = held[round(windows * size * rate / NS) :], since + windows * size
    channel.held, channel.since = held.copy(), since


def _is_stale(channel: KnownChannel, now: int) -> bool:
    """Whether what is held back is too old for anything to come after it."""
    return now - channel.since > 2 * LONGEST


def _told(
    engine: TriggerEngine,
    keys: Sequence[str],
    data: NDArray[np.float32],
    start: int,
    offset: NDArray[np.int64],
    found: EngineWindow,
    state: EngineState,
    picture: float,
) -> list[tuple[list[tuple[int, int]], list[TriggerSaid], tuple[Evidence, ...]]]:
    """(live spans, triggers, pictures) of each channel."""
    triggers: list[list[TriggerSaid]] = [[] for _ in keys]
    of = found.found
    for n, channel in enumerate(of.channel.tolist()):
        shift = int(offset[channel])
        figures = (float(getattr(of, name)[n]) for name in ("frequency", "low", "high", "q", "snr"))
        times = (int(getattr(of, name)[n]) + shift for name in ("time", "start", "end"))
        triggers[channel].append(TriggerSaid(*times, *figures))
    told = []
    for n, key in enumerate(keys):
        pictures: tuple[Evidence, ...] = ()
        loudest = max(triggers[n], key=lambda one: (one.snr, -one.time), default=None)
        if loudest is not None and loudest.snr >= picture:
            pictures = (qscan(engine, key, data[n : n + 1], start, state.take(slice(n, n + 1)), loudest),)
        told.append((_spans(found.live[n], engine.sample_rate, start), triggers[n], pictures))
    return told


def _spans(live: NDArray[np.bool_], rate: float, start: int) -> list[tuple[int, int]]:
    """Where samples were judged, ns."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], live, [False]]).astype(np.int8)))
    times = [start + round(edge * NS / rate) for edge in edges.tolist()]
    return list(zip(times[::2], times[1::2], strict=True))


def _joined(early: ChannelWindow, late: ChannelWindow) -> ChannelWindow:
    """What is said of a channel twice in a window: what was held back before what is new."""
    live: list[tuple[int, int]] = []
    for begin, end in sorted([*early.live, *late.live]):
        if live and begin <= live[-1][1]:
            live[-1] = (live[-1][0], max(end, live[-1][1]))
        else:
            live.append((begin, end))
    loudest = max((max((t.snr for t in one.triggers), default=0.0), n) for n, one in enumerate((early, late)))[1]
    return msgspec.structs.replace(
        late,
        live=live,
        triggers=[*early.triggers, *late.triggers],
        bands=late.bands or early.bands,
        range=late.range if late.range is not None else early.range,
        pictures=(early, late)[loudest].pictures,
    )


def _range(said: ChannelWindow, channel: KnownChannel) -> float | None:
    if not said.strain or channel.weight == 0:
        return None
    spectrum = known.engine_state([channel]).spectrum
    return features.inspiral_range(spectrum.log_psd()[0])


def _fringes(group: RateGroup, n: int, first: int, end: int) -> list[tuple[int, float]]:
    unit = group.units[n]
    if unit not in features.METRES or group.rate > features.FASTEST:
        return []
    return features.fringes(group.data[n], group.rate, unit, group.start + int(group.offset[n]), first, end)


def _flags(closing: WindowRows[Pieces]) -> Iterator[tuple[str, FlagWindow]]:
    """The flags of the window, and what is known of the second behind it."""
    rows, context, window = closing.rows, closing.context, closing.window
    beside = {key: range(first, end) for key, first, end in context.spans()}
    for key, first, end in rows.spans():
        if rows.payload.kind[first] != FLAG:
            continue
        active: list[tuple[int, int]] = []
        known_spans: list[tuple[int, int]] = []
        for of, places in ((rows, range(first, end)), (context, beside.get(key, range(0)))):
            for at in places:
                start, rate = int(of.time[at]), float(of.payload.rate[at])
                if of.payload.kind[at] != FLAG or start < window.start:
                    continue
                values = of.payload.values.at(at)
                known_spans += _spans(np.isfinite(values), rate, start)
                active += _spans(values == 1, rate, start)
        yield key, FlagWindow(_merged(active), _merged(known_spans))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
