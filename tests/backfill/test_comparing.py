"""Which findings and incidents of two backfills are the same ones."""

from __future__ import annotations

import msgspec
import pytest
from decisions import PIPELINE, SCOPE, START, WIDTH, finding, report, said, site, window

from opintel.backfill.comparing import compare, compare_incidents
from opintel.backfill.decided import DecidedIncident, TicketMade, decided
from opintel.backfill.report import what_if
from opintel.finding import NS

HOUR = 3600 * NS


def incident(
    id: str, start: int, host: str = "a.example", scope: str = SCOPE, about: tuple[str, ...] = (), opened: int = 0
) -> DecidedIncident:
    """One of an hour that began `start` hours after a time; detected at once, if not `opened` ns later."""
    begin = START + start * HOUR
    subject = {"scope": scope, "endpoint": host}
    plain = {"id": id, "subjects": [subject]}
    return DecidedIncident(plain, scope, about or (host,), begin, begin + opened, begin + HOUR, "f", [])


def test_settings_and_versions_are_no_difference() -> None:
    assert compare([finding(1, model="here")], [finding(1, model="there")]) == ([], [], [])


def test_what_is_said_otherwise_is_named_by_field() -> None:
    here, there = finding(1, summary="here", log10_p=-9.0), finding(1, summary="there", model="other")
    here = msgspec.structs.replace(here, evidence=())
    [change] = compare([here], [there]).changed
    assert (change.here, change.there) == (here, there)
    assert change.what == ["log10_p", "summary", "evidence"]


def test_several_about_the_very_same_are_all_held_against_each_other() -> None:
    ours = [msgspec.structs.replace(finding(1, summary=text), id=text) for text in "abc"]
    theirs = [msgspec.structs.replace(finding(1, summary=text), id=f"other {text}") for text in "ab"]
    found = compare(ours, theirs)
    assert (found.only_here, found.only_there, found.changed) == ([ours[2]], [], [])
    found = compare(theirs, ours)
    assert (found.only_here, found.only_there, found.changed) == ([], [ours[2]], [])


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        (incident("x", 0), incident("x", 0), True),
        (incident("x", 1), incident("y", 0), True),
        (incident("x", 7), incident("y", 0), True),
        (incident("x", 8), incident("y", 0), False),
        (incident("x", 0, "b.example"), incident("y", 0), False),
        (incident("x", 0, about=("a.example", "b.example")), incident("y", 0), True),
        (incident("x", 0, scope="other.example"), incident("y", 0), False),
    ],
    ids=["alike", "an hour later", "as far as it may", "too far", "another host", "an alert in common", "scope"],
)
def test_incidents_are_paired_by_what_and_when(here: DecidedIncident, there: DecidedIncident, same: bool) -> None:
    found = compare_incidents([here], [there], near=6 * HOUR)
    assert len(found.both) == same
    assert (len(found.only_here), len(found.only_there)) == ((0, 0) if same else (1, 1))


def test_names_may_mean_the_same_in_every_scope() -> None:
    here, there = incident("x", 0, scope="other.example"), incident("y", 0)
    assert len(compare_incidents([here], [there], 0, across_scopes=True).both) == 1


def test_each_is_in_one_pair_the_nearest_first() -> None:
    here = [incident("a", 0), incident("b", 3), incident("c", 6)]
    there = [incident("d", 3, opened=WIDTH), incident("c", 7)]
    found = compare_incidents(here, there, near=6 * HOUR)
    assert [(pair.here.plain["id"], pair.there.plain["id"]) for pair in found.both] == [("b", "d"), ("c", "c")]
    assert [pair.opened_later for pair in found.both] == [-WIDTH, -HOUR]
    assert [one.plain["id"] for one in found.only_here] == ["a"]


def test_an_incident_that_begins_a_window_later_is_the_same_one() -> None:
    """Through the alert service: its ids say when an incident opened, so they differ."""
    late = [finding(k) for k in range(4, 8)]
    found = report(late, [finding(3), *late]).incidents
    assert (found.only_here, found.only_there) == ([], [])
    [pair] = found.both
    assert pair.here.plain["id"] != pair.there.plain["id"]
    assert (pair.started_later, pair.opened_later) == (WIDTH, WIDTH)


def test_tickets_are_those_of_the_outbox() -> None:
    """Of a route that sends by itself with all its messages; nothing leaves the store."""
    story = said([finding(3), finding(4)], 12)
    [one] = decided(site("auto"), "fts", story)
    at, quiet = START + 4 * WIDTH, START + 8 * WIDTH
    messages = [("created", at), ("resolved", quiet)]
    assert one.tickets == [TicketMade("log", at, messages), TicketMade("pager", at, messages)]
    assert (one.opened, one.end, one.largest) == (at, quiet, finding(3).id)
    [one] = decided(site("propose"), "fts", story)
    assert one.tickets == [TicketMade("log", at, [])]


def test_only_windows_that_both_judged_are_compared() -> None:
    ours, theirs = said([finding(2), finding(9)], 10), said([finding(2), finding(20)], 30)
    about = {"archive": "a", "settings": [], "against_archive": True, "rows": 1}
    found = what_if(site(), "fts", PIPELINE, ours, theirs, (None, None), **about)
    assert found.span == (window(0).start, window(9).end)
    assert [f.window for f in found.findings.only_here] == [window(9)]
    assert found.findings.only_there == []
    found = what_if(site(), "fts", PIPELINE, ours, theirs, (None, window(8).end), **about)
    assert not found.differs
