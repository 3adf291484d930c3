"""When an incident opens, resolves, comes back, and which alerts are one incident."""

from __future__ import annotations

import msgspec
import pytest
from alert_story import (
    A_B,
    A_C,
    D_B,
    END_A,
    NOTHING,
    SCOPE,
    WEAK,
    finding,
    judged,
    play,
    settings,
    window,
    windows,
)

from opintel.alerts.service import AlertService
from opintel.finding import Finding, rfc3339
from opintel.store import Store, queries
from opintel.streams.findings import Found, Judged


def test_a_strong_finding_opens_an_incident_with_a_ticket(store: Store) -> None:
    f = finding(3, END_A, kind="endpoint", severity="critical", summary="a.example fails")
    play(store, windows({3: [f]}, 5))
    [told] = queries.incidents(store)
    assert told["title"] == "a.example fails"
    assert told["severity"] == "critical"
    assert told["state"] == "open"
    assert told["start"] == rfc3339(window(3).start)
    assert told["opened"] == rfc3339(window(3).end)
    assert told["subjects"] == [{"scope": SCOPE, **END_A}]
    assert told["findings"] == 1
    [ticket] = told["tickets"]
    assert (ticket["sink"], ticket["state"], ticket["updates"]) == ("log", "queued", 0)
    assert not queries.outbox_empty(store)


def test_the_incident_begins_at_the_onset_and_with_its_first_weak_finding(store: Store) -> None:
    weak = msgspec.structs.replace(finding(2, A_B, WEAK), onset=window(2).start + 60)
    play(store, windows({2: [weak], 3: [finding(3, A_B, WEAK)], 5: [finding(5, A_B, WEAK)]}, 6))
    [told] = queries.incidents(store)
    assert told["start"] == rfc3339(window(2).start + 60)
    assert told["opened"] == rfc3339(window(5).end)
    assert told["findings"] == 3


@pytest.mark.parametrize(
    "story",
    [
        {2: [finding(2, A_B, NOTHING)]},
        {2: [finding(2, A_B, WEAK)]},
        {2: [finding(2, A_B, WEAK)], 3: [finding(3, A_B, WEAK)], 6: [finding(6, A_B, WEAK)]},
        {2: [finding(2, {"template": "x"}, None, kind="new-template", severity="critical")]},
    ],
    ids=["above the threshold", "one weak", "weak too far apart", "no p-value"],
)
def test_what_opens_no_incident(store: Store, story: dict[int, list[Finding]]) -> None:
    play(store, windows(story, 8))
    assert queries.incidents(store) == []
    assert len(queries.findings(store)) == sum(map(len, story.values()))


def test_an_incident_resolves_after_three_clean_windows_and_closes_after_the_reopen_window(store: Store) -> None:
    states = []
    service = AlertService(store, settings())
    records = windows({1: [finding(1, A_B)]}, 60)
    for i, record in enumerate(records):
        service.consume(i, [record], i + 1)
        if isinstance(record, Judged) and (told := queries.incidents(store)):
            states.append(told[0]["state"])
    assert states[:4] == ["open", "open", "open", "resolved"]
    assert states.index("closed") == 3 + 36
    kinds = [d["kind"] for d in queries.incident(store, told[0]["id"])["deliveries"]]  # type: ignore[index]
    assert kinds == ["created", "resolved"]


def test_windows_that_say_nothing_do_not_resolve_it(store: Store) -> None:
    untested = [judged(k, {"endpoint": 5}) for k in range(2, 12)]
    cut_off = [judged(k, complete=False) for k in range(12, 20)]
    play(store, [*windows({1: [finding(1, A_B)]}, 1), *untested, *cut_off])
    assert queries.incidents(store)[0]["state"] == "open"


def test_it_reopens_within_the_window_and_is_a_new_one_after_it(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)], 20: [finding(20, A_B)], 90: [finding(90, A_B)]}, 92))
    new, old = queries.incidents(store)
    assert (old["state"], new["state"]) == ("closed", "open")
    assert old["fingerprint"] == new["fingerprint"]
    kinds = [d["kind"] for d in queries.incident(store, old["id"])["deliveries"]]  # type: ignore[index]
    assert kinds == ["created", "resolved", "updated", "resolved"]


def test_after_a_gap_in_the_windows_nothing_old_is_reopened(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 5) + windows({500: [finding(500, A_B)]}, 500, first=500))
    assert [i["state"] for i in queries.incidents(store)] == ["open", "closed"]


