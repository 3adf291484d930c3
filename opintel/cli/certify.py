"""`opintel certify`: which lumisections of a run are good, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, data_option, json_option, print_json, stored
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.dqm.quality.certify import LumisectionQuality, SignOff
    from opintel.store.database import Store

RUNS_NAMED = 20
"""Runs that are named, the newest, where one is asked for that is not there."""


@click.command(short_help="Print which lumisections of a run are good.")
@click.argument("run", type=click.IntRange(0))
@click.option("--defects", "wants_defects", is_flag=True, help="What is wrong, instead: defects with their ranges.")
@data_option
@config_option
@json_option
def command(run: int, wants_defects: bool, data: Path, config: Path | None, as_json: bool) -> None:
    """Prints the golden JSON of RUN, {run: [[first, last], ...]}: the lumisections in which every subsystem was judged
    and none is bad, or which a shifter signed off as good. Without --json it says on stderr how many these are."""
    from opintel.dqm.quality.certify import certified, defects

    known, signed = stored(data, config, lambda store: _known(store, run))
    if wants_defects:
        found = [_plain(one) for one in defects(known, signed)]
        if as_json:
            print_json({"defects": found})
        else:
            _print_defects(found)
        return
    golden = certified(known, signed)
    if as_json:
        print_json(golden)
        return
    import msgspec

    good = sum(last - first + 1 for first, last in golden[str(run)])
    click.echo(msgspec.json.encode(golden).decode())
    signs = f", {len(signed)} signed off by shifters" if signed else ""
    total = len({one.lumisection for one in known})
    click.echo(f"{good} of {total} lumisections certified, {len(defects(known, signed))} defects{signs}", err=True)


def _known(store: Store, run: int) -> tuple[list[LumisectionQuality], list[SignOff]]:
    from opintel.site.certification import qualities, sign_offs

    found = qualities(store, run)
    if not found:
        runs = sorted({one.run for one in qualities(store)})
        named = ", ".join(map(str, runs[-RUNS_NAMED:]))
        there = f"there are {named}" if len(runs) > 1 else f"there is {named}" if runs else "no run has been judged"
        more = f" and {len(runs) - RUNS_NAMED} before" if len(runs) > RUNS_NAMED else ""
        raise UserError(f"no run {run} in the store; {there}{more}")
    return found, sign_offs(store, run)


def _plain(defect: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(defect)
    return plain


def _print_defects(defects: list[dict[str, Any]]) -> None:
    from opintel.cli.shown import print_defects

    if defects:
        print_defects(defects)
    else:
        click.echo("no defects")
