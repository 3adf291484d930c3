"""The pages: each reads the store and renders a template. What is live is asked for again by htmx every two seconds,
under the same address; what has not changed since is answered with 204 and nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from opintel.alerts.lifecycle import INCIDENT, LIVE
from opintel.console import drawing, reading
from opintel.console.render import Renderer
from opintel.console.views import StreamView
from opintel.finding import NS, SEVERITIES, parse_rfc3339, rfc3339
from opintel.store import Store, queries

Json = dict[str, Any]

FINDINGS_LISTED = 200
KNOWN_FOR = 8 * 3600 * NS
"""What 'known until' proposes."""
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
        renderer: Renderer,
        streams: Callable[[], list[StreamView]],
        now: Callable[[], int],
        trouble: Callable[[], str],
    ) -> None:
        self._store = store
        self._renderer = renderer
        self._streams = streams
        self._now = now
        self._trouble = trouble
        self._incidents = reading.IncidentList(store)

    def incidents(self, request: Request) -> Response:
        """`/`: the list."""
        return self._polled(request, "incidents", **self._list(Filter.of(request)))

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

    def streams(self, request: Request) -> Response:
        """`/streams`."""
        return self._polled(request, "streams", streams=[(s, _through(s)) for s in self._streams()])

    def findings(self, request: Request) -> Response:
        """`/findings`: the latest, of one stream or kind if asked."""
        stream, kind = (request.query_params.get(name) or None for name in ("stream", "kind"))
        found = reading.latest_findings(self._store, stream=stream, kind=kind, limit=FINDINGS_LISTED)
        counts = sorted(queries.finding_counts(self._store).items())
        return self._renderer.page(
            request,
            "findings.html",
            findings=found,
            counts=[(s, k, n, f"?{urlencode({'stream': s, 'kind': k})}") for (s, k), n in counts],
            stream=stream,
            kind=kind,
        )

    def finding(self, request: Request) -> Response:
        """`/findings/{id}`."""
        found = queries.finding(self._store, request.path_params["id"])
        if found is None:
            raise HTTPException(404, "There is no such finding.")
        return self._renderer.page(
            request,
            "finding.html",
            finding=found,
            blocks=drawing.blocks(found),
            incidents=reading.incidents_of(self._store, found["id"]),
        )

    def budgets(self, request: Request) -> Response:
        """`/budgets`."""
        return self._polled(
            request, "budgets", budgets=queries.budgets(self._store), tunings=reading.tunings(self._store)
        )

    def error(self, request: Request, error: Exception) -> Response:
        """What could not be answered, in one sentence."""
        status, text = 500, "Something went wrong here; the log of the process says what."
        if isinstance(error, HTTPException):
            status, text = error.status_code, error.detail
        return self._renderer.page(request, "error.html", status, code=status, text=text)

    def _polled(self, request: Request, name: str, *, query: str = "", **values: Any) -> Response:
        """A page whose body `_{name}.html` is renewed; the body alone where htmx asks, 204 where it has not changed."""
        trouble = self._trouble()
        body = self._renderer.html(request, f"_{name}.html", **values)
        if trouble:
            body = self._renderer.html(request, "_trouble.html", text=trouble) + body
        seen = _digest(body)
        polled = "hx-request" in request.headers
        if polled and request.query_params.get("seen") == seen:
            return Response(status_code=204)
        values |= {"name": name, "body": body, "seen": seen, "query": query}
        return self._renderer.page(request, "_polled.html" if polled else "polled.html", **values)

    def _list(self, asked: Filter) -> Json:
        told = self._incidents.read()
        shown = [i for i in told if asked.takes(i)]
        groups = [(name, [i for i in shown if i["state"] in states]) for name, states in reading.GROUPS.items()]
        budgets = queries.budgets(self._store)
        through = reading.judged_through(self._store)
        ended = max((i["last"] for i in told), default=None, key=parse_rfc3339)
        return {
            "groups": [(name, rows) for name, rows in groups if rows],
            "open": sum(i["state"] == "open" for i in told),
            "live": sum(i["state"] in LIVE for i in told),
            "total": len(told),
            "through": through,
            "ended": ended,
            "budget": {name: sum(b[name] for b in budgets) for name in ("allowed", "spent", "alarms")},
            "filters": _choices(told, asked),
            "query": asked.query(),
        }

    def _incident(self, request: Request, notice: str, refused: str) -> tuple[Json, dict[str, str]]:
        """What the page shows, and its parts rendered."""
        id = request.path_params["id"]
        incident = queries.incident(self._store, id)
        if incident is None:
            raise HTTPException(404, "There is no such incident.")
        found = incident["evidence_findings"]
        alarms = [f for f in found if f["role"] == "alarm"]
        titled = reading.lead_finding(self._store, id)
        lead = next((f for f in found if f["id"] == titled), next(iter(found), None))
        latest = [f for f in alarms if lead and (f["kind"], f["subject"]) == (lead["kind"], lead["subject"])]
        latest.sort(key=lambda f: parse_rfc3339(f["window"]["end"]))
        through = dict(reading.judged_through(self._store)).get(incident["stream"], incident["last"])
        last = parse_rfc3339(incident["last"])
        end = parse_rfc3339(incident["resolved"] or max(incident["last"], through, key=parse_rfc3339))
        proposed = any(ticket["state"] == "proposed" for ticket in incident["tickets"])
        values: Json = {
            "incident": incident,
            "lead": lead,
            "blocks": [] if lead is None else drawing.blocks(lead, latest),
            "lasted": end - parse_rfc3339(incident["start"]),
            "legal": set(INCIDENT[incident["state"]]),
            "live": incident["state"] in LIVE,
            "known_until": rfc3339((max(self._now(), last) + KNOWN_FOR) // (60 * NS) * 60 * NS)[:16],
            "preview": reading.ticket_preview(self._store, incident) if proposed else "",
            "notice": notice,
            "refused": refused,
        }
        return values, {name: self._renderer.html(request, f"_{name}.html", **values) for name in PARTS}


def _choices(told: list[Json], asked: Filter) -> list[tuple[str, list[Json]]]:
    """The links that narrow the list: (name, [{text, count, query, chosen}]); one choice is no choice."""
    orders = {"state": reading.STATES, "severity": tuple(reversed(SEVERITIES))}
    choices = []
    for name in Filter._fields:
        there = {i[name] for i in told} | {text for text in [getattr(asked, name)] if text}
        ordered = [text for text in orders.get(name, sorted(there)) if text in there]
        links = [
            {
                "text": text,
                "count": sum(i[name] == text for i in told),
                "chosen": getattr(asked, name) == text,
                "query": asked.query(**{name: None if getattr(asked, name) == text else text}),
            }
            for text in ordered
        ]
        if len(links) > 1 or any(link["chosen"] for link in links):
            choices.append((name, links))
    return choices


def _through(stream: StreamView) -> str | None:
    return None if stream.watermark is None else rfc3339(stream.watermark)


def _seen(parts: dict[str, str]) -> str:
    return ".".join(_digest(part) for part in parts.values())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
