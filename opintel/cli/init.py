"""`opintel init DIR`: copies the shipped YAML to a site's own folder, and overwrites nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from opintel.cli.errors import UserError
from opintel.config import shipped_folder, shipped_site


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Copy the shipped site.yaml, streams and alerts to DIR, for you to change. Nothing is overwritten."""
    count = copy_shipped(directory)
    click.echo(f"{count} files in {directory}; use them with --config {directory} or OPINTEL_CONFIG")


def copy_shipped(directory: Path) -> int:
    """Copies the shipped YAML below `directory`; how many files. UserError where one is there already."""
    shipped = shipped_folder()
    files = [path for name in ("streams", "alerts") for path in sorted((shipped / name).rglob("*")) if path.is_file()]
    targets = {path: directory / path.relative_to(shipped) for path in files}
    targets[shipped_site()] = directory / "site.yaml"
    present = [str(target) for target in targets.values() if target.exists()]
    if present:
        raise UserError(f"{present[0]} is there already; nothing was copied (choose another folder)")
    try:
        for path, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}") from error
    return len(targets)
