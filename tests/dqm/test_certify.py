"""Golden and defect JSON from the states of lumisections."""

from __future__ import annotations

import pytest

from opintel.dqm.certify import Flag, LumisectionQuality, certified, defects, quality_of, ranges
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


def test_ranges_of_nothing() -> None:
    assert ranges([]) == []
