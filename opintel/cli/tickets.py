"""`opintel tickets retry`: sends again what did not reach its sink."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, data_option, json_option, show
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.store.database import Store


@click.group(short_help="Send tickets again that did not reach their sink.")
def command() -> None:
    """What the outbox holds for the sinks of alerts/routes.yaml."""


@command.command(short_help="Send what has failed, and at once what waits.")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--sink", default="", metavar="SINK", help="Only messages of this sink.")
@data_option
@config_option
@json_option
def retry(keys: tuple[str, ...], sink: str, data: Path, config: Path | None, as_json: bool) -> None:
    """Puts messages that have failed back into the queue, and sends those at once that wait for their next attempt.

    KEY is a ticket's; without one all tickets are meant. The delivery service sends them, under their old ids.
    """
    from opintel.alerts.actions import Refused, retry_tickets
    from opintel.cli.shown import print_retried

    def put_back(store: Store) -> list[dict[str, Any]]:
        found = retry_tickets(store, _operator(), now=time.time_ns(), sink=sink, keys=keys)
        return [one._asdict() for one in found]

    try:
        show(data, config, "tickets", put_back, print_retried, as_json)
    except Refused as error:
        raise UserError(f"not done: {error}") from error


def _operator() -> str:
    """Who is at the command line, for the incident's history; empty where the system knows no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
