"""The engine over the windows of a stream: state, gaps, lock loss, steps of the noise, features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from opintel.gw.engine import EngineState, EngineWindow, TriggerEngine
from tests.gw.strain import Burst, noise, strain

RATE = 1024


def windows(engine: TriggerEngine, data: np.ndarray, state: EngineState | None = None) -> Iterator[EngineWindow]:
    """Of `data` (C, n), that begin at 0 s, as a stream sees them: NaN before and after."""
    rate = round(engine.sample_rate)
    step = round(engine.window * rate)
    padded = np.pad(data, ((0, 0), (round(engine.before * rate), engine.samples)), constant_values=np.nan)
    state = state or engine.fresh(len(data))
    for number in range(data.shape[1] // step):
        part = padded[:, number * step : number * step + engine.samples]
        window, state = engine.process(part, number * round(engine.window * 1e9), state)
        yield window


def triggers(windows: Iterator[EngineWindow]) -> list[tuple[int, float, float]]:
    found = [window.found for window in windows]
    return [row for f in found for row in zip(f.channel.tolist(), f.time * 1e-9, f.snr.tolist(), strict=True)]


def test_windows_in_a_row_have_each_event_once() -> None:
    times = [2.3 + 1.37 * k for k in range(20)]
    data = strain(1, RATE, 32.0, *(Burst(t, 120, 12, 15) for t in times))
    found = [time for _, time, snr in triggers(windows(TriggerEngine(RATE), data[None])) if snr > 6.5]
    assert found == pytest.approx(times, abs=0.012)


@pytest.mark.parametrize("edge", np.round(np.arange(-0.09, 0.1, 0.015), 3))
def test_an_event_at_an_edge_belongs_to_one_window(edge: float) -> None:
    data = strain(2, 256, 16.0, Burst(8.0 + edge, 40, 20, 12))
    engine = TriggerEngine(256)
    rows = [(n, t) for n, w in enumerate(windows(engine, data[None])) for _, t, snr in triggers(iter([w])) if snr > 7]
    assert len(rows) == 1
    assert rows[0][0] * 2.0 <= rows[0][1] < rows[0][0] * 2.0 + 2.0


def test_a_state_that_was_split_and_joined_gives_the_same() -> None:
    """Channels come and go in any order: each has its own row of the state, and no bit depends on the others."""
    data = np.stack([strain(3 + k, RATE, 16.0, Burst(9.3 + 0.2 * k, 100, 10, 12)) for k in range(5)])
    engine = TriggerEngine(RATE)
    together = triggers(windows(engine, data))
    state = engine.fresh(5)
    part = np.pad(data, ((0, 0), (2 * RATE, 3 * RATE)), constant_values=np.nan)
    split: list[tuple[int, float, float]] = []
    for number in range(8):
        at = slice(number * 2 * RATE, number * 2 * RATE + engine.samples)
        order = np.roll(np.arange(5), number)
        a, first = engine.process(part[order[:2], at], number * 2 * 10**9, state.take(order[:2]))
        b, second = engine.process(part[order[2:], at], number * 2 * 10**9, state.take(order[2:]))
        for found, rows in ((a.found, order[:2]), (b.found, order[2:])):
            split += zip(rows[found.channel].tolist(), found.time * 1e-9, found.snr.tolist(), strict=True)
        state = EngineState.joined([first, second]).take(np.argsort(order))
    assert sorted(split) == sorted(together)
    assert len(split) >= 5


def test_a_stretch_is_judged_from_two_seconds_after_its_start() -> None:
    data = strain(10, RATE, 16.0, Burst(2.4, 100, 10, 20), Burst(13.6, 150, 12, 20))
    found = triggers(windows(TriggerEngine(RATE), data[None]))
    assert [round(time, 1) for _, time, snr in found if snr > 10] == [2.4, 13.6]
    assert all(14 < snr < 26 for _, _, snr in found if snr > 10)


def test_lock_loss_is_a_gap_not_a_flood() -> None:
    data = strain(11, RATE, 24.0, Burst(6.0, 150, 10, 20))
    data[round(12.0 * RATE) :] = np.nan
    result = list(windows(TriggerEngine(RATE), data[None]))
    assert [round(time, 1) for _, time, snr in triggers(iter(result)) if snr > 6] == [6.0]
    live = np.concatenate([window.live[0] for window in result])
    last = np.flatnonzero(live)[-1] / RATE
    assert 11.0 < last < 11.5
    assert not live[round(11.5 * RATE) :].any()


def test_a_step_of_the_noise_is_learnt_within_seconds() -> None:
    """Ten times the noise for good. Without the step being seen for what it is triggers go on for minutes."""
    data = noise(12, RATE, 48.0)
    data[16 * RATE :] *= 10.0
    found = triggers(windows(TriggerEngine(RATE), data[None]))
    assert [time for _, time, snr in found if time > 22 and snr > 6.5] == []
    assert any(15 < time < 19 for _, time, _ in found)


def test_a_loud_glitch_does_not_dent_the_spectrum() -> None:
    quiet, after = (Burst(18.4, 200, 12, 15),), Burst(15.0, 60, 6, 1e4)
    engine = TriggerEngine(RATE)
    alone = triggers(windows(engine, strain(13, RATE, 24.0, *quiet)[None]))
    behind = triggers(windows(engine, strain(13, RATE, 24.0, *quiet, after)[None]))
    snr = [next(s for _, t, s in found if abs(t - 18.4) < 0.02) for found in (alone, behind)]
    assert snr[1] == pytest.approx(snr[0], rel=0.05)


def test_band_rms_is_in_the_units_of_the_channel() -> None:
    t = np.arange(16 * 256) / 256
    data = np.stack([5.0 * np.sin(2 * np.pi * 20.0 * t) + 0.01 * np.sin(2 * np.pi * 5.0 * t), np.full(len(t), np.nan)])
    data[0] += np.random.default_rng(14).standard_normal(len(t)) * 1e-4
    engine = TriggerEngine(256)
    rms = list(windows(engine, data))[4].band_rms
    bands = dict(zip(engine.bands[:-1], rms[0], strict=True))
    assert bands[10.0] == pytest.approx(5.0 / np.sqrt(2), rel=0.01)
    assert bands[3.0] == pytest.approx(0.01 / np.sqrt(2), rel=0.2)
    assert np.isnan(rms[1]).all()


def test_a_band_below_half_the_rate_is_decimated_and_gives_the_same_triggers() -> None:
    """Noise and a line above the new Nyquist frequency do not come through."""
    data = strain(15, 8192, 16.0, Burst(9.3, 300, 12, 20))
    data += 1e-20 * np.cos(2 * np.pi * 1900.0 * np.arange(len(data)) / 8192)
    found = triggers(windows(TriggerEngine(8192, band=(16.0, 800.0)), data[None]))
    assert [round(time, 2) for _, time, snr in found if snr > 6.5] == [9.3]
    assert 16 < max(snr for _, _, snr in found) < 24


@pytest.mark.parametrize(
    "arguments",
    [(8.0,), (1024, 0.5), (1024, 2.0, 0.5), (1024, 2.0, 2.0, 0.5)],
    ids=["rate", "window", "before", "after"],
)
def test_settings_are_checked(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        TriggerEngine(*arguments)


def test_shapes_are_checked() -> None:
    engine = TriggerEngine(256)
    with pytest.raises(ValueError, match="expected data of shape"):
        engine.process(np.zeros((1, 100)), 0, engine.fresh(1))
    with pytest.raises(ValueError, match="a row a channel"):
        engine.process(np.zeros((2, engine.samples)), 0, engine.fresh(1))


@pytest.mark.parametrize("rate", [16, 64, 255, 16384])
def test_rates(rate: int) -> None:
    """White noise at any rate, with one burst that a quarter of the band holds."""
    f = rate / 8
    t = np.arange(20 * rate) / rate - 12.9
    tau = 8 / (np.sqrt(2) * np.pi * f)
    h = np.exp(-((t / tau) ** 2)) * np.cos(2 * np.pi * f * t)
    data = np.random.default_rng(16).standard_normal(len(t)) + 25 * h / np.sqrt(np.square(h).sum())
    found = [(time, snr) for _, time, snr in triggers(windows(TriggerEngine(rate), data[None])) if snr > 9]
    assert len(found) == 1
    assert found[0][0] == pytest.approx(12.9, abs=0.02 + 1 / f)
    assert found[0][1] == pytest.approx(25, rel=0.25)


def test_a_mode_of_a_suspension_is_no_flood() -> None:
    """A line of noise .06 Hz wide on a steep wall: a bin of a second shows a part of its density. From the tenth
    second on, when enough of the spectrum is known, 24 channels of 118 s have a trigger above 6.5 in a case of ten."""
    rng, rate, seconds = np.random.default_rng(21), 256, 128
    frequency = np.fft.rfftfreq(seconds * rate, 1 / rate)
    line = np.sqrt(1 + 700 / (1 + ((frequency - 16.83) / 0.03) ** 2))
    shape = np.maximum(frequency, 8.0) ** -4 * line + 0.01 * 17.0**-4
    data = np.fft.irfft(np.fft.rfft(rng.standard_normal((24, seconds * rate))) * shape)
    found = [(time, snr) for _, time, snr in triggers(windows(TriggerEngine(rate), data)) if time > 10 and snr > 6.5]
    assert found == []
