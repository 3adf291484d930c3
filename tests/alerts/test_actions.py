from __future__ import annotations

import json

import pytest
from alert_story import A_B, END_A, SCOPE, STRONG, finding, judged, play, settings, window, windows

from opintel.alerts import actions
from opintel.alerts.actions import Refused
from opintel.finding import Finding, rfc3339
from opintel.store import Store, queries
from opintel.store.queries import Json

NOW = 1_700_000_000_000_000_000


def opened(store: Store, ticket: str = "auto") -> str:
    play(store, windows({1: [finding(1, A_B)]}, 1), settings(ticket))  # type: ignore[arg-type]
    return str(queries.incidents(store)[0]["id"])


def full(store: Store, incident: str) -> Json:
    told = queries.incident(store, incident)
    assert told is not None
    return told


def go_on(store: Store, first: int, last: int, failing: bool = True, log10_p: float = STRONG) -> None:
    story: dict[int, list[Finding]] = {}
    if failing:
        story = {k: [finding(k, A_B, log10_p)] for k in range(first, last + 1)}
    play(store, windows(story, last, first=first))


def test_acknowledge_is_in_the_history_and_told(store: Store) -> None:
    incident = opened(store)
    actions.acknowledge(store, incident, "ada", now=NOW)
    told = full(store, incident)
    assert told["state"] == "acknowledged"
    assert told["events"][-1] == {
        "at": rfc3339(NOW),
        "by": "ada",
        "kind": "acknowledge",
        "detail": {"was": "open", "now": "acknowledged"},
    }
    assert [d["kind"] for d in told["deliveries"]] == ["created", "updated"]


def test_what_is_not_possible_is_refused_in_words_and_changes_nothing(store: Store) -> None:
    incident = opened(store)
    actions.close(store, incident, "ada", now=NOW)
    before = full(store, incident)
    for action in (actions.acknowledge, actions.mitigate, actions.close):
        with pytest.raises(Refused, match="an incident that is closed cannot"):
            action(store, incident, "bob", now=NOW)
    with pytest.raises(Refused, match="there is no incident"):
        actions.acknowledge(store, "nothing", "bob", now=NOW)
    with pytest.raises(Refused, match="closed; only a live one"):
        actions.known_until(store, incident, NOW, "bob", now=NOW)
    with pytest.raises(Refused, match="it is queued"):
        actions.send_ticket(store, incident, "log", "bob", now=NOW)
    assert full(store, incident) == before


def test_a_closed_incident_stays_closed_until_its_alert_rises_anew(store: Store) -> None:
    incident = opened(store)
    actions.close(store, incident, "ada", now=NOW)
    assert [d["kind"] for d in full(store, incident)["deliveries"]] == ["created", "resolved"]
    go_on(store, 2, 6)
    assert len(queries.incidents(store)) == 1
    go_on(store, 7, 10, failing=False)
    go_on(store, 11, 11)
    assert len(queries.incidents(store)) == 2


def test_a_mitigated_incident_opens_again_with_a_new_alert(store: Store) -> None:
    incident = opened(store)
    actions.mitigate(store, incident, "ada", now=NOW)
    go_on(store, 2, 3)
    assert full(store, incident)["state"] == "mitigated"
    play(store, windows({4: [finding(4, A_B, kind="slow")]}, 4, first=4))
    assert full(store, incident)["state"] == "open"
    actions.mitigate(store, incident, "ada", now=NOW)
    # Its first alert falls quiet while the other keeps the incident up, then rises again.
    play(store, windows({k: [finding(k, A_B, kind="slow")] for k in range(5, 9)}, 8, first=5))
    assert full(store, incident)["state"] == "mitigated"
    go_on(store, 9, 9)
    assert full(store, incident)["state"] == "open"


def test_false_alarms_halve_the_budget_down_to_a_sixteenth_and_confirmation_gives_it_back(store: Store) -> None:
    factors = []
    for k in range(6):
        play(store, windows({20 * k: [finding(20 * k, A_B)]}, 20 * k + 15, first=20 * k))
        incident = queries.incidents(store)[0]["id"]
        actions.false_alarm(store, incident, "ada", now=NOW, text="a test")
        told = full(store, incident)
        assert (told["state"], told["answer"]) == ("closed", "false-alarm")
        answer = next(e for e in told["events"] if e["kind"] == "false-alarm")
        factors.append(answer["detail"]["budgets"]["link"])
    assert factors == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 16]
    for incident in [i["id"] for i in queries.incidents(store)][:5]:
        actions.confirm(store, incident, "ada", now=NOW)
        factors.append(full(store, incident)["events"][-1]["detail"]["budgets"]["link"])
    assert factors[6:] == [1 / 8, 1 / 4, 1 / 2, 1.0, 1.0]
    assert [f["answer"] for f in full(store, incident)["feedback"]] == ["false-alarm", "confirmed"]


