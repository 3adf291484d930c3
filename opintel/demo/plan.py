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


def tell(data: Path, site: Site, *, length: float | None, seed: int, clean: bool) -> Story:
    """A story with one fault of each kind (`clean`: none), `length` seconds of it live. `data`: the demo's folder."""
    chapters = tuple(
        Chapter(name, site.streams[name].domain, stories.quiet_hours, () if clean else stories.faults)
        for name, stories in stories_by_stream(site).items()
    )
    hours = STORY_HOURS if length is None else length * SPEED / 3600
    return Story(seed=seed, hours=hours, chapters=chapters, speed=SPEED, mark=str(data / "live"))
