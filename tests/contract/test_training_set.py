"""A training set of an archive of interferometers is what the samples show, as the same bytes however many partitions
the log had.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from opintel.backfill import training
from opintel.backfill.fitting import ALL, Days
from opintel.backfill.stages import Job
from opintel.backfill.training import BESIDE, SCHEMA, MadeTrainingSet, fit_training
from opintel.cli import invoke
from opintel.finding import NS
from opintel.gw import training_seconds
from opintel.streams.archive.reader import Archive
from opintel.streams.artefacts import Artefacts
from opintel.streams.urls import Location

from .archived import live
from .cases import GW_CASE
from .harness import Case
from .interferometers import GLITCHES, START

CASE = replace(GW_CASE, controls=list)


def made(case: Case, folder: Path, days: Days = ALL) -> MadeTrainingSet:
    url = str(folder / "archive")
    job = Job(case.stream._replace(partitions=1), case.pipeline, Artefacts([f"{url}/_artefacts"]))
    return fit_training(job, Archive(url), days, Location.of(str(folder / "set")), lambda _: None)


def rows(folder: Path, found: MadeTrainingSet) -> list[dict[str, Any]]:
    """All, in order of the parts."""
    every: list[dict[str, Any]] = []
    for part in found.card.parts:
        path = folder / "set" / f"{part}.parquet"
        assert sha256(path.read_bytes()).hexdigest() == part
        table = pq.read_table(path)
        assert table.schema.equals(SCHEMA)
        every += table.to_pylist()
    return every


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("training")
    live(CASE, place)
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> MadeTrainingSet:
    return made(CASE, folder)


def test_rows_say_what_the_story_did(folder: Path, found: MadeTrainingSet) -> None:
    every = rows(folder, found)
    assert [(row["interferometer"], row["gps"]) for row in every] == sorted(
        (name, START + n) for name in ("H1", "L1") for n in range(-1, 85)
    )
    usable = [row for row in every if row["science"] and row["judged"]]
    assert all(set(row["flags"]) == {"DATA", "LOCKED"} for row in usable)
    # held back while the spectrum was learned, and said all the same
    assert {row["gps"] - START for row in usable} >= set(range(5, 14))
    for name in ("H1", "L1"):
        mine = [row for row in usable if row["interferometer"] == name]
        with_glitch = {row["gps"] - START for row in mine if row["glitch"]}
        assert {9, 30, 40, 47, 52} <= with_glitch <= set(GLITCHES)
    loud = [(row, one) for row in usable for one in row["auxiliary"] if one["triggered"]]
    assert len(loud) > 3
    assert all(row["gps"] - START in GLITCHES and one["channel"].endswith("PEM-EX_MIC_DQ") for row, one in loud)
    assert all(one["loudness"] > 0 and row["active"] == pytest.approx(math.log(2)) for row, one in loud)
    # the sensor moves from the 36th second on: .3 Hz, 30 um, 4 pi A f / lambda
    fringes = {
        (row["gps"] - START > 35, one["fringe"] > 50) for row in usable for one in row["auxiliary"] if one["fringe"]
    }
    assert fringes == {(True, True)}


def test_triggers_lie_in_the_second_of_their_row(folder: Path, found: MadeTrainingSet) -> None:
    triggers = [(row, one) for row in rows(folder, found) for one in row["triggers"]]
    assert len(triggers) > 5
    for row, one in triggers:
        assert one["time"] // NS == row["gps"]
        assert one["low"] <= one["frequency"] <= one["high"]
        assert 0 < one["duration"] < 4
        assert row["glitch"] or one["snr"] < 7.75


def test_blocks_follow_one_another_and_the_card_counts_them(folder: Path, found: MadeTrainingSet) -> None:
    every, card = rows(folder, found), found.card
    seconds = {name: [r["gps"] for r in every if r["split"] == name] for name in ("train", "validation", "last")}
    for before, after in (("train", "validation"), ("validation", "last")):
        assert max(seconds[before]) + 2 * BESIDE < min(seconds[after])
        assert min(seconds[after]) == card.begins[after] + BESIDE
    usable = [row for row in every if row["science"] and row["judged"]]
    assert card.rows == {name: sum(row["split"] == name for row in every) for name in card.rows}
    assert card.usable == {name: sum(row["split"] == name for row in usable) for name in card.rows}
    assert card.glitches == {n: sum(r["split"] == n and r["glitch"] for r in usable) for n in card.rows}
    assert card.channels == sorted({one["channel"] for row in every for one in row["auxiliary"]})
    assert card.strain == {name: [f"{name}:GDS-CALIB_STRAIN"] for name in ("H1", "L1")}
    text = (folder / "set" / f"{found.sha256}.json").read_bytes()
    assert sha256(text).hexdigest() == found.sha256
    assert json.loads(text)["parts"] == card.parts


def test_one_partition_gives_the_same_bytes(found: MadeTrainingSet, tmp_path: Path) -> None:
    alone = replace(CASE, stream=CASE.stream._replace(partitions=1))
    live(alone, tmp_path)
    assert made(alone, tmp_path) == found


def test_parts_hold_the_rows_of_the_whole(
    folder: Path, found: MadeTrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ROWS", 50)
    parted = made(CASE, folder)
    assert len(parted.card.parts) == 4
    assert rows(folder, parted) == rows(folder, found)


def test_too_little_leaves_nothing_behind(folder: Path) -> None:
    before = sorted((folder / "set").iterdir())
    with pytest.raises(ValueError, match="expected seconds of science mode in which the strain was judged, got none"):
        made(CASE, folder, Days("2027-01-01"))
    assert sorted((folder / "set").iterdir()) == before


def test_a_second_whose_row_cannot_be_made_ends_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_seconds, "channels_of", None)
    with pytest.raises(ValueError, match=r"a second's row cannot be made: gw.witnesses on H1, window end .*TypeError"):
        made(CASE, folder)


def test_the_command_writes_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert invoke(["fit", "gw", "--input", str(folder / "archive"), "--output", "set", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["name"] == "gw.training"
    assert said["card"] == json.loads((tmp_path / "set" / f"{said['sha256']}.json").read_text())
    assert {path.stem for path in (tmp_path / "set").glob("*.parquet")} == set(said["card"]["parts"])
