"""`opintel demo`: the whole system on simulated streams: simulate, run and report, on a faster clock.

A quiet history warms the detectors up; then the story goes live at 480 times the world's speed, one fault of
each kind in it. Over the embedded log one process does it all; `--bus kafka` is in `demo_kafka`. Tickets go to a
small receiver that stands for a ticket system.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from opintel.cli.demo_report import HISTORY, farewell, report, show, story_is_over, welcome
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.site.story import Story
    from opintel.site.system import System

SPEED = 480.0
QUIET_HOURS = {"fts": 4.0, "health": 6.0}
"""Stream → its history: what its detectors need to know what is usual."""
STORY_HOURS = 8.0
"""Length of a story that nobody limits: a minute; then console and receiver stay until Ctrl-C."""
SETTLE = 8.0
"""Seconds that the last windows and tickets may take after the end."""


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """`40s`, `2m` → seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from opintel.durations import duration

        try:
            return value if isinstance(value, float) else duration(value) / 1e9
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Show the whole system on simulated streams, in a browser.")
@click.option("--for", "length", type=Seconds(), help="End after so long, counted from the first live message.")
@click.option("--headless", is_flag=True, help="No browser; console and ticket receiver on free ports.")
@click.option(
    "--report", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write what happened as JSON."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Another seed, another story.")
@click.option("--clean", is_flag=True, help="Inject no fault.")
@click.option(
    "--bus",
    default="local",
    show_default=True,
    type=click.Choice(["local", "kafka"]),
    help="kafka: over a broker of its own, each service a process, one of them killed on the way.",
)
@click.option(
    "--bootstrap", metavar="HOST:PORT", help="With --bus kafka: your broker; it must not know opintel's topics."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep log and store in this new folder (default: thrown away).",
)
def command(
    length: float | None,
    headless: bool,
    document: Path | None,
    seed: int,
    clean: bool,
    bus: Literal["local", "kafka"],
    bootstrap: str | None,
    data: Path | None,
) -> None:
    """Simulated file transfers of 60 sites and metrics of machines flow through the real pipeline to incidents
    in a browser and tickets."""
    if document is not None and not document.resolve().parent.is_dir():
        raise UserError(f"--report {document}: no such folder {document.resolve().parent}")
    if data is not None and data.exists() and any(data.iterdir()):
        raise UserError(f"{data} is not empty; a demo starts in a new folder")
    if bootstrap and bus != "kafka":
        raise UserError("--bootstrap goes with --bus kafka")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with tempfile.TemporaryDirectory(prefix="opintel-demo-") as folder:
        place = (data or Path(folder)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        story = tell(place, length, seed, clean)
        if bus == "kafka":
            from opintel.cli.demo_kafka import play as play_kafka

            happened = play_kafka(place, story, length, headless=headless, bootstrap=bootstrap)
        else:
            happened = play(place, story, length, headless=headless)
    if document is not None:
        import msgspec

        document.write_bytes(msgspec.json.format(msgspec.json.encode(happened), indent=1))
    farewell(happened)


def tell(data: Path, length: float | None, seed: int, clean: bool) -> Story:
    """The story of a demo."""
    from opintel.site.story import Chapter, Story, simulator

    chapters = tuple(Chapter(n, h, () if clean else simulator(n).FAULT_KINDS) for n, h in QUIET_HOURS.items())
    hours = STORY_HOURS if length is None else length * SPEED / 3600
    return Story(seed=seed, hours=hours, chapters=chapters, speed=SPEED, mark=str(data / "live"))


def play(data: Path, story: Story, length: float | None, *, headless: bool) -> dict[str, Any]:
    """Runs the demo in this process; the report."""
    from opintel.cli.demo_site import make_site
    from opintel.cli.progress import share_progress
    from opintel.console.app import serve
    from opintel.console.running import View
    from opintel.site.load import load_site
    from opintel.site.services import Delivery
    from opintel.site.story import StoryFeed
    from opintel.site.system import System, drain
    from opintel.streams.loop import Service, Stop, Watchdog, run, stop_on_signals

    stop, watchdog = Stop(), Watchdog()
    with stop_on_signals(stop):
        site, receiver = make_site(data, headless=headless, bus=None)
        system = System(data, load_site(site))
        try:
            clock, feeds = story.clock(), []
            team: list[Service] = []
            for chapter in story.chapters:
                watched = system.stream(chapter.stream)
                feed = StoryFeed(story, chapter, system.ingester(watched, story.source, live=True))
                feeds.append(feed)
                team += [system.sequencer(feed.ingester), feed, *system.stage1(watched), *system.stage2(watched)]
            team.append(system.alerting(warm_until=story.live_from))
            with share_progress(HISTORY) as tell_share:
                drain(team, lambda: tell_share(min(feed.history for feed in feeds)), stop=stop)
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
            return report(system, receiver, story, min(feed.through for feed in feeds), seconds, services)
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
    deliverer = Deliverer(system.store, sinks, system.alerts.routes.delivery)
    while time.monotonic() < deadline and not outbox_empty(system.store):
        if not deliverer.step():
            time.sleep(0.05)
    for sink in sinks.values():
        sink.close()
