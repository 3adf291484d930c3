"""What a budget pays for: alarms whose findings have no p-value."""

from __future__ import annotations

import msgspec
from alert_story import END_A, END_B, SCOPE, finding, play, settings, windows

from opintel.alerts.settings import AlertSettings, Budget
from opintel.store import Store, queries


def two_unranked_a_week() -> AlertSettings:
    """Two alarms of kind new-template, which have no p-value, are allowed."""
    how = settings()
    budgets = {"fts": {"templates": Budget(kinds=["new-template"], unranked_a_week=2)}}
    return msgspec.structs.replace(how, budgets=msgspec.structs.replace(how.budgets, streams=budgets))


def test_a_budget_without_p_values_raises_only_so_many_alarms(store: Store) -> None:
    story = {k: [finding(k, {"endpoint": f"e{k}"}, None, kind="new-template", severity="warning")] for k in range(1, 6)}
    play(store, windows(story, 6), two_unranked_a_week())
    assert [i["subjects"][0]["endpoint"] for i in queries.incidents(store)] == ["e2", "e1"]
    [spent] = [b for b in queries.budgets(store) if b["budget"] == "templates"]
    assert (spent["alarms"], spent["unranked"]) == (2, 2)


def test_the_most_severe_comes_first_where_the_budget_is_short(store: Store) -> None:
    severities = {"a": "warning", "b": "critical", "c": "warning", "d": "critical"}
    found = [finding(1, {"endpoint": e}, None, kind="new-template", severity=s) for e, s in severities.items()]
    play(store, windows({1: found}, 1), two_unranked_a_week())
    assert {i["subjects"][0]["endpoint"] for i in queries.incidents(store)} == {"b", "d"}


def test_a_notice_without_a_p_value_raises_no_alarm_and_costs_nothing(store: Store) -> None:
    notices = {k: [finding(k, {"endpoint": f"n{k}"}, None, kind="new-template", severity="info")] for k in (1, 2)}
    play(store, windows(notices | {3: [finding(3, END_A, None, kind="new-template")]}, 3), two_unranked_a_week())
    assert [i["subjects"] for i in queries.incidents(store)] == [[{"scope": SCOPE, **END_A}]]
    [spent] = [b for b in queries.budgets(store) if b["budget"] == "templates"]
    assert (spent["alarms"], spent["unranked"]) == (1, 1)
    assert len(queries.findings(store)) == 3


def test_what_alarms_already_uses_up_nothing_of_a_budget_without_p_values(store: Store) -> None:
    old = {k: [finding(k, END_A, None, kind="new-template", severity="critical")] for k in (1, 2)}
    old[2].append(finding(2, END_B, None, kind="new-template"))
    play(store, windows(old, 2), two_unranked_a_week())
    assert len(queries.incidents(store)) == 2


def test_a_window_made_at_least_as_many_tests_as_it_has_findings_with_a_p_value(store: Store) -> None:
    """Whatever it says: of one test p = 10^-3.5 would be rare enough, of forty it is not."""
    found = [finding(1, {"source": f"s{n}.example", "destination": f"d{n}.example"}, -3.5) for n in range(40)]
    play(store, windows({1: found}, 1, tests={"link": 1}))
    assert queries.incidents(store) == []
    play(store, windows({2: [finding(2, END_A, -3.5, kind="endpoint")]}, 2, first=2, tests={"endpoint": 1}))
    assert len(queries.incidents(store)) == 1
