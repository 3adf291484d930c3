"""`opintel run`: the services, all of them in one process or each in its own, over one data folder or a Kafka cluster.

Over a cluster several processes of a service share its work; each may serve its metrics.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opintel.cli.stored import config_option, data_option, late_warning
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.console.app import Console
    from opintel.console.running import View
    from opintel.site.story import Story
    from opintel.site.system import System
    from opintel.streams.loop import Service, Stop

CHATTY = {
    "alembic": logging.WARNING,
    "httpx": logging.WARNING,  # it would log whole webhook URLs, which may hold secrets
    "httpcore": logging.WARNING,
    "uvicorn": logging.WARNING,
    "kafka": logging.CRITICAL,  # each attempt to connect is an error to it; what it comes to we say ourselves, once
}
SERVICES = ("ingest", "stage1", "stage2", "alerts", "clusters", "archive", "delivery", "console")


@click.command(short_help="Run the services.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option(
    "--ingest", multiple=True, metavar="STREAM=PATH", help="Feed files, or an archive's URL, as the stream's source."
)
@click.option("--archive", metavar="URL", help="Folder or fsspec URL of the log's archive (default: the site's).")
@click.option("--until-idle", is_flag=True, help="Leave when all input is judged and the outbox is empty.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where console and metrics listen.")
@click.option(
    "--port",
    default=8095,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of console and /metrics; 0: a free one.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve /metrics, /healthz and /readyz there without the console; 0: a free one.",
)
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="Console's access token; needed beyond this machine."
)
@click.option("--story", type=click.Path(path_type=Path), help="Part of a demo: its story.")
@data_option
@config_option
def command(
    services: tuple[str, ...],
    ingest: tuple[str, ...],
    archive: str | None,
    until_idle: bool,
    host: str,
    port: int,
    metrics_port: int | None,
    token_file: Path | None,
    story: Path | None,
    data: Path,
    config: Path | None,
) -> None:
    """Runs SERVICEs: ingest, stage1, stage2, alerts, clusters, archive, delivery, console (default: all, `archive`
    where the site has one). SIGTERM leaves orderly."""
    unknown = [s for s in services if s not in SERVICES]
    if unknown:
        raise UserError(f"no service {unknown[0]!r}; there are: {', '.join(SERVICES)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name, level in CHATTY.items():
        logging.getLogger(name).setLevel(level)
    import msgspec

    from opintel.site.check import require
    from opintel.site.load import read_site
    from opintel.site.parts import Part
    from opintel.site.system import System
    from opintel.site.team import team
    from opintel.site.watched import public_key_warning
    from opintel.streams.loop import Stop, Watchdog, run, stop_on_signals

    if ingest and services and "ingest" not in services:
        raise UserError("--ingest needs the service `ingest`")
    stop, watchdog = Stop(), Watchdog()
    with stop_on_signals(stop), ExitStack() as leaving:
        (site, known), fed = read_site(config), _inputs(ingest)
        if archive:
            site = site._replace(settings=msgspec.structs.replace(site.settings, archive=archive))
        chosen = set(services or SERVICES)
        if not site.settings.archive:
            if "archive" in services:
                raise UserError("no archive: name a folder or URL with --archive, or as `archive` in site.yaml")
            chosen.discard("archive")
        if site.settings.bus is not None and not services:
            chosen.remove("console")  # what anybody may ask takes its memory and files from no other service
            logging.info("over a cluster the console is a process of its own: `opintel run console`")
        require(site, chosen, fed=site.streams if story else fed, known=known)
        system = System(data, site)
        for stream in fed:
            system.stream(stream)
        leaving.callback(system.close)
        stored = bool(chosen & {"alerts", "clusters", "delivery", "console"})
        if stored:
            system.reach_store()
        taken = {*fed, *site.sources} if "ingest" in chosen and not story else ()
        key = public_key_warning(site, {name: system.streams[name].pipeline.wire for name in sorted(taken)})
        for warning in filter(None, [*system.warnings, key]):
            logging.warning(warning)
        played = _story(story, stop) if story else None
        made = team(system, chosen, fed, final=until_idle, story=played)
        # what reads to an end must not wait for what fails: there an error ends all
        parts = [] if until_idle else [Part(name, make, watchdog, stop) for name, make in made.items()]
        members: Sequence[Service] = parts or [make() for make in made.values()]
        pages = "console" in chosen and not until_idle
        if pages or metrics_port is not None:
            from opintel.console.running import View  # a second of CPU time that other services need not spend

            view = View(system, watchdog, played.clock().now if played else time.time_ns, parts=parts, stored=stored)
            if pages:
                console = _console(view, host, port, token_file)
                leaving.callback(console.stop)
                click.echo(f"console: {console.url}", err=True)
            if metrics_port is not None:
                probes = _probes(view, host, metrics_port)
                leaving.callback(probes.stop)
                click.echo(f"metrics: {probes.url}/metrics", err=True)
        run(members, stop, until_idle=until_idle, watchdog=watchdog)
        if until_idle:
            _sum_up(system, stored=stored)


def _sum_up(system: System, *, stored: bool) -> None:
    """One line of what is in log and store now, and loudly where more rows came too late than can be chance."""
    from opintel.store.queries import finding_counts, incident_counts
    from opintel.streams.vitals import stream_status

    parts = []
    for name, ingester in sorted(system.ingesters.items()):
        status = stream_status(system.log, system.streams[name].stream)
        late, dead = status.asides["late"], status.asides["dead"]
        parts.append(f"{name}: {status.messages} messages, {dead} dead letters, {late} late")
        if warning := late_warning(name, late, max(ingester.taken, status.messages)):
            logging.warning(warning)
    if stored:
        counts = (sum(count(system.store).values()) for count in (finding_counts, incident_counts))
        parts.append("in all {} findings, {} incidents".format(*counts))
    if parts:
        click.echo("; ".join(parts), err=True)


def _console(view: View, host: str, port: int, token_file: Path | None) -> Console:
    from opintel.console.app import serve

    try:
        token = token_file.read_text().strip() if token_file else None
        return serve(view.app(token=token), host, port)
    except OSError as error:
        where = error.filename or f"--host {host} --port {port}"
        raise UserError(f"{where}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def _probes(view: View, host: str, port: int) -> Console:
    """/metrics, /healthz, /readyz."""
    from opintel.console.app import serve

    try:
        return serve(view.probes(), host, port)
    except OSError as error:
        raise UserError(f"--host {host} --metrics-port {port}: {error.strerror or error}") from error


def _story(file: Path, stop: Stop) -> Story:
    """A demo's story. The demo holds our stdin open: we leave when it dies."""
    import msgspec

    from opintel.site.story import Story

    def wait() -> None:
        while os.read(0, 1):
            pass
        stop.set()

    threading.Thread(target=wait, name="stdin", daemon=True).start()
    return msgspec.json.decode(file.read_bytes(), type=Story)


def _inputs(given: tuple[str, ...]) -> dict[str, list[str]]:
    """`STREAM=PATH` options by stream; UserError where one cannot be used."""
    from opintel.streams.urls import is_url

    found: dict[str, list[str]] = {}
    for option in given:
        stream, equals, path = option.partition("=")
        if not equals or not path:
            raise UserError(f"--ingest {option}: write STREAM=PATH")
        if not is_url(path) and not Path(path).exists():
            raise UserError(f"--ingest {option}: no such file or folder")
        found.setdefault(stream, []).append(path)
    return found
