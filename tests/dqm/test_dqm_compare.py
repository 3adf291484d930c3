"""`opintel dqm compare`: pairs by name, axes that differ never judged by position, the report in one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opintel.cli import invoke
from opintel.dqm.comparing.aligned import NotComparable, aligned
from opintel.dqm.elements import BinAxis, MonitorElement

from .root_files import axis, profile, th1, th2, th3, write

SHAPE = 200 + 300 * np.exp(-0.5 * ((np.arange(20) - 8) / 3) ** 2)
"""Expected in each bin."""
LABELS = ["EB", "EE", "HB", "HE"]


def counts(seed: int, scale: float = 1.0, *, over: int = 0) -> list[int]:
    return [0, *np.random.default_rng(seed).poisson(scale * SHAPE).tolist(), over]


def dead(seed: int, bin_: int) -> list[int]:
    found = counts(seed)
    found[bin_ + 1] = 0
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    named = [0, 100, 400, 900, 1600, 0]
    rng = np.random.default_rng(1)
    patch = rng.poisson(50, (12, 14))
    patch[4:6, 6:9] = 0
    here: dict[str, Any] = {
        "alike": th1(counts(11)),
        "A/dead": th1(dead(2, 11)),
        "outside": th1(counts(3, over=400)),
        "labels": th1(named, x=axis(4, 0, 4, labels=LABELS)),
        "position": th1(named, x=axis(4, 0, 4, labels=LABELS)),
        "edges": th1(counts(12)),
        "empty": th1([0] * 22),
        "map": th2(patch),
        "means": profile([0, 50, 100, 0], [0, 50, 200, 0], [0, 100, 100, 0]),
        "here": th1(counts(13)),
        "three": th3(np.ones((3, 3, 3))),
    }
    there: dict[str, Any] = {
        "alike": th1(counts(14, 3), ">f4"),
        "A/dead": th1(counts(15, 3), ">i4"),
        "outside": th1(counts(16, 3)),
        "labels": th1([0, *named[-2:0:-1], 0], x=axis(4, 0, 4, labels=LABELS[::-1])),
        "position": th1(named, x=axis(4, 0, 4, labels=LABELS[::-1])),
        "edges": th1(counts(17), x=axis(20, 0, 21)),
        "empty": th1(counts(18)),
        "map": th2(rng.poisson(100, (12, 14))),
        "means": profile([0, 30, 300, 0], [0, 120, 400, 0], [0, 300, 300, 0]),
        "there": th1(counts(19)),
    }
    return write(tmp_path / "a.root", here), write(tmp_path / "b.root", there)


def compared(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, dict[str, Any]]:
    assert invoke(["dqm", "compare", *map(str, arguments), "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["histograms"]}


def test_each_pair_is_judged_or_says_why_not(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, *files)
    p = {name: row["p_value"] for name, row in found.items()}
    assert {name for name, value in p.items() if value is None} == {"edges", "empty", "here", "there"}
    assert {name for name, value in p.items() if value is not None and value < 1e-6} == {
        "A/dead",
        "outside",
        "position",
        "map",
        "means",
    }
    assert min(p["alike"], p["labels"]) > 1e-3
    assert found["A/dead"]["regions"] == [[11, 11, "dead"]]
    *box, kind = found["map"]["regions"][0]
    assert kind == "dead"
    assert np.abs(np.array(box) - [3, 5, 4, 7]).max() <= 1
    assert found["outside"]["regions"][0][1] == 20
    without = [row["p_value"] is None for row in found.values()]
    assert without == sorted(without)


def test_what_is_not_read_is_said_on_stderr(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["dqm", "compare", *map(str, files)]) == 0
    assert "'three' was not read: a TH3D is not read" in capsys.readouterr().err


def test_one_object_or_folder_of_a_file(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    here, there = files
    assert list(compared(capsys, f"{here}:A", f"{there}:A")) == ["dead"]
    assert list(compared(capsys, f"{here}:alike", f"{there}:A/dead")) == ["alike"]
    assert invoke(["dqm", "compare", f"{here}:nowhere", str(there)]) == 1
    assert "no histogram 'nowhere' in it" in capsys.readouterr().err


def test_folders_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("a", "b"):
        for name in ("x", "y"):
            (tmp_path / side / "sub").mkdir(parents=True, exist_ok=True)
            write(tmp_path / side / "sub" / f"{name}.root", {"h": th1(counts(ord(side)))})
    (tmp_path / "a" / "broken.root").write_bytes(b"none")
    assert set(compared(capsys, tmp_path / "a", tmp_path / "b")) == {"sub/x/h", "sub/y/h"}


def test_runs_in_folders_do_not_count_and_lumisections_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def file(run: int) -> Path:
        names = [f"DQMData/Run {run}/Pixel/Run summary/h", f"run{run}_ls1_x", f"run{run}_ls2_x"]
        return write(tmp_path / f"{run}.root", {name: th1(counts(run)) for name in names})

    found = compared(capsys, file(7), file(8))
    assert set(found) == {"Pixel/h", "run7_ls1_x", "run7_ls2_x"}
    assert all(row["p_value"] is not None for row in found.values())


def test_a_report_is_one_page_that_loads_nothing(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = write(tmp_path / "evil.root", {"<script>alert(1)</script>": th1(counts(1))})
    for sides in (files, (evil, evil)):
        assert invoke(["dqm", "compare", *map(str, sides), "--report", str(tmp_path / "r.html")]) == 0
        page = (tmp_path / "r.html").read_text()
        assert "src=" not in page
        assert "<link" not in page
        assert "alert(1)</script>" not in page
        assert page.count('data-draw="histogram"') >= 2
    assert invoke(["dqm", "compare", *map(str, files), "--report", str(tmp_path / "none" / "r.html")]) == 1


def element(axis: BinAxis, values: list[float], *, flow: bool = False) -> MonitorElement:
    return MonitorElement("h", (axis,), "count", np.array(values), None, flow)


TWO = BinAxis.regular(2, low=0.0, high=2.0)
A, B, AB = BinAxis((), ("a",)), BinAxis((), ("b",)), BinAxis((), ("a", "b"))


def test_labels_that_only_one_has_are_left_out() -> None:
    observed = element(BinAxis((), ("a", "b", "c")), [9, 1, 2, 3, 9], flow=True)
    pair = aligned(observed, element(BinAxis((), ("c", "d", "a")), [8, 30, 40, 10, 7], flow=True))
    assert pair.observed.tolist() == [9, 1, 3, 9]
    assert pair.reference.tolist() == [8, 10, 30, 7]
    assert (pair.bins[0].tolist(), pair.left_out) == ([-1, 0, 2, 3], 2)


def test_flow_bins_that_only_one_has_do_not_count() -> None:
    three = BinAxis.regular(3, low=0.0, high=3.0)
    pair = aligned(element(three, [9, 1, 2, 3, 9], flow=True), element(three, [4, 5, 6]))
    assert (pair.observed.tolist(), pair.bins[0].tolist()) == ([1, 2, 3], [0, 1, 2])


@pytest.mark.parametrize(
    ("observed", "reference", "why"),
    [
        (element(TWO, [1, 2]), element(BinAxis.regular(2, low=0.0, high=3.0), [1, 2]), "edges"),
        (element(TWO, [1, 2]), element(AB, [1, 2]), "labels in one"),
        (element(A, [1]), element(B, [1]), "in common"),
        (element(A, [0.5]), element(A, [1]), "no whole numbers"),
    ],
)
def test_what_cannot_be_laid_side_by_side_says_why(
    observed: MonitorElement, reference: MonitorElement, why: str
) -> None:
    with pytest.raises(NotComparable, match=why):
        aligned(observed, reference)
