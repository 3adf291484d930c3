"""The finding about a cause that a whole FTS or one organisation in it shares, and what explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from opintel.detector import Closing
from opintel.evidence import Evidence, Table, capped
from opintel.finding import Effect, Finding, clock, finding_id
from opintel.fts.judging.explain import EarlierWindow, Usual, errors, evolution, jobs, main_error, percent, who
from opintel.fts.judging.shared_causes import SharedCause
from opintel.fts.link_windows import LinkWindow

SHARED = "shared-cause"
"""The kind."""
LEAST_SHARE = 1e-3
"""Nothing is taken to fail less often."""
PLACES = 20
"""Endpoints that are listed."""


def shared_finding(
    detector: tuple[str, int],
    closing: Closing,
    cause: SharedCause,
    seen: Sequence[LinkWindow],
    past: Sequence[EarlierWindow],
    since: int,
    onset: int | None,
    certified: float,
) -> Finding:
    """Subject: the scope and the family of causes, or the scope and the organisation. `seen`: all links of the window
    with all their failures; `detector`: name and version; below `certified` log10 p is extrapolated."""
    name, version = detector
    scope, window = closing.scope, closing.window
    subject = {"scope": scope, "vo": cause.vo} if cause.vo else {"scope": scope, "family": cause.family}
    share, mostly = cause.failed / cause.files, main_error(cause.links)
    counts = f"{cause.failed} of {cause.files} files"
    whose = f"{cause.vo} fails everywhere in {scope}" if cause.vo else f"{scope} fails everywhere"
    what = f"{whose} ({cause.family}): {counts}"
    what += f" at {cause.places} places since {clock(since, window.end)} (usual {percent(cause.usual)})"
    return Finding(
        id=finding_id(name, version, closing.model, subject, window),
        detector=name,
        kind=SHARED,
        subject=subject,
        window=window,
        log10_p=cause.log10_p,
        basis="exact" if cause.log10_p >= certified else "extrapolated",
        effect=Effect(share, "failed share"),
        severity="critical",
        summary=what + (f"; mostly '{mostly}'" if mostly else ""),
        evidence=capped(
            [
                evolution(seen, past, window, Usual(usual_share(past), cause.rho)),
                _places(cause.links),
                *errors(cause.links),
                *jobs(cause.links),
                *who(cause.links),
            ]
        ),
        model=closing.model,
        onset=onset,
    )


def usual_share(past: Sequence[EarlierWindow]) -> float:
    """The middle failed share of all files in earlier windows, `LEAST_SHARE` at least."""
    totals = [np.sum([*window.counts.values(), (0, 0)], axis=0) for window in past]
    shares = [failed / (ok + failed) for ok, failed in totals if ok + failed]
    return max(float(np.median(shares)), LEAST_SHARE) if shares else LEAST_SHARE


def _places(links: Sequence[LinkWindow]) -> Evidence:
    """Where files fail of it: no endpoint stands out."""
    failed, files = Counter[str](), Counter[str]()
    for link in links:
        for host in {link.source, link.destination}:
            failed[host] += link.failed
            files[host] += link.ok + link.failed
    ranked = sorted(failed, key=lambda host: (-failed[host], host))[:PLACES]
    rows: list[list[str | float | int | None]] = [
        [host, failed[host], files[host], round(failed[host] / files[host], 4)] for host in ranked
    ]
    return Table("Endpoints that it reaches", ["endpoint", "failed of it", "files", "share"], rows)
