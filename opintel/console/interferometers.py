"""The page of an interferometer: its strain's triggers over time and frequency, rate and range, witnesses, incidents.

It is there where a stream has findings of kind `observing`; all of it is read from findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import numpy as np
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from opintel.console import drawing, reading
from opintel.console.pages import Pages
from opintel.evidence import Axis, Evidence, Series, Table, block_json
from opintel.finding import NS, Finding, finding_json, parse_rfc3339, rfc3339
from opintel.picture import image
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding

Json = dict[str, Any]
HOURS = {"1": "1 hour", "6": "6 hours", "24": "24 hours"}
INCIDENTS_SHOWN, FINDINGS_READ, ROUNDS_SHOWN = 10, 20_000, 5
APART = 600 * NS
"""Points of a series that are farther apart are not joined by a line."""
COLUMNS, ROWS = 160, 48
"""Cells of the picture of triggers, over time and over the logarithm of frequency."""
FREQUENCY = "frequency of its peak"
"""The row of a trigger's evidence that says so."""
LOUD = 50.0
"""SNRs from there on look alike."""


class InterferometerPages:
    """The endpoint `/gw`. `streams` are those that have such findings, at least one."""

    def __init__(self, store: Store, streams: Sequence[str], pages: Pages) -> None:
        self._store, self._streams, self._pages = store, list(streams), pages
        self._incidents = reading.IncidentList(store)

    def page(self, request: Request) -> Response:
        """`/gw?stream=&scope=&hours=`: an interferometer, by default the first, over the last hours."""
        asked = request.query_params
        stream = asked.get("stream", "")
        stream = stream if stream in self._streams else self._streams[0]
        hours = asked.get("hours", "")
        hours = hours if hours in HOURS else "6"
        observed = self._findings(stream, "observing", 0)
        scopes = sorted({one.subject["scope"] for one in observed if "scope" in one.subject})
        scope = asked.get("scope", "")
        scope = scope if scope in scopes else next(iter(scopes), "")
        end = max((one.window.end for one in observed if one.subject.get("scope") == scope), default=0)
        begin = end - int(hours) * 3600 * NS
        here = [one for one in observed if one.subject.get("scope") == scope and one.window.end > begin]
        triggers = [one for one in self._findings(stream, "trigger", begin) if one.subject.get("scope") == scope]
        witnesses = [one for one in self._findings(stream, "witness", begin) if one.subject.get("scope") == scope]
        given = {"stream": stream, "scope": scope, "hours": hours}
        return self._pages.polled(
            request,
            "interferometer",
            query=f"?{urlencode(given)}",
            stream=stream,
            given=given,
            streams=self._streams,
            scopes=scopes,
            hours=HOURS,
            scope=scope,
            through=rfc3339(end) if end else None,
            triggers=len(triggers),
            blocks=_ready(_history(here, triggers, begin, end)),
            newest=finding_json(here[-1]) if here else None,
            newest_blocks=_drawn(here[-1:], without=(Series,)),
            witnesses=[finding_json(one) for one in _latest(witnesses)],
            witness_blocks=_drawn(_latest(witnesses)[:1]),
            incidents=self._ranked(stream, scope, begin),
        )

    def _findings(self, stream: str, kind: str, begin: int) -> list[Finding]:
        """The newest of a kind whose windows end after `begin`, in order of time."""
        f = t.finding.c
        query = sa.select(f.content).where(f.stream == stream, f.kind == kind, f.window_end > begin)
        query = query.order_by(f.window_end.desc(), f.id.desc()).limit(FINDINGS_READ)
        with self._store.read() as connection:
            return [read_finding(content) for content in connection.execute(query).scalars()][::-1]

    def _ranked(self, stream: str, scope: str, begin: int) -> list[Json]:
        """Its incidents of the time, the live ones first."""
        every = [i for i in self._incidents.read() if i["stream"] == stream and parse_rfc3339(i["last"]) > begin]
        mine = [i for i in every if any(scope in subject.values() for subject in i["subjects"])]
        return mine[:INCIDENTS_SHOWN]


def _latest(witnesses: Sequence[Finding]) -> list[Finding]:
    """Of the last ranking with a witness, its rounds, the most significant first."""
    last = witnesses[-1].window if witnesses else None
    rounds = [one for one in witnesses if one.window == last]
    return sorted(rounds, key=lambda one: (one.log10_p or 0.0, one.id))[:ROUNDS_SHOWN]


def _drawn(findings: Sequence[Finding], without: tuple[type, ...] = ()) -> list[Json]:
    return _ready([block for one in findings for block in one.evidence if not isinstance(block, without)])


def _ready(blocks: Sequence[Evidence]) -> list[Json]:
    return drawing.blocks({"subject": {}, "evidence": [block_json(block) for block in blocks]})


def _history(observed: Sequence[Finding], triggers: Sequence[Finding], begin: int, end: int) -> list[Evidence]:
    """The triggers as a picture, and each series of the findings `observing`, put together over the hours."""
    blocks: list[Evidence] = []
    if triggers:
        blocks.append(_glitchgram(triggers, begin, end))
    titles = dict.fromkeys(block.title for one in observed for block in one.evidence if isinstance(block, Series))
    for title in titles:
        parts = [b for one in observed for b in one.evidence if isinstance(b, Series) and b.title == title]
        joined: dict[int, float | None] = {}
        for part in parts:
            joined |= dict(zip(part.times, part.values, strict=True))
        times = sorted(time for time in joined if time > begin)
        joined |= {time + 1: None for time, later in pairwise(times) if later - time > APART}
        times = sorted(time for time in joined if time > begin)
        blocks.append(Series(title, times, [joined[time] for time in times], parts[-1].unit))
    return blocks


def _glitchgram(triggers: Sequence[Finding], begin: int, end: int) -> Evidence:
    """The loudest SNR of the triggers in each cell of time and frequency."""
    placed = [(one.onset or one.window.start, one.effect.value, _frequency(one)) for one in triggers]
    known = [(time, snr, f) for time, snr, f in placed if f is not None]
    frequencies = [f for _, _, f in known] or [10.0, 1000.0]
    low, high = 0.9 * min(frequencies), 1.1 * max(frequencies)
    cells = np.full((ROWS, COLUMNS), np.nan)
    for time, snr, f in known:
        x = min(int((time - begin) / (end - begin) * COLUMNS), COLUMNS - 1)
        y = min(int(np.log(f / low) / np.log(high / low) * ROWS), ROWS - 1)
        if x >= 0 and not cells[y, x] >= snr:
            cells[y, x] = snr
    hours = (end - begin) / NS / 3600
    return image(
        f"Triggers of the strain: {len(triggers)}",
        cells,
        Axis(f"time until {rfc3339(end)}", "h", -hours, 0.0),
        Axis("frequency", "Hz", low, high, log=True),
        of="SNR",
        unit="",
        low=5.0,
        high=LOUD,
        log=True,
    )


def _frequency(trigger: Finding) -> float | None:
    """Hz, of a trigger's peak: as its table of evidence says."""
    rows = [row for block in trigger.evidence if isinstance(block, Table) for row in block.rows]
    return next((float(row[1]) for row in rows if row[0] == FREQUENCY and isinstance(row[1], int | float)), None)
