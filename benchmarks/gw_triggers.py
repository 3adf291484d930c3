"""Triggers of strain: energies, recall, bias, false triggers and speed, beside gwpy in the same run.

python benchmarks/gw_triggers.py [--data ../shared/data/gw] [--seconds 4096] [--injections 700] [--curve FILE]
                                 [--only PART]

Parts: energies, events, injections, forms, noise, speed, stream. Noise is Gaussian with the spectrum of Advanced LIGO's
design as P. Ajith fitted it (Phys. Rev. D 84, 084037, eq. 4.7), cut at 10 Hz, or that of a file with columns Hz and
amplitude spectral density; injections are sine-Gaussians
exp(-t^2 / tau^2) cos(2 pi f t + phi), tau = Q / (sqrt(2) pi f), of a known optimal SNR, rho^2 = 4 int |h|^2 / S df.
Speed is CPU time of one process; put OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from math import pi, sqrt
from pathlib import Path

import numpy as np
import scipy.fft

from opintel.gw.engine import TriggerEngine
from opintel.gw.tiling import QTiling
from opintel.gw.triggers import find_triggers

START = 1_264_316_300.25


curve: list[np.ndarray] = []
"""Of --curve: Hz, 1 / sqrt(Hz)."""


def density(frequency: np.ndarray) -> np.ndarray:
    """One-sided power spectral density of the design, 1 / Hz."""
    if curve:
        known, amplitude = curve
        at = np.maximum(frequency, max(known[0], 8.0))
        return np.exp(2 * np.interp(np.log(at), np.log(known), np.log(amplitude)))
    x = np.maximum(frequency, 10.0) / 245.4
    return 1e-48 * (0.0152 * x**-4 + 0.2935 * x**2.25 + 2.7951 * x**1.5 - 6.5080 * x**0.75 + 17.7622)


def noise(rng: np.random.Generator, rate: int, seconds: float) -> np.ndarray:
    samples = round(rate * seconds)
    bins = np.fft.rfft(rng.standard_normal(samples)) * np.sqrt(density(np.fft.rfftfreq(samples, 1 / rate)) * rate / 2)
    return np.fft.irfft(bins, samples)


def sine_gaussian(rate: int, seconds: float, at: float, frequency: float, q: float, snr: float, phase: float):
    t = np.arange(round(rate * seconds)) / rate - at
    tau = q / (sqrt(2) * pi * frequency)
    h = np.exp(-((t / tau) ** 2)) * np.cos(2 * pi * frequency * t + phase)
    bins = np.fft.rfft(h) / rate
    f = np.fft.rfftfreq(len(h), 1 / rate)
    rho = sqrt(4 * float((np.abs(bins) ** 2 / density(f)).sum()) / seconds)
    return h * (snr / rho)


def cpu(work: Callable[[], object], times: int = 3) -> float:
    """The least CPU time of `times` runs."""
    spent = []
    for _ in range(times):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return min(spent)


Rows = list[tuple[int, float, float, float]]
"""Channel, seconds after the start, Hz, SNR."""


def batch(data: np.ndarray, rate: int) -> Rows:
    table = find_triggers(data, rate, START)
    return [(int(r["channel"]), r["t_peak"] - START, r["f_peak"], r["snr"]) for r in table.to_pylist()]


def streamed(data: np.ndarray, rate: int) -> Rows:
    """Window by window, 2 s each, of the past and one second more only."""
    engine, rows = TriggerEngine(rate), []
    state = engine.fresh(len(data))
    padded = np.pad(data, ((0, 0), (2 * rate, 3 * rate)), constant_values=np.nan)
    for number in range(data.shape[1] // (2 * rate)):
        first = number * 2 * rate
        window, state = engine.process(padded[:, first : first + engine.samples], number * 2 * 10**9, state)
        f = window.found
        rows += list(zip(f.channel.tolist(), f.time * 1e-9, f.frequency, f.snr, strict=True))
    return rows


def energies() -> None:
    from gwpy.signal.qtransform import QTiling as Peer
    from gwpy.timeseries import TimeSeries

    print("\n## Tile energies beside gwpy's, of noise of unit variance, 32 s\n")
    print("| rate, Hz | rows | tiles that both have | largest difference |\n|---|---|---|---|")
    for rate in (4096, 16384):
        data = np.random.default_rng(1).standard_normal((1, 32 * rate))
        spectrum = TimeSeries(data[0], sample_rate=rate, t0=0).fft()
        ours = {(round(r.q, 6), round(r.frequency, 6)): r.energy[0] for r in QTiling(rate, 32).energies(data)}
        worst, tiles, rows = 0.0, 0, 0
        for plane in Peer(32, rate):
            for tile in plane:
                theirs = np.asarray(tile.transform(spectrum, norm="mean", epoch=0).value)
                mine = ours[(round(plane.q, 6), round(tile.frequency, 6))]
                common = np.gcd(len(theirs), len(mine))
                a, b = theirs[:: len(theirs) // common], mine[:: len(mine) // common]
                worst = max(worst, float(np.abs(a * np.median(b / a) - b).max()))
                tiles, rows = tiles + common, rows + 1
        print(f"| {rate} | {rows} of {len(ours)} | {tiles} | {worst:.1e} |", flush=True)


def events(folder: Path) -> None:
    import h5py

    print("\n## GW150914, 32 s around it\n\n| file | SNR | time | others above 7 | all others |\n|---|---|---|---|---|")
    for path in sorted((folder / "gwosc").glob("*.hdf5")):
        with h5py.File(path) as file:
            strain = file["strain/Strain"]
            table = find_triggers(strain[:][None], 1 / strain.attrs["Xspacing"], float(strain.attrs["Xstart"]))
        rows = table.to_pylist()
        event = [r for r in rows if abs(r["t_peak"] - 1126259462.42) < 0.05]
        others = [r for r in rows if r not in event]
        said = f"{event[0]['snr']:.2f} | {event[0]['t_peak']:.3f}" if event else "none | "
        print(f"| {path.name} | {said} | {sum(r['snr'] > 7 for r in others)} | {len(others)} |")


def injections(number: int, rate: int = 4096) -> None:
    print(f"\n## Sine-Gaussians, 30 to 1500 Hz, Q 5 to 60, {number} each, 4 s apart\n")
    print("late: their time is off by more than 10 ms and a cycle\n")
    print("| how | optimal SNR | found | bias | sd of the SNR | late | doubles |\n|---|---|---|---|---|---|---|")
    for snr in (10.0, 20.0, 100.0):
        for name, search in (("find_triggers, 32 s", batch), ("stream, 2 s windows", streamed)):
            rng = np.random.default_rng(7)
            late, doubles, ratios, missed = 0, 0, [], []
            channels = number // 7
            data = np.stack([noise(rng, rate, 32.0) for _ in range(channels)])
            truth = []
            for channel in range(channels):
                for k in range(7):
                    at = 4.0 * (k + 1) + rng.uniform(-0.5, 0.5)
                    f, q = np.exp(rng.uniform(np.log(30), np.log(1500))), np.exp(rng.uniform(np.log(5), np.log(60)))
                    data[channel] += sine_gaussian(rate, 32.0, at, f, q, snr, rng.uniform(0, 2 * pi))
                    truth.append((channel, at, f, q))
            rows = search(data, rate)
            for channel, at, f, q in truth:
                near = [r for r in rows if r[0] == channel and abs(r[1] - at) < 1.5 and r[3] > 6]
                hits = [r for r in near if abs(r[1] - at) < 0.2]
                if not hits:
                    missed.append((round(f), round(q)))
                    continue
                best = max(hits, key=lambda r: r[3])
                late += abs(best[1] - at) > 0.01 + 1 / f
                doubles += len(near) > 1
                ratios.append(best[3] / snr - 1)
            total, found = len(truth), len(ratios)
            print(
                f"| {name} | {snr:g} | {found / total:.3f} | {100 * np.mean(ratios):+.1f} % | "
                f"{snr * np.std(ratios):.2f} | {late / found:.3f} | {doubles / found:.3f} |",
                flush=True,
            )
            if missed:
                print(f"missed (Hz, Q): {missed[:8]}")


def forms(number: int, rate: int = 4096) -> None:
    print(f"\n## Other forms than sine-Gaussians, {number} each, 4 s apart, by array\n")
    print("| form | optimal SNR | found | bias |\n|---|---|---|---|")
    t = np.arange(32 * rate) / rate
    f = np.fft.rfftfreq(len(t), 1 / rate)

    def pulse(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
        return np.exp(-((t / rng.uniform(0.0004, 0.004)) ** 2))

    def ringdown(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
        frequency, q = np.exp(rng.uniform(np.log(30), np.log(1500))), np.exp(rng.uniform(np.log(5), np.log(60)))
        return (t >= 0) * np.exp(-np.maximum(t, 0) * 2 * pi * frequency / q) * np.cos(2 * pi * frequency * t)

    def noisy(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
        return np.exp(-((t / rng.uniform(0.01, 0.05)) ** 2)) * rng.standard_normal(len(t))

    def chirp(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
        left = np.maximum(-t, 1e-3)
        return (t < 0) * (t > -0.6) * left**-0.25 * np.cos(2 * pi * 8 / 5 * 130 * 0.1 ** (3 / 8) * left ** (5 / 8))

    for form in (pulse, ringdown, noisy, chirp):
        for snr in (10.0, 30.0):
            rng, ratios = np.random.default_rng(2), []
            data, truth = np.stack([noise(rng, rate, 32.0) for _ in range(number // 7)]), []
            for channel in range(len(data)):
                for k in range(7):
                    at = 4.0 * (k + 1) + rng.uniform(-0.5, 0.5)
                    h = form(rng, t - at)
                    power = np.abs(np.fft.rfft(h) / rate) ** 2 / density(f)
                    data[channel] += h * snr / sqrt(4 * float(power[f >= 15].sum()) / 32.0)
                    truth.append((channel, at))
            rows = batch(data, rate)
            for channel, at in truth:
                near = [r[3] for r in rows if r[0] == channel and abs(r[1] - at) < 0.2 and r[3] > 6]
                ratios += [max(near) / snr - 1] if near else []
            bias = f"{100 * np.mean(ratios):+.1f} %" if ratios else ""
            print(f"| {form.__name__} | {snr:g} | {len(ratios)} of {len(truth)} | {bias} |", flush=True)


def false_triggers(seconds: int, rate: int = 4096) -> None:
    print(f"\n## Triggers of Gaussian noise a second, {rate} Hz\n")
    print("| how | seconds | above 5.5 | above 6 | above 6.5 | above 7 |\n|---|---|---|---|---|---|")
    for name, search in (("find_triggers, 32 s", batch), ("stream, 2 s windows, 256 s", streamed)):
        rng, snrs = np.random.default_rng(11), []
        length = 32 if search is batch else 256
        channels = 256 // length * 2
        for _ in range(seconds // (length * channels)):
            data = np.stack([noise(rng, rate, length) for _ in range(channels)])
            snrs += [r[3] for r in search(data, rate)]
        rates = " | ".join(f"{np.sum(np.array(snrs) > s) / seconds:.1e}" for s in (5.5, 6.0, 6.5, 7.0))
        print(f"| {name} | {seconds // (length * channels) * length * channels} | {rates} |", flush=True)


def speed() -> None:
    from gwpy.signal.qtransform import QTiling as Peer
    from gwpy.timeseries import TimeSeries

    print("\n## Speed, CPU-ms a channel of 32 s\n")
    print(
        "| what | rate, Hz | gwpy | 1 channel a call | 16 channels a call | times as fast |\n|---|---|---|---|---|---|"
    )
    for rate in (4096, 16384):
        rng = np.random.default_rng(5)
        many = rng.standard_normal((16, 32 * rate)).astype(np.float32)
        series = TimeSeries(many[0].astype(float), sample_rate=rate, t0=0)
        tiling, peer = QTiling(rate, 32), Peer(32, rate)

        def tile(data: np.ndarray, tiling: QTiling = tiling) -> None:
            for _ in tiling.energies(data):
                pass

        def chain(series: TimeSeries = series) -> None:
            series.q_transform(qrange=(4, 64), frange=(20, 0.4 * rate), logf=True, whiten=True)  # noqa: B023

        def theirs(series: TimeSeries = series, peer: Peer = peer) -> None:
            peer.transform(series.fft(), epoch=0)

        for what, gwpy, ours in (
            ("tiling", theirs, tile),
            ("whole chain", chain, lambda data, rate=rate: find_triggers(data, rate, START)),
        ):
            ours(many[:1])
            peer_s, one, each = cpu(gwpy), cpu(partial(ours, many[:1])), cpu(partial(ours, many)) / 16
            print(
                f"| {what} | {rate} | {1e3 * peer_s:.0f} | {1e3 * one:.0f} | {1e3 * each:.0f} | "
                f"{peer_s / one:.1f}, {peer_s / each:.1f} |",
                flush=True,
            )


def stream() -> None:
    print("\n## A stream of 1000 channels, windows of 2 s seen with 2 s before and 1 s after\n")
    print("| channels | CPU-s a second of data |\n|---|---|")
    total = 0.0
    for channels, rate, band in ((100, 16384, (16.0, 800.0)), (300, 4096, None), (600, 256, None)):
        engine = TriggerEngine(rate, band=band)
        rng = np.random.default_rng(9)
        data = rng.standard_normal((channels, engine.samples)).astype(np.float32)
        _, state = engine.process(data, 0, engine.fresh(channels))
        number = iter(range(1, 9))
        spent = cpu(lambda e=engine, d=data, s=state, n=number: e.process(d, next(n) * 2 * 10**9, s)) / 2.0
        total += spent
        print(f"| {channels} at {rate} Hz, {engine.band[0]:g} to {engine.band[1]:g} Hz | {spent:.3f} |", flush=True)
    print(f"| 1000 | {total:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/gw"))
    parser.add_argument("--curve", type=Path)
    parser.add_argument("--seconds", type=int, default=4096)
    parser.add_argument("--injections", type=int, default=700)
    parts = {
        "energies": lambda a: energies(),
        "events": lambda a: events(a.data),
        "injections": lambda a: injections(a.injections),
        "forms": lambda a: forms(a.injections),
        "noise": lambda a: false_triggers(a.seconds),
        "speed": lambda a: speed(),
        "stream": lambda a: stream(),
    }
    parser.add_argument("--only", choices=list(parts), action="append")
    arguments = parser.parse_args()
    curve[:] = np.loadtxt(arguments.curve, unpack=True) if arguments.curve else []
    print(f"scipy {scipy.__version__}, numpy {np.__version__}")
    for name in arguments.only or parts:
        parts[name](arguments)


if __name__ == "__main__":
    main()
