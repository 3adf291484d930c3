"""What the pages of transfers show, in JSON: `/api/fts/traffic`, `/api/fts/causes`, `/api/fts/clusters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from opintel.console.api import json_answer
from opintel.console.causes import PAST, UnclassifiedTexts, jumps, standings
from opintel.console.transfers import DAY, Files, Traffic, TransferHours, added
from opintel.finding import parse_rfc3339, rfc3339
from opintel.fts.causes.families import Family
from opintel.store import Store
from opintel.store.clusters import cluster_events, clustered_scopes, clusters, unclustered

Json = dict[str, Any]
LONGEST = 7 * DAY
"""What may be added up at once."""


class TransferApi:
    """The endpoints under `/api/fts/`, for streams with findings of kind `traffic` and their families."""

    def __init__(self, store: Store, streams: Mapping[str, Sequence[Family]], hours: TransferHours) -> None:
        self._store, self._streams, self._hours = store, streams, hours
        self._queue = UnclassifiedTexts(store)

    def traffic(self, request: Request) -> Response:
        """`/api/fts/traffic?stream=&scope=&from=&to=`: the sum of the hours that end in (from, to], at most seven days;
        by default of the last 24."""
        place = self._place(request)
        if isinstance(place, Response):
            return place
        stream, scope, through = place
        try:
            end = parse_rfc3339(request.query_params.get("to") or rfc3339(through))
            begin = parse_rfc3339(request.query_params.get("from") or rfc3339(end - DAY))
        except (ValueError, OverflowError):
            return _wrong("from and to are times such as 2026-03-02T00:00:00Z")
        if not 0 <= end - begin <= LONGEST or not 0 <= begin < 1 << 62:
            return _wrong("from lies at most seven days before to")
        hours = self._hours.whole(stream, scope, begin, end)
        about = {"stream": stream, "scope": scope, "from": rfc3339(begin), "to": rfc3339(end), "hours": len(hours)}
        return json_answer(about | _sums(added(hours, self._hours.named)))

    def causes(self, request: Request) -> Response:
        """`/api/fts/causes?stream=&scope=`: families now and usually, and the texts that wait for a rule."""
        place = self._place(request)
        if isinstance(place, Response):
            return place
        stream, scope, through = place
        families, hours = self._streams[stream], self._hours.small(stream, scope, through - PAST, through)
        jumped = jumps(self._store, stream, scope, through)
        texts, waiting = self._queue.read(stream, scope, hours, families)
        said = [
            {name: value for name, value in one._asdict().items() if name != "spark"}
            | {"finding": jumped[one.name]["id"] if one.name in jumped else None}
            for one in standings(hours, families)
        ]
        odd = [one._asdict() for one in texts]
        return json_answer({"stream": stream, "scope": scope, "families": said, "waiting": waiting, "texts": odd})

    def clusters(self, request: Request) -> Response:
        """`/api/fts/clusters?stream=&scope=`: clusters of error texts, past ones too, and what happened to them."""
        place = self._place(request)
        if isinstance(place, Response):
            return place
        stream, scope, _ = place
        here = next((one for one in clustered_scopes(self._store) if (one.stream, one.scope) == (stream, scope)), None)
        said = {
            "state": here,
            "clusters": clusters(self._store, stream, scope, past=True),
            "unclustered": unclustered(self._store, stream, scope),
            "events": cluster_events(self._store, stream, scope),
        }
        return json_answer({"stream": stream, "scope": scope} | msgspec.to_builtins(said))

    def _place(self, request: Request) -> tuple[str, str, int] | Response:
        """The stream, the FTS instance and up to when it was judged; by default the first ones."""
        stream = request.query_params.get("stream") or next(iter(self._streams))
        if stream not in self._streams:
            return _wrong(f"stream is one of {', '.join(self._streams)}")
        scopes = self._hours.scopes(stream)
        scope = request.query_params.get("scope") or next(iter(scopes), "")
        if scope not in scopes:
            return json_answer({"error": "nothing was judged of this scope"}, 404)
        return stream, scope, scopes[scope]


def _sums(traffic: Traffic) -> Json:
    return {
        "total": traffic.total._asdict(),
        "sites": [_pair(ends, files) for ends, files in traffic.pairs.items()],
        "endpoints": [
            {"endpoint": host, "site": traffic.site_of[host], "out": ends.out._asdict(), "in": ends.into._asdict()}
            for host, ends in traffic.endpoints.items()
        ],
        "links": [_pair(ends, files) for ends, files in traffic.links.items()],
        "activities": [
            {"vo": vo, "activity": activity, "ok": files.ok, "failed": files.failed}
            for (vo, activity), files in traffic.activities.items()
        ],
        "causes": [
            {"family": name, "errors": errors, "example": traffic.examples[name]}
            for name, errors in traffic.causes.most_common()
        ],
    }


def _pair(ends: tuple[str, str], files: Files) -> Json:
    return {"source": ends[0], "destination": ends[1], **files._asdict()}


def _wrong(text: str) -> Response:
    return json_answer({"error": text}, 400)
