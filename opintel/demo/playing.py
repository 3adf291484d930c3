"""Plays the demo: its services are processes over the embedded log, or over a real Kafka broker, where one of them is
killed on the way.

They are plain `opintel run SERVICE`; only the ingest tells a story instead of listening to a broker, on a faster clock
that console and alerts share. This process watches over them, starts the broker, and writes the report from what stands
in the log and the store.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from opintel.demo.broker import Broker, BrokerError
from opintel.demo.fleet import Fleet, Invoke
from opintel.demo.plan import places
from opintel.demo.report import HISTORY, Progress, report, show, story_is_over, welcome
from opintel.demo.site import make_site, write_topology
from opintel.simulation import HOUR
from opintel.site.errors import UserError
from opintel.site.load import load_site
from opintel.site.settings import Site
from opintel.site.story import PAUSE
from opintel.site.system import System
from opintel.store.queries import outbox_empty
from opintel.streams.log import LogUnavailable
from opintel.streams.loop import Stop, stop_on_signals
from opintel.streams.records import NEVER
from opintel.streams.stream import Stream
from opintel.streams.tail import tail_of
from opintel.streams.vitals import lag, stream_status

if TYPE_CHECKING:
    from opintel.site.story import Story

Services = Mapping[str, tuple[str, ...]]
KILL_AFTER = 0.4
"""Share of the demo after which a service is killed …"""
KILL_LATEST = 25.0
"""… but at most so many seconds."""
LOCAL: Services = {
    "ingest": ("ingest",),
    "stage1": ("stage1",),
    "judging": ("stage2", "alerts", "delivery", "console"),
    "clusters": ("clusters",),
}
"""Process → services: what two cores can share; …"""
VICTIMS = ("ingest", "stage1 a", "stage1 b", "stage2", "alerts")
KAFKA: Services = {name: (name.split()[0],) for name in (*VICTIMS, "clusters", "delivery", "console")}
"""… and as a site would run them."""
START = 120.0
"""Seconds in which services and history must come further."""
LOOK = 0.5
"""Seconds between two looks at how far the services are: each is some dozen questions to the broker."""
SETTLE = 14.0
"""Seconds that the last windows and tickets may take after the end."""
CONSOLE_PORT = 8095


def play(
    data: Path,
    tell: Callable[[Site], Story],
    length: float | None,
    *,
    headless: bool,
    progress: Progress,
    invoke: Invoke,
    bus: Literal["local", "kafka"],
    bootstrap: str | None,
) -> dict[str, Any]:
    """Runs the demo; the report. `tell` gives the story of its site; `invoke` runs a command of ours in a process that
    was forked; `bootstrap`: a broker, if not one of its own.
    """
    stop, services = Stop(), KAFKA if bus == "kafka" else LOCAL
    with stop_on_signals(stop), ExitStack() as leaving:
        fleet = Fleet(data / "logs", invoke, len(services))
        if bus == "kafka" and bootstrap is None:
            click.echo("starting a Kafka broker …", err=True)
            try:
                broker = leaving.enter_context(Broker(data / "kafka"))
            except BrokerError as error:
                raise UserError(str(error)) from error
            bootstrap = broker.bootstrap
        port = _console_port(headless)
        site, receiver = make_site(data, headless=headless, bus=bootstrap)
        leaving.callback(receiver.close)
        story = tell(load_site(site))
        for chapter in story.chapters:
            story.simulation(chapter)  # a story that is too short for its faults ends the demo here, not a service
        write_topology(site, places(story))
        system = System(data, load_site(site))
        leaving.callback(system.close)
        for stream in _streams(system, story):
            if any(system.log.end(stream.topic, p) for p in range(stream.partitions)):
                raise UserError(f"the broker {bootstrap} has records in {stream.topic}; a demo wants topics of its own")
        system.reach_store()
        leaving.callback(fleet.leave)
        path = data / "story.json"
        path.write_bytes(msgspec.json.encode(story))
        common = ("--config", str(site), "--data", str(data), "--story", str(path), "--port", str(port))
        for name, its in services.items():
            fleet.start(name, "run", *its, *common)
        clock = story.clock()
        _history(system, story, fleet, stop, progress)
        over = "an embedded log" if bootstrap is None else f"the Kafka broker {bootstrap}"
        where = f"{len(services)} processes over {over}; their logs are in {data / 'logs'}"
        url = f"http://127.0.0.1:{port}"
        welcome(url, receiver.url, length, story, where)
        if not headless:
            show(url)
        clock.start()
        began = time.monotonic()
        _live(story, length, fleet, stop, kills=bus == "kafka")
        seconds = time.monotonic() - began
        listing = fleet.listing()
        now = clock.now()
        fleet.leave("ingest")
        through = {stream.name: _played(system, stream, now) for stream in _streams(system, story)}
        _settle(system, story, fleet)
        fleet.leave()
        return report(system, receiver, story, through, seconds, listing)


def _streams(system: System, story: Story) -> list[Stream]:
    return [system.stream(chapter.stream).stream for chapter in story.chapters]


def _history(system: System, story: Story, fleet: Fleet, stop: Stop, progress: Progress) -> None:
    """Until the quiet histories are ingested and processed."""
    begins = [story.live_from - int(chapter.quiet_hours * HOUR) for chapter in story.chapters]
    before, since = 0.0, time.monotonic()
    with progress(HISTORY) as share:
        while not stop:
            fleet.look()
            done = [_done(system, s, b, story.live_from) for s, b in zip(_streams(system, story), begins, strict=True)]
            share(min(done))
            if min(done) >= 1.0:
                return
            if sum(done) > before:
                before, since = sum(done), time.monotonic()
            elif time.monotonic() - since > START:
                raise UserError(f"the history has not come further in {START:.0f} s; the services' logs tell why")
            stop.wait(LOOK)


def _done(system: System, stream: Stream, begin: int, end: int) -> float:
    """Share of a stream's history that is ingested; 1 only when it has been processed too."""
    try:
        # a tick is in every partition, so that one is enough to ask for how far the ingest is
        stamp = tail_of(system.log, stream, 0).stamp
        if stamp is None or stamp.wm == NEVER:
            return 0.0
        # the last pause without messages may reach beyond the end
        share = (stamp.wm + stream.lateness - begin) / (end - PAUSE - begin)
        return share if share < 1.0 else 1.0 if lag(system.log, stream) == 0 else 0.99
    except LogUnavailable:
        return 0.0


