"""Files as messages of the stream: times from run and lumisection, in order of time, as the wire takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from opintel.detector import Message
from opintel.dqm.files import PARSERS
from opintel.dqm.files.messages import messages
from opintel.dqm.histograms import HistogramRow
from opintel.dqm.wire import DqmWire
from opintel.finding import NS, parse_rfc3339
from opintel.rows import Row
from opintel.streams.connectors.files import FileSource
from opintel.streams.connectors.framing import FileForms

from .root_files import th1, th2, th3, write

COUNTS = [3, 1, 4, 1, 5, 9, 2, 6]
BEGIN = parse_rfc3339("2000-01-01T00:00:00Z")


def said(path: Path, wire: DqmWire) -> list[bytes | str]:
    with path.open("rb") as file:
        return list(messages(file, wire.parsing))


def rows(path: Path, wire: DqmWire) -> list[Row[HistogramRow]]:
    decoded = wire.decode([Message(body) for body in said(path, wire) if isinstance(body, bytes)])
    assert decoded.rejects == []
    return [decoded.rows.row(n) for n in range(len(decoded.rows))]


def test_times_are_those_of_run_and_lumisection(tmp_path: Path) -> None:
    names = ["run7_ls10_Pixel_x", "run7_ls2_Pixel_x", "run7_ls2_Calo_e", "DQMData/Run 8/Pixel/Run summary/D/h", "plain"]
    path = write(tmp_path / "a.root", dict.fromkeys(names, th1(COUNTS)))
    found = rows(path, DqmWire(lumisection=20.0))
    assert [(row.key, row.payload.run, row.payload.lumisection, (row.time - BEGIN) // NS) for row in found] == [
        ("plain||plain", 0, 1, 0),
        ("Calo||Calo_e", 7, 2, 4220),
        ("Pixel||Pixel_x", 7, 2, 4220),
        ("Pixel||Pixel_x", 7, 10, 4380),
        ("Pixel||Pixel/D/h", 8, 1, 4800),
    ]
    assert all(row.payload.end - row.time == 20 * NS for row in found)
    assert [row.payload.values for row in found] == [COUNTS] * 5


def test_runs_that_overlap_come_in_order_of_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", dict.fromkeys(["run7_ls40_x", "run7_ls1_x", "run8_ls1_x"], th1(COUNTS)))
    assert [(row.payload.run, row.payload.lumisection) for row in rows(path, DqmWire())] == [(7, 1), (8, 1), (7, 40)]


def test_messages_are_a_mebibyte_at_most_where_they_can_be(tmp_path: Path) -> None:
    maps = {f"run7_ls1_Pixel_m{n}": th2(np.ones((302, 302))) for n in range(6)}
    found = said(write(tmp_path / "a.root", maps), DqmWire())
    assert [len(body) <= 1 << 20 for body in found] == [True] * 3


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", {"x": th1(COUNTS), "three": th3(np.ones((3, 3, 3))), "a|b": th1(COUNTS)})
    texts = [one for one in said(path, DqmWire()) if isinstance(one, str)]
    assert [text.split(": ")[0] for text in texts] == ["'a|b'", "three"]


def test_the_wires_own_forms_go_on_as_they_are(tmp_path: Path) -> None:
    axis = {
        "type": "regular",
        "lower": 0,
        "upper": 2,
        "bins": 2,
        "underflow": False,
        "overflow": False,
        "circular": False,
    }
    one = {"uhi_schema": 1, "axes": [axis], "storage": {"type": "int", "values": [30, 40]}}
    head = {
        "run": 7,
        "lumisection": 2,
        "subsystem": "calo",
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T00:00:20Z",
    }
    (tmp_path / "own.json").write_text(json.dumps(head | {"histograms": {"Calo/e": one}}))
    (tmp_path / "uhi.json").write_text(json.dumps({"run7_ls2_Calo/e": one}))
    [own], [read] = rows(tmp_path / "own.json", DqmWire()), rows(tmp_path / "uhi.json", DqmWire())
    assert own.payload.values == read.payload.values == [30, 40]
    assert own.time == parse_rfc3339("2026-01-01T00:00:00Z")


def test_a_lumisection_has_a_length() -> None:
    with pytest.raises(ValueError, match="lumisection"):
        DqmWire(lumisection=0.0)


def test_a_folder_of_files_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / "b.root", {"run7_ls2_Pixel_x": th1(COUNTS), "three": th3(np.ones((3, 3, 3)))})
    (tmp_path / "a.root").write_bytes(b"<!DOCTYPE html>")
    forms = FileForms(parsers=PARSERS, parsing=DqmWire().parsing)
    found, _ = FileSource([tmp_path], forms).read(None, 10, final=True)
    assert [(one.file, one.form) for one in found] == [("a.root", "refused"), ("b.root", "refused"), ("b.root", "json")]
    assert b"expected ROOT" in found[0].body
