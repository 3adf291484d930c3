"""`opintel gw`: triggers of files, and a data-quality report for the time of an event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, print_json, stored
from opintel.site.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from opintel.gw.files.opened import OpenedFiles
    from opintel.store.database import Store

SHOWN, SAID = 100, 10
"""Rows of the table, and things that are named as unread."""
NEAR = 300
"""s around an event from which findings of the store are taken into its report."""


@click.group(short_help="Triggers of files, and a report for an event's time.")
def command() -> None:
    """Strain and auxiliary channels of interferometers in files: HDF5 (GWOSC, auxiliary releases, gwpy) and frames."""


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--channel", "patterns", multiple=True, help="Name or pattern (`L1:PEM-*`) of channels; repeatable.")
@click.option("--snr", default=5.5, show_default=True, type=click.FloatRange(4.0, 1e6), help="The least SNR.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="LIGO_LW (.xml, .xml.gz) or HDF5 (.h5).")
@json_option
def triggers(files: tuple[Path, ...], patterns: tuple[str, ...], snr: float, out: Path | None, as_json: bool) -> None:
    """The triggers of FILES: of their strain channels, or of those that --channel names, or of all where there is no
    strain. Strain is not judged where its detector gave no data."""
    from opintel.gw.channels.features import is_strain
    from opintel.gw.exports.bursts import SUFFIXES, write_triggers
    from opintel.gw.file_triggers import not_judged, triggers_of

    if out is not None and not out.name.endswith(SUFFIXES):
        raise UserError(f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}")
    if out is not None and not out.resolve().parent.is_dir():
        raise UserError(f"--out {out}: no such folder {out.resolve().parent}")
    found = _opened(files)
    names = sorted({one.channel for one in found.stretches})
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if patterns and not chosen:
        raise UserError(f"no channel {', '.join(patterns)} in the files; there are {_named(names)}")
    strain = {one.channel for one in found.stretches if is_strain(one.channel, one.unit)}
    wanted = set(chosen or strain or names)
    searched = [one for one in found.stretches if one.channel in wanted]
    table = triggers_of(searched, snr=snr)
    if out is not None:
        write_triggers(table, out)
        click.echo(f"{table.num_rows} triggers written to {out}", err=True)
    if unjudged := not_judged(searched):
        click.echo(f"opintel: not judged, too slow or with too few good samples: {_named(unjudged)}", err=True)
    if as_json:
        print_json({"triggers": table.to_pylist()})
    elif out is None:
        _print(table, wanted)


@command.command()
@click.argument("gps", type=float)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder whose store has findings too.")
@config_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page; default report-GPS.html.")
def report(gps: float, files: tuple[Path, ...], data: Path | None, config: Path | None, out: Path | None) -> None:
    """A data-quality report for the event at GPS (s), as one HTML page: segments, Q-scans of the strain, safe channels
    that saw something at the time and how likely that is by chance, what was found around it, and what was not
    checked. FILES hold the samples around it; --data names a folder whose store holds findings."""
    from opintel.console.standalone import PageSection, standalone_page
    from opintel.gw.event_report import event_report

    if not math.isfinite(gps) or not 0 < gps < 4e9:
        raise UserError(f"expected GPS seconds, got {gps}")
    out = out or Path(f"report-{gps:.10g}.html")
    if not out.resolve().parent.is_dir():
        raise UserError(f"--out {out}: no such folder {out.resolve().parent}")
    if not files and data is None:
        raise UserError("expected files with the samples around the event, or --data with a store of findings")
    found = [] if data is None else stored(data, config, lambda store: _findings(store, gps))
    title, lead, sections = event_report(gps, _opened(files) if files else None, None if data is None else found)
    page = standalone_page(title, lead, [PageSection(*section) for section in sections])
    out.write_text(page, encoding="utf-8")
    click.echo(f"{out}: {lead}")


def _opened(files: Sequence[Path]) -> OpenedFiles:
    from opintel.gw.files.opened import opened
    from opintel.streams.connectors.parsed import FileRefused

    try:
        found = opened(files)
    except FileRefused as problem:
        raise UserError(str(problem)) from problem
    for reason in found.unread[:SAID]:
        click.echo(f"opintel: {reason}", err=True)
    if len(found.unread) > SAID:
        click.echo(f"opintel: {len(found.unread) - SAID} more were not read", err=True)
    if not found.stretches:
        raise UserError(f"{files[0]}: no samples in it" if len(files) == 1 else "no samples in the files")
    return found


def _findings(store: Store, gps: float) -> list[dict[str, Any]]:
    """Findings of interferometers around a time."""
    from opintel.finding import NS
    from opintel.gw.gps import utc_from_gps
    from opintel.store import queries

    middle = utc_from_gps(round(gps * NS))
    return queries.findings_between(store, middle - NEAR * NS, middle + NEAR * NS, detectors="gw.")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SAID} more" if len(names) > SAID else ""
    return ", ".join(names[:SAID]) + more


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print(table: pa.Table, channels: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from opintel.cli.shown import clean

    shown = Table(header_style="bold", box=None, pad_edge=False)
    shown.add_column("channel", overflow="fold")
    for column in ("GPS", "SNR", "Hz", "from", "to", "Q", "s"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table.slice(0, SHOWN).to_pylist():
        numbers = (f"{row[name]:.1f}" for name in ("snr", "f_peak", "f_low", "f_high", "q"))
        lasts = f"{row['t_end'] - row['t_start']:.3f}"
        shown.add_row(*map(clean, (row["channel"], f"{row['t_peak']:.4f}", *numbers, lasts)))
    if table.num_rows:
        Console().print(shown)
    more = f"; {table.num_rows - SHOWN} more rows: --json" if table.num_rows > SHOWN else ""
    click.echo(f"{_counted(table.num_rows, 'trigger')} in {_counted(len(channels), 'channel')}{more}")
