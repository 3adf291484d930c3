"""Findings of an FTS and its judged windows as a backfill says them, for tests that need no detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from opintel.alerts.settings import Match, Route, Routes
from opintel.alerts.sinks.log import LogSink
from opintel.backfill.report import WhatIf, what_if
from opintel.backfill.what_if import ChangedSetting
from opintel.evidence import Series
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.site.domains import pipeline_of
from opintel.site.load import load_site
from opintel.site.settings import Site
from opintel.streams.findings import Found, Judged

START = 1_772_431_200 * NS  # 2026-03-02T06:00:00Z
WIDTH = 600 * NS
SCOPE = "fts.example"
PIPELINE = pipeline_of("fts")
EMIT = ChangedSetting("detectors.fts.failures.emit", "fts.failures", "emit", [-4.0], -9)


def window(k: int) -> Window:
    return Window(START + k * WIDTH, START + (k + 1) * WIDTH)


def finding(
    k: int,
    host: str = "a.example",
    log10_p: float = -30.0,
    model: str = "m",
    summary: str = "",
    scope: str = SCOPE,
) -> Finding:
    """An endpoint that fails in the k-th window."""
    subject = {"scope": scope, "endpoint": host, "role": "source"}
    times = [window(j).start for j in range(k + 1)]
    return Finding(
        id=finding_id("fts.failures", 1, model, subject, window(k)),
        detector="fts.failures",
        kind="endpoint",
        subject=subject,
        window=window(k),
        log10_p=log10_p,
        basis="extrapolated",
        effect=Effect(0.5, "failed share"),
        severity="critical",
        summary=summary or f"{host} fails",
        evidence=(Series(f"Failed share of {host}", times, [0.5] * len(times), "share"),),
        model=model,
    )


def said(findings: Sequence[Finding], windows: int, scope: str = SCOPE) -> list[list[Found | Judged]]:
    """A day with these findings, of which so many windows were judged."""
    tests = {"endpoint": 20, "link": 80}
    return [
        [*(Found("fts", f) for f in findings), *(Judged("fts", scope, window(k), tests, True) for k in range(windows))]
    ]


def site(ticket: str = "propose") -> Site:
    """The shipped one, with two sinks: one is sent what is critical by itself, the other is proposed the rest."""
    shipped = load_site()
    routes = [
        Route(sinks=["pager", "log"], match=Match(severities=["critical"]), ticket="auto"),
        Route(sinks=["log"]),
    ]
    if ticket == "propose":
        routes = routes[1:]
    settings = Routes(sinks={"log": LogSink(), "pager": LogSink()}, routes=routes)
    return shipped._replace(alerts=msgspec.structs.replace(shipped.alerts, routes=settings))


def report(
    here: Sequence[Finding],
    there: Sequence[Finding],
    windows: int = 30,
    *,
    ticket: str = "propose",
    more: Mapping[str, Any] | None = None,
) -> WhatIf:
    """What a change means under which `here` is found instead of `there`."""
    about = {"archive": "/data/archive", "settings": [EMIT], "against_archive": False, "rows": 1234} | dict(more or {})
    both = said(here, windows), said(there, windows)
    return what_if(site(ticket), "fts", PIPELINE, *both, (None, None), **about)
