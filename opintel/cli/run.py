"""`opintel run`: the services, all of them in one process or each in its own, over one data folder."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opintel.cli.errors import UserError
from opintel.cli.stored import config_option, data_option

if TYPE_CHECKING:
    from opintel.cli.system import System
    from opintel.console.app import Console
    from opintel.streams.loop import Service, Watchdog

SERVICES = ("ingest", "stage1", "stage2", "alerts", "delivery", "console")


@click.command(short_help="Run the services.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--ingest", multiple=True, metavar="STREAM=PATH", help="Feed a file or folder as the stream's source.")
@click.option("--until-idle", is_flag=True, help="Leave when all input is judged and the outbox is empty.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the console listens.")
@click.option(
    "--port",
    default=8095,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of console and /metrics; 0: a free one.",
)
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="Console's access token; needed beyond this machine."
)
@data_option
@config_option
def command(
    services: tuple[str, ...],
    ingest: tuple[str, ...],
    until_idle: bool,
    host: str,
    port: int,
    token_file: Path | None,
    data: Path,
    config: Path | None,
) -> None:
    """Runs SERVICEs: ingest, stage1, stage2, alerts, delivery, console (default: all). SIGTERM leaves orderly."""
    unknown = [s for s in services if s not in SERVICES]
    if unknown:
        raise UserError(f"no service {unknown[0]!r}; there are: {', '.join(SERVICES)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in (
        "alembic",
        "httpx",
        "httpcore",
        "uvicorn",
    ):  # httpx would log whole webhook URLs, which may hold secrets
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from opintel.cli.system import System
    from opintel.config import load_site
    from opintel.streams.loop import Stop, Watchdog, run, stop_on_signals

    chosen = set(services or SERVICES)
    if ingest and "ingest" not in chosen:
        raise UserError("--ingest needs the service `ingest`")
    stop, watchdog = Stop(), Watchdog()
    with stop_on_signals(stop), ExitStack() as leaving:
        system = System(data, load_site(config))
        leaving.callback(system.close)
        for warning in system.warnings:
            logging.warning(warning)
        team = _team(system, chosen, _paths(system, ingest), until_idle)
        if "console" in chosen and not until_idle:
            console = _console(system, watchdog, host, port, token_file)
            leaving.callback(console.stop)
            click.echo(f"console: {console.url}", err=True)
        run(team, stop, until_idle=until_idle, watchdog=watchdog)


def _console(system: System, watchdog: Watchdog, host: str, port: int, token_file: Path | None) -> Console:
    from opintel.cli.view import View
    from opintel.console.app import serve

    try:
        token = token_file.read_text().strip() if token_file else None
        return serve(View(system, watchdog, time.time_ns).app(token=token), host, port)
    except OSError as error:
        where = error.filename or f"--host {host} --port {port}"
        raise UserError(f"{where}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def _paths(system: System, given: tuple[str, ...]) -> dict[str, list[Path]]:
    """`STREAM=PATH` options by stream; UserError where one cannot be used."""
    found: dict[str, list[Path]] = {}
    for option in given:
        stream, equals, path = option.partition("=")
        if not equals or not path:
            raise UserError(f"--ingest {option}: write STREAM=PATH")
        system.stream(stream)
        if not Path(path).exists():
            raise UserError(f"--ingest {option}: no such file or folder")
        found.setdefault(stream, []).append(Path(path))
    return found


def _team(system: System, chosen: set[str], paths: dict[str, list[Path]], final: bool) -> list[Service]:
    from opintel.cli.services import Delivery, Retention

    team: list[Service] = []
    for name, watched in system.streams.items():
        if "ingest" in chosen:
            team += _ingest(system, name, paths.get(name), final)
        if "stage1" in chosen:
            team += system.stage1(watched)
        if "stage2" in chosen:
            team += system.stage2(watched)
    if "alerts" in chosen:
        team.append(system.alerting())
    if "delivery" in chosen:
        team.append(Delivery(system))
    if "ingest" in chosen:
        team.append(Retention(system))
    return team


def _ingest(system: System, name: str, paths: list[Path] | None, final: bool) -> list[Service]:
    """A stream's way in: files where given, else its broker where one is configured."""
    from opintel.streams.feeds import BrokerFeed, FileFeed, file_feed

    watched = system.stream(name)
    feed: FileFeed | BrokerFeed
    if paths:
        try:
            feed = file_feed(lambda source: system.ingester(watched, source, live=False), paths, final=final)
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from error
    elif watched.settings.stomp is not None:
        from opintel.config import stomp_password
        from opintel.streams.connectors.stomp import StompSource

        broker = StompSource(watched.settings.stomp, stomp_password(system.site, name))
        feed = BrokerFeed(broker, system.ingester(watched, "stomp", live=True))
    else:
        return []
    return [system.sequencer(feed.ingester), feed]
