"""`opintel demo`: the whole system on a simulated stream: simulate, run and report, on a faster clock.

A quiet history warms the detectors up; then the story goes live at 480 times the world's speed, one fault of
each kind in it. Tickets go to a small receiver that stands for a ticket system; one route only proposes, to
show that too.
"""

from __future__ import annotations

import base64
import logging
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.errors import UserError

if TYPE_CHECKING:
    from opintel.alerts.receiver import Receiver
    from opintel.alerts.settings import AlertSettings
    from opintel.cli.story import StoryFeed
    from opintel.cli.system import System

SPEED = 480.0
STREAM = "fts"
HISTORY_HOURS = 4.0
STORY_HOURS = 8.0
"""Length of a story that nobody limits: a minute; then console and receiver stay until Ctrl-C."""
SETTLE = 8.0
"""Seconds that the last windows and tickets may take after the end."""


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """`40s`, `2m` → seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from opintel.config import duration

        try:
            return value if isinstance(value, float) else duration(value) / 1e9
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Show the whole system on simulated streams, in a browser.")
@click.option("--for", "length", type=Seconds(), help="End after so long, counted from the first live message.")
@click.option("--headless", is_flag=True, help="No browser; console and ticket receiver on free ports.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write what happened as JSON.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Another seed, another story.")
@click.option("--clean", is_flag=True, help="Inject no fault.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep log and store in this new folder (default: thrown away).",
)
def command(
    length: float | None, headless: bool, report: Path | None, seed: int, clean: bool, data: Path | None
) -> None:
    """Simulated file transfers of 60 sites flow through the real pipeline to incidents in a browser and tickets."""
    if report is not None and not report.resolve().parent.is_dir():
        raise UserError(f"--report {report}: no such folder {report.resolve().parent}")
    if data is not None and data.exists() and any(data.iterdir()):
        raise UserError(f"{data} is not empty; a demo starts in a new folder")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with tempfile.TemporaryDirectory(prefix="opintel-demo-") as folder:
        document = play(Path(data or folder), length, headless=headless, seed=seed, clean=clean)
    if report is not None:
        import msgspec

        report.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
    _farewell(document)


def play(data: Path, length: float | None, *, headless: bool, seed: int, clean: bool) -> dict[str, Any]:
    """Runs the demo; the report."""
    from opintel.alerts.receiver import Receiver
    from opintel.alerts.sinks.webhook import read_secret
    from opintel.cli.progress import share_progress
    from opintel.cli.services import Delivery
    from opintel.cli.story import StoryClock, StoryFeed
    from opintel.cli.system import System, drain
    from opintel.cli.view import View
    from opintel.console.app import serve
    from opintel.fts.simulate import FAULT_KINDS, Simulator
    from opintel.streams.loop import Service, Stop, Watchdog, run, stop_on_signals

    data.mkdir(parents=True, exist_ok=True)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    secret_file = data / "webhook.secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(secret)
    stop, watchdog = Stop(), Watchdog()
    live_hours = STORY_HOURS if length is None else length * SPEED / 3600
    simulator = Simulator(
        seed=seed,
        hours=HISTORY_HOURS + live_hours,
        faults=() if clean else FAULT_KINDS,
        quiet_hours=HISTORY_HOURS,
    )
    live_from = simulator.start + int(HISTORY_HOURS * 3600 * 1e9)
    with stop_on_signals(stop):
        try:
            receiver = Receiver(read_secret(secret), port=0 if headless else 8096).start()
        except OSError as error:
            raise UserError(f"port 8096: {error.strerror}; `--headless` takes free ports") from error
        system = System(data, alerts=_alerts(receiver, secret_file))
        try:
            watched = system.stream(STREAM)
            clock = StoryClock(live_from, SPEED)
            ingester = system.ingester(watched, f"story {seed}", live=True)
            feed = StoryFeed(simulator, ingester, clock)
            team: list[Service] = [
                system.sequencer(ingester),
                feed,
                *system.stage1(watched),
                *system.stage2(watched),
                system.alerting(warm_until=live_from),
            ]
            with share_progress("history: four quiet hours") as tell:
                drain(team, lambda: tell((feed.through - feed.begin) / (live_from - feed.begin)), stop=stop)
            try:
                console = serve(View(system, watchdog, clock.now).app(), "127.0.0.1", 0 if headless else 8095)
            except OSError as error:
                raise UserError(f"port 8095: {error.strerror}; `--headless` takes free ports") from error
            _welcome(console.url, receiver.url, length, seed, clean)
            if not headless:
                click.launch(console.url)
            clock.start()
            began = time.monotonic()
            ends = None if length is None else began + length
            team.append(Delivery(system))

            over = [False]

            def each_round() -> None:
                if feed.over and not over[0]:
                    over[0] = True
                    click.echo(
                        "  the story is over; console and tickets stay until Ctrl-C, `--seed N` tells another", err=True
                    )
                if ends is not None and time.monotonic() >= ends:
                    stop.set()

            run(team, stop, watchdog=watchdog, each_round=each_round)
            seconds = time.monotonic() - began
            _settle(system, team[2:-1])
            return _report(system, receiver, simulator.truth, feed, seconds)
        finally:
            receiver.close()
            system.close()


def _alerts(receiver: Receiver, secret_file: Path) -> AlertSettings:
    """The shipped settings, with the demo's routes: tickets by themselves, but for slow links, which are proposed."""
    import msgspec

    from opintel.alerts.settings import Match, Route, Routes, WebhookSink, load_alerts
    from opintel.config import load_site

    shipped = load_alerts(load_site().alerts)
    loud = ["warning", "critical"]
    routes = Routes(
        sinks={"tickets": WebhookSink(url=f"{receiver.url}/tickets", secret_file=str(secret_file))},
        routes=[
            Route(sinks=["tickets"], match=Match(kinds=["slow"]), ticket="propose"),
            Route(sinks=["tickets"], match=Match(severities=loud), ticket="auto"),  # type: ignore[arg-type]
        ],
    )
    return msgspec.structs.replace(shipped, routes=routes)


