"""An interferometer in the running simulation: its samples, second by second.

Noise of all channels, what the auxiliary ones sense, their glitches; then what of that couples into the strain, and
what is in the strain alone; then the copies of the strain, and what faults leave of it all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from opintel.finding import NS
from opintel.gw.simulated.glitches import Glitch, Injection, Transients, samples_of
from opintel.gw.simulated.model import (
    BITS,
    DATA,
    LOCKED,
    STATE,
    STATE_RATE,
    STRAIN,
    UNIT,
    InterferometerModel,
    in_units,
)
from opintel.gw.simulated.motion import ALIGNMENT, MICROSEISM, Sine, fringes, moved
from opintel.gw.simulated.noise import Colouring, Density, Singles, added, design_of
from opintel.gw.simulated.story import Stretch, Trouble
from opintel.gw.wire.encoder import TableEntry

MARGIN = 2
"""s of samples before and after science data."""
IDLE = 600
"""s between messages that say nothing but that there are no science data."""
AFTER_LOSS = 6
"""s of samples after a lock loss: a ring that dies away, then zeros."""
RING = (35.0, 0.08, 1000.0)
"""Hz, s in which it falls to 1 / e, 1e-21."""
SCATTERED = 16.0
"""Amplitude of scattered light in units of the strain noise in 1 Hz at 40 Hz."""
STIRRED = 25.0
"""By how much the scatterer moves more in a fault."""
RAMP = 8.0
"""s in which a scatterer's motion and a coupling that drifts up rise."""
COPIED = 0.02
"""Noise of a copy in units of that of the strain, white, at 150 Hz."""
RAISED = {"range-drop": 1.5, "slow-drift": 1.0, "coupling-step": 0.5, "mains-sidebands": 15.0}
"""The level of a coupling in a fault, see `Coupling`."""
MAINS = Sine(6000)
SATURATED = 40.0
"""Factor by which a channel of 16 bits swings more when it saturates."""
GAP, DROPPED = 8, 3
"""s between the gaps of a fault, and of these without a message; in the next second a part is NaN."""


class Second(NamedTuple):
    """A second of an interferometer."""

    gps: int
    """Of its start, s."""
    table: tuple[TableEntry, ...]
    rows: list[tuple[int, Singles]]
    """(id, samples); of a channel that is not there there is none."""


