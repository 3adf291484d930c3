"""`opintel fts report`: the report of a day of transfers, as the console has it, in a file of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opintel.cli.stored import config_option, data_option, stored
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.site.settings import Site
    from opintel.store.database import Store


@click.group(short_help="Write the report of a day of transfers.")
def command() -> None:
    """What the store has of file transfers."""


@command.command()
@click.option("--day", default="", metavar="YYYY-MM-DD", help="UTC; default the last whole day, else the last.")
@click.option("--scope", default="", metavar="HOST", help="The FTS, where the store has several.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page; default transfers-DAY.html.")
@data_option
@config_option
def report(day: str, scope: str, out: Path | None, data: Path, config: Path | None) -> None:
    """Writes the report of a day by VO and site as one HTML page that needs no server: the worst endpoints and links,
    causes, incidents, and where the rule of CMS and our findings disagree."""
    from opintel.console.daily import day_of
    from opintel.finding import NS
    from opintel.site.load import load_site

    asked = day_of(day)
    if day and asked is None:
        raise UserError(f"--day {day}: expected a day such as 2026-03-02")
    if out is not None and not out.resolve().parent.is_dir():
        raise UserError(f"--out {out}: no such folder {out.resolve().parent}")
    site = load_site(config)
    start, page = stored(data, config, lambda store: _page(store, site, scope, asked))
    date = f"{datetime.fromtimestamp(start // NS, UTC):%Y-%m-%d}"
    out = out or Path(f"transfers-{date}.html")
    out.write_text(page, encoding="utf-8")
    click.echo(f"{out}: transfers of {date}")


def _page(store: Store, site: Site, scope: str, day: int | None) -> tuple[int, str]:
    """The day's start (ns UTC) and the page. Raises UserError where nothing was judged of that."""
    from opintel.console.causes import families_of
    from opintel.console.daily import latest_day, report, report_page
    from opintel.console.matrix import TransferPlace
    from opintel.console.transfers import TransferHours
    from opintel.site.domains import pipeline_of
    from opintel.site.grid_sites import with_files

    try:
        hours = TransferHours(store, with_files(site.alerts.topology))
    except (OSError, ValueError) as error:
        raise UserError(f"alerts/topology.yaml: {error}") from error
    known = {
        fts: (name, through)
        for name, settings in sorted(site.streams.items())
        if "traffic" in pipeline_of(settings.domain).kinds
        for fts, through in hours.scopes(name).items()
    }
    if not known:
        raise UserError("nothing was judged of transfers in this store")
    if scope not in known and (scope or len(known) > 1):
        wrong = f"--scope {scope}: expected" if scope else "several FTS: choose by --scope"
        raise UserError(f"{wrong} one of {', '.join(sorted(known))}")
    fts = scope or next(iter(known))
    stream, through = known[fts]
    place = TransferPlace(stream, fts)
    start = latest_day(hours, place, through) if day is None else day
    families = families_of(site.streams[stream].detectors)
    return start, report_page(store, report(store, hours, place, families, start, through))
