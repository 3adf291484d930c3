"""Files of samples: the layouts of the field, by content; grids, gaps and flags; and files that are none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import opintel
from gw.messages import GPS, NS, UTC
from gw.sample_files import auxiliary, bodies, gwosc, merged, noise, read, series
from opintel.detector import Message
from opintel.gw.files import PARSERS
from opintel.gw.wire import GwWire
from opintel.rows import Batch
from opintel.streams.connectors.parsed import parsed

STRAIN = "H1:GWOSC-STRAIN"


@pytest.mark.parametrize("rate", [256, 4096, 16384])
def test_gwosc_strain_and_its_flags(tmp_path: Path, rate: int) -> None:
    strain = noise(4 * rate)
    found = read(gwosc(tmp_path / "any.hdf5", strain, rate, mask=[7, 3, 5, 7]))
    start, samples = series(found.rows, STRAIN)
    assert start == UTC * NS  # of Xstart; meta/UTCstart is a second late
    assert samples == pytest.approx(strain.astype("f4"), rel=1e-6)
    assert set(found.rows.payload.unit.values) == {"strain", ""}
    assert series(found.rows, "H1:~DATA")[1].tolist() == [1, 1, 1, 1]
    assert series(found.rows, "H1:~CBC_CAT1")[1].tolist() == [1, 1, 0, 1]
    assert series(found.rows, "H1:~CBC_CAT2")[1].tolist() == [1, 0, 1, 1]
    assert series(found.rows, "H1:~NO_CBC_HW_INJ")[1].tolist() == [1, 1, 1, 1]


def test_strain_without_its_data_bit_is_not_there_whatever_it_holds(tmp_path: Path) -> None:
    strain = noise(6 * 256)
    strain[2 * 256 : 3 * 256] = 1e-18 * np.sin(np.arange(256))
    strain[3 * 256 : 4 * 256] = 0
    found = read(gwosc(tmp_path / "f.hdf5", strain, mask=[7, 7, 6, 6, 7, 3]))
    _, samples = series(found.rows, STRAIN)
    assert np.flatnonzero(np.isnan(samples)).tolist() == list(range(2 * 256, 4 * 256))
    assert series(found.rows, "H1:~DATA")[1].tolist() == [1, 1, 0, 0, 1, 1]


def test_nan_and_zeros_that_last_are_gaps_whatever_the_bits_say(tmp_path: Path) -> None:
    strain = noise(4 * 256)
    strain[100:200] = np.nan
    strain[300:700] = 0
    strain[800] = 0
    _, samples = series(read(gwosc(tmp_path / "f.hdf5", strain)).rows, STRAIN)
    assert np.flatnonzero(np.isnan(samples)).tolist() == [*range(100, 200), *range(300, 700)]


def test_a_file_of_nothing_but_nan_is_no_error(tmp_path: Path) -> None:
    _, samples = series(read(gwosc(tmp_path / "f.hdf5", np.full(512, np.nan), mask=[0, 0])).rows, STRAIN)
    assert np.isnan(samples).all()
    assert len(samples) == 512


@pytest.mark.parametrize(("rate", "start"), [(3000, GPS + 0.25), (4096, GPS + 1 / 3), (16384, GPS + 0.1), (62.5, GPS)])
def test_fractional_starts_and_odd_rates_lose_no_sample(tmp_path: Path, rate: float, start: float) -> None:
    strain = noise(round(5 * rate))
    found = read(gwosc(tmp_path / "f.hdf5", strain, rate, start=start))
    first, samples = series(found.rows, STRAIN)
    assert abs(first - round((start - GPS) * NS) - UTC * NS) <= 250
    assert len(samples) == len(strain)
    times = found.rows.time[found.rows.key.code == found.rows.key.values.index(STRAIN)]
    assert len(set((times // NS).tolist())) == len(times)


def test_a_long_file_has_messages_of_several_seconds(tmp_path: Path) -> None:
    path = gwosc(tmp_path / "f.hdf5", noise(2100 * 2), 2)
    every, _ = bodies(path)
    assert len(every) == 701
    assert len(series(GwWire().decode([Message(body) for body in every]).rows, STRAIN)[1]) == 2100 * 2


def test_seconds_that_two_files_share_are_one_row_each_and_in_order(tmp_path: Path) -> None:
    strain = noise(14 * 256)
    second = gwosc(tmp_path / "a.hdf5", strain[5 * 256 :], start=GPS + 5)
    first = gwosc(tmp_path / "b.hdf5", strain[: 9 * 256])
    chunks = merged([second, first], 3)
    rows = Batch.joined([GwWire().decode(chunk).rows for chunk in chunks])
    ids, place = np.unique(rows.id, return_index=True)
    assert len(rows) - len(ids) == 4 * 5  # of four seconds a piece of strain and four flags
    once = rows.take(np.sort(place)).by_key()
    start, samples = series(once, STRAIN)
    assert (start, len(samples)) == (UTC * NS, len(strain))
    assert np.diff(rows.time).min() >= -NS


def test_a_change_of_rate_between_files(tmp_path: Path) -> None:
    strain = noise(8 * 256)
    paths = [
        gwosc(tmp_path / "1.hdf5", strain[: 4 * 256]),
        gwosc(tmp_path / "2.hdf5", strain[4 * 256 :: 2], 128, start=GPS + 4),
    ]
    rows = Batch.joined([GwWire().decode(chunk).rows for chunk in merged(paths)])
    here = rows.take(np.flatnonzero(rows.key.code == rows.key.values.index(STRAIN)))
    assert here.payload.rate.tolist() == [256.0] * 4 + [128.0] * 4
    assert here.time.tolist() == [(UTC + n) * NS for n in range(8)]


def test_the_auxiliary_release(tmp_path: Path) -> None:
    counts = np.array([-32768, 0, 0, 32767] * 16, dtype=np.int16)
    path = auxiliary(
        tmp_path / "L-L1_AUXR-1-4.h5",
        {
            "GDS/L1:GDS-CALIB_STRAIN": (noise(64), {"unit": "strain"}),
            "ASC/L1:ASC-AS_B_DQ": (counts, {"gps_start": GPS + 0.5}),
            "SUS/L1:SUS-CONSTANT_DQ": (np.full(64, 17.25, dtype=np.float32), {"unit": "um"}),
            "PSL/L1:PSL-ABSENT_DQ": (np.zeros(64, dtype=np.float32), {"valid": 0}),
            "HPI/L1:HPI-SLOW_DQ": (np.ones(2, dtype=np.float32), {"fs": 0.5}),
        },
    )
    rows = read(path).rows
    units = dict(zip(rows.key.tolist(), rows.payload.unit.tolist(), strict=True))
    assert units == {
        "L1:GDS-CALIB_STRAIN": "strain",
        "L1:ASC-AS_B_DQ": "ct",
        "L1:SUS-CONSTANT_DQ": "um",
        "L1:HPI-SLOW_DQ": "ct",
    }
    start, samples = series(rows, "L1:ASC-AS_B_DQ")
    assert (start, samples.tolist()) == (UTC * NS + NS // 2, counts.tolist())
    assert series(rows, "L1:SUS-CONSTANT_DQ")[1].tolist() == [17.25] * 64


def test_series_as_gwpy_and_others_write_them(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf"
    with h5py.File(path, "w") as file:
        file["strain"] = noise(64)
        file["strain"].attrs.update({"x0": float(GPS), "dx": 1 / 16, "unit": "strain", "channel": "V1:h_16Hz"})
        file["group/V1:LSC_DARM"] = np.arange(32, dtype=">f4") + 1
        file["group/V1:LSC_DARM"].attrs.update({"t0": GPS + 1, "sample_rate": 16})
        file["V1:STATE"] = np.array([1, 3, 0, 2], dtype=np.uint32)
        file["V1:STATE"].attrs.update({"x0": GPS, "dx": 1.0, "bits": ["DATA", "CAT1"], "xunit": "s"})
        file["V1:NOTHING"] = np.arange(3)
    found = read(path)
    assert np.isnan(series(found.rows, "V1:h_16Hz")[1]).tolist() == [False] * 32 + [True] * 32
    assert series(found.rows, "V1:LSC_DARM") == (pytest.approx((UTC + 1) * NS), pytest.approx(np.arange(1, 33)))
    assert series(found.rows, "V1:~CAT1")[1].tolist() == [0, 1, 0, 1]


def test_what_the_settings_call_a_state_vector_is_one_in_files_too(tmp_path: Path) -> None:
    state = np.array([1 << 25 | 1, 1 << 25, 1, 1] * 4, dtype=np.uint32)
    strain = ("GDS/L1:Z-STRAIN", (noise(64), {"unit": "strain"}))
    path = auxiliary(tmp_path / "f.h5", dict([strain, ("DMT/L1:DMT-DQ", (state, {"fs": 4}))]))
    found = read(path, GwWire(state={"L1:DMT-DQ": {"DATA": [0], "HIGH": [25]}}))
    assert series(found.rows, "L1:~DATA")[1].tolist() == [1, 0, 1, 1] * 4
    assert series(found.rows, "L1:~HIGH")[1].tolist() == [1, 1, 0, 0] * 4
    assert np.isnan(series(found.rows, "L1:Z-STRAIN")[1][:16]).tolist() == [False] * 4 + [True] * 4 + [False] * 8


def test_samples_that_were_never_written_are_not_made_up(tmp_path: Path) -> None:
    path = auxiliary(tmp_path / "f.h5", {"B/L1:GOOD": (np.zeros(16, dtype=np.int16), {})})
    with h5py.File(path, "a") as file:
        group = file.create_group("A/L1:EMPTY")
        group.attrs.update({"gps_start": GPS, "fs": 16384})
        group.create_dataset("data", (1 << 34,), "f4", chunks=(1 << 20,))
    every, unread = bodies(path)
    assert (len(every), len(unread)) == (1, 1)
    assert "expected data in the file, got 0 bytes" in unread[0]


def test_rows_of_a_message_of_several_seconds_are_in_order_of_time(tmp_path: Path) -> None:
    path = gwosc(tmp_path / "f.hdf5", noise(2099 * 4), 4, mask=[7] * 2103)
    times = [GwWire().decode([Message(body)]).rows.time for body in bodies(path)[0]]
    assert max(len(set(one.tolist())) for one in times) == 3
    assert np.diff(np.concatenate(times)).min() == 0


def test_a_file_across_a_leap_second(tmp_path: Path) -> None:
    leap = 1_167_264_017
    found = read(gwosc(tmp_path / "f.hdf5", noise(4 * 256), start=leap - 2))
    here = found.rows.time[found.rows.key.code == found.rows.key.values.index(STRAIN)]
    assert (here // NS).tolist() == [1_483_228_798, 1_483_228_799, 1_483_228_800]


@pytest.mark.parametrize(
    ("data", "about", "reason"),
    [
        (np.ones((4, 4)), {}, "expected one row of samples"),
        (np.ones(4, dtype=complex), {}, "expected samples that are numbers, got complex128"),
        (np.array([b"1.0"] * 4), {}, "expected samples that are numbers"),
        (np.ones(0), {}, "expected samples, got none"),
        (np.ones(4), {"fs": 0}, "expected a rate"),
        (np.ones(4), {"fs": 1e9}, "expected a rate"),
        (np.ones(4), {"fs": float("nan")}, "expected a rate"),
        (np.ones(4), {"gps_start": float("inf")}, "expected a start"),
        (np.ones(4), {"gps_start": 1 << 62}, ""),
    ],
)
def test_a_bad_series_is_said_and_the_others_are_read(
    tmp_path: Path, data: Any, about: dict[str, Any], reason: str
) -> None:
    path = auxiliary(tmp_path / "f.h5", {"A/L1:BAD": (data, about), "B/L1:GOOD": (np.ones(16), {})})
    every, unread = bodies(path)
    assert [text for text in unread if "L1:BAD" in text and reason in text]
    found = GwWire().decode([Message(body) for body in every])
    assert found.rows.key.values == ["L1:GOOD"]


def test_a_channel_without_an_interferometer_is_said(tmp_path: Path) -> None:
    path = auxiliary(tmp_path / "f.h5", {"ASC/NO_PREFIX": (np.ones(16), {}), "B/L1:GOOD": (np.ones(16), {})})
    assert "expected INTERFEROMETER:NAME" in bodies(path)[1][0]


def linked(group: h5py.Group, secret: Path) -> None:
    group["data"] = h5py.ExternalLink(str(secret), "x")


def stored_elsewhere(group: h5py.Group, secret: Path) -> None:
    group.create_dataset("data", (64,), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(group: h5py.Group, secret: Path) -> None:
    layout = h5py.VirtualLayout((64,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "x", (64,))
    group.create_virtual_dataset("data", layout)


@pytest.mark.parametrize("put", [linked, stored_elsewhere, virtual])
def test_nothing_outside_the_file_is_read(tmp_path: Path, put: Callable[[h5py.Group, Path], None]) -> None:
    secret, path = tmp_path / "secret.h5", tmp_path / "f.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(64)
    with h5py.File(path, "w") as file:
        group = file.create_group("A/L1:OUT")
        group.attrs.update({"gps_start": GPS, "fs": 16})
        put(group, secret)
    with pytest.raises(ValueError, match="no series in it"):
        bodies(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda body: b"GIF89a" + body, "expected HDF5 or a frame file"),
        (lambda body: body[: len(body) // 2], "expected HDF5"),
        (lambda body: body[:8] + bytes(200), "expected HDF5"),
        (lambda body: b"IGWD" + bytes(200), "expected a frame file|needs gwframe"),
    ],
)
def test_a_file_that_is_none_is_refused_in_its_child(tmp_path: Path, spoil: Any, reason: str) -> None:
    path = gwosc(tmp_path / "f.hdf5", noise(512))
    path.write_bytes(spoil(path.read_bytes()))
    with path.open("rb") as file:
        (one,) = parsed(PARSERS[".hdf5"], {"state": []}, file, 0, path.stat().st_size)
    assert one[2]
    assert re.search(reason, one[0].decode())


@pytest.mark.parametrize("missing", ["meta/Detector", "quality", "quality/simple/DQShortnames"])
def test_gwosc_without_a_part(tmp_path: Path, missing: str) -> None:
    path = gwosc(tmp_path / "f.hdf5", noise(512))
    with h5py.File(path, "a") as file:
        del file[missing]
    if missing == "meta/Detector":
        with pytest.raises(ValueError, match="meta/Detector: expected"):
            bodies(path)
        return
    found = read(path)
    assert not np.isnan(series(found.rows, STRAIN)[1]).any()
    assert "H1:~DATA" not in found.rows.key.values


def test_damaged_samples_end_their_file_and_no_other(tmp_path: Path) -> None:
    path = gwosc(tmp_path / "f.hdf5", noise(4096 * 8), 4096)
    with h5py.File(path, "r") as file:
        chunk = file["strain/Strain"].id.get_chunk_info(1)
    body = bytearray(path.read_bytes())
    body[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(body)
    other = gwosc(tmp_path / "g.hdf5", noise(512), start=GPS + 100)
    forms = [message.form for chunk in merged([path, other]) for message in chunk]
    assert sorted(set(forms)) == ["json", "refused"]
    assert forms.count("refused") == 1
    assert forms.count("json") == 2


@pytest.mark.parametrize("name", ["H-H1_LOSC_4_V2-1126259446-32.hdf5", "H-H1_GWOSC_16KHZ_R1-1126259447-32.hdf5"])
def test_real_files_of_gwosc(shared_data: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "another_name.h5"
    shutil.copy(shared_data / "gw" / "gwosc" / name, copy)
    rows = read(copy).rows
    start, samples = series(rows, STRAIN)
    gps = int(name.split("-")[2])
    assert (start, len(samples)) == ((gps - GPS + UTC) * NS, 32 * (16384 if "16KHZ" in name else 4096))
    assert not np.isnan(samples).any()
    assert series(rows, "H1:~DATA")[1].tolist() == [1.0] * 32


def test_the_files_that_go_wrong_in_the_field(shared_data: Path) -> None:
    folder = shared_data / "gw" / "cases"

    def strain(*words: str, rate: int = 4096) -> np.ndarray[Any, Any]:
        (path,) = [path for path in folder.glob("*.h*5") if all(word in path.name for word in words)]
        return np.isnan(series(read(path).rows, STRAIN)[1]).reshape(-1, rate).mean(axis=1)

    assert not strain("PLAIN").any()
    assert strain("_NAN_").tolist() == [0.0] * 14 + [1.0] * 4 + [0.0] * 14
    assert strain("LOCKLOSS").tolist() == [0.0] * 21 + [1.0] * 11
    assert (strain("RATE", "1264320116", rate=2048).tolist(), len(strain("RATE", "0100"))) == ([0.0] * 16, 16)
    rows = Batch.joined([GwWire().decode(chunk).rows for chunk in merged(sorted(folder.glob("*OVERLAP*")))])
    assert len(rows) - len(set(rows.id.tolist())) == 8 * 13
    rows = read(folder / "L-L1_AUXR-1186741312-64.h5").rows
    assert len(rows.key.values) == 5
    assert "L1:PSL-ABSENT_DQ" not in rows.key.values


def test_what_is_under_the_gpl_is_imported_in_one_file_only() -> None:
    package = Path(opintel.__file__).parent
    found = [path.name for path in package.rglob("*.py") if re.search(r"(import|from) +gwframe", path.read_text())]
    assert found == ["gwf.py"]


def test_bits_and_times_that_no_message_can_hold_are_said_once(tmp_path: Path) -> None:
    path = auxiliary(
        tmp_path / "f.h5",
        {
            "A/L1:EARLY": (np.ones(64), {"gps_start": 1}),
            "A/L1:BITS": (np.ones(64, dtype=np.uint32), {"bits": [f"B{n}" for n in range(40)]}),
            "B/L1:GOOD": (np.ones(64), {}),
        },
    )
    early, bits = sorted(bodies(path)[1], key=lambda text: "BITS" in text)
    assert "expected samples of 2000 to 2100, got GPS 1" in early
    assert "expected at most 32 bits, got 40" in bits
