"""`opintel topics plan | apply`: the topics (and the services' rights) that a site needs on its Kafka cluster, what is
there, and making the difference good. `opintel.streams.kafka.topics` and `.acls` know what should be there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.site.settings import Site
    from opintel.streams.kafka.acls import RightChange
    from opintel.streams.kafka.topics import Change

_STYLES = {"create": "green", "alter": "yellow", "same": "dim", "error": "red", "leftover": "cyan", "extra": "red"}
bootstrap_option = click.option(
    "--bootstrap", metavar="HOST:PORT,…", help="The cluster; goes before site.yaml's, as whom stays."
)
acls_option = click.option("--acls", is_flag=True, help="The rights of each service too.")


@click.group(short_help="Plan or make the topics of a Kafka cluster.")
def command() -> None:
    """The topics that the configured streams need on the cluster that site.yaml names."""


@command.command(short_help="Print what is there and what would change.")
@bootstrap_option
@acls_option
@config_option
@json_option
def plan(bootstrap: str | None, acls: bool, config: Path | None, as_json: bool) -> None:
    """Prints what is there and what `apply` would do; changes nothing. Exit 1 where something is wrong for good."""
    _run(bootstrap, acls, config, as_json, change=False)


@command.command(short_help="Make what is missing, set what differs.")
@bootstrap_option
@acls_option
@config_option
@json_option
def apply(bootstrap: str | None, acls: bool, config: Path | None, as_json: bool) -> None:
    """Makes topics that are missing and sets configurations that differ; deletes nothing. Prints what was done."""
    _run(bootstrap, acls, config, as_json, change=True)


def _run(bootstrap: str | None, acls: bool, config: Path | None, as_json: bool, *, change: bool) -> None:
    from kafka.errors import SecurityDisabledError

    from opintel.site.load import load_site
    from opintel.site.secrets import opened
    from opintel.streams.kafka import acls as access
    from opintel.streams.kafka import topics
    from opintel.streams.kafka.reach import administer
    from opintel.streams.log import LogError, LogUnavailable

    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # each attempt to connect; we say it once and plainly
    site = load_site(config)
    streams = [settings.stream for settings in site.streams.values()]
    kept = {s.name: s.retention for s in site.streams.values()}
    most = {s.name: s.retention_bytes for s in site.streams.values()}
    specs = topics.plan(streams, kept, site.settings.replication, most)
    settings = _cluster(site, bootstrap)
    try:
        with administer(settings, opened(site.written, ("bus",), settings, settings.password)) as admin:
            changes = topics.apply(admin, specs) if change else topics.difference(admin, specs)
            rights: list[RightChange] = []
            if acls:
                wanted = access.rights(streams)
                rights = access.grant(admin, wanted) if change else access.missing(admin, wanted)
    except LogUnavailable as error:
        raise UserError(f"the cluster cannot be reached: {error}") from error
    except LogError as error:
        if isinstance(error.__cause__, SecurityDisabledError):
            done = "topics are as planned now; " if change else ""
            raise UserError(f"{done}the cluster has no authorizer, so rights mean nothing: leave out --acls") from error
        raise UserError(str(error)) from error
    if as_json:
        print_json(_document(changes, rights))
    else:
        _print(changes, {spec.name: _kept(spec.configs) for spec in specs}, rights, done=change)
    if any(c.action == "error" for c in changes):
        raise click.exceptions.Exit(1)


def _cluster(site: Site, bootstrap: str | None) -> Any:
    import msgspec

    from opintel.streams.kafka.settings import KafkaSettings, servers

    bus = site.settings.bus
    if bootstrap is None:
        if bus is None:
            raise UserError("site.yaml names no `bus`: the embedded log needs no topics made (or give --bootstrap)")
        return bus
    named = servers(bootstrap)
    try:
        return msgspec.structs.replace(bus, bootstrap=named) if bus else KafkaSettings(bootstrap=named)
    except ValueError as error:
        raise UserError(f"--{error}") from error


def _document(changes: list[Change], rights: list[RightChange]) -> dict[str, Any]:
    return {
        "topics": [c._asdict() for c in changes],
        "acls": [{**r.right._asdict(), "action": r.action, "host": r.host} for r in rights],
    }


def _kept(configs: Mapping[str, str]) -> str:
    """How long a topic's records are kept, in words."""
    newest = ["newest of a key"] if "compact" in configs["cleanup.policy"] else []
    days = [f"{int(configs['retention.ms']) / 86_400_000:g} d"] if "retention.ms" in configs else []
    size = [f"{int(configs['retention.bytes']) / 1e9:g} GB a partition"] if "retention.bytes" in configs else []
    return ", ".join(newest + days + size)


def _print(changes: list[Change], kept: Mapping[str, str], rights: list[RightChange], *, done: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from opintel.cli.shown import wide_console

    said = {"create": "created", "alter": "altered"} if done else {}
    console = wide_console()
    table = Table(box=None, pad_edge=False)
    for column in ("topic", "partitions", "kept", ""):
        table.add_column(column, no_wrap=True)
    table.add_column("", overflow="fold")
    for c in changes:
        action = f"[{_STYLES[c.action]}]{said.get(c.action, c.action)}[/]"
        table.add_row(escape(c.topic), str(c.partitions or ""), kept.get(c.topic, ""), action, escape(c.detail))
    console.print(table)
    if rights:
        access = Table("user", "may", "", "", "", box=None, pad_edge=False)
        for (user, may, kind, action), group in groupby(rights, lambda r: (*r.right[:3], r.action)):
            names = ", ".join(r.right.name for r in group)
            access.add_row(escape(user), may, kind, f"[{_STYLES[action]}]{said.get(action, action)}[/]", escape(names))
        console.print()
        console.print(access)
