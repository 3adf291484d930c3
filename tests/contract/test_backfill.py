"""A backfill over the archive of a log says what the live run said, whatever happened meanwhile: other numbers of
partitions, controls, forgetting, full shards, quarantine; from a day that was done before; after a SIGKILL.

That it does so for each domain is among the tests of the contract.
"""

from __future__ import annotations

import itertools
import re
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from forked import exit_code

from opintel.backfill.comparing import compare
from opintel.backfill.outcomes import OutcomeError, Outcomes
from opintel.backfill.what_if import read_settings
from opintel.finding import NS
from opintel.streams.archive.reader import ArchiveError
from opintel.streams.artefacts import ArtefactUnavailable
from opintel.streams.records import Control
from opintel.streams.urls import Location

from .archived import DAYS, archive, backfilled, days, live, said, small_files
from .cases import FAILING, SAMPLE_CASE, START, TOY_CASE
from .harness import LOGS, feed


def scales() -> Sequence[tuple[int, Control]]:
    """Controls in the middle, one of them from long before, one with settings, one that is none."""
    return [
        (300, Control("c1", "scale", "all", 1, START + 240 * NS, 10, START)),
        (600, Control("c2", "scale", "all", 2, 0, 20, START)),
        (700, Control("s1", "settings", "toy", 1, 0, {"toy.total": {"offset": 1}}, START)),
        (800, Control("s2", "settings", "toy", 2, 0, {"no.such": {}}, START)),
    ]


STREAM = TOY_CASE.stream
STORIES = {
    "controls": replace(TOY_CASE, controls=scales),
    "one partition": replace(FAILING, stream=STREAM._replace(partitions=1)),
    "seven partitions": replace(FAILING, stream=STREAM._replace(partitions=7)),
    "forgetting": replace(FAILING, stream=STREAM._replace(ttl=180 * NS)),
    "a full shard": replace(TOY_CASE, stream=STREAM._replace(shards=1, max_keys=20)),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_backfill_says_what_the_live_run_said(story: str, tmp_path: Path) -> None:
    case = STORIES[story]
    expected = live(case, tmp_path)
    assert len(expected.findings) > 10
    assert expected.asides
    assert backfilled(case, tmp_path) == expected


def test_a_window_that_is_left_out_is_missed(tmp_path: Path) -> None:
    """The comparison can fail: a control that is not in the archive changes findings."""
    expected = live(STORIES["controls"], tmp_path / "with")
    assert live(TOY_CASE, tmp_path / "without") == backfilled(TOY_CASE, tmp_path / "without") != expected


def test_a_backfill_that_is_stopped_each_day_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_files(monkeypatch.setattr)
    expected = live(DAYS, tmp_path)
    whole = list(days(DAYS, tmp_path, Outcomes(str(tmp_path / "whole"), "toy")))
    assert said(whole) == expected
    assert [day.day.name for day in whole] == [f"2023-11-{day}" for day in range(14, 18)]
    for n in range(1, 5):
        last = list(itertools.islice(days(DAYS, tmp_path, Outcomes(str(tmp_path / "often"), "toy")), n))[-1]
        assert (last.judged, last.counts) == (whole[n - 1].judged, whole[n - 1].counts)
    assert tree(tmp_path / "often") == tree(tmp_path / "whole")
    again = list(days(DAYS, tmp_path, Outcomes(str(tmp_path / "often"), "toy")))
    assert all(day.before for day in again)  # nothing is judged again
    assert said(again) == replace(expected, asides=Counter())


def test_a_day_that_got_more_records_is_judged_again_with_those_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch.setattr)
    bus = LOGS["sqlite"](tmp_path)
    turns = feed(bus, DAYS)
    outcomes = Outcomes(str(tmp_path / "out"), "toy")
    for _ in range(100):
        next(turns)
    archive(bus, tmp_path, DAYS)
    first = list(days(DAYS, tmp_path, outcomes))
    for _ in turns:
        pass
    archive(bus, tmp_path, DAYS)
    then = list(days(DAYS, tmp_path, outcomes))
    assert [day.before for day in then] == [True] * (len(first) - 1) + [False] * (5 - len(first))
    assert said(then).findings == backfilled(DAYS, tmp_path).findings
    bus.close()


