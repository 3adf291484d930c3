"""`opintel version`: the versions of opintel, of its stored formats and of the libraries that its results
depend on."""

from __future__ import annotations

import platform
import re
import sqlite3
from importlib.metadata import PackageNotFoundError, requires, version

import click

from opintel import __version__
from opintel.finding import FORMAT

_FOR_DEVELOPERS = re.compile(r"extra == ['\"]test['\"]")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> None:
    """Print the versions of all that matters, to be pasted into a report."""
    versions = {"opintel": __version__, "finding format": str(FORMAT), **libraries()}
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(versions))
        return
    width = max(map(len, versions))
    for name, text in versions.items():
        click.echo(f"{name:{width}}  {text}")


def libraries() -> dict[str, str]:
    """Python, the platform, SQLite and every library that runs opintel (extras too), where installed."""
    lines = (line for line in requires("opintel") or () if not _FOR_DEVELOPERS.search(line))
    names = sorted(
        {line.split(";")[0].split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip() for line in lines}
    )
    out = {"python": platform.python_version(), "platform": platform.platform(), "sqlite": sqlite3.sqlite_version}
    for name in names:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out
