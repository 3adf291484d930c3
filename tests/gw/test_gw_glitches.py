"""Glitches and signals are where the truth says, as loud as it says, and seen by their witnesses."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from gw.played import HOURS, QUIET, Floats, joined, played
from opintel.finding import NS
from opintel.gw.simulated.glitches import Glitch
from opintel.gw.simulated.model import SMALL, STRAIN, Coupling, InterferometerModel, Population
from opintel.gw.simulated.motion import ALIGNMENT, WAVELENGTH, moved
from opintel.gw.simulated.noise import Density, design_of
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.simulated.waveforms import Burst, Chirp, optimal_snr

RATE = 1024
MICROPHONE, MAGNETOMETER = "PEM-EY_MIC_VEA_MINUSX_DQ", "PEM-EX_MAG_VEA_FLOOR_X_DQ"
SCATTERER = "ISI-ETMX_ST2_CPS_X_DISP_DQ"


def only(kind: str, channel: str = "") -> InterferometerModel:
    """Many glitches of one kind and their coupling, and nothing else."""
    usual = next(one for one in SMALL.populations if (one.kind, one.channel) == (kind, channel))
    coupled = tuple(one for one in SMALL.couplings if one.witness == channel)
    return QUIET._replace(couplings=coupled, populations=(usual._replace(an_hour=400.0),))


@cache
def told(kind: str, channel: str = "") -> GwSimulator:
    return GwSimulator(seed=7, hours=HOURS, faults=(), model=only(kind, channel))


def matched(data: Floats, template: Floats, density: Density) -> tuple[float, float]:
    """Of two seconds of data: the matched filter's SNR at the template's place, and by how much, s, the loudest place
    is off."""
    frequency = np.fft.rfftfreq(len(data), 1 / RATE)
    weight = np.where((frequency >= 15) & (frequency < 500), 1 / density(np.maximum(frequency, 1.0)) ** 2, 0.0)
    of, d = np.fft.rfft(template), np.fft.rfft(data)
    norm = np.sum(np.abs(of) ** 2 * weight) * 2 / len(data)
    found = np.fft.irfft(of.conj() * d * weight) / norm**0.5 * (2 / RATE) ** 0.5
    lag = int(np.argmax(np.abs(found)))
    return float(found[0]), (lag if lag < len(data) // 2 else lag - len(data)) / RATE


def around(glitch: Glitch, seconds: dict[int, NDArray[np.float32]]) -> tuple[Floats, Floats]:
    """(2 * RATE,) samples around a glitch, and times from it, s."""
    begin = round(glitch.time / NS) - 1
    data = joined(seconds, begin, begin + 2)
    return data, np.arange(len(data)) / RATE - (glitch.time - begin * NS) / NS


@pytest.mark.parametrize(("kind", "channel"), [("blip", ""), ("witnessed", MICROPHONE), ("whistle", "IMC-F_OUT_DQ")])
def test_a_glitch_has_the_snr_of_the_truth_at_its_time(kind: str, channel: str) -> None:
    """The matched filter's SNR differs from the optimal one by a unit Gaussian; by 5 in one of 1.7 million. It
    is loudest within 10 ms and a cycle; so is it in its witness."""
    simulation = told(kind, channel)
    data = played(simulation)
    every = simulation.glitches["L1"]
    alone = [one for one in every if all(abs(one.time - o.time) > 2 * NS for o in every if o is not one)]
    assert len(alone) >= 3
    for glitch in alone:
        samples, t = around(glitch, data[STRAIN])
        template = glitch.amplitude * glitch.wave.at(t)
        if channel:
            witness = simulation.model.channel(channel)
            there, off = matched(around(glitch, data[channel])[0], template, witness.density)
            assert there > 30
            assert abs(off) < 0.01
            response = simulation.model.coupling(channel).response(witness, design_of("L1"), RATE)
            template = np.fft.irfft(np.fft.rfft(template) * response)
        # what couples in of the channel's noise is 1 % of the power of the strain's
        snr, off = matched(samples, template, design_of("L1"))
        assert abs(snr - glitch.snr) < 5.0
        assert abs(off) < 0.01 + 1 / glitch.wave.frequency


def test_linear_coupling_is_the_filter_of_the_model() -> None:
    """The transfer function, estimated by Welch's method from noise alone, where the channel is half of the strain."""
    coupling = Coupling(MICROPHONE, (50.0, 150.0), level=1.0)
    simulation = GwSimulator(seed=4, hours=HOURS, faults=(), model=QUIET._replace(couplings=(coupling,)))
    (stretch,) = simulation.stretches
    data = played(simulation)
    witness, strain = (joined(data[name], *stretch) for name in (MICROPHONE, STRAIN))
    frequency, cross = signal.csd(witness, strain * 1e21, RATE, nperseg=2 * RATE)
    _, power = signal.welch(witness, RATE, nperseg=2 * RATE)
    expected = coupling.response(QUIET.channel(MICROPHONE), design_of("L1"), RATE)
    used = (frequency >= 60) & (frequency <= 140)
    off = np.abs(cross[used] / power[used] - expected[used]) / np.abs(expected[used])
    assert np.median(off) < 0.15
    _, coherence = signal.coherence(witness, strain, RATE, nperseg=2 * RATE)
    assert coherence[used].mean() > 0.35
    assert coherence[frequency > 300].mean() < 0.03


