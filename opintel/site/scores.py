"""How good the incidents of simulated stories are, held against the stories' truth.

`opintel evaluate` prints it, for every domain alike: what was found and how fast, how many incidents a fault makes,
whether an incident's title names what is at fault, and whether the causes are named and not what suffers from them.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from opintel.finding import parse_rfc3339
from opintel.site.story import AFTERWARDS, EARLY, match

WEEK = 7 * 24.0
"""h"""
SOON = 2
"""Windows within which a fault should be found."""


class Rules(NamedTuple):
    """What incidents of a stream are held against."""

    entities: tuple[str, ...] = ()
    """Labels that name a thing, in order; none: all but the scope's (`opintel.naming.Naming`)."""
    window: int | None = None
    """ns; None where windows come with the data."""
    wide: Collection[str] = ()
    """Kinds of fault that may show at any subject of their scope."""
    harmless: Collection[str] = ()
    """Kinds of event of which no incident should come."""


class Outcome(NamedTuple):
    """What became of one fault."""

    kind: str
    incidents: int
    minutes: float | None
    """From its begin to the first of its incidents."""
    windows: int | None
    """That had closed by then since it began."""
    first_named: bool
    """Whether the first incident's title names the fault first."""
    cause: float
    """Precision at full recall of the true cause among what is named first in the incidents of its time, 0 where it is
    missed."""


class StoryScore(NamedTuple):
    """One story held against its truth."""

    outcomes: list[Outcome]
    harmless: list[str]
    """Kinds of the events of which nothing should come."""
    incidents: int
    false: int
    cause: float | None
    """The same precision over all faults of the story, 0 where one is missed; None of a story without faults."""
    hours: float


def score(
    stream: str, faults: Sequence[Mapping[str, Any]], incidents: Sequence[dict[str, Any]], hours: float, rules: Rules
) -> StoryScore:
    """A story of `hours`: its faults (`id, kind, subject, start, end` in RFC 3339, perhaps `cause`) and the incidents
    of a stream, both in JSON form."""
    real = [{**fault, "stream": stream} for fault in faults if fault["kind"] not in rules.harmless]
    matches = _matched(real, incidents, rules)
    leads = {incident["id"]: _things(leading(incident), rules) for incident in incidents}
    known = {id for ids in matches.values() for id in ids}
    outcomes = [_outcome(fault, matches[fault["id"]], incidents, known, leads, rules) for fault in real]
    causes = [_causes(fault, rules) for fault in real]
    named = set(leads.values())
    cause = None
    if real:
        hit = all(any(lead in right for lead in named) for right in causes)
        cause = len({min(right, key=len) for right in causes}) / len(named) if hit else 0.0
    return StoryScore(
        outcomes,
        [fault["kind"] for fault in faults if fault["kind"] in rules.harmless],
        len(incidents),
        sum(incident["id"] not in known for incident in incidents),
        None if cause is None else min(cause, 1.0),
        hours,
    )


def leading(incident: Mapping[str, Any]) -> Mapping[str, str]:
    """The subject that an incident's title names first: of those whose things all stand in it the one that begins it,
    and of these the fullest; the first, where the title names none.

    >>> subjects = [{"scope": "f", "endpoint": "b"}, {"scope": "f", "source": "a", "destination": "b"}]
    >>> leading({"title": "a to b fails: 9 of 9 files", "subjects": subjects})["source"]
    'a'
    """
    title, found = incident["title"], list[tuple[int, int, int, Mapping[str, str]]]()
    for number, subject in enumerate(incident["subjects"]):
        texts = [text for label, text in subject.items() if label not in ("scope", "role")] or list(subject.values())
        places = [title.find(text) for text in texts]
        if min(places) >= 0:
            found.append((min(places), -len(texts), number, subject))
    first: Mapping[str, str] = min(found, key=lambda one: one[:3])[3] if found else incident["subjects"][0]
    return first


