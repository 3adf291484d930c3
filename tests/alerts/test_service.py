from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alert_story import (
    A_B,
    A_C,
    D_B,
    END_A,
    END_B,
    NOTHING,
    SCOPE,
    STRONG,
    WEAK,
    WIDTH,
    finding,
    judged,
    outcome,
    play,
    settings,
    window,
    windows,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from opintel.alerts import actions
from opintel.alerts.service import AlertService, PositionMoved
from opintel.alerts.settings import (
    AlertSettings,
    Budget,
    Calendar,
    Declared,
    Maintenance,
    Match,
    Persistence,
    Route,
    Timestamp,
)
from opintel.finding import Finding, rfc3339
from opintel.store import Store, open_store, queries, sqlite_url
from opintel.store import schema as t
from opintel.streams.findings import Found, Judged, decode, encode


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


def test_maintenance_holds_the_incident_back_until_it_ends(store: Store) -> None:
    planned = Maintenance(
        stream="fts",
        subject={"endpoint": "a.example"},
        start=Timestamp(window(0).start),
        end=Timestamp(window(4).end),
        reason="upgrade",
    )
    how = msgspec.structs.replace(settings(), calendar=Calendar(maintenance=[planned]))
    story = {k: [finding(k, END_A, kind="endpoint")] for k in range(2, 8)} | {2: [finding(2, D_B)]}
    story[2].append(finding(2, END_A, kind="endpoint"))
    play(store, windows(story, 7), how)
    ours, other = queries.incidents(store)
    assert other["subjects"] == [{"scope": SCOPE, **D_B}]
    assert ours["opened"] == rfc3339(window(5).end)
    assert ours["start"] == rfc3339(window(2).start)


def downtime(endpoint: str, *, first: int, last: int, reason: str = "upgrade") -> Maintenance:
    start, end = Timestamp(window(first).start), Timestamp(window(last).end)
    return Maintenance(stream="fts", subject={"endpoint": endpoint}, start=start, end=end, reason=reason)


@pytest.mark.parametrize(("endpoint", "incidents"), [("a.example", 0), ("b.example", 0), ("c.example", 1)])
def test_a_downtime_of_an_endpoint_covers_its_links(store: Store, endpoint: str, incidents: int) -> None:
    planned = [downtime(endpoint, first=1, last=4)]
    story = {k: [finding(k, A_B)] for k in range(2, 5)}
    play(store, windows(story, 10), announced=lambda: planned)
    assert len(queries.incidents(store)) == incidents
    marks = [f.get("downtime") for f in queries.findings(store)]
    assert marks == [None if incidents else "upgrade"] * 3


def test_what_goes_on_after_a_downtime_is_an_incident_and_what_ended_in_it_is_none(store: Store) -> None:
    planned = [downtime("a.example", first=1, last=4)]
    story = {k: [finding(k, A_B), *([finding(k, A_C)] if k < 5 else [])] for k in range(2, 7)}
    play(store, windows(story, 10), announced=lambda: planned)
    [told] = queries.incidents(store)
    assert told["subjects"] == [{"scope": SCOPE, **A_B}]
    assert told["opened"] == rfc3339(window(5).end)
    marked = {f["window"]["start"] for f in queries.findings(store) if "downtime" in f}
    assert marked == {rfc3339(window(k).start) for k in range(2, 5)}


def test_downtimes_may_change_while_the_service_runs(store: Store) -> None:
    planned: list[Maintenance] = []
    service = play(store, windows({2: [finding(2, A_B)]}, 2), announced=lambda: planned)
    planned.append(downtime("d.example", first=3, last=8))
    records = windows({5: [finding(5, D_B)]}, 8, first=3)
    service.consume(service.position(), records, service.position() + len(records))
    [told] = queries.incidents(store)
    assert told["subjects"] == [{"scope": SCOPE, **A_B}]


def test_a_week_of_windows_spends_the_week_s_budget(store: Store) -> None:
    week = 7 * 86_400 * 10**9
    first = (-window(0).start % week) // WIDTH
    play(store, windows({}, int(first + week // WIDTH) - 1, first=int(first)))
    told = {b["budget"]: b for b in queries.budgets(store)}
    assert told["failures"]["spent"] == pytest.approx(1.0, rel=1e-3)
    assert told["failures"]["alarms"] == 0
    assert told["failures"]["allowed"] == 1.0


def test_calibrated_p_values_stay_within_the_budget(store: Store) -> None:
    """100 windows of 100 uniform p-values, half of a budget of 700 a week for single windows: 34.7 false alarms
    expected; the seed is fixed.

    A Poisson number of mean 34.7 leaves [15, 60] with probability 2e-4.
    """
    how = settings()
    budgets = {"fts": {"all": Budget(kinds=["link"], false_alarms_a_week=700.0)}}
    persistence = msgspec.structs.replace(how.lifecycle.persistence, weak_needed=1, weak_margin=0.0)
    lifecycle = msgspec.structs.replace(how.lifecycle, persistence=persistence)
    how = msgspec.structs.replace(how, budgets=msgspec.structs.replace(how.budgets, streams=budgets))
    how = msgspec.structs.replace(how, lifecycle=lifecycle)
    rng = random.Random(20)
    story: dict[int, list[Finding]] = {}
    for k in range(100):
        ps = [(i, rng.random()) for i in range(100)]
        story[k] = [finding(k, {"endpoint": f"e{i}-{k}"}, math.log10(p)) for i, p in ps if p < 0.05]
    play(store, windows(story, 99, tests={"link": 100}), how)
    [told] = queries.budgets(store)
    assert told["spent"] == pytest.approx(700 * 100 / 1008, rel=1e-6)
    assert 15 <= told["alarms"] <= 60


def test_what_stays_keeps_within_the_budget_where_an_alarm_takes_several_findings(store: Store) -> None:
    """As above, but a p-value stays for three windows and an alarm takes three: again 34.7 false alarms are expected,
    where a threshold that did not ask for three would give 11.6.
    """
    how = settings()
    budgets = {"fts": {"all": Budget(kinds=["link"], false_alarms_a_week=700.0)}}
    rules = Persistence(strong_needed=3, weak_needed=3, weak_of=3, weak_margin=0.0, clear_after=3)
    lifecycle = msgspec.structs.replace(how.lifecycle, persistence_of={"fts": rules})
    how = msgspec.structs.replace(how, budgets=msgspec.structs.replace(how.budgets, streams=budgets))
    how = msgspec.structs.replace(how, lifecycle=lifecycle)
    rng = random.Random(20)
    story: dict[int, list[Finding]] = {}
    for k in range(0, 99, 3):
        ps = [(i, rng.random()) for i in range(100)]
        for n in range(k, k + 3):
            story[n] = [finding(n, {"endpoint": f"e{i}-{k}"}, math.log10(p)) for i, p in ps if p < 0.05]
    play(store, windows(story, 98, tests={"link": 100}), how)
    [told] = queries.budgets(store)
    assert told["spent"] == pytest.approx(700 * 99 / 1008, rel=1e-6)
    assert 15 <= told["alarms"] <= 60


def test_the_same_finding_again_is_nothing_and_other_content_is_loud(store: Store) -> None:
    f = finding(1, A_B)
    service = play(store, [Found("fts", f), Found("fts", f), judged(1), Found("fts", f), judged(1)])
    before = outcome(store)
    service.consume(service.position(), [Found("fts", f)], 6)
    assert outcome(store) == before
    other = msgspec.structs.replace(f, summary="something else", severity="critical")
    [conflict] = service.consume(6, [Found("fts", other)], 7)
    assert "link: a.example to b.example fails" in conflict
    assert "something else" in conflict
    assert service.position() == 7
    assert outcome(store) == before


def test_a_new_log_under_an_old_store_is_read_from_its_start(store: Store) -> None:
    records = windows({1: [finding(1, A_B)]}, 3)
    AlertService(store, settings(), epoch="old").consume(0, records, len(records))
    before = outcome(store)
    fresh = AlertService(store, settings(), epoch="new")
    assert fresh.position() == 0
    fresh.consume(0, records, len(records))
    assert outcome(store) == before


def test_two_services_on_one_store_are_noticed(store: Store) -> None:
    one, two = AlertService(store, settings()), AlertService(store, settings())
    one.consume(0, windows({}, 1), 2)
    with pytest.raises(PositionMoved, match=r"position 2 .* not at 0"):
        two.consume(0, windows({1: [finding(1, A_B)]}, 1), 2)
    assert queries.findings(store) == []


def test_a_failed_batch_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    service = AlertService(store, settings())
    monkeypatch.setattr("opintel.alerts.outbox.render", _fail)
    with pytest.raises(ZeroDivisionError):
        service.consume(0, windows({1: [finding(1, A_B)]}, 1), 3)
    assert service.position() == 0
    assert all(not rows for rows in outcome(store).values())


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_routes_decide_who_is_told(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B, severity="info")], 2: [finding(2, A_C)]}, 2), settings(sinks=["x", "y"]))
    told = {i["severity"]: [ticket["sink"] for ticket in i["tickets"]] for i in queries.incidents(store)}
    assert told == {"info": [], "warning": ["x", "y"]}