def test_bilinear_coupling_shows_in_the_product_alone() -> None:
    coupling = Coupling(MAGNETOMETER, (30.0, 120.0), level=1.0, bilinear=True)
    simulation = GwSimulator(seed=5, hours=HOURS, faults=(), model=QUIET._replace(couplings=(coupling,)))
    (stretch,) = simulation.stretches
    data = played(simulation)
    witness, strain = (joined(data[name], *stretch) for name in (MAGNETOMETER, STRAIN))
    motion = np.concatenate([moved(ALIGNMENT, gps, RATE) for gps in range(*stretch)])
    found = []
    for source in (witness, witness * motion):
        frequency, coherence = signal.coherence(source, strain, RATE, nperseg=2 * RATE)
        found.append(coherence[(frequency >= 40) & (frequency <= 100)].mean())
    assert found[0] < 0.05 < 0.3 < found[1]
    sensed = joined(data["ISI-ITMY_ST2_CPS_RX_DISP_DQ"], *stretch)
    assert np.corrcoef(sensed, motion[::4])[0, 1] > 0.99, "the motion has its sensor"


def test_what_is_innocent_leaves_no_trace_in_strain() -> None:
    *others, innocent = SMALL.populations
    assert innocent.kind == "innocent"
    models = (SMALL._replace(populations=tuple(others)), SMALL)
    without, with_them = (played(GwSimulator(seed=7, hours=HOURS, faults=(), model=model)) for model in models)
    for name, its in without.items():
        same = all(np.array_equal(samples, with_them[name][gps]) for gps, samples in its.items())
        assert same == (name != innocent.channel)


def test_scattered_light_follows_its_slow_sensor() -> None:
    """Fringes are at 2 |v| / wavelength of what the sensor at 16 Hz saw, and reach into the band only in the fault."""
    simulation = GwSimulator(seed=6, hours=HOURS, faults=["scattered-light"], model=QUIET)
    (fault,) = simulation.truth
    assert fault.subject["witness"] == f"L1:{SCATTERER}"
    (stretch,) = simulation.stretches
    data = played(simulation)
    position, strain = joined(data[SCATTERER], *stretch), joined(data[STRAIN], *stretch)
    fringe = 2 * np.abs(np.gradient(position, 1 / 16)) / WAVELENGTH
    begin = (fault.start - simulation.start) // NS - 60
    end = (fault.end - simulation.start) // NS - 60
    inside = slice(16 * (begin + 10), 16 * (end - 10))
    assert fringe[: 16 * begin].max() < 5 < 40 < fringe[inside].max() < 120
    frequency, time, power = signal.spectrogram(strain, RATE, nperseg=256, noverlap=192)
    ratio = power / design_of("L1")(np.maximum(frequency, 1.0))[:, None] ** 2
    at = np.interp(time, np.arange(len(position)) / 16, fringe)
    used = (time > begin + 10) & (time < end - 10) & (at > 25)
    band = (frequency >= 20) & (frequency <= 130)
    loudest = frequency[band][np.argmax(ratio[band], axis=0)]
    assert used.sum() > 100
    assert np.mean(np.abs(loudest - at)[used] < 8) > 0.8
    assert ratio[band][:, time < begin].max() < 60 < ratio[band][:, used].max()


