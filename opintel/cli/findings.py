"""`opintel findings`: what is in the store."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from opintel.cli.stored import config_option, data_option, json_option, show


@click.command(short_help="Print the findings in the store.")
@data_option
@config_option
@json_option
def command(data: Path, config: Path | None, as_json: bool) -> None:
    """Prints the findings, those of one kind and subject as one line; with --json each of them, by end of window."""
    from opintel.cli.shown import print_findings
    from opintel.site.domains import pipeline_of
    from opintel.site.load import load_site
    from opintel.store.queries import findings

    streams = load_site(config).streams
    naming = {name: pipeline_of(settings.domain).naming for name, settings in streams.items()}
    show(data, config, "findings", partial(findings, naming=naming), print_findings, as_json)
