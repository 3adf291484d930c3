"""The pages of transfers: source × destination, causes, clusters of error texts, the report of a day.

They are there where a stream has findings of kind `traffic`. This and its neighbours (`transfers`, `matrix`, `causes`,
`endpoints`, `error_clusters`, `daily`) are what the console knows of the domain FTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from opintel.console import mapping
from opintel.console.causes import PAST, UnclassifiedTexts, jumps, standings
from opintel.console.daily import POLICY, day_of, latest_day, report
from opintel.console.error_clusters import one_cluster, overview
from opintel.console.matrix import TransferPlace, bars, chosen_links, heat, link_rows, site_rows
from opintel.console.pages import Pages
from opintel.console.render import Renderer
from opintel.console.transfers import DAY, HOUR, Files, TransferHours, added
from opintel.console.words import moment
from opintel.finding import parse_rfc3339, rfc3339
from opintel.fts.causes.families import Family
from opintel.store import Store

Json = dict[str, Any]
SHOWN = mapping.Lookback("48 hours", 48, HOUR, 6 * HOUR)
"""The hours to choose from."""
TITLES = {"matrix": "Transfers", "causes": "Causes of failures", "clusters": "Clusters of error texts"}
RENEWED = "60s"
"""How often these pages are asked for again: their data come by the hour."""


class TransferPages:
    """The endpoints under `/fts`. `streams` are those that have such findings, at least one, and their families."""

    def __init__(
        self,
        store: Store,
        streams: Mapping[str, Sequence[Family]],
        pages: Pages,
        renderer: Renderer,
        hours: TransferHours,
    ) -> None:
        self._store, self._streams, self._hours = store, streams, hours
        self._pages, self._renderer = pages, renderer
        self._queue = UnclassifiedTexts(store)

    def matrix(self, request: Request) -> Response:
        """`/fts/matrix?stream=&scope=&at=&site=&source=&destination=`: an hour, by default the last 24."""
        stream, scope, through = self._asked(request)
        asked = request.query_params
        listed = self._hours.small(stream, scope, through - SHOWN.columns * HOUR, through) if scope else []
        starts = {rfc3339(hour.window.start // HOUR * HOUR): hour for hour in listed}
        at = asked.get("at", "")
        at = at if at in starts else ""
        begin, end = (parse_rfc3339(at), parse_rfc3339(at) + HOUR) if at else (through - DAY, through)
        traffic = added(self._hours.whole(stream, scope, begin, end) if scope else [], self._hours.named)
        sites = set(traffic.site_of.values()) | traffic.sites.keys()
        named = {name: asked.get(name, "") for name in ("site", "source", "destination")}
        named = {name: text if text in sites else "" for name, text in named.items()}
        place = TransferPlace(stream, scope, at, **named)
        near = sorted(starts)
        return self._polled(
            request,
            "matrix",
            place,
            place.query(),
            traffic=traffic,
            share=Files(traffic.total.ok, traffic.total.failed, traffic.total.bytes),
            heat=heat(traffic, place),
            links=link_rows(traffic, place, chosen_links(traffic, place)),
            sites=site_rows(traffic.sites),
            bars=bars(listed, -(-through // HOUR) * HOUR, SHOWN.columns),
            columns=SHOWN.columns,
            ticks=mapping.ticks(SHOWN, -(-through // HOUR) * HOUR) if through else [],
            before=next((one for one in reversed(near) if not at or one < at), None),
            after=next((one for one in near if at and one > at), None),
            span=(rfc3339(begin), rfc3339(end)) if scope else None,
        )

    def causes(self, request: Request) -> Response:
        """`/fts/causes?stream=&scope=`: families of causes now and usually, and what no family fits."""
        stream, scope, through = self._asked(request)
        hours = self._hours.small(stream, scope, through - PAST, through) if scope else []
        families = self._streams[stream]
        place = TransferPlace(stream, scope)
        return self._polled(
            request,
            "causes",
            place,
            place.query(),
            families=standings(hours, families),
            jumps=jumps(self._store, stream, scope, through),
            queue=self._queue.read(stream, scope, hours, families),
            through=rfc3339(hours[-1].window.end) if hours else None,
        )

    def clusters(self, request: Request) -> Response:
        """`/fts/clusters?stream=&scope=`: error texts that mean alike."""
        stream, scope, _ = self._asked(request)
        place = TransferPlace(stream, scope)
        seen = overview(self._store, stream, scope) if scope else None
        return self._polled(request, "clusters", place, place.query(), shown=seen)

    def cluster(self, request: Request) -> Response:
        """`/fts/cluster?stream=&scope=&name=`: one cluster."""
        stream, scope, _ = self._asked(request)
        name = request.query_params.get("name", "")
        seen = one_cluster(self._store, stream, scope, name)
        if seen is None:
            raise HTTPException(404, "There is no such cluster.")
        query = f"{TransferPlace(stream, scope).query()}&{urlencode({'name': name})}"
        return self._polled(
            request, "cluster", TransferPlace(stream, scope), query, shown=seen, title=seen["cluster"].title
        )

    def report(self, request: Request) -> Response:
        """`/fts/report?stream=&scope=&day=YYYY-MM-DD`: a day, by default the last whole one, else the last."""
        stream, scope, through = self._asked(request)
        place, base = TransferPlace(stream, scope), str(request.base_url)
        asked = day_of(request.query_params.get("day", ""))
        day = latest_day(self._hours, place, through) if asked is None else asked
        near = [("the day before", day - DAY), ("the day after", day + DAY)]
        days = [
            (text, f"{base}fts/report{place.query()}&day={moment(rfc3339(one), '%Y-%m-%d')}")
            for text, one in near
            if 0 <= one < through
        ]
        said = report(self._store, self._hours, place, self._streams[stream], day, through)
        page = self._renderer.page(request, "transfer_report.html", days=days, back=base, **said)
        page.headers["Content-Security-Policy"] = POLICY
        return page

    def _asked(self, request: Request) -> tuple[str, str, int]:
        """The stream, the FTS instance (empty: nothing was judged yet) and up to when it was judged; what does not
        exist counts as not given."""
        asked = request.query_params
        stream = asked.get("stream", "")
        stream = stream if stream in self._streams else next(iter(self._streams))
        scopes = self._hours.scopes(stream)
        scope = asked.get("scope", "")
        scope = scope if scope in scopes else next(iter(scopes), "")
        return stream, scope, scopes.get(scope, 0)

    def _polled(self, request: Request, name: str, place: TransferPlace, query: str, **values: Any) -> Response:
        chosen = {"stream": place.stream, "scope": place.scope}
        scopes = list(self._hours.scopes(place.stream))
        several = {"stream": list(self._streams), "scope": scopes}
        values["choices"] = [
            [(text, text == chosen[label], f"{request.url.path}?{urlencode(chosen | {label: text})}") for text in names]
            for label, names in several.items()
            if len(names) > 1
        ]
        values |= {
            "place": place,
            "scope": place.scope,
            "stream": place.stream,
            "page": name,
            "given": f"?{urlencode(chosen)}",
        }
        return self._pages.polled(request, f"transfer_{name}", query=query, every=RENEWED, **values)