def test_a_chirp_sweeps_as_newton_says() -> None:
    """f(tau) of two neutron-star masses as in the textbook (Maggiore, eq. 4.20): 100 Hz 2 s before coalescence, with
    the chirp mass of 1.21; and the phase runs at that frequency."""
    wave = Chirp(1.4, 1.4, 0.0)
    assert wave.before(100.0) == pytest.approx(2.1, rel=0.1)
    heavy = Chirp(30.0, 20.0, 0.3)
    for frequency in (30.0, 50.0):
        t = -heavy.before(frequency) + np.linspace(-0.05, 0.05, 4001)
        amplitude = heavy.at(t)
        rising = t[1:][(amplitude[:-1] < 0) & (amplitude[1:] >= 0)]
        assert 1 / np.diff(rising).mean() == pytest.approx(frequency, rel=0.12)
    assert heavy.at(np.array([-20.0, 0.0, 0.5])).tolist() == [0.0, 0.0, 0.0]


def test_an_injection_changes_the_strain_and_its_copies_and_nothing_else() -> None:
    arguments = {"seed": 8, "hours": HOURS, "faults": ["glitchy-channel"]}
    without, with_signals = GwSimulator(**arguments), GwSimulator(**arguments, injections=4)
    assert with_signals.truth == without.truth
    assert with_signals.glitches == without.glitches
    (plain, added) = (played(one) for one in (without, with_signals))
    changed = {name for name in plain if any(not np.array_equal(plain[name][g], added[name][g]) for g in plain[name])}
    assert changed == {STRAIN, *(name for name, _, _ in SMALL.copies)}
    signals = with_signals.injections["L1"]
    assert len(signals) == 4
    touched = {g for g in plain[STRAIN] if not np.array_equal(plain[STRAIN][g], added[STRAIN][g])}
    expected: set[int] = set()
    for one in signals:
        before, _ = one.wave.reach
        expected |= set(range(int(one.time - before * NS) // NS, one.time // NS + 1))
    assert touched <= expected
    for one in signals:
        begin = one.time // NS - 7
        difference = joined(added[STRAIN], begin, begin + 8) - joined(plain[STRAIN], begin, begin + 8)
        if all(abs(other.time - one.time) > 8 * NS for other in signals if other is not one):
            snr = optimal_snr(np.fft.rfft(difference), design_of("L1")(np.arange(4 * RATE + 1) / 8), RATE)
            assert snr == pytest.approx(one.snr, rel=0.03)


def test_copies_carry_the_strain() -> None:
    simulation = GwSimulator(seed=9, hours=HOURS, faults=(), injections=1)
    (stretch,) = simulation.stretches
    data = played(simulation)
    strain = joined(data[STRAIN], *stretch)
    for name, _, _ in SMALL.copies:
        frequency, coherence = signal.coherence(strain, joined(data[name], *stretch), RATE, nperseg=RATE)
        assert coherence[(frequency >= 20) & (frequency < 500)].min() > 0.9


def test_the_optimal_snr_is_that_of_the_integral() -> None:
    """A sine-Gaussian of high Q in white noise: rho^2 = A^2 tau sqrt(pi / 2) / S."""
    wave, density = Burst(100.0, 20.0, 0.0), 1e-3
    samples = 2.0 * wave.at(np.arange(2 * RATE) / RATE - 1.0)
    expected = np.sqrt(4.0 * wave.tau * np.sqrt(np.pi / 2) / density**2)
    found = optimal_snr(np.fft.rfft(samples), np.full(RATE + 1, density), RATE)
    assert found == pytest.approx(expected, rel=0.01)


def test_populations_come_at_their_rate() -> None:
    """A Poisson count of mean 4000 * 160 / 3600 = 178; +- 5 sigma."""
    often = Population("blip", "", 4000.0, (100.0, 300.0), (3.0, 6.0))
    simulation = GwSimulator(seed=3, hours=HOURS, faults=(), model=QUIET._replace(populations=(often,)))
    found = simulation.glitches["L1"]
    assert abs(len(found) - 178) < 5 * 178**0.5
    assert min(one.snr for one in found) >= 6.5
    assert [one.time for one in found] == sorted(one.time for one in found)
