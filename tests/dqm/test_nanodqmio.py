"""nanoDQMIO in Parquet: rows by run, lumisection and name; the number of contents says whether flow bins are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opintel.dqm.elements import BinAxis
from opintel.dqm.files import reading
from opintel.dqm.files.found import FileElement, Unread

ROW = {"fromrun": 7, "fromlumi": 2, "hname": "Pixel_x", "metype": 3, "histo": [1, 2, 3], "entries": 6}
ROW |= {"Xmin": 0.0, "Xmax": 3.0, "Xbins": 3, "Ymin": 0.0, "Ymax": 0.0, "Ybins": 0}


def read(path: Path, *rows: dict[str, Any], kind: pa.DataType | None = None) -> list[FileElement | Unread]:
    table = pa.Table.from_pylist([ROW | row for row in rows])
    if kind is not None:
        table = table.set_column(table.column_names.index("histo"), "histo", table["histo"].cast(kind))
    pq.write_table(table, path / "a.parquet", row_group_size=2)
    with (path / "a.parquet").open("rb") as file:
        return list(reading.read(file))


def test_rows_come_by_run_lumisection_and_name(tmp_path: Path) -> None:
    found = read(tmp_path, {"fromlumi": 10}, {}, {"fromrun": 6, "fromlumi": 11}, {"hname": "A"})
    places = [(one.run, one.lumisection, one.element.path) for one in found if isinstance(one, FileElement)]
    assert places == [(6, 11, "Pixel_x"), (7, 2, "A"), (7, 2, "Pixel_x"), (7, 10, "Pixel_x")]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.uint8())])
def test_contents_with_and_without_flow_bins(tmp_path: Path, kind: pa.DataType) -> None:
    found = read(tmp_path, {}, {"hname": "flow", "histo": [0, 1, 2, 3, 9]}, kind=kind)
    plain, flow = (one.element for one in found if isinstance(one, FileElement))
    assert (plain.values.tolist(), plain.flow, plain.entries) == ([1, 2, 3], False, 6.0)
    assert (flow.values.tolist(), flow.flow) == ([0, 1, 2, 3, 9], True)
    assert plain.axes == flow.axes == (BinAxis.regular(3, 0.0, 3.0),)


def test_contents_of_a_map_go_through_y_first(tmp_path: Path) -> None:
    [found] = read(tmp_path, {"histo": [1, 2, 3, 4, 5, 6], "Ybins": 2, "Ymax": 2.0})
    assert isinstance(found, FileElement)
    assert found.element.values.tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        ({"histo": [1, 2]}, "histo: expected 3 values, or 5, got 2"),
        ({"histo": [1, None, 3]}, "histo: expected numbers"),
        ({"hname": None}, "hname"),
        ({"fromlumi": -1}, "fromlumi"),
        ({"Xmax": 0.0}, "ascending"),
        ({"Xbins": 1 << 40}, "bins"),
    ],
)
def test_a_bad_row_costs_itself(tmp_path: Path, spoiled: dict[str, Any], why: str) -> None:
    found = read(tmp_path, spoiled, {"fromrun": 8})
    good, bad = sorted(found, key=lambda one: isinstance(one, Unread))
    assert isinstance(good, FileElement)
    assert isinstance(bad, Unread)
    assert why in bad.reason
