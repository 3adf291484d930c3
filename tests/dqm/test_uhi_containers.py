"""UHI in its four containers as `uhi.io` writes them: one histogram, read alike; nothing outside the file is read."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uhi.io.hdf5
import uhi.io.json
import uhi.io.uproot
import uhi.io.zip
import uproot

from opintel.dqm.elements import BinAxis
from opintel.dqm.files import reading
from opintel.dqm.files.found import FileElement, Unread
from opintel.dqm.files.opened import opened
from opintel.streams.connectors.parsed import FileRefused

REGULAR = {
    "type": "regular",
    "lower": 0.0,
    "upper": 3.0,
    "bins": 3,
    "underflow": True,
    "overflow": True,
    "circular": False,
}
VARIABLE = {"type": "variable", "edges": [0.0, 1.0, 4.0], "underflow": False, "overflow": False, "circular": False}
NAMED = {"type": "category_str", "categories": ["EB", "EE"], "flow": True}


def histogram(axes: list[dict[str, Any]], **storage: Any) -> dict[str, Any]:
    arrays = {name: np.asarray(one) if name != "type" else one for name, one in storage.items()}
    made = [{k: np.asarray(v) if k == "edges" else v for k, v in axis.items()} for axis in axes]
    return {"uhi_schema": 1, "axes": made, "storage": arrays}


HISTOGRAMS = {
    "counts": histogram([REGULAR], type="int", values=[0, 5, 7, 2, 1]),
    "folder/map": histogram([REGULAR, VARIABLE], type="double", values=np.arange(10.0).reshape(5, 2)),
    "run7_ls2_Pixel_x": histogram([NAMED], type="int", values=[3, 4, 0]),
    "weighted": histogram([VARIABLE], type="weighted", values=[2.5, 4.0], variances=[1.0, 2.0]),
    "means": histogram([VARIABLE], type="mean", counts=[4.0, 1.0], values=[2.0, 3.0], variances=[8.0, 1.0]),
    "sparse": histogram([REGULAR], type="int", index=[[1, 3]], values=[6, 8]),
}


def in_json(path: Path) -> None:
    path.write_text(json.dumps(HISTOGRAMS, default=uhi.io.json.default))


def in_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, one in HISTOGRAMS.items():
            uhi.io.zip.write(archive, name, one)


def in_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, one in HISTOGRAMS.items():
            uhi.io.hdf5.write(file.create_group(name), one)


def in_root(path: Path) -> None:
    with uproot.recreate(path) as file:
        for name, one in HISTOGRAMS.items():
            uhi.io.uproot.write(file, name, one)


def read(path: Path) -> tuple[dict[str, FileElement], list[Unread]]:
    with path.open("rb") as file:
        found = list(reading.read(file))
    elements = {one.element.path: one for one in found if isinstance(one, FileElement)}
    return elements, [one for one in found if isinstance(one, Unread)]


@pytest.mark.parametrize(
    ("write", "name"), [(in_json, "a.json"), (in_zip, "a.zip"), (in_hdf5, "a.h5"), (in_root, "a.root")]
)
def test_every_container_gives_the_same(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    path = tmp_path / name
    write(path)
    subprocess.run([sys.executable, "-m", "uhi", "validate", str(path)], check=True, capture_output=True)
    found, unread = read(path)
    assert unread == []
    of = {path: one.element for path, one in found.items()}
    assert of["counts"].values.tolist() == [0, 5, 7, 2, 1]
    assert (of["counts"].flow, of["counts"].storage) == (True, "count")
    assert of["counts"].axes == (BinAxis.regular(3, 0.0, 3.0),)
    assert of["folder/map"].values[1:-1].tolist() == np.arange(10.0).reshape(5, 2).T.tolist()
    assert of["Pixel_x"].axes[0].labels == ("EB", "EE")
    assert (found["Pixel_x"].run, found["Pixel_x"].lumisection) == (7, 2)
    assert of["weighted"].variances is not None
    assert of["weighted"].variances.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(of["means"].values, [2.0, 3.0])
    np.testing.assert_array_equal(of["means"].variances, [2.0, np.nan])
    assert of["sparse"].values.tolist() == [0, 6, 0, 8, 0]


def test_a_document_may_be_one_histogram(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(HISTOGRAMS["counts"], default=uhi.io.json.default))
    assert list(read(path)[0]) == ["histogram"]


@pytest.mark.parametrize(
    "spoiled", [{"uhi_schema": 2}, {"storage": {"type": "int", "values": [1]}}, {"axes": []}, {"axes": 3}]
)
def test_a_bad_histogram_costs_itself(tmp_path: Path, spoiled: dict[str, Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps({"bad": HISTOGRAMS["counts"] | spoiled, "good": HISTOGRAMS["counts"]}, default=uhi.io.json.default)
    )
    found, unread = read(path)
    assert list(found) == ["good"]
    assert [one.name for one in unread] == ["bad"]
    path.write_text(json.dumps(HISTOGRAMS["counts"] | spoiled, default=uhi.io.json.default))
    with pytest.raises(ValueError, match="expected"):
        read(path)


def test_links_and_data_outside_an_hdf5_file_are_not_followed(tmp_path: Path) -> None:
    in_hdf5(tmp_path / "other.h5")
    (tmp_path / "secret").write_bytes(np.array([4.0] * 5).tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        uhi.io.hdf5.write(file.create_group("own"), HISTOGRAMS["counts"])
        file["linked"] = h5py.ExternalLink("other.h5", "/counts")
        file["again"] = h5py.SoftLink("/own")
        uhi.io.hdf5.write(stolen := file.create_group("stolen"), HISTOGRAMS["counts"])
        del stolen["storage/values"]
        stolen["storage"].create_dataset("values", (5,), "f8", external=[(str(tmp_path / "secret"), 0, 40)])
    found, unread = read(tmp_path / "a.h5")
    assert list(found) == ["own"]
    assert unread == [Unread("stolen", "'values': expected data inside the file")]


def test_an_archive_that_would_inflate_beyond_bounds_costs_that_histogram(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    in_zip(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "bomb.json", json.dumps({**HISTOGRAMS["counts"], "storage": {"type": "int", "values": "huge.npy"}})
        )
        archive.writestr("huge.npy", bytes(64 << 20))
    found, unread = read(path)
    assert len(found) == len(HISTOGRAMS)
    assert [one.name for one in unread] == ["bomb"]


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a": ', b'{"a": {"uhi_schema": 1}}', b"PK\3\4nothing", b"\x89HDF\r\n\x1a\n"]
)
def test_what_is_none_is_one_line_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(FileRefused, match=r"\A[^\n]*bad.json: [^\n]+\Z"):
        opened(path)


@pytest.mark.parametrize(("write", "name", "library"), [(in_hdf5, "a.h5", "h5py"), (in_root, "a.root", "uproot")])
def test_a_library_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], name: str, library: str
) -> None:
    write(tmp_path / name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=rf"needs {library}: pip install 'opintel\[root\]'"):
        read(tmp_path / name)