def test_a_proposed_ticket_waits(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 60), settings("propose"))
    [told] = queries.incidents(store)
    assert (told["state"], told["tickets"][0]["state"]) == ("closed", "withdrawn")
    assert queries.outbox_empty(store)


def test_worse_is_told_again(store: Store) -> None:
    story = {1: [finding(1, A_B)], 2: [finding(2, A_B, severity="critical", summary="worse")]}
    play(store, windows(story, 2))
    full = queries.incident(store, queries.incidents(store)[0]["id"])
    assert full is not None
    assert (full["severity"], full["title"]) == ("critical", "worse")
    assert [d["body"]["data"]["incident"]["severity"] for d in full["deliveries"]] == ["warning", "critical"]


def test_what_gets_worse_in_the_window_that_opened_it_is_told_once(store: Store) -> None:
    endpoint, link = finding(1, END_A, kind="endpoint"), finding(1, A_B, severity="critical")
    play(store, windows({1: [endpoint, link]}, 1))
    full = queries.incident(store, queries.incidents(store)[0]["id"])
    assert full is not None
    assert [(d["kind"], d["body"]["data"]["incident"]["severity"]) for d in full["deliveries"]] == [
        ("created", "critical")
    ]


def test_a_forecast_names_the_incident_at_its_newest(store: Store) -> None:
    """What will be says more than what was surprising, and more than what is only worth a notice."""
    story = {n: [finding(n, END_A, kind="endpoint", summary=f"odd {n}")] for n in (2, 3, 4, 5)}
    for n in (3, 4):
        story[n] += [finding(n, END_A, None, kind="new-template", summary=f"full in {9 - n} h")]
    story[5] += [finding(5, END_A, None, kind="new-template", severity="info", summary="a notice")]
    how = settings()
    forecasts = {"ahead": Budget(kinds=["new-template"], unranked_a_week=20)}
    budgets = {"fts": {**how.budgets.streams["fts"], **forecasts}}
    how = msgspec.structs.replace(how, budgets=msgspec.structs.replace(how.budgets, streams=budgets))
    play(store, windows(story, 6), how)
    [told] = queries.incidents(store)
    assert told["title"] == "full in 5 h"