def test_outcomes_that_were_changed_are_not_believed(tmp_path: Path) -> None:
    live(DAYS, tmp_path)
    outcomes = Outcomes(str(tmp_path / "out"), "toy")
    list(itertools.islice(days(DAYS, tmp_path, outcomes), 2))
    (state,) = (tmp_path / "out").glob("toy/_days/*/2023-11-15/state")
    state.write_bytes(state.read_bytes()[:-1] + b"!")
    with pytest.raises(OutcomeError, match="is not what its day came to"):
        list(days(DAYS, tmp_path, outcomes))


def test_it_ends_behind_the_day_that_was_asked_for(tmp_path: Path) -> None:
    expected = live(DAYS, tmp_path)
    until = START + 30 * 3600 * NS
    some = list(days(DAYS, tmp_path, until=until))
    assert [day.day.name for day in some] == ["2023-11-14", "2023-11-15", "2023-11-16"]
    judged = said(some).judged
    assert judged.items() < expected.judged.items()
    assert {place: seen for place, seen in expected.judged.items() if place[1] <= until}.items() <= judged.items()


def test_a_backfill_that_is_killed_goes_on(tmp_path: Path) -> None:
    expected = live(DAYS, tmp_path)
    codes = [exit_code(killed, tmp_path, count) for count in (3, 8)]
    assert codes == [-signal.SIGKILL] * 2
    assert said(list(days(DAYS, tmp_path, Outcomes(str(tmp_path / "out"), "toy")))).findings == expected.findings
    list(days(DAYS, tmp_path, Outcomes(str(tmp_path / "whole"), "toy")))
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def killed(folder: Path, count: int) -> None:
    """A backfill that ends the process before its `count`th file."""
    import os

    written, put = 0, Location.put

    def counting(self: Location, name: str, body: bytes) -> None:
        nonlocal written
        written += 1
        if written == count:
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, name, body)

    Location.put = counting  # type: ignore[method-assign]
    list(days(DAYS, folder, Outcomes(str(folder / "out"), "toy")))


def test_what_a_control_names_and_the_archive_lacks_is_named(tmp_path: Path) -> None:
    live(SAMPLE_CASE, tmp_path)
    lost = sorted((tmp_path / "archive" / "_artefacts").iterdir())
    assert len(lost) == len(SAMPLE_CASE.artefacts)
    lost[0].unlink()
    with pytest.raises(ArtefactUnavailable, match=lost[0].name):
        backfilled(SAMPLE_CASE, tmp_path)


def test_a_topic_that_was_created_again_goes_on_behind_the_first(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        bus = LOGS["sqlite"](tmp_path / folder)
        for _ in feed(bus, TOY_CASE):
            pass
        archive(bus, tmp_path, TOY_CASE)
        bus.close()
    found = list(days(TOY_CASE, tmp_path))
    assert len(found) == 2
    assert found[0].day.epoch != found[1].day.epoch
    assert found[1].findings == []  # the windows were judged, so none is judged again
    assert found[0].counts.records == found[1].counts.records


def test_an_archive_of_another_topic_is_named(tmp_path: Path) -> None:
    live(TOY_CASE, tmp_path)
    with pytest.raises(ArchiveError, match=r"no file of topic 'other'; its topics: toy\.raw"):
        backfilled(replace(TOY_CASE, stream=STREAM._replace(topic="other")), tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_settings_change_what_is_found_from_the_window_that_they_held_for(tmp_path: Path) -> None:
    case = STORIES["controls"]
    expected = live(case, tmp_path)
    settings = read_settings(["detectors.toy.total.offset=7"], case.pipeline)
    there = [finding for day in days(case, tmp_path) for finding in day.findings]
    here = [finding for day in days(case, tmp_path, settings=settings) for finding in day.findings]
    found = compare(here, there)
    assert (found.only_here, found.only_there) == ([], [])
    first = min(change.here.window.start for change in found.changed)
    later = [finding for finding in there if finding.kind == "total" and finding.window.start >= first]
    assert first > START
    assert {change.there.id for change in found.changed} == {finding.id for finding in later} != set()
    assert all(change.here.effect.value - change.there.effect.value == 6 for change in found.changed)
    assert len(there) == len(expected.findings)
    assert compare(there, there) == ([], [], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("toy.total.offset=1", "expected a setting of detectors.toy.reducer, detectors.toy.total"),
        ("detectors.toy.total.ofset=1", "toy.total has the settings offset"),
        ("detectors.toy.total.offset=[", "detectors.toy.total.offset=[: "),
        ("detectors.toy.total.offset=much", "Expected `int`"),
    ],
)
def test_a_setting_that_is_none_is_explained(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_settings([text], TOY_CASE.pipeline)
