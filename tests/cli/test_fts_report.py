"""`opintel fts report` over a small store of two days of one FTS, or of two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings
from opintel.cli import invoke
from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Window
from opintel.fts.judging.traffic import TrafficJudge, TrafficSettings
from opintel.fts.link_windows import LINK, LinkWindow
from opintel.store import open_store, sqlite_url
from opintel.streams.findings import Found, Judged

START = 1_772_409_600 * NS  # 2026-03-02T00:00:00Z
HOUR = 3600 * NS


def fill(data: Path, scopes: Sequence[str]) -> None:
    store = open_store(sqlite_url(data / "store.db"))
    records: list[Found | Judged] = []
    for scope in scopes:
        judge = TrafficJudge()
        for hour in (3, 30):
            window = Window(START + hour * HOUR, START + (hour + 1) * HOUR)
            facets = [("atlas", "<script>", 9, 1)]
            one = LinkWindow("a.example", "b.example", 9, 1, 0, 10, 10**9, [], (0, 0.0, 0.0), [], facets=facets)
            of = [Record(window, LINK, "a|b", scope, one)]
            closing = Closing(window, scope, of, Controls(), TrafficSettings(), "m", complete=True)
            records += [Found("fts", finding) for finding in judge.judge(closing)]
            records.append(Judged("fts", scope, window, {}, True))
    service = AlertService(store, AlertSettings())
    service.consume(service.position(), records, service.position() + len(records))
    store.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    fill(tmp_path, ["fts.example.org"])
    return tmp_path


def test_a_day_in_a_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "day.html"
    assert invoke(["fts", "report", "--day", "2026-03-02", "--out", str(out), "--data", str(data)]) == 0
    assert capsys.readouterr().out == f"{out}: transfers of 2026-03-02\n"
    page = out.read_text()
    for text in ("Monday, 2 March 2026", "<h2>By VO</h2>", "atlas", "<h2>By site</h2>", "a.example", "rule of CMS"):
        assert text in page
    for text in ("<a ", "<script", "<link", "src=", "http"):
        assert text not in page, "it leads nowhere and loads nothing"


def test_the_last_whole_day_is_the_default(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["fts", "report", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "transfers-2026-03-02.html: transfers of 2026-03-02\n"
    assert "10 % failed" in (tmp_path / "transfers-2026-03-02.html").read_text().replace("</b>", " ")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--day", "2.3.2026"], "expected a day such as 2026-03-02"),
        (["--out", "/nowhere/at/all.html"], "no such folder /nowhere/at"),
        (["--scope", "fts.example.com"], "expected one of fts.example.org"),
    ],
)
def test_what_is_asked_wrong(data: Path, options: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["fts", "report", "--data", str(data), *options]) == 1
    assert problem in capsys.readouterr().err


def test_one_of_several_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, ["fts-a.example.org", "fts-b.example.org"])
    assert invoke(["fts", "report", "--data", str(tmp_path)]) == 1
    assert "choose by --scope one of fts-a.example.org, fts-b.example.org" in capsys.readouterr().err
    out = tmp_path / "b.html"
    assert invoke(["fts", "report", "--scope", "fts-b.example.org", "--out", str(out), "--data", str(tmp_path)]) == 0
    assert "fts-b.example.org" in out.read_text()


def test_nothing_was_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(sqlite_url(tmp_path / "store.db")).close()
    assert invoke(["fts", "report", "--data", str(tmp_path)]) == 1
    assert "nothing was judged of transfers" in capsys.readouterr().err
