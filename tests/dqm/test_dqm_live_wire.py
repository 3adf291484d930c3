"""What goes wrong on a live wire of histograms, through ingest and both stages: gaps, revisions, copies, runs, and
conditions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opintel.dqm.elements import MonitorElement
from opintel.dqm.histograms import Listing
from opintel.dqm.quality.certify import LumisectionQuality, certified
from opintel.dqm.wire.encoder import manifests_of, parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS

from .live import PATHS, STREAM, Live, Part, detector, emptied, healthy, live, sent
from .lumisections import BEGIN, LENGTH, element, head, listing

ALL = listing(paths=list(PATHS))
LATE = ("late", "its window was closed")


def test_a_gap_that_no_manifest_names_is_no_fault_and_is_not_certified(tmp_path: Path) -> None:
    numbers = [*range(1, 7), *range(9, 21)]
    found = live(tmp_path, healthy(5, numbers, ALL))
    assert found.alarms() == {}
    assert [n for _, n in found.states()] == numbers
    states = found.states().items()
    qualities = [LumisectionQuality("Calo", run, n, state, (), "", "") for (run, n), state in states]
    assert certified(qualities) == {"5": [[6, 6], [9, 20]]}


def test_a_lumisection_that_a_manifest_names_and_that_did_not_come_is_missing(tmp_path: Path) -> None:
    alone = [(head(5, 7).end + 3 * NS, body) for body in manifests_of(head(5, 7), ALL)]
    found = live(tmp_path, [*healthy(5, [*range(1, 7), *range(9, 13)], ALL), *alone])
    assert found.alarms() == {(5, 7): [("missing", path) for path in PATHS]}


def partial(number: int) -> list[MonitorElement]:
    """With 40 % of the entries, in half of the bins: a fault, if it were judged."""
    half = np.arange(40) < 12
    return [one._replace(values=np.floor(0.8 * one.values * half)) for one in detector(number)]


def test_a_late_revision_is_judged_once_as_the_highest_that_came_in_time(tmp_path: Path) -> None:
    story = healthy(5, [n for n in range(1, 15) if n != 11])
    first, whole = sent(head(5, 11), partial(11)), sent(head(5, 11, revision=2), detector(11), delay=20.0)
    too_late = sent(head(5, 11, revision=2), detector(11), delay=200.0)
    back = sent(head(5, 11), partial(11), delay=40.0)
    expected = live(tmp_path / "whole", [*story, *whole])
    assert expected.alarms() == {}
    in_time = live(tmp_path / "in time", [*story, *first, *whole])
    assert in_time.outcome.findings == expected.outcome.findings
    assert live(tmp_path / "back", [*story, *whole, *back]).outcome.findings == expected.outcome.findings
    part_alone = live(tmp_path / "part", [*story, *first])
    assert list(part_alone.alarms()) == [(5, 11)]
    late = live(tmp_path / "late", [*story, *first, *too_late])
    assert late.outcome.findings == part_alone.outcome.findings
    assert late.outcome.asides[LATE] == 4


def test_copies_change_nothing_however_they_are_split(tmp_path: Path) -> None:
    numbers, dead = range(1, 14), emptied(detector(12), "T/h1", 10, 20)
    story = [*healthy(5, [n for n in numbers if n != 12], ALL), *sent(head(5, 12), dead, ALL)]
    again = []
    for n in numbers:
        elements = dead if n == 12 else detector(n)
        again += [part for one in elements for part in sent(head(5, n), [one], delay=9.0)]
    once, twice = live(tmp_path / "once", story), live(tmp_path / "twice", [*story, *again])
    assert once.alarms() == {(5, 12): [("dead", "T/h1")]}
    assert twice.outcome == once.outcome


def test_lumisections_in_the_order_of_their_names_are_judged_in_that_of_their_numbers(tmp_path: Path) -> None:
    """All arrive after the last one, before the first is closed."""
    patient = STREAM._replace(lateness=900 * NS, skew=60 * NS)
    parts = {n: sent(head(5, n), emptied(detector(n), "T/h2", 20, 24 if n > 15 else 19)) for n in range(1, 21)}
    late = head(5, 21).end

    def play(folder: str, names: list[int]) -> Live:
        story = [(late + at, body) for at, n in enumerate(names) for _, body in parts[n]]
        return live(tmp_path / folder, story, patient)

    in_order, by_name = play("numbers", list(parts)), play("names", sorted(parts, key=str))
    assert by_name == in_order
    assert [place[1] for place in by_name.alarms()] == [16, 17, 18, 19, 20]


def test_late_parts_of_a_run_and_smaller_run_numbers_are_apart(tmp_path: Path) -> None:
    """Run 4 begins while parts of run 5 still arrive; a part of run 5 never counts for run 4."""

    def begun(n: int) -> Head:
        start = head(5, 12).end + n * LENGTH
        return Head(4, n + 1, start, start + LENGTH, "Calo")

    dead = emptied(detector(12), "T/h0", 2, 9)
    before = [*healthy(5, range(1, 12)), *sent(head(5, 12), dead[1:])]
    after = [part for n in range(8) for part in sent(begun(n), detector(n + 1, 4))]
    late = sent(head(5, 12), dead[:1], delay=40.0)
    found = live(tmp_path / "late", [*before, *after, *late])
    assert found == live(tmp_path / "early", [*before, *after, *sent(head(5, 12), dead[:1])])
    assert found.alarms() == {(5, 12): [("dead", "T/h0")]}
    assert [place for place in found.states() if place[0] == 4] == [(4, n + 1) for n in range(8)]


def cumulative(numbers: list[int], restart: int = 99, dead: int = 99) -> list[Part]:
    """Contents since the start of the run; the sum begins again at lumisection `restart`, a region is dead in one."""
    total = np.zeros((4, 40))
    found = []
    for n in range(1, max(numbers) + 1):
        total = total * (n != restart)
        elements = emptied(detector(n), "T/h2", 26, 29) if n == dead else detector(n)
        total = total + np.array([one.values for one in elements])
        if n in numbers:
            so_far = [element(path, values) for path, values in zip(PATHS, total, strict=True)]
            found += sent(head(5, n, cumulative=True), so_far)
    return found


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [(list(range(1, 26)), "dead"), ([n for n in range(1, 26) if n % 3], "low")],
    ids=["all", "lost"],
)
def test_cumulative_contents_are_judged_by_increments(numbers: list[int], kind: str, tmp_path: Path) -> None:
    """Where one is lost, the next is judged with it, and a region that was dead in one of both is low."""
    found = live(tmp_path / "restart", cumulative(numbers, restart=14))
    assert found.alarms() == {}
    assert set(list(found.states().values())[6:]) == {"good"}
    found = live(tmp_path / "dead", cumulative(numbers, restart=14, dead=22))
    assert found.alarms() == {(5, 22): [(kind, "T/h2")]}


def conditions(number: int, **about: object) -> Listing:
    return listing(**({"paths": list(PATHS), "luminosity": 100.0 - number, "stable_beams": True} | about))


def of_both(number: int, calo: list[MonitorElement], muon: list[MonitorElement], **about: object) -> list[Part]:
    said = conditions(number, **about)
    return [*sent(head(5, number), calo, said), *sent(head(5, number, "Muon"), muon, said)]


def test_nothing_is_dead_when_the_beams_are_gone_and_one_subsystem_is_when_they_are_not(tmp_path: Path) -> None:
    story = [part for n in range(1, 13) for part in of_both(n, detector(n), detector(n, 6))]
    nothing = detector(1, scale=0.0)
    gone = [p for n in (13, 14, 15) for p in of_both(n, nothing, nothing, stable_beams=False, luminosity=0.0)]
    found = live(tmp_path / "gone", [*story, *gone])
    assert found.alarms("Calo") == found.alarms("Muon") == {}
    assert [words for words in found.words("insufficient") if " 13: " in words] == [
        "run 5 lumisection 13: 4 of 4 histograms cannot be judged: 4 empty (no stable beams)"
    ] * 2
    assert not [words for words in found.words("insufficient") if " 14: " in words or " 15: " in words]
    assert [found.states(scope)[5, 13] for scope in ("Calo", "Muon")] == ["insufficient"] * 2
    found = live(tmp_path / "stopped", [*story, *of_both(13, nothing, detector(13, 6))])
    assert found.alarms("Calo") == {(5, 13): [("dead", path) for path in PATHS]}
    assert found.alarms("Muon") == {}


def test_a_short_last_lumisection_is_no_fault(tmp_path: Path) -> None:
    short = sent(head(5, 13, seconds=3.0), detector(13, scale=3.0 / 23.31))
    found = live(tmp_path, [*healthy(5, range(1, 13)), *short])
    assert found.alarms() == {}
    assert found.states()[5, 13] == "good"


def test_a_path_from_two_datasets_is_two_histograms(tmp_path: Path) -> None:
    """Express and physics have other contents; what befalls one is not said of the other."""
    story = []
    for n in range(1, 14):
        dead = emptied(detector(n), "T/h1", 10, 20) if n == 12 else detector(n)
        story += sent(head(5, n, dataset="express"), dead)
        story += sent(head(5, n, dataset="physics"), detector(n, 7, scale=9.0))
    found = live(tmp_path, story)
    assert found.alarms() == {(5, 12): [("dead", "T/h1")]}
    assert {f["subject"]["dataset"] for f in found.about("T/h1").values()} == {"express"}


def test_messages_that_are_none_stop_nothing(tmp_path: Path) -> None:
    story = healthy(5, range(1, 9))
    whole = b"".join(parts_of(head(5, 5), detector(5)))
    hostile = [b"", b"\xff" * 50, whole[: len(whole) // 2], b"[" * 50_000, b'{"run": 5}']
    bad = [(BEGIN + 50_100 * NS + n, body) for n, body in enumerate(hostile)]
    plain, spoilt = live(tmp_path / "plain", story), live(tmp_path / "spoilt", [*story, *bad])
    assert spoilt.outcome.findings == plain.outcome.findings
    assert sum(n for (kind, _), n in spoilt.outcome.asides.items() if kind == "dead") == 1 + len(hostile)
