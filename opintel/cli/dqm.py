"""`opintel dqm`: histograms of two files or folders compared, with a p each and a report with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.dqm.comparing.element_comparison import PairVerdict
    from opintel.dqm.files.found import Unread

SHOWN, SAID = 100, 10
"""Rows of the table, and objects that are named as unread."""


@click.group(short_help="Compare histograms of files.")
def command() -> None:
    """Histograms of data-quality monitoring in files."""


@command.command()
@click.argument("a")
@click.argument("b")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with pictures.")
@json_option
def compare(a: str, b: str, report: Path | None, as_json: bool) -> None:
    """Compares A with the reference B: files or folders of histograms in ROOT, UHI (JSON, ZIP, HDF5, ROOT) or nanoDQMIO
    Parquet; `FILE:PATH` is one object or folder in a file. p-values say how likely a difference like that is if both
    have one shape; several are not corrected for their number."""
    from opintel.dqm.comparing.element_comparison import compare_pairs
    from opintel.dqm.files.sides import pairs, side
    from opintel.streams.connectors.parsed import FileRefused

    if report is not None and not report.resolve().parent.is_dir():
        raise UserError(f"--report {report}: no such folder {report.resolve().parent}")
    try:
        here, there = side(a), side(b)
    except FileRefused as problem:
        raise UserError(str(problem)) from problem
    _say(a, here.unread)
    _say(b, there.unread)
    verdicts = compare_pairs(pairs(here, there))
    if report is not None:
        from opintel.cli.comparison_report import page

        report.write_text(page(a, b, verdicts), encoding="utf-8")
    if as_json:
        print_json({"histograms": [_plain(one) for one in verdicts]})
    else:
        _print(verdicts)


def _plain(verdict: PairVerdict) -> dict[str, Any]:
    return {
        "name": verdict.pair.name,
        "p_value": verdict.p_value,
        "effect": verdict.effect,
        "regions": verdict.regions,
        "remark": verdict.remark,
    }


def _say(place: str, unread: Sequence[Unread]) -> None:
    for one in unread[:SAID]:
        click.echo(f"opintel: {place}: {one.name!r:.300} was not read: {one.reason}", err=True)
    if len(unread) > SAID:
        click.echo(f"opintel: {place}: {len(unread) - SAID} more were not read", err=True)


def _print(verdicts: Sequence[PairVerdict]) -> None:
    from rich.console import Console
    from rich.table import Table

    from opintel.cli.shown import clean

    table = Table(header_style="bold")
    for column in ("histogram", "p", "largest pull", "where", "remark"):
        table.add_column(column)
    for one in verdicts[:SHOWN]:
        p = "" if one.p_value is None else f"{one.p_value:.2g}" if one.p_value else f"1e{one.log10_p:.0f}"
        effect = "" if one.effect is None else f"{one.effect:+.1f} σ"
        cells = (one.pair.name, p, effect, one.where(3), one.remark)
        table.add_row(*map(clean, cells))
    Console().print(table)
    judged = sum(one.p_value is not None for one in verdicts)
    more = f"; {len(verdicts) - SHOWN} more rows: --json" if len(verdicts) > SHOWN else ""
    click.echo(f"{len(verdicts)} histograms, {judged} compared{more}")
