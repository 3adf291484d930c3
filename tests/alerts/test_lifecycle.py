from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.alerts.lifecycle import (
    ALARMING,
    ALERT,
    INCIDENT,
    IllegalTransition,
    alert_step,
    incident_step,
)
from opintel.alerts.settings import Persistence

RULES = Persistence()
INCIDENT_INPUTS = ("acknowledge", "mitigate", "clear", "stay", "recur", "expire", "close", "merge")

EXPECTED = {
    ("open", "acknowledge"): "acknowledged",
    ("open", "mitigate"): "mitigated",
    ("open", "clear"): "resolved",
    ("open", "stay"): "mitigated",
    ("open", "close"): "closed",
    ("open", "merge"): "closed",
    ("acknowledged", "mitigate"): "mitigated",
    ("acknowledged", "clear"): "resolved",
    ("acknowledged", "stay"): "mitigated",
    ("acknowledged", "recur"): "open",
    ("acknowledged", "close"): "closed",
    ("acknowledged", "merge"): "closed",
    ("mitigated", "clear"): "resolved",
    ("mitigated", "recur"): "open",
    ("mitigated", "close"): "closed",
    ("mitigated", "merge"): "closed",
    ("resolved", "recur"): "open",
    ("resolved", "expire"): "closed",
    ("resolved", "close"): "closed",
    ("resolved", "merge"): "closed",
}


@pytest.mark.parametrize(("state", "given_"), list(product(INCIDENT, INCIDENT_INPUTS)))
def test_every_pair_of_incident_state_and_input(state: str, given_: str) -> None:
    if (state, given_) in EXPECTED:
        assert incident_step(state, given_) == EXPECTED[state, given_]  # type: ignore[arg-type]
    else:
        with pytest.raises(IllegalTransition, match=f"{state} cannot {given_}; possible: "):
            incident_step(state, given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signs", "fires_at"),
    [("s", None), ("ss", 1), ("s...s", None), ("s..s", 3), ("sw", None), ("swww", 2), ("s...w", None), ("wws", 2)],
)
def test_a_stream_may_want_more_than_one_finding(signs: str, fires_at: int | None) -> None:
    rules = Persistence(strong_needed=2, weak_needed=3, weak_of=4, weak_margin=0.1, clear_after=10)
    state, history = "pending", ""
    fired = []
    for n, sign in enumerate(signs):
        state, history = alert_step(state, history, sign, rules)  # type: ignore[arg-type]
        fired += [n] if state in ALARMING else []
    assert fired[:1] == ([] if fires_at is None else [fires_at])


@pytest.mark.parametrize(
    ("signs", "states"),
    [
        ("s", ["firing"]),
        ("w", ["pending"]),
        ("ww", ["pending", "pending"]),
        ("www", ["pending", "pending", "firing"]),
        ("ww.w", ["pending", "pending", "pending", "firing"]),
        ("ww..w", ["pending", "pending", "pending", "pending", "pending"]),
        ("w..w", ["pending", "pending", "pending", "pending"]),
        ("w...", ["pending", "pending", "pending", "resolved"]),
        ("s..", ["firing", "firing", "firing"]),
        ("s...", ["firing", "firing", "firing", "resolved"]),
        ("s..w", ["firing", "firing", "firing", "firing"]),
        ("s...s", ["firing", "firing", "firing", "resolved", "firing"]),
        ("s...w", ["firing", "firing", "firing", "resolved", "pending"]),
        ("s.s.s", ["firing", "firing", "firing", "firing", "flapping"]),
        ("s...s...s", ["firing"] * 3 + ["resolved"] + ["firing"] * 3 + ["resolved", "flapping"]),
        # Held while three rises lie within twelve windows, then it clears.
        ("s.s.s" + "." * 8, ["firing"] * 4 + ["flapping"] * 8 + ["resolved"]),
        # It goes on, but steadily: it has settled.
        ("s.s.s" + "s" * 8, ["firing"] * 4 + ["flapping"] * 8 + ["firing"]),
    ],
)
def test_alert_by_its_signs(signs: str, states: list[str]) -> None:
    state, history = "pending", ""
    seen = []
    for sign in signs:
        state, history = alert_step(state, history, sign, RULES)  # type: ignore[arg-type, assignment]
        seen.append(state)
    assert seen == states


def test_every_entry_of_the_alert_table_is_reached() -> None:
    """Explores all reachable (state, history); no step is missing in the table and none in it is dead."""
    rules = Persistence(flap_within=9)
    todo = {("pending", "")}
    done: set[tuple[str, str]] = set()
    used: set[tuple[str, str]] = set()
    while todo:
        state, history = todo.pop()
        done.add((state, history))
        for sign in ".ws":
            after = alert_step(state, history, sign, rules)  # type: ignore[arg-type]
            used.add((state, after[0]))
            if after not in done:
                todo.add(after)
    assert used == {(state, after) for state, steps in ALERT.items() for after in steps.values()}


@given(st.text(".ws", max_size=60))
def test_quiet_long_enough_always_ends_and_forgets(signs: str) -> None:
    state, history = "pending", ""
    for sign in signs + "." * 24:
        state, history = alert_step(state, history, sign, RULES)  # type: ignore[arg-type, assignment]
        assert len(history) <= RULES.flap_within
    assert (state, history) == ("resolved", "")


@given(st.text(".ws", max_size=60))
def test_a_strong_sign_always_alarms_and_alarms_last_while_signs_last(signs: str) -> None:
    state, history = "pending", ""
    for sign in signs:
        before = state
        state, history = alert_step(state, history, sign, RULES)  # type: ignore[arg-type, assignment]
        if sign == "s" or (sign == "w" and before in ALARMING):
            assert state in ALARMING
