"""The console's application and the thread that serves it.

`create_app` joins pages, actions and the JSON API over one store; `serve` runs it beside the services of a process.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import uvicorn
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from opintel.alerts.settings import Grouping, Maintenance, SiteTopology
from opintel.console import error_clusters
from opintel.console.api import Api, metrics_endpoint, probe
from opintel.console.backfilled import Backfilled
from opintel.console.endpoints import Portraits
from opintel.console.interferometers import InterferometerPages
from opintel.console.limits import BoundedHttp
from opintel.console.names import Names
from opintel.console.operate import acting, logging_in, logging_out, naming
from opintel.console.pages import Pages
from opintel.console.render import Renderer
from opintel.console.security import Credentials, Guard
from opintel.console.shift import ShiftPages
from opintel.console.transfer_api import TransferApi
from opintel.console.transfer_pages import TransferPages
from opintel.console.transfers import TransferHours
from opintel.console.views import StreamView
from opintel.fts.causes.families import Family
from opintel.loopback import is_loopback
from opintel.naming import Naming
from opintel.store import Store

STATIC = Path(__file__).parent / "static"
START_SECONDS = 10.0
Check = Callable[[], tuple[bool, str]]


def create_app(
    store: Store,
    *,
    grouping: Grouping,
    names: Mapping[str, Naming],
    streams: Callable[[], list[StreamView]],
    metrics: Callable[[], bytes],
    healthy: Check,
    ready: Check,
    now: Callable[[], int],
    trouble: Callable[[], str] = lambda: "",
    shifts: Sequence[str] = (),
    interferometers: Sequence[str] = (),
    transfers: Mapping[str, Sequence[Family]] | None = None,
    planned: Callable[[], Sequence[Maintenance]] = lambda: (),
    reports: Collection[str] = (),
    topology: SiteTopology | None = None,
    token: str | None = None,
) -> Starlette:
    """The application. `grouping` says which labels of a finding name a thing, `names` what each stream's subjects are
    called; `trouble` says in a sentence what makes its pages old news, if anything; `shifts` are the streams
    with findings of kind `quality`, for whose shifters there are pages, `interferometers` those with findings of kind
    `observing`, `transfers` those with findings of kind `traffic` and their families of causes; `planned` is the
    planned work that is known, `topology` whose the hosts are; `reports` are kinds of finding that come in any case and
    do not stand on the map; `now` in ns UTC dates what operators do; with `token` every page wants it, without one
    only this machine is served. Raises ValueError for an empty token.
    """
    keys = Credentials(token)
    words = Names(names)
    renderer = Renderer(
        keys,
        words,
        Backfilled(store).read,
        shifts=bool(shifts),
        interferometers=bool(interferometers),
        transfers=bool(transfers),
    )
    hours = TransferHours(store, topology or SiteTopology())
    portraits = Portraits(store, hours, list(transfers or ()), planned)
    pages = Pages(store, grouping, words, renderer, streams, now, trouble, portraits.of, reports)
    api = Api(store, streams)
    routes = [
        Route("/", pages.incidents),
        Route("/incidents/{id}", pages.incident),
        Route("/incidents/{id}/{action}", acting(store, pages, keys, now), methods=["POST"]),
        Route("/map", pages.map),
        Route("/things", pages.thing),
        Route("/streams", pages.streams),
        Route("/findings", pages.findings),
        Route("/findings/{id}", pages.finding),
        Route("/budgets", pages.budgets),
        Route("/operator", naming(keys), methods=["POST"]),
        Route("/login", logging_in(renderer, keys), methods=["GET", "POST"]),
        Route("/logout", logging_out(keys), methods=["POST"]),
        Route("/api/incidents", api.incidents),
        Route("/api/incidents/{id}", api.incident),
        Route("/api/findings", api.findings),
        Route("/api/streams", api.streams),
        Route("/metrics", metrics_endpoint(metrics)),
        Route("/healthz", probe(healthy)),
        Route("/readyz", probe(ready)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    if shifts:
        shift = ShiftPages(store, shifts, pages, renderer, keys, now)
        routes += [
            Route("/dqm", shift.run),
            Route("/dqm/histogram", shift.histogram),
            Route("/dqm/summary", shift.summary),
            Route("/dqm/sign-off", shift.signing(), methods=["POST"]),
        ]
    if interferometers:
        routes.append(Route("/gw", InterferometerPages(store, interferometers, pages).page))
    if transfers:
        moved = TransferPages(store, transfers, pages, renderer, hours)
        said = TransferApi(store, transfers, hours)
        routes += [
            Route("/fts/matrix", moved.matrix),
            Route("/fts/causes", moved.causes),
            Route("/fts/clusters", moved.clusters),
            Route("/fts/cluster", moved.cluster),
            Route("/fts/cluster/{action}", error_clusters.acting(store, renderer, keys, now), methods=["POST"]),
            Route("/fts/report", moved.report),
            Route("/api/fts/traffic", said.traffic),
            Route("/api/fts/causes", said.causes),
            Route("/api/fts/clusters", said.clusters),
        ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, keys=keys)],
        exception_handlers={HTTPException: pages.error, DBAPIError: pages.error, 500: pages.error},
    )
    app.state.guarded = keys.guarded
    return app


class Console:
    """A console that is being served. `url` is where."""

    def __init__(self, server: uvicorn.Server, bound: socket.socket, url: str) -> None:
        self.url = url
        self._server = server
        self._thread = threading.Thread(target=server.run, args=([bound],), name="console", daemon=True)
        self._thread.start()
        limit = time.monotonic() + START_SECONDS
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > limit:
                raise RuntimeError(f"the console did not start at {url}; the log says why")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends it; answers under way have two seconds."""
        self._server.should_exit = True
        self._thread.join(timeout=5.0)


def serve(app: Starlette, host: str = "127.0.0.1", port: int = 0) -> Console:
    """Serves the console in a thread of its own; port 0 is a free one.

    Raises ValueError where `host` is not this machine alone and the app has no token, OSError where the port is taken.
    """
    if not app.state.guarded and not is_loopback(host):
        raise ValueError(f"the console would be open to everyone at {host}: give it a token, or leave it at 127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=128)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http=BoundedHttp,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    shown = f"[{host}]" if ":" in host else host
    return Console(uvicorn.Server(config), bound, f"http://{shown}:{bound.getsockname()[1]}")
