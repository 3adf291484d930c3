"""`opintel certify` on the store of a shift, and on files of what goes wrong in the field."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dqm.shift import DEAD, STREAM, open_shift

from opintel.alerts.actions import Refused
from opintel.cli import invoke
from opintel.site.certification import qualities, sign_off
from opintel.store import open_store, sqlite_url


@pytest.fixture
def data(tmp_path: Path) -> Path:
    open_shift(tmp_path / "store.db").close()
    return tmp_path


def printed(capfd: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capfd.readouterr()
    assert invoke([str(one) for one in ("certify", *arguments)]) == 0
    return json.loads(capfd.readouterr().out)


def sign(data: Path, **about: Any) -> None:
    said = {
        "subsystem": "Calo",
        "run": 381103,
        "first": 9,
        "last": 10,
        "verdict": "good",
        "by": "Ada",
        "now": 0,
    } | about
    with closing(open_store(sqlite_url(data / "store.db"))) as store:
        sign_off(store, STREAM, **said)


def test_a_run_with_faults(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["certify", "381103", "--data", str(data)]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out) == {"381103": [[1, 4], [7, 7]]}
    assert told.err == "5 of 12 lumisections certified, 3 defects\n"
    defects = printed(capfd, 381103, "--data", data, "--defects", "--json")["defects"]
    calo = next(one for one in defects if one["histogram"] == DEAD)
    assert (calo["bit"], calo["first"], calo["last"], calo["overrides"]) == ("Calo: dead", 9, 14, [])
    assert calo["log10_p"] < -12
    with closing(open_store(sqlite_url(data / "store.db"))) as store:
        known = {one.finding for one in qualities(store, 381103)}
    assert set(calo["evidence"]) <= known


def test_what_a_shifter_signs_off_counts(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sign(data, subsystem="Calo", first=9, last=11, comment="known, \x1b[31m masked")
    sign(data, subsystem="Muon", first=8, last=10)
    assert printed(capfd, 381103, "--data", data, "--json") == {"381103": [[1, 4], [7, 11]]}
    sign(data, subsystem="Muon", first=9, last=9, verdict="bad")
    assert printed(capfd, 381103, "--data", data, "--json") == {"381103": [[1, 4], [7, 8], [10, 11]]}
    defects = printed(capfd, 381103, "--data", data, "--defects", "--json")["defects"]
    assert ("Muon: signed off bad", 9, 9) in [(one["bit"], one["first"], one["last"]) for one in defects]
    calo = next(one for one in defects if one["histogram"] == DEAD)
    assert [(s["verdict"], s["by"], s["comment"]) for s in calo["overrides"]] == [("good", "Ada", "known, [31m masked")]
    assert invoke(["certify", "381103", "--data", str(data), "--defects"]) == 0
    assert "signed off good 9-11 by Ada" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"subsystem": "Tracker"}, "nothing was judged of subsystem 'Tracker' in run 381103"),
        ({"subsystem": "calo"}, "nothing was judged of subsystem 'calo' in run 381103"),
        ({"run": 38110}, "nothing was judged of subsystem 'Calo' in run 38110"),
        ({"verdict": "fine"}, "expected good, bad or as judged, got 'fine'"),
        ({"first": 11}, "expected the first lumisection before the last one, got 11 to 10"),
    ],
)
def test_a_sign_off_of_nothing_is_refused(data: Path, about: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        sign(data, **about)


def test_an_unknown_run_is_one_line(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["certify", "381102", "--data", str(data)]) == 1
    assert capfd.readouterr().err == "opintel: no run 381102 in the store; there are 381101, 381103\n"
    assert invoke(["certify", "381102", "--data", str(tmp_path / "nowhere")]) == 1
    assert capfd.readouterr().err.count("\n") == 1
    open_store(sqlite_url(tmp_path / "empty" / "store.db")).close()
    assert invoke(["certify", "381102", "--data", str(tmp_path / "empty")]) == 1
    assert "no run has been judged" in capfd.readouterr().err


@pytest.mark.parametrize(("case", "command"), [("clean", "run"), ("fault", "replay")])
def test_files_of_the_field(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str, command: str
) -> None:
    pytest.importorskip("uproot")
    file, data = shared_data / f"dqm/cases/runs_{case}.root", tmp_path / "data"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    if command == "run":
        assert invoke(["run", "--ingest", f"dqm={file}", "--until-idle", "--data", str(data)]) == 0
    else:
        assert invoke(["replay", "dqm", str(file), "--data", str(data)]) == 0
    ranges = printed(capfd, 381103, "--data", data)["381103"]
    good = [number for first, last in ranges for number in range(first, last + 1)]
    assert good == sorted(set(good))
    assert not {7, 8, 26} & set(good)
    if case == "clean":
        assert len(good) >= 24
    else:
        assert not set(range(40, 51)) & set(good)
