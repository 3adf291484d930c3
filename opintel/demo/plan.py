"""The story of a demo: a chapter for each stream of its site whose domain has a simulator."""

from __future__ import annotations

from pathlib import Path

from opintel.simulation import Stories
from opintel.site.domains import pipeline_of
from opintel.site.settings import Site
from opintel.site.story import Chapter, Story

SPEED = 480.0
STORY_HOURS = 8.0
"""Length of a story without a limit: a minute; then console and receiver stay until Ctrl-C."""


def stories_by_stream(site: Site) -> dict[str, Stories]:
    """Stream → the stories of its domain's simulator; only those that have one."""
    found = {name: pipeline_of(settings.domain).stories for name, settings in site.streams.items()}
    return {name: stories() for name, stories in found.items() if stories is not None}


WORN = "disk-wear"
"""Of the domain health: with this fault the demo's thread begins …"""
FOLLOWS = ("wrong-checksums", "endpoint-down", "disk-full", "credentials-expired")
"""… and with one of these of the domain fts it goes on: the disk's machine serves the endpoint."""


def tell(data: Path, site: Site, *, length: float | None, seed: int, clean: bool) -> Story:
    """A story with one fault of each kind (`clean`: none), `length` seconds of it live. `data`: the demo's folder."""
    told = stories_by_stream(site)
    domains = {name: site.streams[name].domain for name in told}
    thread = {"health": (WORN,)} if {"fts", "health"} <= set(domains.values()) else {}
    chapters = tuple(
        Chapter(
            name, domains[name], stories.quiet_hours, () if clean else (*stories.faults, *thread.get(domains[name], ()))
        )
        for name, stories in told.items()
    )
    hours = STORY_HOURS if length is None else length * SPEED / 3600
    return Story(seed=seed, hours=hours, chapters=chapters, speed=SPEED, mark=str(data / "live"))


def places(story: Story) -> dict[str, dict[str, list[str]]]:
    """The topology of a story: the machine whose disk dies serves an endpoint whose transfers fail later."""
    truth = {c.domain: (c.stream, story.simulation(c).truth) for c in story.chapters if c.domain in ("fts", "health")}
    if len(truth) < 2:
        return {}
    (fts, failures), (health, troubles) = truth["fts"], truth["health"]
    found: dict[str, dict[str, list[str]]] = {}
    for worn in (fault for fault in troubles if fault.kind == WORN):
        later = [fault for fault in failures if fault.kind in FOLLOWS and fault.start > worn.start]
        for endpoint in (f.subject["endpoint"] for f in sorted(later, key=lambda f: FOLLOWS.index(f.kind))[:1]):
            found[f"storage {endpoint}"] = {fts: [endpoint], health: [worn.subject["instance"]]}
    return found