def test_a_title_is_one_bounded_line_without_controls(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B, summary="a \x00\x1b[31m\u202e b" + "x" * 500)]}, 1))
    title = queries.incidents(store)[0]["title"]
    assert title.startswith("a [31m bxxx")
    assert len(title) == 200


def test_a_flapping_subject_is_one_incident_with_few_messages(store: Store) -> None:
    story = {k: [finding(k, A_B)] for k in range(1, 60, 4)}
    play(store, windows(story, 60))
    [told] = queries.incidents(store)
    full = queries.incident(store, told["id"])
    assert full is not None
    assert full["alerts"][0]["state"] == "flapping"
    assert len(full["deliveries"]) <= 5


RANKED = settings().over({"fts": Declared(kinds=["silent", "endpoint", "link", "slow"], adapting=["slow"])})
"""Silence is the worst, and the detector of slow links gets used to them."""


def messages(store: Store) -> list[tuple[str, str, str]]:
    """(kind, severity, title) of each message about the only incident."""
    [told] = queries.incidents(store)
    full = queries.incident(store, told["id"])
    assert full is not None
    bodies = [(d["kind"], d["body"]["data"]["incident"]) for d in full["deliveries"]]
    return [(kind, body["severity"], body["title"]) for kind, body in bodies]


def test_the_worst_that_alarms_now_titles_it_however_surprising_the_rest(store: Store) -> None:
    """By kind where severities are alike; each change is one message, and a worse thing that is over titles no more."""
    story = {k: [finding(k, A_B, STRONG - k, kind="slow", summary=f"slow {k}")] for k in range(1, 14)}
    for k in range(3, 6):
        story[k] += [finding(k, A_B, -6.0 - k, kind="silent", summary=f"dead {k}")]
    play(store, windows(story, 13), RANKED)
    assert messages(store) == [
        ("created", "warning", "slow 1"),
        ("updated", "warning", "dead 3"),
        ("updated", "warning", "slow 8"),
    ]
    assert queries.incidents(store)[0]["title"] == "slow 13"


