"""`opintel check [DIR]`: opens what a site's services open, short of connecting, and prints every problem, or a
summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from opintel.site.settings import Site
    from opintel.site.yaml_places import Problem


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(directory: Path | None, as_json: bool) -> None:
    """Check the site in DIR (else in OPINTEL_CONFIG, else the shipped one): file, line, key, and what is expected."""
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
    from opintel.site.check import notes, require
    from opintel.site.errors import ConfigError
    from opintel.site.load import read_site

    site = None
    try:
        site, known = read_site(directory)
        require(site, known=known)
    except ConfigError as error:
        return site, error.problems, notes(site) if site else []
    return site, [], notes(site)
