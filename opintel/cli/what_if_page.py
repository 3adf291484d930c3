"""What a change of settings or of the build would have meant over an archive, as one HTML page with pictures: that of
`opintel backfill --html`.

It is made of the same comparison as the command's JSON, and draws as the console does. Texts in it are untrusted: they
are cut here and escaped in the template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from opintel.backfill.comparing import ChangedFinding, SameIncident
from opintel.backfill.decided import DecidedIncident
from opintel.backfill.report import WhatIf
from opintel.backfill.what_if import ChangedSetting
from opintel.cli.p_value_pictures import p_value_pictures
from opintel.console import drawing
from opintel.console.standalone import drawn, standalone
from opintel.console.words import duration, moment, odds
from opintel.finding import NS, Finding, finding_json, rfc3339
from opintel.naming import Naming
from opintel.quantity import number, quantity

Json = dict[str, Any]
PICTURED, LISTED = 60, 200
"""Incidents with a picture, and lines of a list."""
PICTURE_BYTES = 8 << 20
"""Of all pictures together."""
TEXT, NAME = 300, 120
"""Characters of a summary and of a name."""
TICKS = [minutes * 60 * NS for minutes in (10, 30, 60, 120, 180, 360, 720, 1440)]
MOST_TICKS = 5
PICTURES = ("series", "histogram", "image", "matrix")
FIELDS = {"log10_p": "p-value", "effect": "how large"}


def what_if_page(report: WhatIf, naming: Naming) -> str:
    """HTML."""
    found, pairs = report.findings, report.incidents
    cards, left = list(_cards(report)), 0
    if len(cards) > LISTED:
        cards, left = cards[:LISTED], len(cards) - LISTED
    _picture(cards, report)
    moved = [pair for pair in pairs.both if pair.opened_later]
    return standalone(
        "what_if.html",
        title=_title(report),
        lead=_lead(report),
        report=report,
        verdict=_verdict(report),
        numbers=_numbers(report, len(moved)),
        pages=[report.pages_a_week(1), report.pages_a_week(0)],
        pictures=drawn(list(p_value_pictures(report))),
        cards=cards,
        left=left,
        ticks=_ticks(report),
        moved=[_moved(pair) for pair in moved[:LISTED]],
        moved_words=_moved_words(moved),
        lists=[
            ("only-there", "Only before", [_line(f, naming) for f in found.only_there[:LISTED]], len(found.only_there)),
            ("only-here", "Only after", [_line(f, naming) for f in found.only_here[:LISTED]], len(found.only_here)),
            (
                "changed",
                "Changed",
                [_line(c.here, naming, c) for c in found.changed[:LISTED]],
                len(found.changed),
            ),
        ],
    )


def _numbers(report: WhatIf, moved: int) -> list[tuple[str, int, int, int, int, str]]:
    """What, before, after, only before, only after, and what of the rest is not the same."""
    found, pairs = report.findings, report.incidents
    gone, new, both = len(pairs.only_there), len(pairs.only_here), len(pairs.both)
    apart = len(found.only_there), len(found.only_here)
    return [
        ("findings", len(report.there), len(report.here), *apart, f"{len(found.changed):,} changed"),
        ("incidents", gone + both, new + both, gone, new, f"{moved:,} detected earlier or later"),
    ]


def _title(report: WhatIf) -> str:
    if not report.settings:
        return f"What this build finds in the archive of {report.stream}"
    names = [one.name.removeprefix("detectors.") for one in report.settings]
    return f"What if {_short(' and '.join(names), NAME)} were {_short(_values(report.settings), NAME)}?"


def _values(settings: Sequence[ChangedSetting]) -> str:
    return " and ".join(_value(one.now) for one in settings)


def _lead(report: WhatIf) -> str:
    """The sentence of what changes."""
    parts = [
        f"{one.name} from {' and then '.join(map(_value, one.was)) or 'nothing'} to {_value(one.now)}"
        for one in report.settings
    ]
    if report.against_archive:
        parts.append("this build against what was found live, by the build of its time")
    span = "no window that both judged"
    if report.span is not None:
        begin, end = (moment(rfc3339(time)) for time in report.span)
        span = f"{begin} to {end} UTC ({duration(report.span[1] - report.span[0])})"
    said = _short("; ".join(parts), 4 * TEXT)
    return f"{said}. Stream {report.stream}, {span}, {report.rows:,} rows judged, from {_short(report.archive, TEXT)}."


def _verdict(report: WhatIf) -> str:
    if not report.differs:
        return "Nothing differs: the same findings, the same incidents, the same tickets."
    gone, new = len(report.incidents.only_there), len(report.incidents.only_here)
    later = sum(pair.opened_later > 0 for pair in report.incidents.both)
    earlier = sum(pair.opened_later < 0 for pair in report.incidents.both)
    parts = [
        f"{_counted(n, 'incident')} would {what}"
        for n, what in (
            (gone, "not be there"),
            (new, "be new"),
            (later, "be detected later"),
            (earlier, "be detected earlier"),
        )
        if n
    ]
    return f"{', '.join(parts)}." if parts else "Findings differ, but the incidents are the same."


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _cards(report: WhatIf) -> Iterator[Json]:
    """The incidents: those that vanish, that appear, that move, and the same ones; each in order of time."""
    pairs = report.incidents
    yield from (_card(report, "only before", None, one) for one in pairs.only_there)
    yield from (_card(report, "only after", one, None) for one in pairs.only_here)
    for pair in sorted(pairs.both, key=lambda pair: pair.opened_later == 0):
        yield _card(report, _shift(pair), pair.here, pair.there)


def _shift(pair: SameIncident) -> str:
    later = pair.opened_later
    if later:
        return f"same, detected {duration(abs(later))} {'later' if later > 0 else 'earlier'}"
    shifts = (("begins", pair.started_later), ("ends", pair.here.end - pair.there.end))
    words = [f"{what} {duration(abs(by))} {'later' if by > 0 else 'earlier'}" for what, by in shifts if by]
    return ", ".join(["same", *words])


def _card(report: WhatIf, fate: str, here: DecidedIncident | None, there: DecidedIncident | None) -> Json:
    shown = here or there
    assert shown is not None
    sides = [(when, side) for when, side in (("before", there), ("after", here)) if side is not None]
    return {
        "id": shown.plain["id"],
        "fate": fate,
        "kind": "gone" if here is None else "new" if there is None else "same" if fate == "same" else "moved",
        "severity": shown.plain["severity"],
        "title": _short(shown.plain["title"], TEXT),
        "largest": shown.largest,
        "here": here is not None,
        "sides": [(when, _facts(side)) for when, side in sides],
        "bars": [(when, *_place(report, side)) for when, side in sides],
        "picture": None,
        "why_not": "",
    }


def _facts(one: DecidedIncident) -> Json:
    return {
        "start": rfc3339(one.start),
        "opened": rfc3339(one.opened),
        "lasted": one.end - one.start,
        "took": one.opened - one.start,
        "severity": one.plain["severity"],
        "findings": one.plain["findings"],
        "tickets": [
            f"{ticket.sink}: {_counted(len(ticket.messages), 'message')} sent"
            if ticket.messages
            else f"{ticket.sink}: proposed to an operator"
            for ticket in one.tickets
        ],
    }


def _place(report: WhatIf, one: DecidedIncident) -> tuple[float, float]:
    """Where its bar is, x and width in percent."""
    begin, end = report.span or (one.start, one.end + 1)
    left, right = (min(max(100 * (time - begin) / (end - begin), 0.0), 100.0) for time in (one.start, one.end))
    return round(min(left, 99.2), 2), round(max(right - left, 0.8), 2)


def _ticks(report: WhatIf) -> list[tuple[float, str]]:
    """Times of the axis, x in percent."""
    if report.span is None:
        return []
    begin, end = report.span
    step = next((step for step in TICKS if (end - begin) // step <= MOST_TICKS), (end - begin) // MOST_TICKS)
    form = "%H:%M" if step < TICKS[-1] else "%-d %b"
    times = range(-(-begin // step) * step, end, step)
    return [(round(100 * (at - begin) / (end - begin), 2), moment(rfc3339(at), form)) for at in times]


def _picture(cards: Sequence[Json], report: WhatIf) -> None:
    """Gives the first incidents the picture of their largest finding."""
    sides = [{finding.id: finding for finding in found} for found in (report.there, report.here)]
    left = PICTURE_BYTES
    for n, card in enumerate(cards):
        finding = sides[card["here"]].get(card["largest"])
        if finding is None:
            card["why_not"] = "Its largest finding is not of this span."
            continue
        card["summary"] = _short(finding.summary, TEXT)
        blocks = finding_json(finding)["evidence"]
        chosen = next((block for block in blocks if block["type"] in PICTURES), blocks[0] if blocks else None)
        size = len(msgspec.json.encode(chosen))
        if chosen is None:
            card["why_not"] = "Its largest finding has no picture."
        elif n >= PICTURED or size > left:
            card["why_not"] = "Not drawn here, to keep the page small."
        else:
            left -= size
            named = chosen | {"title": _short(chosen["title"], NAME)}
            [card["picture"]] = drawing.blocks({"subject": finding.subject, "evidence": [named]})


def _moved(pair: SameIncident) -> Json:
    return {
        "title": _short(pair.here.plain["title"], TEXT),
        "before": rfc3339(pair.there.opened),
        "after": rfc3339(pair.here.opened),
        "by": f"{duration(abs(pair.opened_later))} {'later' if pair.opened_later > 0 else 'earlier'}",
    }


def _moved_words(moved: Sequence[SameIncident]) -> str:
    words = []
    for word, sign in (("later", 1), ("earlier", -1)):
        by = [sign * pair.opened_later for pair in moved if sign * pair.opened_later > 0]
        if by:
            words.append(f"{_counted(len(by), 'incident')} {word}, by {duration(int(median(by)))} in the median")
    return "; ".join(words)


def _line(finding: Finding, naming: Naming, change: ChangedFinding | None = None) -> Json:
    was = None if change is None else change.there
    p = _odds(finding) if was is None or _odds(was) == _odds(finding) else f"{_odds(was)} → {_odds(finding)}"
    size = _size(finding) if was is None or _size(was) == _size(finding) else f"{_size(was)} → {_size(finding)}"
    return {
        "end": rfc3339(finding.window.end),
        "kind": _short(finding.kind, NAME),
        "severity": finding.severity,
        "about": _short(naming.subject(_cut(finding.subject)), TEXT),
        "p": p,
        "size": size,
        "what": "" if change is None else ", ".join(FIELDS.get(field, field) for field in change.what),
        "summary": _short(finding.summary, TEXT),
    }


def _cut(subject: Mapping[str, str]) -> dict[str, str]:
    return {label: _short(text, NAME) for label, text in subject.items()}


def _odds(finding: Finding) -> str:
    return "no p-value" if finding.log10_p is None else odds(finding.log10_p)


def _size(finding: Finding) -> str:
    return quantity(finding.effect.value, finding.effect.unit)


def _value(value: object) -> str:
    """A setting's value as people read it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value).replace("-", "−")
    return "none" if value is None else msgspec.json.encode(value).decode()


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
