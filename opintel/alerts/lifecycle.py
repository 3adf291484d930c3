"""The life of an alert and of an incident, as two tables.

An alert moves with the signs of its judged windows, an incident with its alerts and its operators. The tables are the
whole truth: what they do not list is refused. Time here is counted in judged windows, never on a clock.
"""

from __future__ import annotations

from typing import Literal

from opintel.alerts.settings import Persistence

AlertState = Literal["pending", "firing", "flapping", "resolved"]
AlertInput = Literal["hint", "fire", "flap", "quiet", "clear"]
IncidentState = Literal["open", "acknowledged", "mitigated", "resolved", "closed"]
IncidentInput = Literal["acknowledge", "mitigate", "clear", "stay", "recur", "expire", "close", "merge"]
Sign = Literal[".", "w", "s"]
"""A judged window: nothing, a finding that is surprising, one below the threshold."""

ALERT: dict[AlertState, dict[AlertInput, AlertState]] = {
    "pending": {"hint": "pending", "quiet": "pending", "fire": "firing", "flap": "flapping", "clear": "resolved"},
    "firing": {"fire": "firing", "flap": "flapping", "quiet": "firing", "clear": "resolved"},
    "flapping": {"fire": "firing", "flap": "flapping", "quiet": "flapping", "clear": "resolved"},
    "resolved": {"hint": "pending", "fire": "firing", "flap": "flapping", "quiet": "resolved", "clear": "resolved"},
}
"""`hint`: signs that are not enough; `fire`: enough to alarm, or again; `flap`: the same, too often lately; `quiet`: a
window without a sign; `clear`: enough of them. Where it fires or flaps already, a weak sign is a `fire`."""

INCIDENT: dict[IncidentState, dict[IncidentInput, IncidentState]] = {
    "open": {
        "acknowledge": "acknowledged",
        "mitigate": "mitigated",
        "clear": "resolved",
        "stay": "mitigated",
        "close": "closed",
        "merge": "closed",
    },
    "acknowledged": {
        "mitigate": "mitigated",
        "clear": "resolved",
        "stay": "mitigated",
        "recur": "open",
        "close": "closed",
        "merge": "closed",
    },
    "mitigated": {"clear": "resolved", "recur": "open", "close": "closed", "merge": "closed"},
    "resolved": {"recur": "open", "expire": "closed", "close": "closed", "merge": "closed"},
    "closed": {},
}
"""`clear`: none of its alerts fires any more, and what they were about has recovered; `stay`: none fires any more, but
nothing says that it has recovered (a detector may have got used to a new level), so a person closes it; `recur`: one
fires again, or still after 'known until'; `expire`: the reopen window has passed; `merge`: an incident about one of its
endpoints took it over; the rest are operators' words."""

ALARMING: tuple[AlertState, ...] = ("firing", "flapping")
LIVE: tuple[IncidentState, ...] = ("open", "acknowledged", "mitigated")


class IllegalTransition(ValueError):
    """The table has no such step."""


def alert_step(state: AlertState, history: str, sign: Sign, rules: Persistence) -> tuple[AlertState, str]:
    """State and history after one more judged window.

    `history` holds the signs of the last `flap_within` windows, newest last, a capital where the alert rose. It is
    empty for a new alert (state `pending`) and becomes empty when there is nothing left to remember.

    >>> alert_step("pending", "", "s", Persistence())
    ('firing', 'S')
    >>> alert_step("pending", "w.w", "w", Persistence())
    ('firing', 'w.wW')
    >>> alert_step("pending", "s.", "s", Persistence(strong_needed=2, weak_margin=0))
    ('firing', 's.S')
    """
    recent = (history + sign)[-rules.flap_within :]
    alarming = state in ALARMING
    if sign == ".":
        cleared = recent.endswith("." * rules.clear_after)
        held = state == "flapping" and _rises(recent) >= rules.flap_rises
        given: AlertInput = "clear" if cleared and not held else "quiet"
    else:
        last = recent[-rules.weak_of :]
        strong = sign == "s" and sum(s in "sS" for s in last) >= rules.strong_needed
        enough = strong or len(last) - last.count(".") >= rules.weak_needed
        rises_now = history[-1:] in ("", ".") if alarming else enough
        if rises_now:
            recent = recent[:-1] + sign.upper()
        often = _rises(recent) >= rules.flap_rises
        given = "hint" if not (alarming or enough) else "flap" if often else "fire"
    after = ALERT[state][given]
    return after, "" if after == "resolved" and not recent.strip(".") else recent


def incident_step(state: IncidentState, given: IncidentInput) -> IncidentState:
    """The state after `given`. Raises IllegalTransition, which says what is possible."""
    steps = INCIDENT[state]
    if given not in steps:
        possible = ", ".join(sorted(steps)) or "nothing"
        raise IllegalTransition(f"an incident that is {state} cannot {given}; possible: {possible}")
    return steps[given]


def _rises(history: str) -> int:
    return sum(sign.isupper() for sign in history)