def test_its_severity_is_that_of_what_alarms_now(store: Store) -> None:
    story = {k: [finding(k, A_B, kind="slow", summary="slow")] for k in range(1, 14)}
    for k in range(3, 6):
        story[k] += [finding(k, A_B, -6.0, severity="critical", summary="fails")]
    play(store, windows(story, 13), RANKED)
    assert messages(store) == [
        ("created", "warning", "slow"),
        ("updated", "critical", "fails"),
        ("updated", "warning", "slow"),
    ]


def test_a_ticket_of_what_is_no_longer_critical_goes_to_no_other_sink(store: Store) -> None:
    how = settings(sinks=["pager"])
    routes = [
        Route(sinks=["pager"], match=Match(severities=["critical"]), ticket="auto"),
        Route(sinks=["log"], ticket="auto"),
    ]
    how = msgspec.structs.replace(how, routes=msgspec.structs.replace(how.routes, routes=routes))
    story = {k: [finding(k, A_B)] for k in range(1, 12)}
    story[1] += [finding(1, A_B, kind="silent", severity="critical")]
    play(store, windows(story, 11), how)
    [told] = queries.incidents(store)
    assert told["severity"] == "warning"
    assert [ticket["sink"] for ticket in told["tickets"]] == ["pager"]


def test_alerts_that_are_about_as_surprising_do_not_take_turns(store: Store) -> None:
    story = {k: [finding(k, A_B, -20.0 - 0.3 * k, kind=("link", "slow")[k % 2])] for k in range(1, 30)}
    play(store, windows(story, 29))
    assert len(messages(store)) <= 1 + 9  # a decade each


def test_what_a_detector_gets_used_to_is_not_resolved_by_silence(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B, kind="slow", summary="slow")]}, 400), RANKED)
    [told] = queries.incidents(store)
    assert (told["state"], told["quiet"]) == ("mitigated", True)
    full = queries.incident(store, told["id"])
    assert full is not None
    assert [d["kind"] for d in full["deliveries"]] == ["created", "updated"]
    text = full["deliveries"][1]["body"]["data"]["text"]
    assert "State: mitigated: there are no more findings, but none says that it is back" in text
    assert [e["kind"] for e in full["events"]] == ["opened", "alert", "stay"]
    actions.close(store, told["id"], "ada", now=5)
    assert messages(store)[-1][0] == "resolved"


@pytest.mark.parametrize("back", [2, 4, 5, 300])
@pytest.mark.parametrize("p", [STRONG, NOTHING])
def test_a_finding_that_says_so_ends_it(store: Store, back: int, p: float) -> None:
    """In time, or late; as a sign of the alert, or as too little of a surprise to be one."""
    over = finding(back, A_B, p, kind="slow", severity="info", summary="it is back")
    play(store, windows({1: [finding(1, A_B, kind="slow", summary="slow")], back: [over]}, back + 4), RANKED)
    [told] = queries.incidents(store)
    assert (told["state"], told["quiet"], told["title"]) == ("resolved", False, "slow")


