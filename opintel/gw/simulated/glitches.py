"""Transients of a simulated interferometer as the truth knows them, and how loud each must be where it arises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opintel.finding import NS
from opintel.gw.simulated.model import InterferometerModel, Population, in_units
from opintel.gw.simulated.motion import ALIGNMENT, moved
from opintel.gw.simulated.noise import Density, Floats
from opintel.gw.simulated.waveforms import Burst, Chirp, optimal_snr, spectrum_of

LOUDEST = 60.0
"""SNR."""
SHORT, LONG = 2, 16
"""s that hold a glitch, an inspiral."""
EDGE = 2.0
"""s at both ends of a stretch without a glitch."""


class Glitch(NamedTuple):
    """A transient."""

    kind: str
    """See `Population`."""
    time: int
    """ns GPS, of its middle."""
    channel: str
    """Where it arises, without the interferometer; empty: in the strain."""
    wave: Burst
    amplitude: float
    """Units of that channel; of the strain 1e-21."""
    snr: float
    """Optimal SNR in the strain against its design; of what is innocent 0."""


class Injection(NamedTuple):
    """A signal that is added to the strain and its copies alone."""

    time: int
    """ns GPS, of coalescence."""
    wave: Chirp
    amplitude: float
    """1e-21"""
    snr: float


class Maker:
    """Makes the glitches of an interferometer with this strain noise."""

    def __init__(self, model: InterferometerModel, strain: Density) -> None:
        self.model = model
        self._strain = in_units(strain)
        self._responses = {
            one.witness: one.response(model.channel(one.witness), strain, model.rate) for one in model.couplings
        }
        self._known: dict[tuple[str, int, int], Floats] = {}

    def glitches(
        self, population: Population, begin: int, end: int, spacing: float, rng: np.random.Generator
    ) -> list[Glitch]:
        """Those of [begin, end) GPS s, a Poisson process of mean `spacing` s."""
        count = int(rng.poisson((end - begin) / spacing))
        times = np.sort(rng.uniform(begin + EDGE, end - EDGE, count))
        found = []
        for second in times:
            low, high = np.log(population.frequencies)
            frequency = float(np.exp(rng.uniform(low, high)))
            quality, phase = float(rng.uniform(*population.qualities)), float(rng.uniform(0.0, 2.0 * np.pi))
            snr = min(population.least / float(np.sqrt(1.0 - rng.random())), LOUDEST)
            # at two tau, where a third of a percent of the power is left, a whistle has four times its frequency
            sweep = 3.0 * frequency / (2.0 * Burst(frequency, quality, 0.0).tau) ** 2
            wave = Burst(frequency, quality, phase, sweep if population.kind == "whistle" else 0.0)
            found.append(self._glitch(population, int(second * NS), wave, snr))
        return found

    def injection(self, time: int, masses_phase: tuple[float, float, float], snr: float) -> Injection:
        """A chirp of this SNR."""
        wave, rate = Chirp(*masses_phase), self.model.rate
        found = optimal_snr(spectrum_of(wave, rate, LONG), self._noise("", rate, LONG), rate)
        return Injection(time, wave, snr / found, snr)

    def _glitch(self, population: Population, time: int, wave: Burst, snr: float) -> Glitch:
        kind, name = population.kind, population.channel
        rate = self.model.channel(name).rate if name else self.model.rate
        spectrum = spectrum_of(wave, rate, SHORT)
        if name and kind != "innocent":
            spectrum = spectrum * self._responses[name]
        amplitude = snr / optimal_snr(spectrum, self._noise(name if kind == "innocent" else "", rate, SHORT), rate)
        if kind == "innocent":
            return Glitch(kind, time, name, wave, amplitude, 0.0)
        if not name or not self.model.coupling(name).bilinear:
            return Glitch(kind, time, name, wave, amplitude, snr)
        second, rest = divmod(time, NS)
        motion = moved(ALIGNMENT, second, self.model.rate)[rest * self.model.rate // NS]
        return Glitch(kind, time, name, wave, amplitude, snr * abs(float(motion)))

    def _noise(self, channel: str, rate: int, seconds: int) -> Floats:
        """Of a channel, empty: of the strain, at the frequencies of the FFT of so many s; remembered."""
        if (known := self._known.get((channel, rate, seconds))) is None:
            density = self.model.channel(channel).density if channel else self._strain
            known = density(np.arange(rate * seconds // 2 + 1) / seconds)
            self._known[channel, rate, seconds] = known
        return known


class Transients:
    """Which transients fall into a second."""

    def __init__(self, transients: Sequence[Glitch] | Sequence[Injection]) -> None:
        self._by_second: dict[int, list[Glitch | Injection]] = {}
        for one in transients:
            before, after = one.wave.reach
            first, last = one.time - int(before * NS), one.time + int(after * NS)
            for second in range(first // NS, last // NS + 1):
                self._by_second.setdefault(second, []).append(one)

    def at(self, second: int) -> list[Glitch | Injection]:
        """Those that reach into the second that begins at GPS `second`."""
        return self._by_second.get(second, [])


def samples_of(one: Glitch | Injection, second: int, rate: int) -> Floats:
    """(rate,) what it is in the second that begins at GPS `second`."""
    t = np.arange(rate) / rate - (one.time - second * NS) / NS
    return one.amplitude * one.wave.at(t)


def population_of(model: InterferometerModel, kind: str, channel: str) -> Population:
    """The first one of a kind, in a channel."""
    return next(one for one in model.populations if (one.kind, one.channel) == (kind, channel))
