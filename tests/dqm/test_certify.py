"""Golden and defect JSON from the states of lumisections."""

from __future__ import annotations

import msgspec
import pytest

from opintel.dqm.quality.certify import (
    Flag,
    LumisectionQuality,
    SignOff,
    Verdict,
    certified,
    defects,
    quality_of,
    ranges,
    standings,
)
from opintel.finding import Effect, Finding, Window


def quality(number: int, *flags: Flag, subsystem: str = "calo", run: int = 7, status: str = "") -> LumisectionQuality:
    status = status or ("bad" if any(flag.critical for flag in flags) else "good")
    return LumisectionQuality(subsystem, run, number, status, flags, f"{subsystem}-{run}-{number}", "m")


WEAK = Flag("energy", "hot", -5.0, True)


def test_lumisections_that_do_not_exist_are_in_no_range() -> None:
    assert certified([quality(n) for n in (1, 2, 5, 6, 9)]) == {"7": [[1, 2], [5, 6], [9, 9]]}


def test_a_weak_flag_counts_where_another_one_is_near() -> None:
    """2 of 3 lumisections that exist: 4 and 7 are neighbours here."""
    lone = [quality(n, *([WEAK] if n == 3 else [])) for n in (1, 2, 3, 4, 7, 8)]
    assert certified(lone) == {"7": [[1, 4], [7, 8]]}
    assert defects(lone) == []
    twice = [quality(n, *([WEAK] if n in (4, 8) else [])) for n in (1, 2, 3, 4, 7, 8)]
    assert certified(twice) == {"7": [[1, 3], [7, 7]]}
    (defect,) = defects(twice)
    assert (defect.bit, defect.first, defect.last, defect.log10_p) == ("calo: hot", 4, 8, -5.0)
    assert defect.evidence == ["calo-7-4", "calo-7-8"]


@pytest.mark.parametrize("flag", [Flag("energy", "missing", None, True), Flag("energy", "dead", -30.0, True)])
def test_a_fact_and_a_tiny_p_count_at_once(flag: Flag) -> None:
    assert certified([quality(1), quality(2, flag), quality(3)]) == {"7": [[1, 1], [3, 3]]}


def test_minor_histograms_spoil_nothing_and_are_defects() -> None:
    minor = Flag("errors", "dead", -30.0, False)
    found = [quality(1, minor), quality(2)]
    assert certified(found) == {"7": [[1, 2]]}
    assert [(d.histogram, d.critical) for d in defects(found)] == [("errors", False)]


def test_all_subsystems_of_the_run_have_to_be_good() -> None:
    calo = [quality(n) for n in (1, 2, 3, 4)]
    muon = [quality(n, subsystem="muon") for n in (1, 2)] + [quality(3, subsystem="muon", status="insufficient")]
    assert certified([*calo, *muon]) == {"7": [[1, 2]]}


def test_runs_are_apart() -> None:
    flag = Flag("energy", "dead", -30.0, True)
    assert certified([quality(1), quality(1, flag, run=8), quality(2, run=8)]) == {"7": [[1, 1]], "8": [[2, 2]]}


def signed(first: int, last: int, verdict: Verdict, subsystem: str = "calo", run: int = 7) -> SignOff:
    return SignOff(subsystem, run, first, last, verdict, "Ada", "2026-03-02T06:00:00Z", "seen")


def test_the_last_word_of_a_shifter_counts() -> None:
    dead = Flag("energy", "dead", -30.0, True)
    found = [quality(n, *([dead] if n in (3, 4, 5) else [])) for n in (1, 2, 3, 4, 5, 9)]
    said = [signed(1, 4, "good"), signed(4, 9, "bad"), signed(9, 9, "as judged")]
    assert certified(found) == {"7": [[1, 2], [9, 9]]}
    assert certified(found, said[:1]) == {"7": [[1, 4], [9, 9]]}
    assert certified(found, said) == {"7": [[1, 3], [9, 9]]}, "6 to 8 do not exist, whatever is said of them"
    assert [(d.bit, d.first, d.last, d.overrides) for d in defects(found, said)] == [
        ("calo: signed off bad", 4, 5, said[:2]),
        ("calo: dead", 3, 5, said[:2]),
    ]


def test_a_sign_off_of_what_did_not_come() -> None:
    """The other subsystem shows that the lumisection exists."""
    found = [quality(1), quality(2), quality(1, subsystem="muon")]
    assert certified(found) == {"7": [[1, 1]]}
    assert certified(found, [signed(2, 2, "good", "muon")]) == {"7": [[1, 2]]}
    assert certified(found, [signed(2, 2, "good", "muon"), signed(1, 9, "as judged", "muon")]) == {"7": [[1, 1]]}
    assert certified(found, [signed(1, 2, "bad", run=8)]) == {"7": [[1, 1]]}


def test_the_worst_of_two_judgements_of_a_lumisection_counts() -> None:
    found = [quality(1), quality(1, Flag("energy", "dead", -30.0, True)), quality(1, status="insufficient")]
    assert standings(found)[7, 1, "calo"].status == "bad"
    assert certified(found) == {"7": []}


def test_a_critical_flag_that_does_not_last_is_minor() -> None:
    found = standings([quality(n, *([WEAK] if n == 3 else [])) for n in (1, 2, 3, 4, 5)])
    assert [standing.status for standing in found.values()] == ["good", "good", "minor", "good", "good"]


def test_trouble_that_changes_its_kind_is_one_defect_and_a_missing_histogram_another() -> None:
    kinds = {1: ("hot", -5.0), 2: ("noisy", -15.0), 3: ("changed", -6.0), 5: ("missing", None)}
    found = [quality(n, *(Flag("energy", *kinds[n], True) for _ in range(n in kinds))) for n in range(1, 6)]
    assert [(d.bit, d.first, d.last) for d in defects(found)] == [("calo: missing", 5, 5), ("calo: noisy", 1, 3)]


def test_other_findings_are_refused() -> None:
    other = Finding(
        id="a",
        detector="dqm.quality",
        kind="dead",
        subject={"scope": "calo"},
        window=Window(0, 1),
        log10_p=-9.0,
        basis="exact",
        effect=Effect(0.0, ""),
        severity="warning",
        summary="",
    )
    with pytest.raises(ValueError, match="expected a finding of kind quality, got one of kind dead"):
        quality_of(other)
    for subject in ({"scope": "calo", "run": "7"}, {"scope": "calo", "run": "7", "lumisection": "x"}):
        with pytest.raises(ValueError, match="finding a: expected the state of a lumisection, got"):
            quality_of(msgspec.structs.replace(other, kind="quality", subject=subject))


def test_ranges_of_nothing() -> None:
    assert ranges([]) == []
