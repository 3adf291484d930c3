"""Who is told of an incident, how often, and what titles it."""

from __future__ import annotations

import msgspec
import pytest
from alert_story import (
    A_B,
    A_C,
    END_A,
    NOTHING,
    RANKED,
    STRONG,
    finding,
    play,
    settings,
    windows,
)

from opintel.alerts import actions
from opintel.alerts.settings import (
    Budget,
    Match,
    Route,
)
from opintel.store import Store, queries


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