class Playing:
    """One interferometer of a story. `number` among them; `seed` of the story."""

    def __init__(
        self,
        model: InterferometerModel,
        name: str,
        seed: Sequence[int],
        troubles: Sequence[Trouble],
        glitches: Sequence[Glitch],
        injections: Sequence[Injection],
    ) -> None:
        self._model, self._seed = model, seed
        self._troubles = [one for one in troubles if one.interferometer == name]
        self._glitches, self._injections = Transients(glitches), Transients(injections)
        self._design = design_of(name)
        self.table = table_of(model, name)
        self._id = {entry.name.partition(":")[2]: entry.id for entry in self.table}
        noisy = {STRAIN: (model.rate, in_units(self._design))}
        noisy |= {one.name: (one.rate, one.density) for one in model.channels if not one.constant}
        rates = sorted({rate for rate, _ in noisy.values()})
        self._names = {rate: [name for name, (its, _) in noisy.items() if its == rate] for rate in rates}
        self._densities = {rate: [noisy[name][1] for name in names] for rate, names in self._names.items()}
        self._lines = model.sines(self._design)
        self._scatter = SCATTERED * float(self._design(np.array([40.0]))[0]) / UNIT
        self._copy_noise = COPIED * float(self._design(np.array([150.0]))[0]) / UNIT * np.sqrt(model.rate / 2.0)
        self._couplings = {
            rate: those
            for rate in rates
            if (those := [c for c in model.couplings if model.channel(c.witness).rate == rate])
        }
        self._responses = {
            rate: np.array(
                [one.response(model.channel(one.witness), self._design, model.rate) for one in those]
            ).astype(np.complex64)
            * np.float32(model.rate / rate)
            for rate, those in self._couplings.items()
        }

    def seconds(self, stretches: Sequence[Stretch], begin: int, end: int) -> Iterator[Second]:
        """All of [begin, end) GPS s: the stretches with a margin, between them the state alone."""
        at = begin
        for one in stretches:
            yield from self._idle(at, one.begin - MARGIN)
            loss = self._loss(one)
            at = one.end + (MARGIN if loss is None else AFTER_LOSS)
            yield from self._stretch(one, at, loss)
        yield from self._idle(at, end)

    def _idle(self, begin: int, end: int) -> Iterator[Second]:
        for gps in range(-(-begin // IDLE) * IDLE, end, IDLE):
            yield Second(gps, self.table, [(self._id[STATE], np.zeros(STATE_RATE, dtype=np.float32))])

    def _loss(self, stretch: Stretch) -> int | None:
        """When the lock is lost, ns GPS."""
        lost = any(one.kind == "lock-loss" and one.begin == stretch.end for one in self._troubles)
        rng = np.random.default_rng([*self._seed, 1, stretch.end])
        return stretch.end * NS + int(rng.uniform(0.1, 0.9) * NS) if lost else None

    def _stretch(self, stretch: Stretch, end: int, loss: int | None) -> Iterator[Second]:
        state = _Running(self._densities, self._model.rate)
        held: dict[str, Singles] = {}
        for gps in range(stretch.begin - MARGIN - 1, end):
            data = self._samples(gps, state, loss)
            if gps < stretch.begin - MARGIN:
                continue  # what it leaves behind reaches into the first second
            if (second := self._befallen(gps, data, held)) is None:
                continue
            rows = [(self._id[STATE], _state(gps, stretch, loss)), *second[1]]
            yield Second(gps, second[0], rows)

    def _samples(self, gps: int, state: _Running, loss: int | None) -> dict[str, Singles]:
        """Name → samples of all channels, the strain in 1e-21."""
        model, rng = self._model, np.random.default_rng([*self._seed, 0, gps])
        data: dict[str, Singles] = {}
        for rate, names in self._names.items():
            noise = state.noise[rate].next(rng.standard_normal((len(names), rate), dtype=np.float32))
            data |= zip(names, noise, strict=True)
        copied = rng.standard_normal((len(model.copies), model.rate), dtype=np.float32)
        position = self._sense(gps, data)
        strain = data[STRAIN] + self._coupled(gps, data, state)
        more = self._scatter * fringes(position) + moved(self._lines, gps, model.rate)
        for one in self._glitches.at(gps):
            if isinstance(one, Glitch) and not one.channel:
                more += samples_of(one, gps, model.rate)
        strain = strain + more.astype(np.float32)
        for signal in self._injections.at(gps):
            strain = strain + samples_of(signal, gps, model.rate).astype(np.float32)
        if loss is not None:
            strain = _lost(strain, gps, loss)
        data[STRAIN] = strain * np.float32(UNIT)
        for (name, _, factor), white in zip(model.copies, copied, strict=True):
            data[name] = (strain + np.float32(self._copy_noise) * white) * np.float32(factor * UNIT)
        return data

    def _sense(self, gps: int, data: dict[str, Singles]) -> NDArray[np.float64]:
        """Adds to the auxiliary channels what they sense and their glitches. (rate,) position of the scatterer, um, at
        the rate of the strain."""
        model = self._model
        for one in model.channels:
            if one.constant:
                data[one.name] = np.full(one.rate, 1.25, dtype=np.float32)
            elif one.mains:
                data[one.name] = data[one.name] + (one.mains * MAINS.at(gps, one.rate)).astype(np.float32)
            elif one.senses == "alignment":
                data[one.name] = data[one.name] + moved(ALIGNMENT, gps, one.rate).astype(np.float32)
            elif one.senses == "microseism":
                data[one.name] = data[one.name] + self._position(gps, one.rate).astype(np.float32)
        for glitch in self._glitches.at(gps):
            if isinstance(glitch, Glitch) and glitch.channel:
                samples = samples_of(glitch, gps, model.channel(glitch.channel).rate)
                data[glitch.channel] = data[glitch.channel] + samples.astype(np.float32)
        return self._position(gps, model.rate)

    def _position(self, gps: int, rate: int) -> NDArray[np.float64]:
        """(rate,) of what scatters light, um: it moves more in a fault, and comes to that within `RAMP` s."""
        stirred = [one for one in self._troubles if one.kind == "scattered-light" and one.begin <= gps < one.end]
        position = moved(MICROSEISM, gps, rate)
        for one in stirred:
            t = gps + np.arange(rate) / rate
            rise = np.clip(np.minimum(t - one.begin, one.end - t) / RAMP, 0.0, 1.0)
            position = position * (1.0 + STIRRED * np.sin(np.pi / 2.0 * rise) ** 2)
        return position

    def _coupled(self, gps: int, data: dict[str, Singles], state: _Running) -> Singles:
        """(rate,) what the auxiliary channels make in the strain."""
        summed = np.zeros(self._model.rate + 1, dtype=np.complex64)
        for rate, those in self._couplings.items():
            moving = moved(ALIGNMENT, gps, rate).astype(np.float32)
            sources = np.array([data[one.witness] * moving if one.bilinear else data[one.witness] for one in those])
            gains = [self._level(gps, one.witness, one.level) / one.level for one in those]
            spectra = fft.rfft(sources, 2 * rate) * self._responses[rate]
            for gain, spectrum in zip(gains, spectra, strict=True):
                summed[: rate + 1] += np.float32(gain) * spectrum
        found, state.tail = added(fft.irfft(summed), state.tail)
        return found

    def _level(self, gps: int, witness: str, usual: float) -> float:
        """Of a coupling in a second."""
        for one in self._troubles:
            if one.channel == witness and one.kind in RAISED and one.begin <= gps < one.end:
                lasts = {"slow-drift": float(one.end - one.begin), "range-drop": RAMP}.get(one.kind, 1.0)
                return usual + (RAISED[one.kind] - usual) * min(1.0, (gps + 1 - one.begin) / lasts)
        return usual

    def _befallen(
        self, gps: int, data: dict[str, Singles], held: dict[str, Singles]
    ) -> tuple[tuple[TableEntry, ...], list[tuple[int, Singles]]] | None:
        """Table and rows as faults leave them; None where there is no message."""
        table, factor = self.table, 1.0
        active = [one for one in self._troubles if one.begin <= gps < one.end]
        for one in active:
            if one.kind == "stuck-channel":
                samples = held.get(one.channel, data[one.channel])
                data[one.channel] = np.full_like(samples, samples[-1])
            elif one.kind == "missing-channel":
                del data[one.channel]
            elif one.kind == "rate-change":
                data[one.channel] = data[one.channel].reshape(-1, 2).mean(axis=1, dtype=np.float32)
                table = _slower(table, self._id[one.channel])
            elif one.kind == "saturation":
                factor = SATURATED
            elif one.kind == "gap":
                into = (gps - one.begin) % GAP
                if into < DROPPED:
                    return None
                if into == DROPPED:
                    data[STRAIN][self._model.rate // 4 : self._model.rate // 2 + 1] = np.nan
        for channel in self._model.channels:
            if channel.dtype == "int16" and channel.name in data:
                counts = np.rint(data[channel.name] * np.float32(factor))
                data[channel.name] = np.clip(counts, -32768, 32767).astype(np.float32)
        held.clear()
        held |= data
        return table, sorted((self._id[name], samples) for name, samples in data.items())


class _Running:
    """What reaches from one second into the next."""

    def __init__(self, densities: dict[int, list[Density]], rate: int) -> None:
        self.noise = {its: Colouring(those, its) for its, those in densities.items()}
        self.tail: Singles = np.zeros(rate, dtype=np.float32)
        """(rate,) of the strain: what couples into it."""


def table_of(model: InterferometerModel, name: str) -> tuple[TableEntry, ...]:
    """The channels of an interferometer."""
    rows = [
        (STRAIN, model.rate, "strain", "float32"),
        (STATE, STATE_RATE, "", "uint32"),
        *((copy, model.rate, unit, "float32") for copy, unit, _ in model.copies),
        *((one.name, one.rate, one.unit, one.dtype) for one in model.channels),
    ]
    return tuple(
        TableEntry(n, f"{name}:{channel}", rate, unit, dtype, BITS if channel == STATE else ())
        for n, (channel, rate, unit, dtype) in enumerate(rows, 1)
    )


def _slower(table: tuple[TableEntry, ...], number: int) -> tuple[TableEntry, ...]:
    return tuple(one._replace(rate=one.rate // 2) if one.id == number else one for one in table)


def _state(gps: int, stretch: Stretch, loss: int | None) -> Singles:
    """(STATE_RATE,) the state vector; a sample in which the lock is lost is without it."""
    time = gps * NS + np.arange(1, STATE_RATE + 1) * (NS // STATE_RATE)
    locked = time <= (time[-1] if loss is None else loss)
    observing = locked & (stretch.begin <= gps) & (loss is not None or gps < stretch.end)
    found: Singles = (DATA * observing + LOCKED * locked).astype(np.float32)
    return found


def _lost(strain: Singles, gps: int, loss: int) -> Singles:
    """Strain after the lock was lost at `loss` ns GPS: a ring that dies away for a second, then zeros."""
    t = (gps - loss / NS) + np.arange(len(strain)) / len(strain)
    frequency, falls, amplitude = RING
    ring = amplitude * np.exp(-np.maximum(t, 0.0) / falls) * np.cos(2.0 * np.pi * frequency * t)
    return np.where(t < 0, strain, np.where(t < 1.0, ring, 0.0)).astype(np.float32)