def _settle(system: System, team: Any) -> None:
    """Lets what has been ingested become findings, incidents and tickets."""
    from opintel.alerts.delivery import Deliverer
    from opintel.alerts.sinks import open_sinks
    from opintel.store.queries import outbox_empty

    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        worked = [service.step() for service in team]
        if not any(worked):
            break
    sinks = open_sinks(system.alerts.routes)
    deliverer = Deliverer(system.store, sinks, system.alerts.routes.delivery)
    while time.monotonic() < deadline and not outbox_empty(system.store):
        if not deliverer.step():
            time.sleep(0.05)
    for sink in sinks.values():
        sink.close()


def _report(system: System, receiver: Receiver, truth: Any, feed: StoryFeed, seconds: float) -> dict[str, Any]:
    from opintel.cli.story import injected, match
    from opintel.store.queries import finding_counts, incidents
    from opintel.streams.vitals import stream_status

    faults = injected(STREAM, [f for f in truth if f.start < feed.through])
    found = incidents(system.store)
    matches = match(faults, found)
    matched = {incident for ids in matches.values() for incident in ids}
    status = stream_status(system.log, system.stream(STREAM).stream)
    return {
        "seconds": round(seconds, 1),
        "injected": faults,
        "incidents": found,
        "matches": matches,
        "missed": [fault for fault, ids in matches.items() if not ids],
        "false_incidents": sum(i["id"] not in matched for i in found),
        "tickets": [
            {"incident": t["incident"], "sink": "tickets", "created": t["created"], "updates": t["updates"]}
            for t in receiver.tickets()
        ],
        "streams": {
            STREAM: {
                "messages": status.messages,
                "findings": sum(finding_counts(system.store).values()),
                "dead_letters": status.asides["dead"],
                "lag": status.lag,
            }
        },
        "services": [{"name": "opintel", "pid": os.getpid(), "restarts": 0}],
    }


def _welcome(console: str, tickets: str, length: float | None, seed: int, clean: bool) -> None:
    faults = "no fault is injected" if clean else "six faults are injected, one of each kind"
    end = "the story lasts a minute, Ctrl-C ends the demo" if length is None else f"it ends after {length:.0f} s"
    lines = [
        "",
        f"  opintel demo, seed {seed}: transfers of 60 sites, eight hours a minute; {faults}; {end}.",
        "",
        f"  console   {console}",
        "            incidents appear within seconds of a fault: open one, look at its evidence, acknowledge it,",
        "            call it a false alarm; `Streams` shows lag and freshness.",
        f"  tickets   {tickets}",
        "            what a ticket system gets; slow links are only proposed: send theirs from the incident's page.",
        "",
    ]
    click.echo("\n".join(lines), err=True)


def _farewell(document: dict[str, Any]) -> None:
    """What happened, in a few lines on stdout."""
    lines = []
    titles = {i["id"]: i["title"] for i in document["incidents"]}
    for fault in document["injected"]:
        ids = document["matches"][fault["id"]]
        told = titles[ids[0]] if ids else "no incident"
        lines.append(
            f"{'found ' if ids else 'MISSED'}  {fault['kind']:20} {' > '.join(fault['subject'].values())}: {told}"
        )
    tickets = sum(t["created"] for t in document["tickets"])
    messages = document["streams"][STREAM]["messages"]
    lines.append(
        f"{messages} messages, {len(document['incidents'])} incidents ({document['false_incidents']} of nothing), "
        f"{tickets} tickets, {document['seconds']:.0f} s"
    )
    sys.stdout.write("\n".join(lines) + "\n")
