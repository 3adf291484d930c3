"""`opintel init DIR`: copies the shipped YAML to a site's own folder, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import click

from opintel.site.shipped import copy_shipped


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Copy the shipped site.yaml, streams and alerts to DIR, for you to change. Nothing is overwritten."""
    count = copy_shipped(directory)
    click.echo(f"{count} files in {directory}; use them with --config {directory} or OPINTEL_CONFIG")
