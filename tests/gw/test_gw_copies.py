"""A copy of the strain under a safe name is known by what it holds, and nothing else is."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from opintel.gw.channels.phases import BINS, phases
from opintel.gw.judging.copies import LEAST, StrainCopyWatch
from opintel.gw.judging.interferometer import Interferometer
from opintel.gw.records import ChannelWindow
from opintel.gw.safety import FAMILIES

RATE, SIZE = 1024, 2048
STRAIN, SPARE, WITNESS, SLOW = "L1:GDS-CALIB_STRAIN", "L1:PEM-ADC_31_DQ", "L1:PEM-MIC_DQ", "L1:ISI-CPS_DQ"


def watched(channels: dict[str, NDArray[np.float32]], windows: int) -> StrainCopyWatch:
    """After so many windows of two seconds, its state carried in between."""
    watch = StrainCopyWatch()
    for n in range(windows):
        said = {}
        for name, samples in channels.items():
            rate = len(samples) * RATE / len(channels[STRAIN])
            part = samples[None, round(2 * n * rate) : round(2 * (n + 1) * rate)]
            (sketch,) = phases(part, 0, rate)
            said[name] = ChannelWindow("good", rate, name == STRAIN, [], phases=sketch)
        strain = {STRAIN: said.pop(STRAIN)}
        state = msgspec.msgpack.encode(watch.state())
        watch = StrainCopyWatch()
        watch.restore(msgspec.msgpack.decode(state))
        watch.take(Interferometer(strain, dict(sorted(said.items()))), FAMILIES)
    return watch


def samples(seed: int, noise: float = 0.5, windows: int = 70) -> dict[str, NDArray[np.float32]]:
    """Coloured strain, a late, filtered, inverted copy with noise of its own, a witness of a part of the band."""
    rng = np.random.default_rng(seed)
    white, own, other = rng.normal(size=(3, windows * SIZE))
    strain, noisy = (signal.lfilter([1.0], [1.0, -0.7], one) for one in (white, white + noise * own))
    copy = -3e5 * signal.lfilter([0.0, 0.0, 0.0, 1.0, 0.4], [1.0], noisy)
    passed = signal.sosfilt(signal.butter(4, (60, 120), "bandpass", fs=RATE, output="sos"), strain)
    slow = rng.normal(size=windows * 2 * 16)
    found = {STRAIN: 1e-21 * strain, SPARE: copy, WITNESS: passed + 0.1 * other, SLOW: slow, "L1:LSC-MICH_DQ": other}
    return {name: values.astype(np.float32) for name, values in found.items()}


def safe(watch: StrainCopyWatch) -> list[str]:
    auxiliary = {name: ChannelWindow("good", 1024.0, False, []) for name in (SPARE, WITNESS, "L1:LSC-MICH_DQ")}
    return watch.safe({**auxiliary, SLOW: ChannelWindow("good", 16.0, False, [])}, FAMILIES)


def test_a_channel_is_safe_only_after_it_was_compared() -> None:
    channels = samples(1)
    assert safe(watched(channels, LEAST - 1)) == [SLOW]
    late = watched(channels, LEAST)
    assert late.copies == [SPARE]
    assert safe(late) == [WITNESS, SLOW]
    assert safe(StrainCopyWatch()) == [SPARE, WITNESS, SLOW], "where the strain has no phases names decide"


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_copies_are_found_and_witnesses_are_not(noise: float) -> None:
    for seed in range(2, 5):
        watch = watched(samples(seed, noise, 40), 40)
        assert watch.copies == [SPARE]
        assert safe(watch) == [WITNESS, SLOW]


def test_a_sketch_is_of_what_is_there() -> None:
    rng = np.random.default_rng(6)
    data = rng.normal(size=(4, SIZE)).astype(np.float32)
    data[1, 3], data[2] = np.nan, 7.0
    found = phases(data, 0, RATE)
    assert [len(one) for one in found] == [int((0.4 * RATE >= BINS).sum()), 0, 0, len(found[0])]
    assert found[0] == phases(1e-21 * data[:1], 0, RATE)[0] == phases(data[:1, : SIZE // 2], 0, RATE)[0]
    assert phases(data[:, :64], 0, 64.0) == [b""] * 4
    assert phases(data[:1], SIZE // 2 + 1, RATE) == [b""]
    tone = np.cos(2 * np.pi * float(BINS[0]) * np.arange(SIZE) / RATE + 0.5)[None].astype(np.float32)
    assert np.frombuffer(phases(tone, 0, RATE)[0], dtype=np.int8)[0] == round(0.5 * 127 / np.pi)
