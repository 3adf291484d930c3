"""CMS's rule over links, endpoints and sites, and what becomes of its disagreements with our findings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from opintel.finding import NS, Window
from opintel.fts.cms_rule import Verdict, endpoint_verdicts, link_verdict, site_verdicts
from opintel.fts.rule_comparison import HOUR, FoundFailing, IncidentSpan, compared
from opintel.fts.traffic import HourTotal, HourTraffic, LinkTraffic


def link(source: str, destination: str, ok: int, failed: int, *, user: int = 0, side: int = 0) -> LinkTraffic:
    """`side`: of the failed files, the destination's."""
    return LinkTraffic(source, destination, ok, failed, 0, "", user, 0, side)


@pytest.mark.parametrize(
    ("ok", "files", "verdict"),
    [
        (0, 0, "unknown"),
        (1, 1, "ok"),
        (0, 1, "warning"),
        (0, 2, "warning"),
        (0, 3, "error"),
        (5, 10, "warning"),
        (6, 10, "warning"),
        (7, 10, "ok"),
        (4, 10, "warning"),
        (3, 10, "error"),
        (10, 10, "ok"),
    ],
)
def test_one_file_does_not_decide_about_a_link(ok: int, files: int, verdict: Verdict) -> None:
    assert link_verdict(ok, files) == verdict


def test_a_bad_destination_is_no_fault_of_its_sources() -> None:
    """Nothing arrives at D, and the texts name no side: without leaving D out, half of each source's links were bad."""
    links = [link(f"s{n}", "d", 0, 30) for n in range(6)] + [
        link(f"s{n}", f"e{m}", 30, 0) for n in range(6) for m in (1, 2, 3)
    ]
    said = endpoint_verdicts(links)
    assert said["d", "destination"] == "error"
    assert {said[f"s{n}", "source"] for n in range(6)} == {"ok"}
    only = [link(f"s{n}", "d", 0, 30) for n in range(6)]
    assert endpoint_verdicts(only)["s0", "source"] == "unknown"


def test_the_side_that_is_to_blame_and_users_faults() -> None:
    full = [link("s", f"d{n}", 2, 30, side=30) for n in range(5)]
    assert endpoint_verdicts(full)["s", "source"] == "ok"
    links = [link(f"s{n}", "d", 9, 90, user=90) for n in range(4)]
    assert endpoint_verdicts(links)["d", "destination"] == "ok"
    assert endpoint_verdicts([link(f"s{n}", "d", 9, 90) for n in range(4)])["d", "destination"] == "error"


def test_links_in_doubt_are_one() -> None:
    """Five links with a failed file each say little; together they are one bad link of three."""
    links = [link(f"s{n}", "d", 0, 1) for n in range(5)] + [link(f"t{n}", "d", 9, 0) for n in range(2)]
    assert endpoint_verdicts(links)["d", "destination"] == "warning"
    assert endpoint_verdicts([*links, link("t3", "d", 9, 0)])["d", "destination"] == "warning"
    assert endpoint_verdicts([*links, link("t3", "d", 9, 0), link("t4", "d", 9, 0)])["d", "destination"] == "ok"


def test_what_an_endpoint_does_within_itself_is_left_out() -> None:
    assert endpoint_verdicts([link("d", "d", 0, 50)]) == {}


def test_a_site_is_as_its_worst_endpoint() -> None:
    links = [link(f"s{n}", "bad", 0, 30, side=30) for n in range(4)] + [link(f"s{n}", "good", 30, 0) for n in range(4)]
    assert site_verdicts(links, {"bad": "X", "good": "X"}) == {"X": "error"}
    assert site_verdicts(links, {"good": "X"}) == {"X": "ok"}


def hours(bad: Sequence[int], n: int = 30) -> list[HourTraffic]:
    """Nothing arrives at `d` in some hours."""
    made = []
    for at in range(n):
        links = [link(f"s{m}", "d", 0 if at in bad else 20, 20 if at in bad else 0) for m in range(4)]
        window = Window(at * HOUR, (at + 1) * HOUR)
        made.append(HourTraffic(window, "fts1", HourTotal(), *[[]] * 6, links, *[[]] * 4))
    return made


def found(at: int, *hosts: str) -> FoundFailing:
    return FoundFailing(Window(at * HOUR, at * HOUR + 600 * NS), hosts)


@pytest.mark.parametrize(
    ("bad", "ours", "incidents", "outcome"),
    [
        ([3, 4], [], [], "recovered after 2 h"),
        ([3, 4], [found(5, "d")], [], "we found it 2 h later"),
        ([4], [found(3, "d")], [], "the rule said so 1 h later"),
        ([3], [found(3, "s0", "d")], [], "recovered after 1 h"),
        ([3], [], [(9, 11)], "an incident 6 h later"),
        ([9], [], [(8, 11)], "an incident of that time"),
        ([1], [], [(26, 28)], "recovered after 1 h"),
        ([29], [], [], "not known yet"),
    ],
)
def test_what_becomes_of_a_disagreement(
    bad: list[int], ours: list[FoundFailing], incidents: list[tuple[int, int]], outcome: str
) -> None:
    spans = [IncidentSpan(Window(begin * HOUR, end * HOUR), ("d", "other")) for begin, end in incidents]
    said = compared(hours(bad), {"d": "SITE"}, ours, spans, 30 * HOUR)
    assert said.disagreements[0].outcome == outcome
    assert said.all == 30


def test_later_hours_tell_and_are_not_counted() -> None:
    said = compared(hours([3, 12]), {"d": "SITE"}, [found(4, "d")], [], 4 * HOUR)
    assert (said.all, said.rule_only, said.ours_only) == (4, 1, 0)
    assert [one.outcome for one in said.disagreements] == ["we found it 1 h later"]


def test_both_agree_on_the_bad_hour() -> None:
    said = compared(hours([3]), {"d": "SITE"}, [found(3, "s0", "d"), found(3, "d")], [], 30 * HOUR)
    assert (said.both, said.neither, said.disagreements) == (1, 29, [])