def test_a_halved_budget_asks_for_more_surprise_in_this_kind_and_scope_only(store: Store) -> None:
    just_below = -5.4  # the threshold is 0.5/1008/100 = 1e-5.3, half of it 1e-5.6
    incident = opened(store)
    actions.false_alarm(store, incident, "ada", now=NOW)
    play(store, windows({}, 16, first=2))
    records = windows({17: [finding(17, {"endpoint": "x"}, just_below, "endpoint")]}, 17, first=17)
    play(store, [*windows({}, 16, first=17), *records])
    assert len(queries.incidents(store)) == 2
    play(store, windows({18: [finding(18, A_B, just_below)]}, 18, first=18))
    assert len(queries.incidents(store)) == 2
    other = windows({19: [finding(19, A_B, just_below, scope="other")]}, 19, first=19, scope="other")
    play(store, other)
    assert len(queries.incidents(store)) == 3


def test_known_until_keeps_quiet_and_then_comes_back(store: Store) -> None:
    incident = opened(store)
    actions.known_until(store, incident, window(10).end, "ada", now=NOW)
    told = full(store, incident)
    assert (told["state"], told["known_until"]) == ("acknowledged", rfc3339(window(10).end))
    messages = len(told["deliveries"])
    play(store, windows({k: [finding(k, A_B, severity="critical")] for k in range(2, 10)}, 9, first=2))
    assert len(full(store, incident)["deliveries"]) == messages
    go_on(store, 10, 10)
    told = full(store, incident)
    assert (told["state"], told["known_until"]) == ("open", None)
    assert len(told["deliveries"]) == messages + 1


def test_known_until_opens_no_other_incident_about_the_same(store: Store) -> None:
    incident = opened(store)
    actions.known_until(store, incident, window(60).end, "ada", now=NOW)
    go_on(store, 2, 50, failing=False)
    assert full(store, incident)["state"] == "closed"
    go_on(store, 51, 59)
    assert len(queries.incidents(store)) == 1
    go_on(store, 60, 60)
    assert len(queries.incidents(store)) == 2


def test_a_silence_covers_what_carries_its_labels(store: Store) -> None:
    actions.silence(store, "fts", {"source": "a.example"}, window(5).end, "ada", "upgrade")
    play(store, windows({1: [finding(1, A_B), finding(1, END_A, kind="endpoint")]}, 1))
    [told] = queries.incidents(store)
    assert told["subjects"] == [{"scope": SCOPE, **END_A}]


def test_a_proposed_ticket_is_sent_by_one_click_and_then_kept_up_to_date(store: Store) -> None:
    incident = opened(store, "propose")
    assert queries.incidents(store)[0]["tickets"][0]["state"] == "proposed"
    assert queries.outbox_empty(store)
    actions.send_ticket(store, incident, "log", "ada", now=NOW)
    with pytest.raises(Refused, match="it is queued"):
        actions.send_ticket(store, incident, "log", "ada", now=NOW)
    with pytest.raises(Refused, match="there is none"):
        actions.send_ticket(store, incident, "nowhere", "ada", now=NOW)
    play(store, windows({}, 5, first=2), settings("propose"))
    told = full(store, incident)
    assert [d["kind"] for d in told["deliveries"]] == ["created", "resolved"]
    assert [e["kind"] for e in told["events"]].count("ticket-sent") == 1


def test_names_of_operators_are_one_bounded_line(store: Store) -> None:
    incident = opened(store)
    actions.acknowledge(store, incident, "ev\x1b[31m\nil" + "x" * 500, now=NOW)
    by = full(store, incident)["events"][-1]["by"]
    assert by.startswith("ev [31m il")
    assert len(by) <= 80


def test_actions_and_windows_do_not_lose_each_other_s_changes(store: Store) -> None:
    incident = opened(store)
    actions.acknowledge(store, incident, "ada", now=NOW)
    play(store, [judged(2)])
    assert full(store, incident)["state"] == "acknowledged"
    assert json.loads(json.dumps(full(store, incident))) == full(store, incident)
