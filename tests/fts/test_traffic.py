"""The hourly finding about an FTS's traffic: what it adds up, and that it can be read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from opintel.detector import Closing, Controls, Record
from opintel.evidence import MAX_BYTES, Table
from opintel.finding import NS, Finding, Window
from opintel.fts.causes.families import UNCLASSIFIED, Family
from opintel.fts.judging.traffic import HOUR, LINKS, SITES, TrafficJudge, TrafficSettings
from opintel.fts.link_windows import LINK, LinkWindow
from opintel.fts.traffic import OTHERS, HourTraffic, traffic_of

TEN = 600 * NS
FAMILIES = TrafficSettings(families=(Family("no-space", concepts=("space",)), Family("timeout", concepts=("time",))))


def link(source: str, destination: str, ok: int, failed: int, text: str = "", size: int = 1000) -> LinkWindow:
    forms = [(f"id {text}", text, failed, f"{text} as sent")] if text and failed else []
    counts = (ok, failed, 1, ok + failed + 3, size * ok, [], (0, 0.0, 0.0))
    facets = [("atlas", "Production", ok, 0), ("cms", "", 0, failed)]
    return LinkWindow(source, destination, *counts, forms, facets=facets)


def judged(
    windows: Sequence[Sequence[LinkWindow]],
    *,
    length: int = TEN,
    first: int = 0,
    restart: int | None = None,
    cut: bool = False,
    settings: TrafficSettings = FAMILIES,
) -> list[Finding]:
    """The findings about windows that follow each other; `cut`: the input ends in the last one."""
    judge, found = TrafficJudge(), []
    for n, links in enumerate(windows):
        if n == restart:
            fresh: Any = TrafficJudge()
            fresh.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state())))
            judge = fresh
        window = Window((first + n) * length, (first + n + 1) * length)
        records = [Record(window, LINK, f"{one.source}|{one.destination}", "fts1", one) for one in links]
        records.sort(key=lambda record: record.key)
        whole = not (cut and n == len(windows) - 1)
        found += judge.judge(Closing(window, "fts1", records, Controls(), settings, "model", complete=whole))
    return found


def read(finding: Finding) -> HourTraffic:
    """As it comes back from the store."""
    stored: Finding = msgspec.json.decode(msgspec.json.encode(finding), type=Finding)
    said = traffic_of(stored)
    assert said is not None
    return said


A, B, C = "se01.a.example", "se02.a.example", "se01.b.example"


def test_an_hour_adds_up() -> None:
    window = [link(A, C, 8, 2, "disk full"), link(B, C, 4, 1, "odd thing"), link(C, C, 1, 0)]
    [finding] = judged([window] * 6)
    assert (finding.kind, finding.severity, finding.log10_p, finding.basis) == ("traffic", "info", None, "none")
    assert finding.window == Window(0, HOUR)
    assert finding.effect.value == pytest.approx(18 / 96)
    hour = read(finding)
    total = hour.total
    assert (total.ok, total.failed, total.aborted, total.retries, total.bytes) == (78, 18, 18, 36, 78_000)
    assert (total.errors, total.links, total.endpoints) == (18, 3, 3)
    assert hour.sites == ["b.example", "a.example"]
    assert hour.failed == [[0.0, None], [18.0, None]]
    assert hour.ok == [[6.0, None], [72.0, None]]
    assert hour.bytes == [[6_000.0, None], [72_000.0, None]]
    assert hour.links[0] == (A, C, 48, 12, 48_000, "no-space", 0, 0, 0)
    assert hour.endpoints[0] == (C, "b.example", 6, 0, 6_000, 78, 18, 78_000, 0, 0)
    assert [tuple(one) for one in hour.activities] == [("atlas", "Production", 78, 0), ("cms", "", 0, 18)]
    assert [(one.family, one.errors, one.links) for one in hour.causes] == [("no-space", 12, 1), (UNCLASSIFIED, 6, 1)]
    assert hour.causes[0].example == "disk full as sent"
    assert [tuple(one) for one in hour.places][:2] == [(A, "no-space", 12), (C, "no-space", 12)]
    assert [tuple(one) for one in hour.odd] == [("odd thing", 6, "odd thing as sent")]


def test_each_hour_is_said_once_and_a_restart_changes_nothing() -> None:
    windows = [[link(A, C, n, 1, "disk full" if n % 3 else "odd thing")] for n in range(20)]
    whole = judged(windows)
    assert [f.window for f in whole] == [Window(n * HOUR, (n + 1) * HOUR) for n in range(3)]
    for at in (1, 7, 12):
        assert judged(windows, restart=at) == whole


@pytest.mark.parametrize("length", [HOUR // 4, HOUR, 24 * HOUR])
def test_windows_of_any_length(length: int) -> None:
    found = judged([[link(A, C, 1, 1)]] * 8, length=length)
    assert sum(read(f).total.ok for f in found) == 8
    assert len({f.window for f in found}) == len(found) == max(2, min(8, 8 * length // HOUR))


def test_what_there_is_of_an_hour_is_said_where_the_input_ends() -> None:
    [part] = judged([[link(A, C, 1, 1)]] * 3, cut=True)
    assert part.window == Window(0, 3 * TEN)
    assert read(part).total.ok == 3
    assert "in 0.5 h" in part.summary


def test_an_hour_that_begins_inside_one() -> None:
    [part] = judged([[link(A, C, 1, 0)]] * 2, first=4)
    assert part.window == Window(4 * TEN, HOUR)


def test_no_file_no_finding() -> None:
    queued = msgspec.structs.replace(link(A, C, 0, 0), attempts=0, aborted=0, submitted=9)
    assert judged([[queued]] * 6) == judged([[]] * 6) == []


def test_without_families_causes_are_not_listed() -> None:
    [finding] = judged([[link(A, C, 1, 1, "disk full")]] * 6, settings=TrafficSettings())
    hour = read(finding)
    assert (hour.causes, hour.places, hour.odd) == ([], [], [])
    assert hour.total.errors == 6


def test_a_large_grid_is_bounded_and_loses_no_file() -> None:
    hosts = [f"storage-element-{n:03}.site-{n:03}.region.example" for n in range(230)]
    pairs = [(hosts[n % 230], hosts[(n * 7 + n // 230) % 230]) for n in range(4000)]
    windows = [link(s, d, n % 50, int(n % 211 == 0) * 40, f"odd {n} " * 40, 10**12) for n, (s, d) in enumerate(pairs)]
    [finding] = judged([windows] * 6)
    hour = read(finding)
    assert sum(len(msgspec.json.encode(block)) for block in finding.evidence) < MAX_BYTES / 2
    assert (len(hour.sites), hour.sites[-1], len(hour.links)) == (SITES, OTHERS, LINKS)
    assert sum(value or 0.0 for row in hour.ok for value in row) == hour.total.ok == 6 * sum(w.ok for w in windows)
    failing = {(w.source, w.destination) for w in windows if w.failed}
    assert {(one.source, one.destination) for one in hour.links if one.failed} == failing
    assert not any("left out" in block.title for block in finding.evidence)


def test_a_finding_that_says_something_else_is_refused() -> None:
    [finding] = judged([[link(A, C, 1, 1)]] * 6)
    blocks = [
        msgspec.structs.replace(b, rows=[[A, C, "many", *b.rows[0][3:]]])
        if isinstance(b, Table) and b.title == "Links"
        else b
        for b in finding.evidence
    ]
    with pytest.raises(ValueError, match="Expected `int`"):
        traffic_of(msgspec.structs.replace(finding, evidence=tuple(blocks)))
    assert traffic_of(msgspec.structs.replace(finding, evidence=())) is None
