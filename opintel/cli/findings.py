"""`opintel findings`: what is in the store."""

from __future__ import annotations

from pathlib import Path

import click

from opintel.cli.stored import config_option, data_option, json_option, show


@click.command(short_help="Print the findings in the store.")
@data_option
@config_option
@json_option
def command(data: Path, config: Path | None, as_json: bool) -> None:
    """Prints all findings, sorted by window end, then id."""
    from opintel.cli.shown import print_findings
    from opintel.store.queries import findings

    show(data, config, "findings", findings, print_findings, as_json)
