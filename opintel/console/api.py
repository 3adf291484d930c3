"""The JSON forms for programs, and what monitoring asks for: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from opintel.console.reading import STATES
from opintel.console.views import StreamView
from opintel.finding import parse_rfc3339, rfc3339
from opintel.store import Store, queries

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
MOST = 1000
"""On a page: of findings, which may carry pictures, and of incidents."""
LATEST = 2**63 - 1
"""The largest time (ns UTC) that a database takes."""
AT_ONCE = 20
"""Findings that are in memory together while a page of them is sent."""


class Api:
    """The endpoints under `/api/`."""

    def __init__(self, store: Store, streams: Callable[[], list[StreamView]]) -> None:
        self._store = store
        self._streams = streams

    def incidents(self, request: Request) -> Response:
        """`/api/incidents?stream=&state=&limit=&before=`: newest first; the answer's `before` asks for those behind."""
        state = request.query_params.get("state") or None
        if state is not None and state not in STATES:
            return json_answer({"error": f"state is one of {', '.join(STATES)}"}, 400)
        limit, before = _limit(request), _before(request)
        if limit is None or before is None:
            return _bad_page()
        stream = request.query_params.get("stream") or None
        states = None if state is None else [state]
        found = queries.incidents(self._store, stream=stream, states=states, limit=limit, before=before or None)
        place = (parse_rfc3339(found[-1]["opened"]), found[-1]["id"]) if found else None
        return json_answer({"incidents": found, "before": _cursor(place if len(found) == limit else None)})

    def incident(self, request: Request) -> Response:
        """`/api/incidents/{id}`, with all that explains it."""
        found = queries.incident(self._store, request.path_params["id"])
        return json_answer({"error": "there is no such incident"}, 404) if found is None else json_answer(found)

    def findings(self, request: Request) -> Response:
        """`/api/findings?stream=&limit=&before=`: the newest so many, oldest first; `before` in the answer asks for
        those that are older.
        """
        limit, before = _limit(request), _before(request)
        if limit is None or before is None:
            return _bad_page()
        stream = request.query_params.get("stream") or None
        places = queries.finding_places(self._store, stream=stream, limit=limit, before=before or None)
        cursor = _cursor(places[0] if len(places) == limit else None)
        return StreamingResponse(self._page(places, cursor), media_type="application/json")

    def _page(self, places: Sequence[queries.Place], cursor: str | None) -> Iterator[bytes]:
        """A page of findings in pieces, so that a reader who takes his time holds few of them."""
        yield b'{"findings":['
        for at in range(0, len(places), AT_ONCE):
            found = queries.findings_of(self._store, [id for _, id in places[at : at + AT_ONCE]])
            yield b"," * bool(at) + b",".join(map(msgspec.json.encode, found))
        yield b'],"before":' + msgspec.json.encode(cursor) + b"}"

    def streams(self, request: Request) -> Response:
        """`/api/streams`."""
        views = []
        for view in self._streams():
            plain = msgspec.to_builtins(view)
            plain["watermark"] = None if view.watermark is None else rfc3339(view.watermark)
            keys = ("place", "reason", "excerpt", "rows")
            plain["recent"] = [dict(zip(keys, aside, strict=True)) for aside in view.recent]
            views.append(plain)
        return json_answer({"streams": views})


def metrics_endpoint(text: Callable[[], bytes]) -> Callable[[Request], Response]:
    """`/metrics` in Prometheus text."""

    def metrics(request: Request) -> Response:
        return Response(text(), media_type=EXPOSITION)

    return metrics


def probe(check: Callable[[], tuple[bool, str]]) -> Callable[[Request], Response]:
    """200 or 503, with the reason."""

    def answer(request: Request) -> Response:
        good, reason = check()
        return PlainTextResponse(f"{reason}\n", 200 if good else 503)

    return answer


def _limit(request: Request) -> int | None:
    text = request.query_params.get("limit") or str(MOST)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST else None


def _before(request: Request) -> queries.Place | tuple[()] | None:
    """Where the page begins that is asked for; () for the newest, None for what is no place."""
    text = request.query_params.get("before")
    if not text:
        return ()
    at, dot, id = text.partition(".")
    fits = at.isascii() and at.isdigit() and len(at) < 20 and int(at) <= LATEST
    return (int(at), id) if dot and fits else None


def _cursor(place: queries.Place | None) -> str | None:
    return None if place is None else f"{place[0]}.{place[1]}"


def _bad_page() -> Response:
    text = f"limit is a number from 1 to {MOST}, before is what the page before said"
    return json_answer({"error": text}, 400)


def json_answer(document: Any, status: int = 200) -> Response:
    """A document as an answer."""
    return Response(msgspec.json.encode(document), status, media_type="application/json")
