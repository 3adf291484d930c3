"""The JSON forms for programs, and what monitoring asks for: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from opintel.console.reading import STATES
from opintel.console.views import StreamView
from opintel.finding import rfc3339
from opintel.store import Store, queries

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
LIMIT = 1000
MOST = 10_000


class Api:
    """The endpoints under `/api/`."""

    def __init__(self, store: Store, streams: Callable[[], list[StreamView]]) -> None:
        self._store = store
        self._streams = streams

    def incidents(self, request: Request) -> Response:
        """`/api/incidents?stream=&state=&limit=`: newest first."""
        state = request.query_params.get("state") or None
        if state is not None and state not in STATES:
            return _json({"error": f"state is one of {', '.join(STATES)}"}, 400)
        limit = _limit(request)
        if limit is None:
            return _bad_limit()
        stream = request.query_params.get("stream") or None
        states = None if state is None else [state]
        return _json({"incidents": queries.incidents(self._store, stream=stream, states=states, limit=limit)})

    def incident(self, request: Request) -> Response:
        """`/api/incidents/{id}`, with all that explains it."""
        found = queries.incident(self._store, request.path_params["id"])
        return _json({"error": "there is no such incident"}, 404) if found is None else _json(found)

    def findings(self, request: Request) -> Response:
        """`/api/findings?stream=&limit=`: the newest so many, oldest first."""
        limit = _limit(request)
        if limit is None:
            return _bad_limit()
        stream = request.query_params.get("stream") or None
        return _json({"findings": queries.findings(self._store, stream=stream, limit=limit)})

    def streams(self, request: Request) -> Response:
        """`/api/streams`."""
        told = []
        for view in self._streams():
            plain = msgspec.to_builtins(view)
            plain["watermark"] = None if view.watermark is None else rfc3339(view.watermark)
            keys = ("place", "reason", "excerpt", "rows")
            plain["recent"] = [dict(zip(keys, aside, strict=True)) for aside in view.recent]
            told.append(plain)
        return _json({"streams": told})


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
    text = request.query_params.get("limit") or str(LIMIT)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST else None


def _bad_limit() -> Response:
    return _json({"error": f"limit is a number from 1 to {MOST}"}, 400)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
