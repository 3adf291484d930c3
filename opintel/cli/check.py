"""`opintel check [DIR]`: reads a site's configuration as the services do and prints every problem, or a
summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from opintel.detector import Pipeline
from opintel.loopback import is_loopback
from opintel.site.config import (
    ConfigError,
    Site,
    bus_password,
    detector_settings,
    kafka_password,
    load_site,
    prometheus_secret,
    public_key_warning,
    stomp_password,
    wire_settings,
)
from opintel.site.domains import pipeline_of
from opintel.site.errors import UserError
from opintel.yaml_places import Problem, read_yaml


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(directory: Path | None, as_json: bool) -> None:
    """Check the configuration in DIR (else in OPINTEL_CONFIG, else the shipped one): file, line, key, what is right."""
    site, problems, notes = check(directory)
    if as_json:
        import msgspec

        found = [problem._asdict() for problem in problems]
        streams = sorted(site.streams) if site else []
        report = {"ok": not problems, "streams": streams, "problems": found, "notes": notes}
        click.echo(msgspec.json.encode(report))
    else:
        for problem in problems:
            click.echo(str(problem), err=True)
        for note in notes:
            click.echo(f"note: {note}", err=True)
        if site and not problems:
            names = ", ".join(sorted(site.streams))
            click.echo(f"{site.folder}: in order; {len(site.streams)} stream(s): {names}")
    if problems:
        raise click.exceptions.Exit(1)


def check(directory: Path | None) -> tuple[Site | None, list[Problem], list[str]]:
    """The site (None where it cannot be read at all), every problem of it, and what an operator should know."""
    try:
        site = load_site(directory)
    except ConfigError as error:
        return None, error.problems, []
    problems: list[Problem] = []
    notes = [_open_bus(site)]
    try:
        bus_password(site)
    except ConfigError as error:
        problems += error.problems
    problems += _store_problems(site)
    problems += _checkpoint_problems(site)
    for stream in site.streams:
        try:
            pipeline = pipeline_of(site.streams[stream].domain)
        except UserError as error:
            problems.append(site.documents[stream].problem(("domain",), str(error)))
            continue
        problems += _domain_problems(site, stream, pipeline)
        notes.append(public_key_warning(site, stream, pipeline.wire))
    problems += _alert_problems(site)
    return site, problems, [note for note in notes if note]


def _domain_problems(site: Site, stream: str, pipeline: Pipeline) -> Iterator[Problem]:
    judges = [make() for make in pipeline.judges]
    try:
        keywords = wire_settings(site, stream, pipeline.wire)
    except ConfigError as error:
        yield from error.problems
    else:
        try:
            pipeline.wire(**keywords)
        except ValueError as error:
            yield site.documents[stream].problem(("wire",), str(error))
    for look in (
        lambda: detector_settings(site, stream, {judge.name: judge.Settings for judge in judges}),
        lambda: stomp_password(site, stream),
        lambda: kafka_password(site, stream),
        lambda: prometheus_secret(site, stream),
    ):
        try:
            look()
        except ConfigError as error:
            yield from error.problems


def _open_bus(site: Site) -> str:
    """What to say of a cluster across a network that everybody there can listen to."""
    bus = site.settings.bus
    if bus is None or bus.tls or all(is_loopback(server.rpartition(":")[0].strip("[]")) for server in bus.bootstrap):
        return ""
    return "site.yaml: the bus is reached without TLS: who listens on the network reads all records"


def _store_problems(site: Site) -> Iterator[Problem]:
    """What is wrong with the URL of the store; its text, which may hold a password, is not shown."""
    if not site.settings.store:
        return
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    text = ""
    try:
        url = make_url(site.settings.store)
        url.get_dialect()
        if url.port is not None and not 0 < url.port < 65536:
            text = "its port is not one of 1 to 65535"
    except NoSuchModuleError:
        text = f"SQLAlchemy knows no database {url.drivername!r}"
    except ArgumentError:
        text = "is no SQLAlchemy URL"
    except ValueError:
        text = "is no SQLAlchemy URL: its port is no number"
    if text:
        yield site.written.problem(("store",), f"{text}; expected one such as postgresql+psycopg://USER@HOST/DATABASE")


def _checkpoint_problems(site: Site) -> Iterator[Problem]:
    """Protocols that fsspec does not know, in a URL that may be a chain of them (`simplecache::s3://...`)."""
    url = site.settings.checkpoints or ""
    if "://" not in url:
        return
    from fsspec import available_protocols

    known = available_protocols()
    for protocol in (link.partition("://")[0] for link in url.split("::") if "://" in link):
        if protocol not in known:
            text = f"fsspec knows no protocol {protocol!r}; expected a folder or a URL such as s3://BUCKET/FOLDER"
            yield site.written.problem(("checkpoints",), text)


def _alert_problems(site: Site) -> list[Problem]:
    from opintel.alerts.settings import load_alerts

    try:
        load_alerts(site.alerts)
    except ConfigError as error:
        return error.problems
    except ValueError as error:
        return [_placed(site.alerts, line) for line in str(error).splitlines()]
    except OSError as error:
        return [Problem(str(site.alerts), 0, "", str(error))]
    return []


def _placed(folder: Path, text: str) -> Problem:
    """A problem told as `budgets.yaml: streams.fts: …`, with the line of its key."""
    name, _, rest = text.partition(": ")
    key, _, message = rest.partition(": ")
    if not name.endswith((".yaml", ".yml")):
        return Problem(str(folder), 0, "", text)
    document, unreadable = read_yaml(folder / name, str(folder / name))
    if unreadable:
        return unreadable[0]
    path = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", key))
    known = path[:1] in document.places
    return document.problem(path if known else (), message if known else rest)
