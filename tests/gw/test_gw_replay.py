"""Files through the real pipeline: simulated ones, those that go wrong in the field, and GW150914."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opintel.cli import invoke

Json = dict[str, Any]


def replayed(capsys: pytest.CaptureFixture[str], *files: Path) -> Json:
    assert invoke(["replay", "gw", *map(str, files), "--json"]) == 0
    found: Json = json.loads(capsys.readouterr().out)
    return found


def triggers(found: Json) -> list[tuple[float, float]]:
    """(GPS s, SNR) of each."""
    return [(f["onset_gps"], f["effect"]["value"]) for f in found["findings"] if f["kind"] == "trigger"]


@pytest.mark.parametrize("name", ["plain", "nan gap", "lock loss", "overlap", "rate change", "auxiliary"])
def test_files_that_go_wrong_in_the_field(name: str, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_data / "gw" / "cases"
    case = json.loads((folder / "files.json").read_text())[name]
    found = replayed(capsys, *(folder / file for file in case["files"]))
    heard = triggers(found)
    for injected in case["injections"]:
        near = 0.01 + 1 / injected["frequency"]
        (snr,) = [snr for time, snr in heard if abs(time - injected["gps"]) < near]
        assert abs(snr - injected["snr"]) < 0.08 * injected["snr"] + 3
        heard = [(time, snr) for time, snr in heard if abs(time - injected["gps"]) >= near]
    assert all(snr < 6 for _, snr in heard)
    for begin, end in case.get("closed", ()):
        assert not any(begin <= time < end for time, _ in heard)
    subjects = {f["subject"]["channel"] for f in found["findings"] if f["kind"] == "trigger"}
    assert len(subjects) == 1
    assert not any(channel in json.dumps(found["findings"]) for channel in case.get("never", ()))
    assert found["incidents"] == []
    assert (found["late"], found["dead_letters"]) == (0, 0)


def test_gw150914_is_found_in_both_detectors(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_data / "gw" / "gwosc"
    for file, low, high in (("H-H1_LOSC_4_V2-1126259446-32", 10, 15), ("L-L1_LOSC_4_V2-1126259446-32", 8, 10)):
        found = replayed(capsys, folder / f"{file}.hdf5")
        (event,) = [snr for time, snr in triggers(found) if abs(time - 1126259462.42) < 0.05]
        assert low <= event <= high
        assert sum(snr > 7 for _, snr in triggers(found)) == 1
        loud = max((f for f in found["findings"] if f["kind"] == "trigger"), key=lambda f: f["effect"]["value"])
        assert loud["window"]["gps"] == [1126259461.0, 1126259463.0]
        assert [block["type"] for block in loud["evidence"]] == ["image", "table"]
