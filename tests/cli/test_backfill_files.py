"""`opintel backfill` of files of others finds what `opintel replay` finds in them, whatever form they have and whatever
is wrong with them, and both say what was refused and where.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dqm.root_files import th1, write
from forked import exit_code
from gw.messages import GPS
from gw.sample_files import gwosc, noise

from opintel.cli import invoke
from opintel.store import open_store, sqlite_url
from opintel.store.backfills import backfills

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The JSON that a command says."""
    monkeypatch.chdir(tmp_path)

    def asked(*args: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert invoke([*args, "--json"]) == code, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return asked


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """Finding by id, without what says where it was made."""
    return {f["id"]: {key: value for key, value in f.items() if key != "origin"} for f in document["findings"]}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """FTS messages of an hour."""
    folder = tmp_path_factory.mktemp("story")
    assert invoke(["simulate", "fts", "--hours", "1.2", "--seed", "5", "--out", str(folder / "in")]) == 0
    return [line for file in sorted((folder / "in" / "messages").iterdir()) for line in file.open("rb")]


@pytest.fixture(scope="module")
def few(lines: list[bytes]) -> list[bytes]:
    return lines[:6000]


def monit(folder: Path, lines: list[bytes]) -> None:
    """An archive as MONIT has it: folders by day, files of JSON by line, gzipped or not, that overlap in time."""
    for n, name in enumerate(("2026/03/02/part-0.json.gz", "2026/03/02/part-1.json", "2026/03/03/part-0.gz")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        body = b"".join(lines[n::3])
        path.write_bytes(gzip.compress(body) if name.endswith("gz") else body)


def samples(folder: Path) -> None:
    """Strain with a sine-Gaussian, cut in two files."""
    time = np.arange(0, 32, 1 / 512)
    strain = noise(len(time)) + 6e-21 * np.exp(-(((time - 20) / 0.03) ** 2)) * np.cos(2 * np.pi * 100 * time)
    gwosc(folder / "H-H1_B-2.hdf5", strain[8192:], 512, start=GPS + 16)
    gwosc(folder / "H-H1_A-1.hdf5", strain[:8192], 512)


def runs(folder: Path) -> None:
    """A histogram in six runs, a file each; dead bins in the last."""
    draw = np.random.default_rng(3)
    for run in range(6):
        values = draw.poisson(400, 42)
        values[10:20] *= run < 5
        write(folder / f"DQM_R{run:09d}.root", {f"DQMData/Run {run + 1}/Pixel/Run summary/charge": th1(values)})


def fleet(folder: Path) -> None:
    """A metric of three hosts, a jump in one."""
    draw = np.random.default_rng(4)
    for host in range(3):
        rows = [
            f"{1_770_000_000 + 60 * n},load,n{host},{draw.normal() + 20 * (host == 1 and n > 500):.4f}\n"
            for n in range(600)
        ]
        text = "timestamp,name,host,value\n" + "".join(rows)
        (folder / f"n{host}.csv.gz").write_bytes(gzip.compress(text.encode()))


FORMS: dict[str, tuple[str, Callable[[Path], None], int]] = {
    "hdf5": ("gw", samples, 2),
    "root": ("dqm", runs, 6),
    "csv": ("health", fleet, 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_finds_what_replay_finds(form: str, ask: Ask) -> None:
    stream, make, files = FORMS[form]
    Path("in").mkdir()
    make(Path("in"))
    replayed, found = ask("replay", stream, "in"), ask("backfill", stream, "--input", "in", "--output", "o", "--local")
    assert plain(found) == plain(replayed) != {}
    assert found["input"] == {**replayed["input"], "files": files, "messages": replayed["messages"]}
    assert found["set_aside"] == replayed["set_aside"]


def test_monit_is_one_archive_that_is_kept_by_what_its_files_are(ask: Ask, few: list[bytes]) -> None:
    monit(Path("in"), few)
    Path("whole.jsonl").write_bytes(b"".join(few))
    backfill = ("backfill", "fts", "--input", "in", "--output", "o", "--local")
    replayed, found = ask("replay", "fts", "in"), ask(*backfill)
    assert plain(found) == plain(replayed) == plain(ask("replay", "fts", "whole.jsonl")) != {}
    assert (found["records"] > 4, found["input"]["messages"]) == (True, len(few))
    made = {path: path.stat().st_mtime_ns for path in Path("o").rglob("*.parquet")}
    assert plain(ask(*backfill)) == plain(found)
    assert {path: path.stat().st_mtime_ns for path in Path("o").rglob("*.parquet")} == made
    ask("archive", "fts", "in", "--archive", "memory://made")
    for again in (ask("replay", "fts", "memory://made"), ask(*backfill[:2], "--input", "memory://made", *backfill[4:])):
        assert plain(again) == plain(found)
    more = Path("in/2026/03/03/part-0.gz")
    more.write_bytes(gzip.compress(b"".join(few[2::3][:-50])))
    assert ask(*backfill)["input"]["messages"] == len(few) - 50
    assert len(list(Path("o/fts/_archive").iterdir())) == 2


def test_another_key_in_the_same_file_is_another_archive(ask: Ask) -> None:
    """The pseudonyms are those of `replay` under the key of now; where it is the first again, so is its archive."""
    assert invoke(["init", "site"]) == 0
    with Path("site/streams/logs.yaml").open("a") as settings:
        settings.write("\nwire:\n  pseudonym_key_file: key\n")
    Path("a.txt").write_text("2026-03-02T10:00:01 Failed password for jdoe from 10.0.0.1\n")
    said, config = list[str](), ("--config", "site")
    for key, archives in (("first-secret", 1), ("other-secret", 2), ("first-secret", 2)):
        Path("site/streams/key").write_text(key)
        found = ask("backfill", "logs", "--input", "a.txt", "--output", "o", "--local", *config)
        assert plain(found) == plain(ask("replay", "logs", "a.txt", *config)) != {}
        said += re.findall("for (user-[0-9a-f]{6}) from", json.dumps(found))[:1]
        assert len(list(Path("o/logs/_archive").iterdir())) == archives
    assert said[0] == said[2] != said[1]
    kept = b"".join(path.read_bytes() for path in Path("o").rglob("*") if path.is_file())
    assert b"secret" not in kept


def test_a_setting_can_be_tried_on_files(ask: Ask, few: list[bytes]) -> None:
    given = os.fsdecode(b"in\xff")
    monit(Path(given), few)
    strict = ("--set", "detectors.fts.failures.emit=-200", "--html", "strict.html")
    found = ask("backfill", "fts", "--input", given, "--output", "sqlite:///store.db", "--local", *strict)
    assert found["compare"]["only_there"] == []  # and the archive has the control that says the settings
    assert plain(ask("findings", "--data", ".")) == plain(found)
    assert not Path("sqlite:").exists()
    store = open_store(sqlite_url(Path("store.db")))
    assert [note.archive for note in backfills(store)] == ["in\\xff"]  # not the temporary archive
    store.close()
    assert re.findall(r"rows judged, from ([^<]*)\.", Path("strict.html").read_text(encoding="utf-8")) == ["in\\xff"]


def test_what_is_wrong_with_files_is_named_and_the_rest_is_judged(ask: Ask, lines: list[bytes]) -> None:
    """Half a gzip file, a broken line, the same file twice, an empty one, one whose halves are in the wrong order."""
    folder, part = Path("in"), len(lines) // 4
    folder.mkdir()
    broken = [*lines[:part]]
    broken[99] = broken[99][:40] + b"\n"
    (folder / "a.jsonl").write_bytes(b"".join(broken))
    shutil.copy(folder / "a.jsonl", folder / "b.jsonl")
    whole = gzip.compress(b"".join(lines[part : 2 * part]))
    (folder / "c.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "d.jsonl").touch()
    (folder / "d.json.gz").touch()
    later = lines[2 * part :]
    (folder / "e.jsonl").write_bytes(b"".join([*later[part:], *later[:part]]))
    replayed = ask("replay", "fts", "in", code=3)
    found = ask("backfill", "fts", "--input", "in", "--output", "o", "--local", code=3)
    assert plain(found) == plain(replayed) != {}
    assert found["set_aside"] == replayed["set_aside"]
    places = {one["reason"]: one["places"] for one in found["input"]["rejected"]}
    (cut,) = [its for reason, its in places.items() if "the gzip file ends early" in reason]
    (bad,) = [its for reason, its in places.items() if "not an FTS message" in reason]
    assert {"a.jsonl:100", "b.jsonl:100"} < set(bad)
    file, _, row = cut[0].partition(":")
    assert (file, 100 < int(row) < part) == ("c.jsonl.gz", True)
    first = found["input"]["out_of_order"][0]
    assert first["place"].startswith("e.jsonl:")
    assert first["rows"] >= found["late"] * 0.9 > part / 2
    dead = found["dead_letters"]
    assert found["input"]["rows"] + dead >= len(lines) - part + int(row) - part // 20  # copies are rows, too


def test_killed_it_goes_on(ask: Ask, few: list[bytes]) -> None:
    monit(Path("in"), few)
    backfill = ("backfill", "fts", "--input", "in", "--output", "o", "--local")
    expected = plain(ask("replay", "fts", "in"))
    for written in (2, 7):
        assert exit_code(killed, backfill, written) == -9
    assert plain(ask(*backfill)) == expected
    assert not list(Path("o").rglob(".*.part"))


def killed(command: tuple[str, ...], written: int) -> None:
    """Ends the process before its `written`th file."""
    from opintel.streams.urls import Location

    put, count = Location.put, 0

    def counting(self: Location, name: str, body: bytes) -> None:
        nonlocal count
        count += 1
        if count == written:
            os.kill(os.getpid(), 9)
        put(self, name, body)

    Location.put = counting  # type: ignore[method-assign]
    invoke(command)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing", "nothing: no file with messages in it (.jsonl, "),
        ("nowhere", "nowhere: no such file or folder"),
        ("both", "both: expected an archive or files of others, got both: fts.transfers/epoch="),
        ("stray", "stray/a.parquet: a file of an archive; expected the folder of the archive"),
        ("memory://nothing", "memory://nothing: no archive of a log is there"),
    ],
)
def test_a_place_with_neither_or_both_is_one_line(
    source: str,
    said: str,
    ask: Ask,
    lines: list[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("few.jsonl").write_bytes(b"".join(lines[:300]))
    for folder in ("nothing", "stray"):
        Path(folder).mkdir()
    ask("archive", "fts", "few.jsonl", "--archive", "both")
    shutil.copy("few.jsonl", "both")
    shutil.copy(next(Path("both").rglob("*.parquet")), "stray/a.parquet")
    for command in (
        ("backfill", "fts", "--input", source, "--output", "o", "--local"),
        ("replay", "fts", source),
        ("archive", "fts", source, "--archive", "b"),
    ):
        capsys.readouterr()
        assert invoke(command) == 1
        message = capsys.readouterr().err
        assert said in message
        assert message.count("\n") == 1


def test_an_archive_is_not_made_twice_or_over_another_one(
    ask: Ask, lines: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("few.jsonl").write_bytes(b"".join(lines[:300]))
    made = ask("archive", "fts", "few.jsonl", "--archive", "a")
    assert ask("archive", "fts", "few.jsonl", "--archive", "a") == made
    assert invoke(["archive", "fts", "a", "--archive", "b"]) == 1
    assert "a: it is an archive already" in capsys.readouterr().err
    Path("few.jsonl").write_bytes(b"".join(lines[:200]))
    assert invoke(["archive", "fts", "few.jsonl", "--archive", "a"]) == 1
    assert "a: holds another archive of fts.transfers" in capsys.readouterr().err


def test_files_that_cannot_be_read_leave_no_archive(ask: Ask, lines: list[bytes]) -> None:
    Path("few.jsonl").write_bytes(b"".join(lines[:300]))
    assert invoke(["archive", "health", "few.jsonl", "--archive", "a"]) == 1
    assert not list(Path("a").rglob("*"))
    assert ask("archive", "fts", "few.jsonl", "--archive", "a")["messages"] == 300
