"""`opintel gw`: triggers of files, and the report on an event: strain with a glitch, and a channel that saw it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opintel.cli import invoke
from opintel.gw.exports.bursts import read_sngl_burst
from tests.gw.messages import GPS
from tests.gw.sample_files import auxiliary, gwosc

RATE, SECONDS, AT = 1024, 40, 21.3
WITNESS, COPY, CALM = "PEM-EY_MIC_DQ", "OMC-DCPD_SUM_DQ", "PEM-EX_MIC_DQ"


def burst(snr: float, seed: int, frequency: float = 150.0, at: float = AT) -> np.ndarray[Any, Any]:
    """Unit noise with a sine-Gaussian of Q 9 and about this SNR."""
    time = np.arange(SECONDS * RATE) / RATE - at
    tau = 9.0 / (np.sqrt(2) * np.pi * frequency)
    wave = np.exp(-np.square(time / tau)) * np.cos(2 * np.pi * frequency * time)
    return np.random.default_rng(seed).standard_normal(len(time)) + wave * snr / np.sqrt(np.square(wave).sum())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gw")
    strain = 1e-21 * burst(20.0, 1)
    channels = {
        f"PEM/H1:{WITNESS}": (burst(30.0, 2, 60.0), {"fs": RATE}),
        f"PEM/H1:{CALM}": (burst(0.0, 3), {"fs": RATE}),
        f"OMC/H1:{COPY}": (strain * 1e18, {"fs": RATE}),
    }
    return {
        "strain": gwosc(folder / "H-H1-1-40.hdf5", strain, RATE),
        "later": gwosc(folder / "H-H1-2-40.hdf5", 1e-21 * burst(20.0, 4), RATE, start=GPS + 30),
        "auxiliary": auxiliary(folder / "H-H1_AUXR-1-40.h5", channels),
    }


def found(capfd: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    capfd.readouterr()
    assert invoke(["gw", "triggers", *map(str, arguments), "--json"]) == 0
    return [row for row in json.loads(capfd.readouterr().out)["triggers"] if row["snr"] > 7]


def test_the_triggers_of_a_file(files: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    [loud] = found(capfd, files["strain"])
    assert abs(loud["t_peak"] - GPS - AT) < 0.01
    assert abs(loud["snr"] - 20) < 4
    assert abs(loud["f_peak"] - 150) < 15


def test_seconds_that_two_files_share_count_once(files: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    times = [row["t_peak"] - GPS for row in found(capfd, files["later"], files["strain"])]
    assert np.allclose(times, [AT, AT + 30], atol=0.01)


def test_channels_by_pattern(files: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    pem = found(capfd, *files.values(), "--channel", "H1:PEM-*")
    assert [row["channel"] for row in pem] == [f"H1:{WITNESS}"]
    everything = {row["channel"] for row in found(capfd, files["auxiliary"])}
    assert everything == {f"H1:{WITNESS}", f"H1:{COPY}"}, "where there is no strain, all channels"


@pytest.mark.parametrize("name", ["out.xml", "out.xml.gz", "out.h5"])
def test_triggers_in_a_file(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    assert invoke(["gw", "triggers", str(files["strain"]), "--out", str(tmp_path / name)]) == 0
    assert "written to" in capfd.readouterr().err
    assert (tmp_path / name).stat().st_size
    if "xml" in name:
        assert max(read_sngl_burst(tmp_path / name)["snr"].to_pylist()) > 15


def test_a_report_names_the_witness_and_not_the_copy(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    every = [str(files["strain"]), str(files["auxiliary"])]
    assert invoke(["gw", "report", str(GPS + AT), *every, "--out", str(out)]) == 0
    said = capfd.readouterr().out
    assert "H1 gave science data" in said
    assert f"1 of 2 safe channels witness it, first of all H1:{WITNESS}" in said
    page = out.read_text()
    assert page.count("Q-scan") >= 2
    assert f"{COPY}." in page.split("Not checked")[1], "a copy of the strain is no witness, and that is said"
    assert "no store was given" in page


def test_a_report_where_nothing_happened(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    every = [str(files["strain"]), str(files["auxiliary"])]
    assert invoke(["gw", "report", str(GPS + 9.0), *every, "--out", str(tmp_path / "r.html")]) == 0
    said = capfd.readouterr().out
    assert "no trigger within 0.5 s" in said
    assert "none of 2 safe channels witnesses it" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["triggers"], "Missing argument 'FILES...'"),
        (["triggers", "nothing.h5"], "nothing.h5: No such file"),
        (["triggers", "{strain}", "--channel", "H1:NO*"], "no channel H1:NO* in the files; there are H1:GWOSC-STRAIN"),
        (["triggers", "{strain}", "--out", "x.txt"], "expected a name that ends in .xml, .xml.gz, .h5, .hdf5"),
        (["report", "1126259462"], "expected files with the samples around the event, or --data"),
        (["report", "-5", "{strain}"], ""),
        (["report", "nan", "{strain}"], "expected GPS seconds"),
    ],
)
def test_mistakes_are_one_line(
    files: dict[str, Path], capfd: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert invoke(["gw", *(one.format(**files) for one in arguments)]) in (1, 2)
    said = capfd.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_a_report_on_a_time_that_the_files_do_not_hold(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.html"
    assert invoke(["gw", "report", "1000000000", str(files["strain"]), "--out", str(out)]) == 0
    assert "do not hold this time" in out.read_text()
