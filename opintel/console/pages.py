"""The pages: each reads the store and renders a template. What is live is asked for again by htmx every two seconds,
under the same address; what has not changed since is answered with 204 and nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple
from urllib.parse import urlencode

from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from opintel.alerts.lifecycle import INCIDENT, LIVE
from opintel.alerts.settings import Grouping
from opintel.console import drawing, mapping, past, reading
from opintel.console.names import Names
from opintel.console.render import Renderer
from opintel.console.views import StreamView
from opintel.console.words import moment
from opintel.finding import NS, SEVERITIES, parse_rfc3339, rfc3339
from opintel.store import Store, queries
from opintel.store.before import EarlierIncident, Families, same_before

Json = dict[str, Any]

FINDINGS_LISTED = 500
MATTERS_SHOWN = 12
"""Findings that a thing's page draws: the latest of each kind and metric."""
SPAN = "12h"
"""How far the map looks back, unless another span is chosen."""
EARLIEST = -(1 << 62)
KNOWN_FOR = 8 * 3600 * NS
"""What 'known until' proposes."""
FAMILIES_KEPT = 2000
"""Incidents of whose errors the families are kept."""
PARTS = ("standing", "evidence", "rail", "facts")
"""The parts of the incident page that are renewed, each by itself."""


class Filter(NamedTuple):
    """What the incident list is narrowed to; None: all."""

    state: str | None
    stream: str | None
    severity: str | None

    @classmethod
    def of(cls, request: Request) -> Filter:
        """From the query string; values that do not exist count as not given."""
        asked = {name: request.query_params.get(name) for name in cls._fields}
        state = asked["state"] if asked["state"] in reading.STATES else None
        severity = asked["severity"] if asked["severity"] in SEVERITIES else None
        return cls(state, asked["stream"] or None, severity)

    def takes(self, incident: Json) -> bool:
        """Whether an incident is shown."""
        return all(wanted is None or incident[name] == wanted for name, wanted in self._asdict().items())

    def query(self, **change: str | None) -> str:
        """The query string of this filter with a change; empty or with its question mark."""
        given = {name: text for name, text in (self._asdict() | change).items() if text is not None}
        return f"?{urlencode(given)}" if given else ""