def table(stories: Sequence[StoryScore]) -> dict[str, Any]:
    """The document of `opintel evaluate`: `kinds` has a row of measures for each kind of fault, `all` one for all."""
    outcomes = [outcome for story in stories for outcome in story.outcomes]
    kinds = sorted({outcome.kind for outcome in outcomes})
    rows = {kind: _row([outcome for outcome in outcomes if outcome.kind == kind]) for kind in kinds}
    harmless = [kind for story in stories for kind in story.harmless]
    for kind in sorted(set(harmless)):
        rows[kind] = dict.fromkeys(_row([]), None) | {"injected": harmless.count(kind)}
    hours, false = sum(story.hours for story in stories), sum(story.false for story in stories)
    causes = [story.cause for story in stories if story.cause is not None]
    return {
        "stories": len(stories),
        "kinds": rows,
        "all": _row(outcomes),
        "incidents": sum(story.incidents for story in stories),
        "false_incidents": false,
        "hours": round(hours, 2),
        "false_incidents_a_week": round(false * WEEK / hours, 2) if hours else None,
        "cause_by_story": round(statistics.mean(causes), 3) if causes else None,
    }


def _row(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    found = [outcome for outcome in outcomes if outcome.incidents]
    windows = [outcome.windows for outcome in found if outcome.windows is not None]
    return {
        "injected": len(outcomes),
        "found": len(found),
        "found_in_two_windows": sum(n <= SOON for n in windows) if windows else None,
        "minutes_to_detect": _median([outcome.minutes for outcome in found if outcome.minutes is not None]),
        "windows_to_detect": _median(windows),
        "incidents_per_fault": _mean([outcome.incidents for outcome in found]),
        "top1": _mean([outcome.first_named for outcome in outcomes]),
        "cause": _mean([outcome.cause for outcome in outcomes]),
    }


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 1) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return round(statistics.mean(map(float, values)), 3) if values else None


def _matched(
    faults: Sequence[dict[str, Any]], incidents: Sequence[dict[str, Any]], rules: Rules
) -> dict[str, list[str]]:
    """Fault → its incidents: what a fault of narrow reach explains is none of a wide one's."""
    narrow = [fault for fault in faults if fault["kind"] not in rules.wide]
    found = match(narrow, incidents)
    taken = {id for ids in found.values() for id in ids}
    for fault in faults:
        if fault["kind"] in rules.wide:
            scope = fault["subject"].get("scope")
            found[fault["id"]] = [
                incident["id"]
                for incident in incidents
                if incident["id"] not in taken
                and _in_time(incident, fault)
                and any(subject.get("scope") == scope for subject in incident["subjects"])
            ]
    return found


def _outcome(
    fault: Mapping[str, Any],
    ids: Collection[str],
    incidents: Iterable[Mapping[str, Any]],
    known: Collection[str],
    leads: Mapping[str, frozenset[str]],
    rules: Rules,
) -> Outcome:
    start, right = parse_rfc3339(fault["start"]), _causes(fault, rules)
    its = sorted((parse_rfc3339(i["opened"]), i["id"]) for i in incidents if i["id"] in ids)
    others = [i["id"] for i in incidents if i["id"] not in known and _in_time(i, fault)]
    named = {leads[id] for id in [*ids, *others]}
    minutes = windows = None
    if its:
        opened = its[0][0]
        minutes = (opened - start) / 60e9
        if rules.window is not None:
            windows = opened // rules.window - start // rules.window
    return Outcome(
        fault["kind"],
        len(its),
        minutes,
        windows,
        bool(its) and leads[its[0][1]] in right,
        1.0 / len(named) if any(lead in right for lead in named) else 0.0,
    )


def _causes(fault: Mapping[str, Any], rules: Rules) -> list[frozenset[str]]:
    """What an incident's title may name first to be right: the fault's own things, with or without its cause."""
    things = _things(fault["subject"], rules)
    if not fault.get("cause"):
        return [things]
    # of what a whole scope has, its cause is the name
    own = [frozenset({fault["cause"]})] if fault["kind"] in rules.wide and len(fault["subject"]) == 1 else []
    return [things, things | {fault["cause"]}, *own]


def _things(subject: Mapping[str, str], rules: Rules) -> frozenset[str]:
    named = [subject[label] for label in rules.entities if label in subject]
    return frozenset(named or subject.values())


def _in_time(incident: Mapping[str, Any], fault: Mapping[str, Any]) -> bool:
    start = parse_rfc3339(incident["start"])
    return parse_rfc3339(fault["start"]) - EARLY <= start <= parse_rfc3339(fault["end"]) + AFTERWARDS
