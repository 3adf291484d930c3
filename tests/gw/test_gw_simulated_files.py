"""Simulated data as HDF5: the layouts of GWOSC and of the auxiliary release of GW170814."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gw.played import HOURS, QUIET, played
from opintel.gw.simulated.files import write_auxiliary, write_strain
from opintel.gw.simulated.model import STRAIN
from opintel.gw.simulated.simulate import GwSimulator

h5py = pytest.importorskip("h5py", reason="needs the extra gw")


@pytest.fixture(scope="module")
def simulation() -> GwSimulator:
    return GwSimulator(seed=11, hours=HOURS, faults=["missing-channel", "gap"], model=QUIET)


def test_strain_as_gwosc_has_it(simulation: GwSimulator, tmp_path: Path) -> None:
    paths = write_strain(tmp_path, simulation, "L1")
    strain = played(simulation)[STRAIN]
    found: dict[int, object] = {}
    for path in paths:
        with h5py.File(path) as file:
            start = int(file["strain/Strain"].attrs["Xstart"])
            assert path.name == f"L-L1_GWOSC_1KHZ_R1-{start}-64.hdf5"
            assert start % 64 == 0
            assert start == file["meta/GPSstart"][()]
            assert file["meta/Duration"][()] == 64
            assert file["meta/Detector"][()] == b"L1"
            samples = file["strain/Strain"][:]
            assert samples.dtype == np.float64
            assert file["strain/Strain"].attrs["Xspacing"] == 1 / 1024
            names = [name.decode() for name in file["quality/simple/DQShortnames"][:]]
            assert names[0] == "DATA"
            mask = file["quality/simple/DQmask"][:]
            assert len(mask) == len(file["quality/injections/Injmask"]) == 64
            found |= {start + n: (samples[1024 * n : 1024 * (n + 1)], bool(mask[n] & 1)) for n in range(64)}
    (stretch,) = simulation.stretches
    for gps, (samples, good) in found.items():
        assert good == (gps in strain and stretch.begin <= gps < stretch.end)
        expected = strain.get(gps, np.full(1024, np.nan, dtype=np.float32))
        assert np.array_equal(samples, expected.astype(np.float64), equal_nan=True)
    assert set(found) >= set(strain)


def test_channels_as_the_auxiliary_release_has_them(simulation: GwSimulator, tmp_path: Path) -> None:
    paths = write_auxiliary(tmp_path, simulation, "L1")
    data = played(simulation)
    table = next(simulation.seconds("L1")).table
    for path in paths:
        with h5py.File(path) as file:
            groups = {name: file[subsystem][name] for subsystem in file for name in file[subsystem]}
            assert groups.keys() == {entry.name for entry in table}
            for entry in table:
                group = groups[entry.name]
                attributes = dict(group.attrs)
                assert group.parent.name == "/" + entry.name[3:].partition("-")[0]
                assert (attributes["fs"], attributes["unit"], attributes["duration"]) == (entry.rate, entry.unit, 64)
                start = int(attributes["gps_start"])
                assert path.name == f"L-L1_AUXR-{start}-64.h5"
                samples = group["data"][:].astype(np.float64).reshape(64, -1)
                its = data[entry.name[3:]]
                for n, row in enumerate(samples):
                    expected = its.get(start + n, np.full(entry.rate, np.nan, dtype=np.float32))
                    assert np.array_equal(row, expected.astype(np.float64), equal_nan=True)
                assert attributes["valid"] == bool(np.isfinite(samples).any())
    with h5py.File(paths[1]) as file:
        assert np.isnan(file["GDS/L1:GDS-CALIB_STRAIN/data"][:]).any()


def test_integers_stay_integers_where_nothing_is_missing(tmp_path: Path) -> None:
    paths = write_auxiliary(tmp_path, GwSimulator(seed=11, hours=0.05, faults=(), model=QUIET), "L1")
    kinds = []
    for path in paths:
        with h5py.File(path) as file:
            kinds.append(file["ASC/L1:ASC-AS_B_DC_SUM_OUT_DQ/data"].dtype)
    assert kinds == [np.float32, np.int16, np.float32]
