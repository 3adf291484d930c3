"""A thing that several scopes of a stream see fail is one incident, where names mean the same in every scope."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from alert_story import A_B, A_C, END_A, SCOPE, finding, judged, play, settings

from opintel.alerts.settings import AlertSettings, Declared
from opintel.finding import Finding
from opintel.store import Store, queries
from opintel.streams.findings import Found, Judged

OTHER = "fts2.example"


def across() -> AlertSettings:
    return msgspec.structs.replace(settings(), declared={"fts": Declared(across_scopes=True)})


def both(story: Mapping[str, Mapping[int, list[Finding]]], last: int) -> list[Found | Judged]:
    """The findings of both scopes by window; the other scope is judged after the first."""
    records: list[Found | Judged] = []
    for k in range(last + 1):
        for scope in (SCOPE, OTHER):
            records += [Found("fts", one) for one in story.get(scope, {}).get(k, [])]
            records.append(judged(k, scope=scope))
    return records


def failing(windows: range, subject: dict[str, str] = END_A, *, scope: str = SCOPE) -> dict[int, list[Finding]]:
    kind = "endpoint" if "endpoint" in subject else "link"
    return {k: [finding(k, subject, kind=kind, scope=scope)] for k in windows}


def test_an_endpoint_that_two_scopes_see_fail_is_one_incident_until_both_are_quiet(store: Store) -> None:
    story = {SCOPE: failing(range(1, 4)), OTHER: failing(range(2, 9), scope=OTHER)}
    play(store, both(story, 9), across())
    [told] = queries.incidents(store)
    assert [subject["scope"] for subject in told["subjects"]] == [SCOPE, OTHER]
    assert (told["state"], told["findings"]) == ("open", 10)
    play(store, both({}, 14)[20:], across())
    assert [i["state"] for i in queries.incidents(store)] == ["resolved"]


def test_what_begins_in_another_scope_more_than_an_hour_later_is_another_fault(store: Store) -> None:
    play(store, both({SCOPE: failing(range(1, 12)), OTHER: failing(range(8, 10), scope=OTHER)}, 11), across())
    assert [i["subjects"][0]["scope"] for i in queries.incidents(store)] == [OTHER, SCOPE]


def test_it_comes_back_in_the_scope_that_had_joined(store: Store) -> None:
    theirs = failing(range(2, 4), scope=OTHER) | failing(range(10, 11), scope=OTHER)
    play(store, both({SCOPE: failing(range(1, 3)), OTHER: theirs}, 10), across())
    [told] = queries.incidents(store)
    assert told["state"] == "open"


def test_a_link_of_one_scope_joins_the_endpoint_of_another(store: Store) -> None:
    play(store, both({SCOPE: failing(range(1, 4)), OTHER: failing(range(2, 4), A_B, scope=OTHER)}, 4), across())
    [told] = queries.incidents(store)
    assert told["title"].startswith("endpoint")


def test_what_is_about_other_things_stays_apart(store: Store) -> None:
    play(store, both({SCOPE: failing(range(1, 4), A_C), OTHER: failing(range(2, 4), A_B, scope=OTHER)}, 4), across())
    assert len(queries.incidents(store)) == 2


def test_a_whole_scope_is_never_another_one(store: Store) -> None:
    story = {scope: {1: [finding(1, {}, kind="silent", scope=scope)]} for scope in (SCOPE, OTHER)}
    play(store, both(story, 2), across())
    assert len(queries.incidents(store)) == 2


def test_elsewhere_scopes_stay_apart(store: Store) -> None:
    play(store, both({SCOPE: failing(range(1, 4)), OTHER: failing(range(1, 4), scope=OTHER)}, 4))
    assert len(queries.incidents(store)) == 2
