"""Triggers and segments as LIGO_LW, HDF5 and JSON, read back by the field's own tools; and what must be refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from gwpy.segments import DataQualityDict, DataQualityFlag
from gwpy.table import EventTable
from hypothesis import given
from hypothesis import strategies as st
from igwn_ligolw import lsctables
from igwn_ligolw import utils as ligolw_utils

from opintel.gw.exports import ligolw_reader
from opintel.gw.exports.bursts import SUFFIXES, read_sngl_burst, write_triggers
from opintel.gw.exports.flags import flag_json, flags_ligolw
from opintel.gw.exports.ligolw_reader import read_table, tokens
from opintel.gw.exports.ligolw_writer import document, written
from opintel.gw.segments import NONE, OPEN, SegmentFlag, coalesce, nanoseconds, of_seconds

GPS = 1_264_316_024.0
TYPES = {"channel": pa.string()} | dict.fromkeys(
    ("t_peak", "t_start", "t_end", "f_peak", "f_low", "f_high", "q", "snr"), pa.float64()
)
ROWS = [
    ("H1:GDS-CALIB_STRAIN", GPS + 0.062803, GPS + 0.05, GPS + 0.08, 120.5, 100.0, 150.0, 8.0, 12.5),
    ('H1:PEM-EY_<ACC>&"Q"', GPS + 1.0, GPS + 0.9375, GPS + 1.25, 33.0, 30.0, 40.0, 4.5, 7.75),
    ("0", GPS + 2.999999, GPS + 2.5, GPS + 3.0, 500.0, 400.0, 600.0, 60.0, 300.0),
]


def triggers(rows: list[tuple[object, ...]]) -> pa.Table:
    return pa.table({name: pa.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(TYPES.items())})


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
@pytest.mark.parametrize("rows", [ROWS, []])
def test_sngl_burst_is_read_back(tmp_path: Path, suffix: str, rows: list[tuple[object, ...]]) -> None:
    path = tmp_path / f"triggers{suffix}"
    write_triggers(triggers(rows), path)
    first = path.read_bytes()
    write_triggers(triggers(rows), path)
    assert path.read_bytes() == first, "the same triggers, the same bytes"
    ours = read_sngl_burst(path)
    assert ours.schema == triggers([]).schema
    for name in TYPES:
        single = name in ("f_peak", "f_low", "f_high", "snr")
        wanted = [np.float32(row[list(TYPES).index(name)]) if single else row[list(TYPES).index(name)] for row in rows]
        assert ours[name].to_pylist() == wanted, name

    theirs = lsctables.SnglBurstTable.get_table(ligolw_utils.load_filename(str(path)))
    assert [float(row.peak) for row in theirs] == [row[1] for row in rows]
    assert [(row.ifo, row.channel, row.snr, row.event_id) for row in theirs] == [
        (channel.rpartition(":")[0] or None, channel.rpartition(":")[2], pytest.approx(row[-1]), number)
        for number, row in enumerate(rows)
        for channel in [str(row[0])]
    ]
    by_gwpy = EventTable.read(path, format="ligolw", tablename="sngl_burst")
    assert list(by_gwpy["snr"]) == pytest.approx([row[-1] for row in rows])
    assert {"peak_time", "peak_time_ns", "central_freq", "bandwidth", "duration"} <= set(by_gwpy.colnames)


@pytest.mark.parametrize("suffix", SUFFIXES[2:])
@pytest.mark.parametrize("rows", [ROWS, []])
def test_hdf5_is_read_by_gwpy(tmp_path: Path, suffix: str, rows: list[tuple[object, ...]]) -> None:
    path = tmp_path / f"triggers{suffix}"
    write_triggers(triggers(rows), path)
    table = EventTable.read(path, format="hdf5", path="triggers")
    assert table.colnames == ["time", "frequency", "tstart", "tend", "fstart", "fend", "snr", "q", "channel"]
    assert [tuple(row)[:-1] for row in table] == [tuple(row[i] for i in (1, 4, 2, 3, 5, 6, 8, 7)) for row in rows]
    assert list(table["channel"]) == [row[0] for row in rows]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a name that ends in \.xml, .* got triggers\.csv"):
        write_triggers(triggers([]), tmp_path / "triggers.csv")


def test_a_file_of_the_field_is_read(shared_data: Path) -> None:
    path = shared_data / "gw" / "gwpy_testing" / "H1-LDAS_STRAIN-968654552-10.xml.gz"
    found, theirs = read_sngl_burst(path), EventTable.read(path, format="ligolw", tablename="sngl_burst")
    assert found.num_rows == len(theirs) == 2052
    assert set(found["channel"].to_pylist()) == {"H1:LDAS-STRAIN"}
    assert np.array_equal(found["snr"].to_numpy().astype(np.float32), theirs["snr"])
    peak = np.asarray(theirs["peak_time"], np.int64) * 10**9 + np.asarray(theirs["peak_time_ns"])
    assert np.abs(nanoseconds(found["t_peak"].to_numpy()) - peak).max() <= 1000
    assert read_table(path, "sngl_burst")["event_id"].to_pylist()[:2] == [4696, 4697]
    process = read_table(path, "process")
    assert (process["process_id"].to_pylist(), process["version"].to_pylist()) == ([0], [None])
    assert read_table(path, "segment").num_rows == 0
    assert "segment_def_id" in read_table(path, "segment").column_names


def old(stream: str, kind: str = "ilwd:char") -> bytes:
    return f"""<?xml version='1.0'?><!DOCTYPE LIGO_LW SYSTEM "x"><LIGO_LW><LIGO_LW>
    <Table Name="sngl_burstgroup:sngl_burst:table">
    <Column Name="sngl_burst:event_id" Type="{kind}"/><Column Name="snr" Type="real_4"/><Column Name="b" Type="blob"/>
    <Stream Name="sngl_burst:table" Delimiter=",">{stream}</Stream></Table></LIGO_LW></LIGO_LW>""".encode()


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        ('"sngl_burst:event_id:7",1.5,,\n "sngl_burst:event_id:8",,"x"', "ilwd:char"),
        ("7,1.5,,8,,", "int_8s"),
        ("\n\t7,1.5,,\n\t8,,,\n", "int_8s"),
    ],
)
def test_identifiers_of_both_kinds_and_blanks(stream: str, kind: str) -> None:
    table = read_table(old(stream, kind), "sngl_burst")
    assert table.to_pylist() == [{"event_id": 7, "snr": 1.5}, {"event_id": 8, "snr": None}]
    assert read_table(gzip.compress(old(stream, kind)), "sngl_burst") == table


@given(
    texts=st.lists(st.text(st.sampled_from("ab,\"\\\\<&>'\n\t \u263b\U0001f30a"), max_size=9), max_size=5),
    numbers=st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=5, max_size=5),
)
def test_any_text_and_number_survives(texts: list[str], numbers: list[float | None]) -> None:
    columns = {"a": pa.array(texts, pa.string()), "b": pa.array(numbers[: len(texts)], pa.float32())}
    found = read_table(document({"x": pa.table(columns)}), "x")
    assert found["a"].to_pylist() == texts
    assert found["b"].to_pylist() == pytest.approx(numbers[: len(texts)], nan_ok=True)


def test_what_xml_may_not_hold_is_replaced() -> None:
    table = pa.table({"a": ["a\x00b\x1f\uffff"]})
    assert read_table(document({"x": table}), "x")["a"].to_pylist() == ["a\ufffdb\ufffd\ufffd"]


BOMB = '<!DOCTYPE LIGO_LW [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><LIGO_LW>&b;</LIGO_LW>'


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "expected LIGO_LW XML"),
        (b"<html></html>", "expected LIGO_LW, got an element html"),
        (b"<LIGO_LW><Table", "expected LIGO_LW XML"),
        (b"\x1f\x8b\x08\x00garbage", "expected LIGO_LW XML"),
        (gzip.compress(old("7,1,"))[:-20], "expected LIGO_LW XML"),
        (b"<LIGO_LW/>", "expected a table sngl_burst, got none"),
        (document({"segment": pa.table({"segment_id": [1]})}), "expected a table sngl_burst, got segment"),
        (BOMB.encode(), "expected no entities, got a"),
        (b"<LIGO_LW>" * 40, "at most 32 elements"),
        (old("7,1.5,,8,"), "expected rows of 3 values, got 5"),
        (old("7,loud,,"), "column snr: expected real_4"),
        (old("7.5,1,,", "int_8s"), "column event_id: expected int_8s"),
        (old("99999999999999999999,1,,", "int_8s"), "column event_id: expected int_8s"),
        (old('"open,1,,'), "character 0: expected a value"),
        (old("7,1,,").replace(b'Delimiter=","', b'Delimiter=" "'), "one character as delimiter"),
        (old("7,1,,").replace(b"snr", b"event_id"), "each column once"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        read_table(content, "sngl_burst")


def test_what_a_file_holds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"<LIGO_LW>" + b" " * 1_000_000)
    with pytest.raises(ValueError, match="expected at most 500000 bytes"):
        read_table(bomb, "sngl_burst", most_bytes=500_000)
    monkeypatch.setattr(ligolw_reader, "MOST_VALUES", 100)
    with pytest.raises(ValueError, match="at most 100 values"):
        read_table(old("," * 101), "sngl_burst")


def test_tokens_take_linear_time() -> None:
    assert tokens(" " * 200_000 + "1") == ["1"]
    with pytest.raises(ValueError, match="expected a value"):
        tokens('"' + "\\" * 200_001)


FLAGS = [
    SegmentFlag(
        "H1:OPI-NOISY:2", of_seconds([(GPS, GPS + 1.5), (GPS + 3, GPS + 4)]), of_seconds([(GPS - 6, GPS + 10)])
    ),
    SegmentFlag("L1:QUIET", NONE, of_seconds([(GPS, GPS + 1)])),
    SegmentFlag("V1:NEVER:1", NONE, NONE),
]


@pytest.mark.parametrize("suffix", [".xml", ".xml.gz"])
def test_segment_tables_are_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"segments{suffix}"
    written(path, flags_ligolw(FLAGS))
    found = DataQualityDict.read(path, format="ligolw")
    assert list(found) == ["H1:OPI-NOISY:2", "L1:QUIET:1", "V1:NEVER:1"]
    for theirs, ours in zip(found.values(), FLAGS, strict=True):
        for key in ("active", "known"):
            pairs = [(float(a), float(b)) for a, b in getattr(theirs, key)]
            assert np.array_equal(of_seconds(pairs), getattr(ours, key))
    xml = ligolw_utils.load_filename(str(path))
    assert len(lsctables.SegmentTable.get_table(xml)) == 2
    assert [p.program for p in lsctables.ProcessTable.get_table(xml)] == ["opintel"]


def test_json_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "flag.json"
    path.write_text(flag_json(FLAGS[0]))
    found = DataQualityFlag.read(path, format="json")
    assert found.name == "H1:OPI-NOISY:2"
    assert [tuple(map(float, pair)) for pair in found.active] == [(GPS, GPS + 1.5), (GPS + 3, GPS + 4)]


def test_names_and_open_ends_that_the_formats_lack_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a name like"):
        flags_ligolw([SegmentFlag("NOISY", NONE, NONE)])
    opened = SegmentFlag("H1:OPEN:1", coalesce([(0, OPEN)]), NONE)
    for export in (flag_json, lambda flag: flags_ligolw([flag])):
        with pytest.raises(ValueError, match="open end"):
            export(opened)