def test_one_of_two_that_is_back_does_not_end_it(store: Store) -> None:
    story = {1: [finding(1, A_B, kind="slow"), finding(1, {**A_B, "role": "x"}, kind="slow")]}
    story |= {2: [finding(2, A_B, NOTHING, kind="slow", severity="info")]}
    play(store, windows(story, 20), RANKED)
    assert queries.incidents(store)[0]["state"] == "mitigated"


def test_it_opens_again_where_it_comes_back_after_it_was_quiet(store: Store) -> None:
    play(store, windows({k: [finding(k, A_B, kind="slow")] for k in (1, 200)}, 201), RANKED)
    assert queries.incidents(store)[0]["state"] == "open"
    assert [kind for kind, _, _ in messages(store)] == ["created", "updated", "updated"]


SUBJECTS = [("link", A_B), ("link", A_C), ("link", D_B), ("endpoint", END_A), ("endpoint", END_B), ("slow", A_B)]


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[list[Found | Judged]], list[list[Found | Judged]]]:
    """For two scopes: what was decided once, and the same with suffixes written again after crashes."""
    clean, crashed = [], []
    for scope in (SCOPE, "other.example"):
        story = {}
        for k in range(draw(st.integers(1, 12))):
            picked = draw(
                st.dictionaries(st.integers(0, 5), st.sampled_from([STRONG, WEAK, NOTHING, None]), max_size=4)
            )
            story[k] = [
                finding(k, SUBJECTS[i][1], p, SUBJECTS[i][0], ("warning", "critical", "info")[(i + k) % 3], scope)
                for i, p in picked.items()
            ]
        records = windows(story, len(story) + 4, scope=scope)
        clean.append(records)
        again: list[Found | Judged] = []
        reached = 0
        for end in sorted(draw(st.lists(st.integers(1, len(records)), max_size=3))):
            again += records[reached:end]
            reached = draw(st.integers(0, end))
        crashed.append(again + records[reached:])
    return clean, crashed


@hypothesis_settings(
    max_examples=hypothesis_settings().max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stories(), st.randoms(use_true_random=False))
def test_any_split_and_any_repetition_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    story: tuple[list[list[Found | Judged]], list[list[Found | Judged]]],
    rng: random.Random,
) -> None:
    clean, crashed = story
    folder = tmp_path_factory.mktemp("splits")
    whole = _at_once(folder / "whole.db", [record for part in clean for record in part])
    pieces = open_store(sqlite_url(folder / "pieces.db"))
    mixed = _interleaved(crashed, rng)
    position = 0
    while position < len(mixed):
        # A new service each time: nothing may live in memory.
        size = rng.choice([1, 1, 2, 5, 40])
        AlertService(pieces, RANKED).consume(position, mixed[position : position + size], position + size)
        position += size
    assert outcome(pieces) == whole
    pieces.close()


def _at_once(path: Path, records: list[Found | Judged]) -> object:
    store = open_store(sqlite_url(path))
    play(store, records, RANKED)
    told = outcome(store)
    store.close()
    return told


def _interleaved(parts: list[list[Found | Judged]], rng: random.Random) -> list[Found | Judged]:
    queues = [list(part) for part in parts]
    mixed = []
    while any(queues):
        mixed.append(rng.choice([q for q in queues if q]).pop(0))
    return mixed


def test_records_survive_their_encoding() -> None:
    for record in windows({1: [finding(1, A_B, texts=["boom"])]}, 1):
        assert decode(encode(record)) == record


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"findings record"):
        decode(data)


@pytest.mark.parametrize("cut", [0, 1, 5, -1])
def test_a_cut_record_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="findings record"):
        decode(encode(judged(1))[:cut])


def test_settings_without_budgets_still_decide(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1), AlertSettings())
    [told] = queries.incidents(store)
    assert told["tickets"] == []
    with store.read() as connection:
        assert connection.execute(sa.select(t.budget_spend.c.budget)).scalars().all() == ["other"]
