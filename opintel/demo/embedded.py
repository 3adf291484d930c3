"""The demo over the embedded log: one process does it all, with no server but the one that takes the tickets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opintel.demo.plan import places
from opintel.demo.report import HISTORY, Progress, report, show, story_is_over, welcome
from opintel.demo.site import make_site, write_topology
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.site.settings import Site
    from opintel.site.story import Story
    from opintel.site.system import System

SETTLE = 8.0
"""Seconds that the last windows and tickets may take after the end."""


def play(
    data: Path, tell: Callable[[Site], Story], length: float | None, *, headless: bool, progress: Progress
) -> dict[str, Any]:
    """Runs the demo in this process; the report. `tell` gives the story of the demo's site."""
    from opintel.console.app import serve
    from opintel.console.running import View
    from opintel.site.delivery import Delivery
    from opintel.site.load import load_site
    from opintel.site.story import StoryFeed
    from opintel.site.system import System, drain
    from opintel.streams.loop import Service, Stop, Watchdog, run, stop_on_signals

    stop, watchdog = Stop(), Watchdog()
    with stop_on_signals(stop):
        site, receiver = make_site(data, headless=headless, bus=None)
        story = tell(load_site(site))
        write_topology(site, places(story))
        system = System(data, load_site(site))
        try:
            clock, feeds = story.clock(), []
            team: list[Service] = []
            for chapter in story.chapters:
                watched = system.stream(chapter.stream)
                feed = StoryFeed(story, chapter, system.ingester(watched, story.source, live=True))
                feeds.append(feed)
                team += [system.sequencer(feed.ingester), feed, system.stage1(watched), system.stage2(watched)]
            team.append(system.alerting(warm_until=story.live_from))
            with progress(HISTORY) as share:
                drain(team, lambda: share(min(feed.history for feed in feeds)), stop=stop)
            try:
                console = serve(View(system, watchdog, clock.now).app(), "127.0.0.1", 0 if headless else 8095)
            except OSError as error:
                raise UserError(f"port 8095: {error.strerror}; `--headless` takes free ports") from error
            where = "one process over an embedded log"
            welcome(console.url, receiver.url, length, story, where)
            if not headless:
                show(console.url)
            clock.start()
            began = time.monotonic()
            ends = None if length is None else began + length
            team.append(Delivery(system))

            over = [False]

            def each_round() -> None:
                if not over[0] and all(feed.over for feed in feeds):
                    over[0] = True
                    story_is_over()
                if ends is not None and time.monotonic() >= ends:
                    stop.set()

            run(team, stop, watchdog=watchdog, each_round=each_round)
            seconds = time.monotonic() - began
            _settle(system, [service for service in team[:-1] if service not in feeds])
            services = [{"name": "opintel", "pid": os.getpid(), "restarts": 0}]
            through = {feed.ingester.stream.name: feed.through for feed in feeds}
            return report(system, receiver, story, through, seconds, services)
        finally:
            receiver.close()
            system.close()


def _settle(system: System, team: Any) -> None:
    """Lets what has been ingested become findings, incidents and tickets."""
    from opintel.alerts.delivery import Deliverer
    from opintel.site.sinks import open_sinks
    from opintel.store.queries import outbox_empty

    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        worked = [service.step() for service in team]
        if not any(worked):
            break
    sinks = open_sinks(system.site)
    policy = system.alerts.routes.delivery
    deliverers = [Deliverer(system.store, name, sink, policy) for name, sink in sinks.items()]
    while time.monotonic() < deadline and not outbox_empty(system.store):
        worked = [one.step() for one in deliverers]
        if not any(worked):
            time.sleep(0.05)
    for sink in sinks.values():
        sink.close()
