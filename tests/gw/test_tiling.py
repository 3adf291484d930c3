"""The Q-transform against its definition, computed slowly."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest

from opintel.gw.tiling import QTiling

RATE, DURATION = 512, 8.0


def slow_energy(data: np.ndarray, q: float, frequency: float, time: float) -> float:
    """Of one tile by a sum over bins: the window of Chatterji's thesis, one bin above the frequency as in gwpy."""
    samples = len(data)
    bins = np.arange(samples // 2 + 1)
    spectrum = np.fft.rfft(data) / sqrt(samples)
    half = int(frequency * sqrt(11) / q * DURATION)
    centre = round(frequency * DURATION) + 1
    x = (bins - centre) / DURATION * q / sqrt(11) / frequency
    window = np.where(np.abs(bins - centre) <= half, (1 - x**2) ** 2, 0.0)
    return float(abs((spectrum * window * np.exp(2j * pi * bins * time / DURATION)).sum()) ** 2 / (window**2).sum())


def test_energies_are_those_of_the_definition() -> None:
    data = np.random.default_rng(1).standard_normal((2, round(RATE * DURATION)))
    for row in list(QTiling(RATE, DURATION).energies(data))[::7]:
        for channel in (0, 1):
            for tile in (0, 1, row.energy.shape[1] // 2, row.energy.shape[1] - 1):
                time = tile * DURATION / row.energy.shape[1]
                slow = slow_energy(data[channel], row.q, row.frequency, time)
                assert row.energy[channel, tile] == pytest.approx(slow, rel=1e-3, abs=1e-4)


def test_noise_has_mean_one_and_exponential_tails() -> None:
    """10^6 tiles, of which some 2 in 5 are independent: the mean within 1 %, the tail above 5 within 10 %."""
    data = np.random.default_rng(2).standard_normal((16, round(RATE * DURATION)))
    energies = np.concatenate([row.energy.ravel() for row in QTiling(RATE, DURATION).energies(data)])
    assert energies.mean() == pytest.approx(1.0, abs=0.01)
    assert (energies > 5.0).mean() == pytest.approx(np.exp(-5.0), rel=0.1)


def test_a_loud_burst_does_not_change_the_norm_of_its_row() -> None:
    data = np.random.default_rng(3).standard_normal((1, round(RATE * DURATION)))
    loud = data.copy()
    loud[0, 1000] += 1000.0
    far = int(0.75 * RATE * DURATION)
    for quiet_row, loud_row in zip(
        QTiling(RATE, DURATION).energies(data), QTiling(RATE, DURATION).energies(loud), strict=True
    ):
        tile = round(far / (RATE * DURATION) * quiet_row.energy.shape[1])
        if quiet_row.frequency > 100 and quiet_row.q < 10:
            assert loud_row.energy[0, tile] == pytest.approx(quiet_row.energy[0, tile], rel=0.2, abs=0.1)


def test_planes_and_frequencies() -> None:
    tiling = QTiling(4096, 4.0, (4, 64), (20.0, 1500.0))
    planes = sorted({row.q for row in tiling.rows})
    assert len(planes) == 4  # ln(16) / sqrt(2) / (2 sqrt(.2 / 3)) = 3.8
    assert np.ptp(np.log(planes)) == pytest.approx(np.log(16) * 3 / 4)
    for q in planes:
        frequencies = [row.frequency for row in tiling.rows if row.q == q]
        assert frequencies == sorted(set(frequencies))
        assert np.allclose(np.array(frequencies) * 4.0 % 1.0, 0.0)
        assert frequencies[0] >= 20.0
        assert frequencies[-1] <= 2048 / (1 + sqrt(11) / planes[0])


@pytest.mark.parametrize(("rate", "duration"), [(4096, 4.0), (3000, 4.0), (255, 5.0), (16, 8.0)])
def test_lengths_are_products_of_2_3_and_5(rate: float, duration: float) -> None:
    for row in QTiling(rate, duration, frequency_range=(2.0, rate)).rows:
        rest = row.tiles
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1
        assert row.tiles >= len(row.window)
        assert row.first >= 0
        assert row.first + len(row.window) <= round(rate * duration) // 2 + 1


def test_a_channel_does_not_depend_on_its_neighbours() -> None:
    data = np.random.default_rng(4).standard_normal((37, round(RATE * DURATION))).astype(np.float32)
    tiling = QTiling(RATE, DURATION)
    alone = [row.energy[0] for row in tiling.energies(data[21:22])]
    among = [row.energy[21] for row in tiling.energies(data)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, among, strict=True))


@pytest.mark.parametrize(
    "arguments", [(0, 4.0), (256, -1.0), (256, 4.0, (64, 4)), (256, 4.0, (1, 2)), (256, 4.0, (4, 64), (300, 400))]
)
def test_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="expected"):
        QTiling(*arguments)


def test_the_length_of_data_is_checked() -> None:
    with pytest.raises(ValueError, match="expected data of shape"):
        next(QTiling(1024, 4.0).energies(np.zeros((1, 1000))))