class Pages:
    """The endpoints that answer with HTML."""

    def __init__(
        self,
        store: Store,
        grouping: Grouping,
        names: Names,
        renderer: Renderer,
        streams: Callable[[], list[StreamView]],
        now: Callable[[], int],
        trouble: Callable[[], str],
        portrait: Callable[[past.Thing, int], Json | None],
        reports: Collection[str],
    ) -> None:
        self._families: dict[tuple[str, int], Families] = {}
        """Of incidents' errors: what has been read of them, for a page is polled often."""
        self._store = store
        self._names = names
        self._renderer = renderer
        self._streams = streams
        self._now = now
        self._trouble, self._portrait = trouble, portrait
        self._incidents = reading.IncidentList(store)
        self._past = past.Past(store, grouping, reports)

    def incidents(self, request: Request) -> Response:
        """`/`: the list."""
        return self.polled(request, "incidents", **self._list(Filter.of(request)))

    def incident(self, request: Request) -> Response:
        """`/incidents/{id}`."""
        if "hx-request" in request.headers:
            return self.incident_parts(request, request.query_params.get("seen", ""))
        return self.incident_page(request)

    def incident_page(self, request: Request, refused: str = "") -> Response:
        """The whole page, with why something could not be done."""
        values, parts = self._incident(request, "", refused)
        status = 409 if refused else 200
        return self._renderer.page(request, "incident.html", status, **values, parts=parts, seen=_seen(parts))

    def incident_parts(self, request: Request, seen: str, notice: str = "", refused: str = "") -> Response:
        """The parts of the page that differ from those that `seen` names, with what has been done or why not; 204
        where there is none."""
        values, parts = self._incident(request, notice, refused)
        # a notice does not count as seen: it stays until something else changes
        now_seen = _seen(self._incident(request, "", "")[1] if notice or refused else parts)
        if seen == now_seen:
            return Response(status_code=204)
        known = dict(zip(PARTS, seen.split("."), strict=False))
        changed = {name: part for name, part in parts.items() if known.get(name) != _digest(part)}
        status = 409 if refused else 200
        return self._renderer.page(request, "_parts.html", status, **values, parts=changed, seen=now_seen)

    def map(self, request: Request) -> Response:
        """`/map?span=&stream=`: the things that were the most surprising lately, and when."""
        name, span = _span(request, SPAN)
        known = past.judged(self._store)
        there = sorted({stream for stream, _ in known.through})
        asked = request.query_params.get("stream")
        chosen = [asked] if asked in there else there
        through = max((time for (stream, _), time in known.through.items() if stream in chosen), default=None)
        given = {"span": name} | ({"stream": asked} if asked in there else {})
        values: Json = {
            "spans": _spans(name, lambda other: f"?{urlencode(given | {'span': other})}"),
            "streams": [
                (s, s == asked, f"?{urlencode({'span': name} | ({} if s == asked else {'stream': s}))}") for s in there
            ],
            "through": None,
            "shown": span,
        }
        if through is not None:
            end = span.end(through)
            live = past.live_incidents(self._store, LIVE)
            drawn = mapping.rows(self._past, known, live, chosen, span, end)
            values |= {"through": rfc3339(through), "ticks": mapping.ticks(span, end), "span": name, **drawn}
        return self.polled(request, "map", query=f"?{urlencode(given)}", **values)

    def thing(self, request: Request) -> Response:
        """`/things?stream=&scope=&about=&span=&at=`: one thing, in a span or in the column of a time."""
        asked = request.query_params
        thing = past.Thing(asked.get("stream", ""), asked.get("scope", ""), tuple(asked.getlist("about")))
        known = past.judged(self._store)
        through = known.through.get((thing.stream, thing.scope))
        if through is None:
            raise HTTPException(404, "There is no such thing: nothing has been judged in its scope.")
        name, span = _span(request, "14d")
        end = span.end(through)
        at = _time(asked.get("at", ""), end)
        if at is not None:
            at = span.end(at + 1) - span.width
            end = at + span.width if at < end - span.columns * span.width else end
        marks = self._past.about(thing, end - span.columns * span.width, end)
        live = past.live_incidents(self._store, LIVE)
        here = marks if at is None else marks.where((marks.ends > at) & (marks.starts < at + span.width))
        latest = here.latest()
        found = reading.findings_of(self._store, latest.ids[:MATTERS_SHOWN].tolist())
        return self._renderer.page(
            request,
            "thing.html",
            thing=thing,
            strip=mapping.row(thing, marks, known, live, span, end),
            ticks=mapping.ticks(span, end),
            spans=_spans(name, lambda other: thing.query(span=other)),
            span=name,
            shown=span,
            at=None if at is None else (rfc3339(at), rfc3339(at + span.width)),
            chosen=None if at is None else (at - end) // span.width + span.columns,
            through=rfc3339(through),
            incidents=reading.incidents_about(self._store, thing),
            portrait=self._portrait(thing, through),
            findings=[(f, drawing.blocks(f)) for f in found],
            more=len(latest.ids) - len(found),
        )

    def streams(self, request: Request) -> Response:
        """`/streams`."""
        return self.polled(
            request, "streams", streams=[(s, _time_text(s.watermark), _time_text(s.withheld)) for s in self._streams()]
        )

    def findings(self, request: Request) -> Response:
        """`/findings`: the latest, of one stream, kind or incident if asked; those of one matter are one line."""
        stream, kind, id = (request.query_params.get(name) or None for name in ("stream", "kind", "incident"))
        incident = None if id is None else queries.incident(self._store, id)
        if id is not None and incident is None:
            raise HTTPException(404, "There is no such incident.")
        found = reading.latest_findings(self._store, stream=stream, kind=kind, incident=id, limit=FINDINGS_LISTED)
        counts = sorted(queries.finding_counts(self._store).items())
        return self._renderer.page(
            request,
            "findings.html",
            incident=incident,
            matters=reading.matters(found, "stream"),
            listed=len(found),
            counts=[(s, k, n, f"?{urlencode({'stream': s, 'kind': k})}") for (s, k), n in counts],
            stream=stream,
            kind=kind,
        )

    def finding(self, request: Request) -> Response:
        """`/findings/{id}`."""
        stored = queries.finding(self._store, request.path_params["id"])
        if stored is None:
            raise HTTPException(404, "There is no such finding.")
        stream, finding = stored
        [found] = reading.findings_of(self._store, [finding.id])
        return self._renderer.page(
            request,
            "finding.html",
            finding=found,
            times=self._names.of(stream).times(finding),
            blocks=drawing.blocks(found),
            incidents=reading.incidents_of(self._store, found["id"]),
        )

    def budgets(self, request: Request) -> Response:
        """`/budgets`."""
        return self.polled(
            request, "budgets", budgets=queries.budgets(self._store), tunings=reading.tunings(self._store)
        )

    def polled(self, request: Request, name: str, *, query: str = "", every: str = "2s", **values: Any) -> Response:
        """A page whose body `_{name}.html` is renewed; the body alone where htmx asks, 204 where it has not changed."""
        trouble = self._trouble()
        body = self._renderer.html(request, f"_{name}.html", **values)
        if trouble:
            body = self._renderer.html(request, "_trouble.html", text=trouble) + body
        seen = _digest(body)
        polled = "hx-request" in request.headers
        if polled and request.query_params.get("seen") == seen:
            return Response(status_code=204)
        values |= {"name": name, "body": body, "seen": seen, "query": query, "every": every}
        return self._renderer.page(request, "_polled.html" if polled else "polled.html", **values)

    def error(self, request: Request, error: Exception) -> Response:
        """What could not be answered, in one sentence."""
        status, text = 500, "Something went wrong here; the log of the process says what."
        if isinstance(error, HTTPException):
            status, text = error.status_code, error.detail
        if isinstance(error, DBAPIError):
            status, text = 503, f"The store cannot be reached: {error.orig}"
        return self._renderer.page(request, "error.html", status, code=status, text=text)

    def _list(self, asked: Filter) -> Json:
        every = self._incidents.read()
        shown = [i for i in every if asked.takes(i)]
        groups = [(name, [i for i in shown if i["state"] in states]) for name, states in reading.GROUPS.items()]
        budgets = queries.budgets(self._store)
        through = reading.judged_through(self._store)
        ended = max((i["last"] for i in every), default=None, key=parse_rfc3339)
        live = sum(i["state"] in LIVE for i in every)
        return {
            "groups": [(name, rows) for name, rows in groups if rows],
            "open": sum(i["state"] == "open" for i in every),
            "live": live,
            "total": len(every),
            "through": through,
            "silent": [] if live else self._silent(),
            "ended": ended,
            "budget": {name: sum(b[name] for b in budgets if b["spent"]) for name in ("allowed", "spent", "alarms")},
            "filters": _choices(every, asked),
            "query": asked.query(),
        }

    def _silent(self) -> list[str]:
        """Streams whose live source is quiet; none where the log is away, which every page shows."""
        try:
            return [] if self._trouble() else [view.name for view in self._streams() if view.state == "stale"]
        except HTTPException:
            return []

    def _incident(self, request: Request, notice: str, refused: str) -> tuple[Json, dict[str, str]]:
        """What the page shows, and its parts rendered."""
        id = request.path_params["id"]
        incident = queries.incident(self._store, id)
        if incident is None:
            raise HTTPException(404, "There is no such incident.")
        found = incident["evidence_findings"]
        titling = reading.lead_findings(self._store, id)
        lead = next(iter([*titling, *found]), None)
        beyond = [f | {"role": "alarm"} for f in titling if f["id"] not in {shown["id"] for shown in found}]
        # a forecast is drawn as it is: earlier ones foresaw something else
        forecast = lead is not None and drawing.looks_ahead(lead)
        matter = [] if lead is None or forecast else reading.same_matter(self._store, id, lead)
        began, last = parse_rfc3339(incident["start"]), parse_rfc3339(incident["last"])
        blocks = [] if lead is None else drawing.blocks(lead, matter, began if forecast else None)
        if not forecast and (earlier := reading.foreseen(self._store, id)) is not None:
            at = moment(earlier["window"]["end"])
            blocks += [b | {"title": f"{b['title']}, foreseen on {at} UTC"} for b in drawing.blocks(earlier)]
        through = dict(reading.judged_through(self._store)).get(incident["stream"], incident["last"])
        end = parse_rfc3339(incident["resolved"] or max(incident["last"], through, key=parse_rfc3339))
        proposed = any(ticket["state"] == "proposed" for ticket in incident["tickets"])
        values: Json = {
            "incident": incident,
            "before": self._same_before(id),
            "thing": reading.thing_of(self._store, id),
            "matters": reading.matters([*beyond, *found], "role"),
            "lead": lead,
            "blocks": blocks,
            "lasted": end - began,
            "legal": set(INCIDENT[incident["state"]]),
            "live": incident["state"] in LIVE,
            "known_until": rfc3339((max(self._now(), last) + KNOWN_FOR) // (60 * NS) * 60 * NS)[:16],
            "preview": reading.ticket_preview(self._store, incident) if proposed else "",
            "notice": notice,
            "refused": refused,
        }
        return values, {name: self._renderer.html(request, f"_{name}.html", **values) for name in PARTS}

    def _same_before(self, id: str) -> list[EarlierIncident]:
        if len(self._families) > FAMILIES_KEPT:
            self._families.clear()
        return same_before(self._store, id, self._families)


def _choices(every: list[Json], asked: Filter) -> list[tuple[str, list[Json]]]:
    """The links that narrow the list: (name, [{text, count, query, chosen}]); one choice is no choice."""
    orders = {"state": reading.STATES, "severity": tuple(reversed(SEVERITIES))}
    choices = []
    for name in Filter._fields:
        there = {i[name] for i in every} | {text for text in [getattr(asked, name)] if text}
        ordered = [text for text in orders.get(name, sorted(there)) if text in there]
        links = [
            {
                "text": text,
                "count": sum(i[name] == text for i in every),
                "chosen": getattr(asked, name) == text,
                "query": asked.query(**{name: None if getattr(asked, name) == text else text}),
            }
            for text in ordered
        ]
        if len(links) > 1 or any(link["chosen"] for link in links):
            choices.append((name, links))
    return choices


def _span(request: Request, usual: str) -> tuple[str, mapping.Lookback]:
    """The span that is asked for; one that does not exist counts as not given."""
    asked = request.query_params.get("span", "")
    name = asked if asked in mapping.SPANS else usual
    return name, mapping.SPANS[name]


def _spans(chosen: str, query: Callable[[str], str]) -> list[tuple[str, bool, str]]:
    """The links that choose a span: (text, whether it is chosen, query)."""
    return [(span.text, name == chosen, query(name)) for name, span in mapping.SPANS.items()]


def _time(text: str, end: int) -> int | None:
    """A time before `end` of a query string; one that is none counts as not given."""
    try:
        time = parse_rfc3339(text)
    except (ValueError, OverflowError):
        return None
    return time if EARLIEST <= time < end else None


def _time_text(time: int | None) -> str | None:
    return None if time is None else rfc3339(time)


def _seen(parts: dict[str, str]) -> str:
    return ".".join(_digest(part) for part in parts.values())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
