"""Stage 1 of GW: what is said of channels whose samples are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from opintel.detector import Controls, WindowRows
from opintel.evidence import Image
from opintel.finding import NS, Window
from opintel.gw.channels.features import inspiral_range, is_strain
from opintel.gw.channels.reducer import GwReducer, GwReducerSettings
from opintel.gw.records import ChannelWindow, FlagWindow
from opintel.gw.samples import FLAG, SAMPLES, PieceRow, Pieces
from opintel.rows import Batch, Row

RATE = 128
BEGIN = 1_700_000_000 * NS
SIZE = 2 * NS
Samples = NDArray[np.float32]
Channels = Mapping[str, tuple[float, str, Samples]]
"""Name → rate, unit, samples from `BEGIN` on."""


def rows_of(channels: Channels, begin: int = BEGIN) -> list[Row[PieceRow]]:
    rows = []
    for name, (rate, unit, samples) in channels.items():
        kind, size = FLAG if "~" in name else SAMPLES, int(rate)
        for at in range(0, len(samples), size):
            piece = PieceRow(kind, rate, unit, samples[at : at + size].tolist())
            rows.append(Row(name, begin + at // size * NS, hash((name, at)) >> 1, piece))
    return rows


def reduced(
    channels: Channels, *, restored: bool = False, begin: int = BEGIN, more: Sequence[Row[PieceRow]] = ()
) -> dict[str, list[ChannelWindow | FlagWindow]]:
    """Name → what is said of it, window by window; with `restored`, by a fresh reducer each time."""
    every = Batch.of([*rows_of(channels, begin), *more], Pieces)
    reducer, found = GwReducer(), dict[str, list[ChannelWindow | FlagWindow]]()
    start, last = int(every.time.min()) // SIZE * SIZE, int(every.time.max())
    for at in range(start, last + 1, SIZE):
        window = Window(at, at + SIZE)
        own = (every.time >= window.start) & (every.time < window.end)
        near = (every.time >= window.start - 2 * NS) & (every.time < window.end + NS) & ~own
        rows, context = (every.take(np.flatnonzero(mask)).by_key() for mask in (own, near))
        if len(rows):
            said = reducer.close(WindowRows(window, rows, context, Controls(), GwReducerSettings(), {}))
            for record in said.records:
                found.setdefault(record.key, []).append(record.payload)
        if restored:
            state = msgspec.msgpack.encode(reducer.state())
            reducer = GwReducer()
            reducer.restore(msgspec.msgpack.decode(state))
            assert msgspec.msgpack.encode(reducer.state()) == state
    return found


def noise(seconds: int, seed: int = 0, rate: int = RATE) -> Samples:
    return np.random.default_rng(seed).normal(size=seconds * rate).astype(np.float32)


def burst(samples: Samples, second: float, snr: float, frequency: float = 24.0, rate: int = RATE) -> Samples:
    """The samples and a sine-Gaussian of this SNR in white noise of unit variance."""
    t = np.arange(len(samples)) / rate - second
    shape = np.exp(-((t / 0.06) ** 2)) * np.cos(2 * np.pi * frequency * t)
    return (samples + snr * shape / np.sqrt(np.sum(shape**2))).astype(np.float32)


def heard(said: Sequence[ChannelWindow | FlagWindow], begin: int = BEGIN) -> list[float]:
    """Times, s after the start, of triggers above SNR 7."""
    return [(t.time - begin) / NS for one in said for t in one.triggers if t.snr > 7]  # type: ignore[union-attr]


def test_what_is_held_back_is_judged_from_the_first_samples_on_and_each_event_once() -> None:
    """Events in the seconds that teach the spectrum, across windows and in the last ones; of a channel whose first
    window begins in its middle."""
    times = (1.5, 5.98, 9.0, 14.1, 20.4)
    samples = noise(22)
    for at in times:
        samples = burst(samples, at, 14.0)
    for begin in (BEGIN, BEGIN + NS):
        said = reduced({"L1:GDS-CALIB_STRAIN": (RATE, "strain", 1e-21 * samples)}, begin=begin)["L1:GDS-CALIB_STRAIN"]
        assert heard(said, begin) == pytest.approx(times, abs=0.02)
        assert [one.state for one in said if isinstance(one, ChannelWindow)][:3] == ["learning"] * 3
        lives = [span for one in said for span in one.live]  # type: ignore[union-attr]
        assert sum(end - start for start, end in lives) == pytest.approx(20.5 * NS, abs=0.1 * NS)
        assert all(one.range is None or one.range > 0 for one in said)  # type: ignore[union-attr]


@pytest.mark.parametrize("good", [8, 9])
def test_a_stretch_of_eight_good_seconds_is_judged_and_a_shorter_one_is_not(good: int) -> None:
    samples = burst(noise(16), 3.5 + 4, 14.0)
    samples[: 4 * RATE] = samples[(4 + good) * RATE :] = np.nan
    assert len(heard(reduced({"L1:A": (RATE, "", samples)})["L1:A"])) == 1
    samples[(4 + 6) * RATE :] = np.nan
    assert heard(reduced({"L1:A": (RATE, "", samples)})["L1:A"]) == []


def test_a_channel_does_not_depend_on_its_neighbours_nor_on_restarts() -> None:
    samples = burst(noise(30), 20.3, 12.0)
    alone = reduced({"L1:B": (RATE, "", samples)})["L1:B"]
    beside = {
        "L1:A": (RATE, "", 1e6 * noise(30, 1)),
        "L1:B": (RATE, "", samples),
        "L1:C": (RATE, "", np.full(30 * RATE, 3.0, dtype=np.float32)),
        "L1:D": (64, "", np.full(30 * 64, np.nan, dtype=np.float32)),
        "L1:E": (RATE, "um", noise(17, 2)),
    }
    among = reduced(beside)
    encoded = msgspec.msgpack.encode(alone)
    assert msgspec.msgpack.encode(among["L1:B"]) == encoded
    assert msgspec.msgpack.encode(reduced(beside, restored=True)) == msgspec.msgpack.encode(among)
    assert {one.state for one in among["L1:C"]} == {"constant"}
    assert heard(among["L1:C"]) == []
    assert {one.state for one in among["L1:D"]} == {"absent"}  # type: ignore[union-attr]


def test_a_change_of_rate_starts_over_and_loses_nothing() -> None:
    first, then = burst(noise(13), 9.0, 14.0), burst(noise(17, 5, 64), 8.0, 14.0, 14.0, 64)
    more = rows_of({"L1:A": (64, "", then)}, BEGIN + 13 * NS)
    said = reduced({"L1:A": (RATE, "", first)}, more=more)["L1:A"]
    assert heard(said) == pytest.approx([9.0, 21.0], abs=0.03)
    assert said[-1].rate == 64  # type: ignore[union-attr]


def test_loud_events_have_a_picture_and_a_step_of_all_noise_is_followed() -> None:
    samples = burst(burst(noise(60), 30.4, 12.0), 50.5, 12.0)
    said = reduced({"L1:A": (RATE, "", samples)})["L1:A"]
    pictures = [one.pictures for one in said if one.pictures]  # type: ignore[union-attr]
    assert [p.title.split(":", 2)[:2] for (p,) in pictures] == [["L1", "A"]] * 2  # type: ignore[union-attr]
    stepped = samples.copy()
    stepped[40 * RATE :] *= 10
    said = reduced({"L1:A": (RATE, "", stepped)})["L1:A"]
    assert [t for t in heard(said) if t > 44] == pytest.approx([50.5], abs=0.02)
    louder = said[21].bands[3]  # type: ignore[union-attr]
    assert louder == pytest.approx(10, rel=0.3)


def test_flags_are_spans_as_far_as_the_second_behind_the_window() -> None:
    values = np.array([1, 1, 0, np.nan, 1, 1], dtype=np.float32)
    said = reduced({"L1:~DATA": (1, "", values)})["L1:~DATA"]
    assert isinstance(said[0], FlagWindow)
    assert isinstance(said[1], FlagWindow)
    assert said[0].active == [(BEGIN, BEGIN + 2 * NS)]
    assert said[0].known == [(BEGIN, BEGIN + 3 * NS)]
    assert said[1].active == [(BEGIN + 4 * NS, BEGIN + 5 * NS)]


def test_a_slow_sensor_has_fringes_of_its_speed() -> None:
    """x = A sin(2 π f t): v is at most 2 π f A, the fringe frequency 4 π f A / λ."""
    t = np.arange(16 * 20) / 16
    position = (8.0 * np.sin(2 * np.pi * 0.25 * t)).astype(np.float32)
    said = reduced({"L1:ISI-CPS": (16, "um", position)})["L1:ISI-CPS"]
    highest = max(hertz for one in said for _, hertz in one.fringes)  # type: ignore[union-attr]
    assert highest == pytest.approx(4 * np.pi * 0.25 * 8e-6 / 1.064e-6, rel=0.02)
    still = reduced({"L1:ISI-CPS": (16, "um", position / 100)})["L1:ISI-CPS"]
    assert not any(one.fringes for one in still)  # type: ignore[union-attr]


def test_the_range_is_that_of_the_published_figures() -> None:
    """White noise of 1e-23 / sqrt(Hz): recomputed slowly, by the sum over the signal of each hertz at 1 Mpc."""
    frequency = np.arange(4097)
    psd = np.full(4097, 1e-46)
    g, c, sun, megaparsec = 6.6743e-11, 299792458.0, 1.98841e30, 3.085677581e22
    chirp = 1.4 * 2**-0.2 * sun
    amplitude = np.sqrt(5 / 24) * np.pi ** (-2 / 3) * (g * chirp) ** (5 / 6) * c**-1.5 / megaparsec
    last = c**3 / (6**1.5 * np.pi * g * 2.8 * sun)
    snr2 = sum(4 * (amplitude * f ** (-7 / 6)) ** 2 / psd[int(f)] for f in frequency[20:] if f <= last)
    assert inspiral_range(np.log(psd)) == pytest.approx(np.sqrt(snr2) / 8 / 2.2648, rel=1e-3)
    assert inspiral_range(np.log(4 * psd)) == pytest.approx(inspiral_range(np.log(psd)) / 2, rel=1e-6)  # type: ignore[operator]
    assert is_strain("H1:GWOSC-STRAIN", "strain")
    assert not is_strain("H1:OMC-DCPD_SUM_OUT_DQ", "mA")


def test_a_checkpoint_of_known_channels_is_four_bytes_a_hertz() -> None:
    reducer, rows = GwReducer(), Batch.of(rows_of({f"L1:{k:03d}": (RATE, "", noise(20, k)) for k in range(40)}), Pieces)
    sizes = []
    for at in range(BEGIN, BEGIN + 20 * NS, SIZE):
        own = (rows.time >= at) & (rows.time < at + SIZE)
        near = (rows.time >= at - 2 * NS) & (rows.time < at + 3 * NS) & ~own
        its, context = (rows.take(np.flatnonzero(mask)).by_key() for mask in (own, near))
        reducer.close(WindowRows(Window(at, at + SIZE), its, context, Controls(), GwReducerSettings(), {}))
        sizes.append(len(msgspec.msgpack.encode(reducer.state())))
    assert max(sizes) < 40 * 4 * RATE * 10
    assert sizes[-1] < 40 * (4 * RATE / 2 + 200)


def test_a_picture_shows_the_loudest_tile_of_each_pixel() -> None:
    """A pixel is 16 ms wide and holds several tiles of high frequencies: none of a burst of 4 ms is passed over."""
    t = np.arange(20 * 1024) / 1024 - 14.3
    shape = np.exp(-((t / 0.004) ** 2)) * np.cos(2 * np.pi * 250.0 * t)
    samples = (noise(20, rate=1024) + 12 * shape / np.sqrt(np.sum(shape**2))).astype(np.float32)
    said = reduced({"L1:A": (1024, "", samples)})["L1:A"]
    (picture,) = (one for part in said for one in part.pictures)  # type: ignore[union-attr]
    assert isinstance(picture, Image)
    pixels = np.frombuffer(picture.pixels, dtype=np.uint8).reshape(picture.rows, picture.columns)
    assert pixels.max() == 255
    assert abs(pixels.max(axis=0).argmax() - (picture.columns - 1) / 2) <= 1


def test_samples_of_a_channel_that_is_gone_are_not_held_for_long() -> None:
    """It learned for four seconds. Another channel goes on."""
    channels = {"L1:A": (RATE, "", noise(4)), "L1:B": (RATE, "", noise(90, 1))}
    reducer = GwReducer()
    sizes = []
    every = Batch.of(rows_of(channels), Pieces)
    for at in range(BEGIN // SIZE * SIZE, BEGIN + 90 * NS, SIZE):
        own = every.take(np.flatnonzero((every.time >= at) & (every.time < at + SIZE))).by_key()
        nothing: Batch[PieceRow] = Batch.of([], Pieces)
        reducer.close(WindowRows(Window(at, at + SIZE), own, nothing, Controls(), GwReducerSettings(), {}))
        sizes.append(len(msgspec.msgpack.encode(reducer.state())))
    assert sizes[30] - sizes[-1] == pytest.approx(4 * 4 * RATE, abs=20)  # bytes
