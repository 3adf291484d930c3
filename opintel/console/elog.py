"""A shift in plain text, to be pasted into the e-log: runs, certified ranges, defects, incidents, sign-offs.

Every text in it is untrusted: it becomes one line without control characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from opintel.alerts.ticket import clean
from opintel.console.lumisections import RunView, span
from opintel.console.words import moment
from opintel.dqm.quality.certify import SEVERITY
from opintel.finding import NS, rfc3339

HOUR = 3600 * NS
DEFECTS_LISTED = 20


def summary(stream: str, begin: int, end: int, views: Sequence[RunView], incidents: Sequence[dict[str, Any]]) -> str:
    """The text; `begin` and `end` in ns UTC, views the newest first."""
    lines = [f"Shift summary, {clean(stream)}, {_time(begin)} to {_time(end)} UTC", ""]
    for view in reversed(views):
        lines += [*_run(view), ""]
    if not views:
        lines += ["No run was judged.", ""]
    lines.append(f"Incidents: {len(incidents) or 'none'}")
    for one in incidents:
        since = "" if one["since"] is None else f" since run {one['since'][0]} lumisection {one['since'][1]}"
        lines.append(f"- {one['severity']}, {one['state']}{since}: {clean(one['what'])}")
        if one["answer"]:
            lines.append(f"  answered: {one['answer'].replace('-', ' ')}")
    return "\n".join(lines) + "\n"


def _run(view: RunView) -> Iterator[str]:
    run = view.run
    first, last = min(run.windows), max(run.windows)
    yield f"Run {run.number}: lumisections {span(first, last)}, {_time(run.start)} to {_time(run.end)} UTC"
    ranges = ", ".join(span(*one) for one in view.certified) or "none"
    yield f"  certified: {ranges} ({view.good} of {len(run.windows)})"
    yield f"  golden JSON: {msgspec.json.encode({str(run.number): view.certified}).decode()}"
    for name in run.subsystems:
        states = [standing.status for (_, _, subsystem), standing in view.standings.items() if subsystem == name]
        yield f"  {clean(name)}: " + ", ".join(f"{states.count(s)} {s}" for s in SEVERITY if states.count(s))
    listed = [one for one in view.defects if one.histogram]
    for one in listed[:DEFECTS_LISTED]:
        p = "" if one.log10_p is None else f", log10 p {one.log10_p:.1f}"
        spoils = "" if one.critical else " (minor)"
        yield f"  defect{spoils}: {clean(one.bit)}, {clean(one.histogram)}, lumisections {span(one.first, one.last)}{p}"
    if len(listed) > DEFECTS_LISTED:
        yield f"  and {len(listed) - DEFECTS_LISTED} more defects"
    for said in view.signed:
        why = f": {clean(said.comment)}" if said.comment else ""
        place = f"{clean(said.subsystem)} {span(said.first, said.last)}"
        yield f"  signed off {said.verdict}: {place} by {clean(said.by)}{why}"


def _time(ns: int) -> str:
    return moment(rfc3339(ns), "%Y-%m-%d %H:%M")
