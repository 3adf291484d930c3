"""Clusters of error texts: the list, and the page of one with its forms, its history and what operators make of it.

Reads the registry in the store (`opintel.store.clusters`) and acts through `opintel.site.clustering.actions`; all texts
are untrusted, the templates escape them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from opintel.alerts.actions import Refused
from opintel.console import drawing
from opintel.console.drawing import Spark, spark
from opintel.console.operate import Endpoint, Form, read_form
from opintel.console.render import Renderer, operator
from opintel.console.security import Credentials
from opintel.evidence import Series, block_json
from opintel.finding import NS, parse_rfc3339
from opintel.fts.texts.causes import cause
from opintel.site.clustering import actions
from opintel.store import Store
from opintel.store.clusters import (
    ClusterEvent,
    ClusterMember,
    ClusterView,
    cluster,
    cluster_events,
    clustered_scopes,
    clusters,
    unclustered,
)

Json = dict[str, Any]
HOUR = 3600 * NS
CLUSTERS_SHOWN, MEMBERS_SHOWN, PAST_SHOWN, LOOSE_SHOWN = 100, 50, 50, 20
EVENTS = {
    "born": "Born",
    "split": "Split off",
    "returned": "Came back",
    "merged": "Merged",
    "gone": "Gone: none of its forms came for long",
    "renamed": "Renamed",
    "pinned": "Pinned",
    "unpinned": "No longer pinned",
    "joined": "Joined to another",
    "parted": "Parted again",
}


def overview(store: Store, stream: str, scope: str) -> Json | None:
    """The clusters of a scope, live ones first, those with most errors lately; None where none were made yet."""
    here = next((one for one in clustered_scopes(store) if (one.stream, one.scope) == (stream, scope)), None)
    if here is None:
        return None
    every = clusters(store, stream, scope, past=True)
    live = [one for one in every if one.state == "live"]
    over = [one for one in every if one.state != "live"]
    loose = unclustered(store, stream, scope)
    return {
        "through": here.through,
        "clustered": here.clustered,
        "live": [_row(one, here.through) for one in live[:CLUSTERS_SHOWN]],
        "count": len(live),
        "past": over[:PAST_SHOWN],
        "loose": [(cause(one.text), one) for one in loose[:LOOSE_SHOWN]],
        "loose_count": len(loose),
        "events": [_event(one) for one in cluster_events(store, stream, scope)[:MEMBERS_SHOWN]],
    }


def one_cluster(store: Store, stream: str, scope: str, name: str) -> Json | None:
    """A cluster with what its page shows; None where there is none of this name."""
    found = cluster(store, stream, scope, name)
    here = next((one for one in clustered_scopes(store) if (one.stream, one.scope) == (stream, scope)), None)
    if found is None or here is None:
        return None
    others = [one for one in clusters(store, stream, scope) if one.name != name and one.name not in found.joined]
    return {
        "cluster": found,
        "head": _headline(found),
        "drawn": _chart(found, here.through),
        "members": [(cause(one.text), one, _spark(one.counts, here.through)) for one in found.members[:MEMBERS_SHOWN]],
        "more": max(0, len(found.members) - MEMBERS_SHOWN),
        "hosts": _hosts(found.members),
        "events": [_event(one) for one in cluster_events(store, stream, scope, name)],
        "others": [(one.name, one.title) for one in others],
    }


def acting(store: Store, renderer: Renderer, keys: Credentials, now: Callable[[], int]) -> Endpoint:
    """`POST /fts/cluster/{action}`: a form that names stream, scope and cluster; sent back to the cluster's page."""

    async def act(request: Request) -> Response:
        form = await read_form(request, keys)
        return await run_in_threadpool(perform, request, request.path_params["action"], form)

    def perform(request: Request, action: str, form: Form) -> Response:
        stream, scope, name = (form.get(label, "") for label in ("stream", "scope", "name"))
        by, at = operator(request), now()
        try:
            if action == "rename":
                actions.rename(store, stream, scope, name, form.get("title", ""), by, now=at)
            elif action == "join":
                actions.join(store, stream, scope, name, form.get("into", ""), by, now=at)
            elif action in SIMPLE:
                SIMPLE[action](store, stream, scope, name, by, now=at)
            else:
                raise HTTPException(404, "There is no such action.")
        except Refused as error:
            return renderer.page(request, "error.html", 409, code=409, text=f"Not done: {error}.")
        return RedirectResponse(f"/fts/cluster?{urlencode({'stream': stream, 'scope': scope, 'name': name})}", 303)

    return act


SIMPLE: dict[str, Callable[..., None]] = {"pin": actions.pin, "unpin": actions.unpin, "part": actions.part}


def _row(one: ClusterView, through: str) -> Json:
    return {
        "cluster": one,
        "head": _headline(one),
        "spark": _spark(one.counts, through),
        "day": sum(one.counts[-24:]),
        "week": sum(one.counts),
    }


def _headline(one: ClusterView) -> str:
    """The cause in its most frequent form."""
    return cause(one.members[0].text) if one.members else ""


def _event(one: ClusterEvent) -> Json:
    return {"what": EVENTS.get(one.kind, one.kind), "event": one}


def _hosts(members: Sequence[ClusterMember]) -> list[str]:
    return list(dict.fromkeys(host for one in members for host in one.hosts))[:10]


def _series(counts: Sequence[int], through: str) -> Series:
    end = parse_rfc3339(through)
    times = [end - (len(counts) - at) * HOUR for at in range(len(counts))]
    return Series("Errors by hour", times, [float(n) for n in counts], "errors")


def _spark(counts: Sequence[int], through: str) -> Spark | None:
    return spark(_series(counts, through)) if any(counts) else None


def _chart(one: ClusterView, through: str) -> list[Json]:
    return drawing.blocks({"subject": {}, "evidence": [block_json(_series(one.counts, through))]})
