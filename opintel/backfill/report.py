"""What a change would have meant over an archive, other settings or another build: findings, incidents and tickets with
it (`here`) against those without it (`there`), and the same as plain data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from opintel.backfill.comparing import FindingsCompared, IncidentsCompared, compare, compare_incidents
from opintel.backfill.decided import DecidedIncident, decided
from opintel.backfill.what_if import ChangedSetting
from opintel.detector import Pipeline
from opintel.finding import NS, Finding, Window, rfc3339
from opintel.naming import named_json
from opintel.site.settings import Site
from opintel.streams.findings import Found, Judged

Json = dict[str, Any]
Batches = Sequence[Sequence[Found | Judged]]
Span = tuple[int | None, int | None]
"""ns UTC; windows that end after the first, and by the second."""
DAY = 86_400 * NS
WEEK = 7 * DAY


class SinkTickets(NamedTuple):
    """What a sink would have got, with and without the change."""

    sink: str
    proposed: tuple[int, int]
    """Tickets that wait for an operator's click: here, there."""
    sent: tuple[int, int]
    """Tickets that go by themselves …"""
    messages: tuple[int, int]
    """… and all of their messages."""


class WhatIf(NamedTuple):
    """What a change would have meant."""

    stream: str
    archive: str
    """Its URL, without secrets, or the files of others that it was made of, as they were given."""
    settings: list[ChangedSetting]
    """None: only the build is another one."""
    against_archive: bool
    """Whether `there` are the findings that the archive holds."""
    span: tuple[int, int] | None
    """Windows that both judged: end after the first, and by the second (ns UTC); None where there are none."""
    rows: int
    here: list[Finding]
    there: list[Finding]
    findings: FindingsCompared
    incidents: IncidentsCompared
    tickets: list[SinkTickets]
    unread: int = 0
    """Records of the archived findings topic that are none."""

    @property
    def weeks(self) -> float:
        """How long the span is."""
        return 0.0 if self.span is None else (self.span[1] - self.span[0]) / WEEK

    @property
    def differs(self) -> bool:
        """Whether the change says anything else."""
        findings, incidents = self.findings, self.incidents
        return any(findings) or any(incidents[:2]) or any(pair.opened_later for pair in incidents.both)

    def pages_a_week(self, side: int) -> float | None:
        """Tickets a week, here (0) or there (1); None where the span is shorter than a day, too short for a rate."""
        made = sum(sink.proposed[side] + sink.sent[side] for sink in self.tickets)
        return made / self.weeks if self.weeks * WEEK >= DAY else None


def what_if(
    site: Site, stream: str, pipeline: Pipeline, here: Batches, there: Batches, span: Span, **about: Any
) -> WhatIf:
    """Holds what was said here against what was said there, over the windows that both judged and the span has;
    `about`: the fields of `WhatIf` that say what was changed.
    """
    both = _common(span, judged_in(here), judged_in(there))
    inside = span if both is None else both
    found = [findings_of(batches, inside) for batches in (here, there)]
    ours, theirs = (decided(site, stream, _until(batches, inside[1])) for batches in (here, there))
    near = site.alerts.lifecycle.reopen
    pairs = compare_incidents(ours, theirs, near, across_scopes=pipeline.naming.across_scopes)
    pairs = IncidentsCompared(
        [one for one in pairs.only_here if _within(one.opened, inside)],
        [one for one in pairs.only_there if _within(one.opened, inside)],
        [two for two in pairs.both if _within(two.here.opened, inside) or _within(two.there.opened, inside)],
    )
    return WhatIf(
        stream=stream,
        span=both,
        here=found[0],
        there=found[1],
        findings=compare(*found),
        incidents=pairs,
        tickets=_tickets(pairs),
        **about,
    )


