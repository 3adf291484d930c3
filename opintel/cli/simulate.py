"""`opintel simulate`: messages in a stream's wire format, and the truth about what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import click

from opintel.site.errors import UserError

MAX_HOURS = 24 * 366


@click.command(short_help="Write simulated messages and the truth about them.")
@click.argument("stream")
@click.option("--hours", required=True, type=float, help="How much event time.")
@click.option("--seed", required=True, type=click.IntRange(min=0), help="Same seed, same bytes.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@click.option("--start", help="RFC 3339 time of the first message (default: a fixed date in the past).")
@click.option("--faults", help="Kinds of fault, with commas between them, or `none` (default: one of each).")
def command(stream: str, hours: float, seed: int, out: Path, start: str | None, faults: str | None) -> None:
    """Writes DIR/messages/ (what replay and --ingest read) and DIR/truth.json, as the domain of STREAM simulates it."""
    from opintel.cli.progress import share_progress
    from opintel.finding import NS, parse_rfc3339
    from opintel.simulation import DEFAULT_START, write
    from opintel.site.load import load_site
    from opintel.site.story import stories_for

    stories = stories_for(load_site(), stream)
    kinds = stories.faults if faults is None else () if faults == "none" else tuple(faults.split(","))
    earliest, latest = map(parse_rfc3339, ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"))  # what the wires take
    try:
        began = DEFAULT_START if start is None else parse_rfc3339(start)
    except ValueError as error:
        raise UserError(f"--start: {error}") from error
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; simulate writes a new folder")
    if not 0 < hours <= MAX_HOURS:
        raise UserError(f"--hours: expected above 0 and at most {MAX_HOURS}, got {hours:g}")
    if not earliest <= began <= latest - (hours + 1) * 3600 * NS:
        raise UserError("--start: expected a time so that all lies between the years 2000 and 2100")
    try:
        simulation = stories.simulator(hours=hours, seed=seed, start=began, faults=kinds)
    except ValueError as error:
        raise UserError(str(error)) from error
    with share_progress(f"simulate {stream}") as tell:
        messages = write(out, simulation, tell, suffix=stories.suffix)
    click.echo(f"{out}: {messages} messages, {len(simulation.truth)} faults in truth.json", err=True)
