"""Simulated data as HDF5: the strain in the layout of GWOSC, all channels in that of the auxiliary release of GW170814.

Both need h5py (extra `gw`). Files begin at multiples of their length; what is not there is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from opintel.extras import install
from opintel.finding import NS, rfc3339
from opintel.gw.gps import utc_from_gps
from opintel.gw.simulated.model import DATA, STATE, STRAIN
from opintel.gw.simulated.playing import Second
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.wire.encoder import TableEntry

LENGTH = 64
"""s of a file."""
_QUALITY = ("DATA", "CBC_CAT1", "CBC_CAT2", "CBC_CAT3", "BURST_CAT1", "BURST_CAT2", "BURST_CAT3")
_INJECTIONS = ("NO_CBC_HW_INJ", "NO_BURST_HW_INJ", "NO_DETCHAR_HW_INJ", "NO_CW_HW_INJ", "NO_STOCH_HW_INJ")


def write_strain(folder: Path, simulation: GwSimulator, interferometer: str, length: int = LENGTH) -> list[Path]:
    """The strain in files of `length` s: `strain/Strain` in double precision, `quality/simple/DQmask` at 1 Hz, whose
    bits are all set in a second of nothing but science data. Their paths, in order of time."""
    return [_strain_file(folder, interferometer, *one, length) for one in _files(simulation, interferometer, length)]


def write_auxiliary(folder: Path, simulation: GwSimulator, interferometer: str, length: int = LENGTH) -> list[Path]:
    """All channels in files of `length` s: SUBSYSTEM/CHANNEL/data with its attributes `gps_start duration fs fs0 valid
    unit cal note`; `valid` is 0 where nothing of a channel is there, and what comes in a file after its rate has
    changed is not. Their paths, in order of time."""
    return [_auxiliary_file(folder, interferometer, *one, length) for one in _files(simulation, interferometer, length)]


def _files(simulation: GwSimulator, interferometer: str, length: int) -> Iterator[tuple[int, list[Second]]]:
    """(start, seconds) of the files with samples."""
    for number, seconds in groupby(simulation.seconds(interferometer), lambda second: second.gps // length):
        those = list(seconds)
        if any(len(second.rows) > 1 for second in those):
            yield number * length, those


def _strain_file(folder: Path, name: str, start: int, seconds: Sequence[Second], length: int) -> Path:
    entry, state = (_entry(seconds[0], f"{name}:{channel}") for channel in (STRAIN, STATE))
    kilohertz = f"{entry.rate // 1024}KHZ"
    path = folder / f"{name[0]}-{name}_GWOSC_{kilohertz}_R1-{start}-{length}.hdf5"
    samples = _samples(entry, seconds, start, length).astype(np.float64)
    observing = np.nan_to_num(_samples(state, seconds, start, length)).astype(np.int64) & DATA
    good = observing.reshape(length, -1).all(axis=1)
    with _new(path) as file:
        strain = file.create_dataset("strain/Strain", data=samples)
        _grid(strain, start, 1.0 / entry.rate, len(samples))
        strain.attrs["Ylabel"], strain.attrs["Yunits"] = "Strain", ""
        for place, mask, names in (("simple", "DQ", _QUALITY), ("injections", "Inj", _INJECTIONS)):
            bits = good * np.uint32((1 << len(names)) - 1)
            dataset = file.create_dataset(f"quality/{place}/{mask}mask", data=bits.astype(np.uint32))
            _grid(dataset, start, 1.0, length)
            dataset.attrs["Bits"] = len(names)
            for what in ("Shortnames", "Descriptions"):
                file[f"quality/{place}/{mask}{what}"] = np.array(names, dtype="S")
        about = {"GPSstart": start, "Duration": length, "Detector": name, "Observatory": name[0]}
        about |= {"Type": "StrainTimeSeries", "UTCstart": rfc3339(utc_from_gps(start * NS)).rstrip("Z")}
        for key, value in about.items():
            file[f"meta/{key}"] = value
    return path


def _auxiliary_file(folder: Path, name: str, start: int, seconds: Sequence[Second], length: int) -> Path:
    path = folder / f"{name[0]}-{name}_AUXR-{start}-{length}.h5"
    with _new(path) as file:
        for entry in seconds[0].table:
            samples = _samples(entry, seconds, start, length)
            missing = np.isnan(samples)
            dtype = entry.dtype if not missing.any() else "float32"
            subsystem = entry.name.partition(":")[2].partition("-")[0]
            group = file.create_group(f"{subsystem}/{entry.name}")
            group.create_dataset("data", data=samples.astype(dtype))
            group.attrs.update(gps_start=start, duration=length, fs=entry.rate, fs0=entry.rate)
            group.attrs.update(valid=int(not missing.all()), unit=entry.unit, cal=1.0, note="")
            if entry.bits:
                group.attrs["bits"] = list(entry.bits)
    return path


def _samples(entry: TableEntry, seconds: Sequence[Second], start: int, length: int) -> Any:
    """(length * rate,) of a channel, NaN where there is none."""
    found = np.full((length, entry.rate), np.nan, dtype=np.float32)
    for second in seconds:
        samples = next((samples for number, samples in second.rows if number == entry.id), None)
        if samples is not None and len(samples) == entry.rate:
            found[second.gps - start] = samples
    return found.reshape(-1)


def _entry(second: Second, name: str) -> TableEntry:
    return next(entry for entry in second.table if entry.name == name)


def _grid(dataset: Any, start: int, spacing: float, points: int) -> None:
    dataset.attrs.update(Xstart=start, Xspacing=spacing, Npoints=points, Xlabel="GPS time", Xunits="second")


def _new(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"writing HDF5 needs h5py: {install('gw')}") from error
    return h5py.File(path, "w", track_order=False)