def findings_of(batches: Batches, span: Span) -> list[Finding]:
    """Of windows that end in the span, by window end, then id."""
    found = [record.finding for batch in batches for record in batch if isinstance(record, Found)]
    inside = [finding for finding in found if _within(finding.window.end, span)]
    return sorted(inside, key=lambda finding: (finding.window.end, finding.id))


def judged_in(batches: Batches, span: Span = (None, None)) -> list[Judged]:
    """The judged windows that end in the span."""
    judged = (record for batch in batches for record in batch if isinstance(record, Judged))
    return [one for one in judged if _within(one.window.end, span)]


def what_if_json(report: WhatIf, pipeline: Pipeline) -> Json:
    """The part `compare` of what `opintel backfill --json` says."""
    naming, found, pairs = pipeline.naming, report.findings, report.incidents
    span = None if report.span is None else [rfc3339(time) for time in report.span]
    return {
        "against": "archive" if report.against_archive else "settings",
        "settings": [{"setting": one.name, "was": one.was, "now": one.now} for one in report.settings],
        "span": span,
        "only_here": [named_json(finding, naming) for finding in found.only_here],
        "only_there": [named_json(finding, naming) for finding in found.only_there],
        "changed": [
            {"what": c.what, "here": named_json(c.here, naming), "there": named_json(c.there, naming)}
            for c in found.changed
        ],
        "incidents": {
            "only_here": [_incident(one) for one in pairs.only_here],
            "only_there": [_incident(one) for one in pairs.only_there],
            "both": [
                {
                    "here": _incident(pair.here),
                    "there": _incident(pair.there),
                    "started_later": pair.started_later / NS,
                    "opened_later": pair.opened_later / NS,
                }
                for pair in pairs.both
            ],
        },
        "tickets": [
            {"sink": one.sink}
            | {
                side: {"proposed": one.proposed[n], "sent": one.sent[n], "messages": one.messages[n]}
                for n, side in enumerate(("here", "there"))
            }
            for one in report.tickets
        ],
        "pages_a_week": {"here": report.pages_a_week(0), "there": report.pages_a_week(1)},
        "unread": report.unread,
    }


def _incident(one: DecidedIncident) -> Json:
    return one.plain | {"largest": one.largest}


def _common(span: Span, here: Sequence[Judged], there: Sequence[Judged]) -> tuple[int, int] | None:
    """What of the span both judged; None where that is nothing."""
    if not here or not there:
        return None
    begin = max(min(one.window.start for one in side) for side in (here, there))
    end = min(max(one.window.end for one in side) for side in (here, there))
    begin, end = max(begin, begin if span[0] is None else span[0]), min(end, end if span[1] is None else span[1])
    return (begin, end) if begin < end else None


def _until(batches: Batches, end: int | None) -> Iterable[Sequence[Found | Judged]]:
    """What is said of windows that end by then. What came before the span is part of it: alerts have a history."""
    if end is None:
        return batches
    return ([record for record in batch if _window(record).end <= end] for batch in batches)


def _window(record: Found | Judged) -> Window:
    return record.window if isinstance(record, Judged) else record.finding.window


def _within(end: int, span: Span) -> bool:
    since, until = span
    return (since is None or end > since) and (until is None or end <= until)


def _tickets(pairs: IncidentsCompared) -> list[SinkTickets]:
    """By sink."""
    ours = [*pairs.only_here, *(pair.here for pair in pairs.both)]
    theirs = [*pairs.only_there, *(pair.there for pair in pairs.both)]
    proposed, sent, messages = (Counter[tuple[str, int]]() for _ in range(3))
    for side, incidents in enumerate((ours, theirs)):
        for ticket in (ticket for incident in incidents for ticket in incident.tickets):
            (sent if ticket.messages else proposed)[ticket.sink, side] += 1
            messages[ticket.sink, side] += len(ticket.messages)
    sinks = sorted({sink for sink, _ in (*proposed, *sent)})
    return [SinkTickets(s, *((count[s, 0], count[s, 1]) for count in (proposed, sent, messages))) for s in sinks]