def _live(story: Story, length: float | None, fleet: Fleet, stop: Stop, *, kills: bool) -> None:
    """Until the end or Ctrl-C; `kills`: kills one service on the way."""
    began, clock = time.monotonic(), story.clock()
    victim: str | None = random.Random(story.seed).choice(VICTIMS) if kills else None
    kill_at = KILL_LATEST if length is None else min(KILL_LATEST, length * KILL_AFTER)
    end = story.live_from + int(story.hours * HOUR)
    over = False
    while not stop:
        passed = time.monotonic() - began
        if victim is not None and passed >= kill_at:
            click.echo(f"  kill -9 of the service {victim!r}: it is started again and goes on", err=True)
            fleet.kill(victim)
            victim = None
        if length is None and not over and clock.now() > end:
            over = True
            story_is_over()
        if length is not None and passed >= length:
            return
        fleet.look()
        stop.wait(0.2)


def _played(system: System, stream: Stream, now: int) -> int:
    """How much of a stream's story has come into the log by `now`, ns."""
    try:
        arrival = stream_status(system.log, stream).arrival
    except LogUnavailable:
        return now
    return now if arrival is None else min(now, arrival)


def _settle(system: System, story: Story, fleet: Fleet) -> None:
    """Lets what has been ingested become findings, incidents and tickets."""
    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        fleet.look()
        time.sleep(LOOK)
        try:
            behind = sum(lag(system.log, stream) for stream in _streams(system, story)) + system.undecided()
        except LogUnavailable:
            continue
        if behind == 0 and outbox_empty(system.store):
            return


def _console_port(headless: bool) -> int:
    """Where the console will listen. UserError where somebody else does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 0 if headless else CONSOLE_PORT))
        except OSError as error:
            raise UserError(f"port {CONSOLE_PORT}: {error.strerror}; `--headless` takes free ports") from error
        return int(probe.getsockname()[1])
