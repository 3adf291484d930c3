"""`opintel incidents`: what is in the store."""

from __future__ import annotations

from pathlib import Path

import click

from opintel.cli.stored import config_option, data_option, json_option, show


@click.command(short_help="Print the incidents in the store.")
@data_option
@config_option
@json_option
def command(data: Path, config: Path | None, as_json: bool) -> None:
    """Prints the newest incidents; with --json all of them."""
    from opintel.cli.shown import print_incidents
    from opintel.store.queries import incidents

    show(data, config, "incidents", incidents, print_incidents, as_json)