def test_links_join_the_incident_of_their_endpoint_and_others_stay_apart(store: Store) -> None:
    story = {2: [finding(2, A_B), finding(2, END_A, kind="endpoint"), finding(2, D_B)], 4: [finding(4, A_C)]}
    play(store, windows(story, 4))
    by_findings = {i["findings"]: i for i in queries.incidents(store)}
    assert set(by_findings) == {3, 1}
    assert by_findings[3]["title"] == "endpoint: a.example fails"
    assert by_findings[1]["title"] == "link: d.example to b.example fails"


def test_two_links_that_share_an_endpoint_are_two_incidents(store: Store) -> None:
    play(store, windows({2: [finding(2, A_B), finding(2, A_C), finding(2, D_B)]}, 2))
    assert len(queries.incidents(store)) == 3


def test_a_link_that_fails_long_after_its_endpoint_is_its_own_incident(store: Store) -> None:
    tests = {"link": 10}  # endpoints are not tested any more, so their incident stays open
    records = [*windows({1: [finding(1, END_A, kind="endpoint")]}, 1), *(judged(k, tests) for k in range(2, 9))]
    play(store, [*records, Found("fts", finding(9, A_B)), judged(9, tests)])
    assert len(queries.incidents(store)) == 2


def test_an_endpoint_takes_over_the_incidents_of_its_links(store: Store) -> None:
    story = {2: [finding(2, A_B), finding(2, A_C)], 3: [finding(3, END_A, kind="endpoint", severity="critical")]}
    play(store, windows(story, 3))
    told = queries.incidents(store)
    assert [i["state"] for i in told].count("closed") == 1
    kept = next(i for i in told if i["state"] == "open")
    gone = next(i for i in told if i["state"] == "closed")
    full = queries.incident(store, kept["id"])
    assert full is not None
    assert full["title"] == "endpoint: a.example fails"
    assert full["severity"] == "critical"
    assert full["about"] == ["a.example"]
    assert full["findings"] == 3
    assert {a["kind"] for a in full["alerts"]} == {"endpoint", "link"}
    assert len(full["subjects"]) == 3
    assert queries.incident(store, gone["id"])["merged_into"] == kept["id"]  # type: ignore[index]


def test_an_endpoint_leaves_old_link_incidents_alone(store: Store) -> None:
    story = {k: [finding(k, A_B)] for k in range(1, 9)} | {9: [finding(9, END_A, kind="endpoint")]}
    play(store, windows(story, 9))
    assert len(queries.incidents(store)) == 2


@pytest.mark.parametrize("kind", ["slow", "silent"])
def test_other_troubles_of_the_same_link_are_the_same_incident(store: Store, kind: str) -> None:
    play(store, windows({2: [finding(2, A_B)], 4: [finding(4, A_B, kind=kind)]}, 4))
    [told] = queries.incidents(store)
    assert told["findings"] == 2


def test_findings_that_alarm_nobody_explain_the_incident_of_their_subject(store: Store) -> None:
    before = finding(1, A_B, None, kind="new-template", severity="info")
    beside = finding(2, A_B, NOTHING, kind="slow")
    elsewhere = finding(2, A_C, None, kind="new-template", severity="info")
    play(store, windows({1: [before], 2: [beside, elsewhere, finding(2, A_B)]}, 2))
    told = queries.incident(store, queries.incidents(store)[0]["id"])
    assert told is not None
    roles = {f["id"]: f["role"] for f in told["evidence_findings"]}
    assert roles == {before.id: "supporting", beside.id: "supporting", finding(2, A_B).id: "alarm"}
    assert told["evidence_findings"][0]["role"] == "alarm"


def test_scopes_and_streams_do_not_mix(store: Store) -> None:
    other = "fts2.example"
    f, g = finding(1, END_A, kind="endpoint"), finding(1, END_A, kind="endpoint", scope=other)
    play(store, [Found("fts", f), Found("fts", g), judged(1), judged(1, scope=other)])
    assert sorted(i["subjects"][0]["scope"] for i in queries.incidents(store)) == sorted([SCOPE, other])


def test_warm_windows_store_and_do_not_alarm(store: Store) -> None:
    play(store, windows({2: [finding(2, A_B)], 4: [finding(4, A_C)]}, 4), warm_until=window(3).end)
    [told] = queries.incidents(store)
    assert told["subjects"] == [{"scope": SCOPE, **A_C}]
    assert len(queries.findings(store)) == 2


def test_a_flapping_subject_is_one_incident_with_few_messages(store: Store) -> None:
    story = {k: [finding(k, A_B)] for k in range(1, 60, 4)}
    play(store, windows(story, 60))
    [told] = queries.incidents(store)
    full = queries.incident(store, told["id"])
    assert full is not None
    assert full["alerts"][0]["state"] == "flapping"
    assert len(full["deliveries"]) <= 5
