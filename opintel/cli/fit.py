"""`opintel fit`: what can be learned of an archive, so that a new site does not begin with nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.streams.archive.layout import Piece


@click.command(short_help="Learn from an archive what a new site begins with.")
@click.argument("stream")
@click.option("--input", "source", required=True, metavar="URL", help="Folder or fsspec URL of the archive.")
@click.option("--output", required=True, metavar="URL", help="Folder or fsspec URL: `models` of the site.")
@click.option("--from", "begin", metavar="DATE", help="Only the records of this day of event time and later.")
@click.option("--to", "end", metavar="DATE", help="Only the records of this day and before.")
@config_option
@json_option
def command(
    stream: str, source: str, output: str, begin: str | None, end: str | None, config: Path | None, as_json: bool
) -> None:
    """Puts the archived records of STREAM through its first stage and writes what that has learned to the output,
    under its SHA-256, with a card beside it; `models` in the stream's YAML names it to a site. It runs in this
    process."""
    document = learn(stream, source, output, (begin, end), config)
    if as_json:
        print_json(document)
        return
    card = ", ".join(f"{name} {value}" for name, value in document["card"].items())
    click.echo(f"{document['name']}: {card}")
    click.echo(
        f"in the YAML of a stream that is to begin with it: models: {{{document['name']}: {document['sha256']}}}"
    )


def learn(
    stream: str, source: str, output: str, span: tuple[str | None, str | None], config: Path | None
) -> dict[str, Any]:
    """The document of `opintel fit --json`."""
    import msgspec

    from opintel.backfill.fitting import Days, fit, put
    from opintel.backfill.jobs import job_of
    from opintel.cli.progress import share_progress
    from opintel.site.load import load_site
    from opintel.streams.archive.reader import Archive, ArchiveError
    from opintel.streams.artefacts import ArtefactUnavailable
    from opintel.streams.urls import Location

    days = Days(_day("--from", span[0]), _day("--to", span[1]))
    job = job_of(load_site(config), stream, source)
    try:
        archive, place = Archive(source), Location.of(output)
        topics = archive.epochs(job.stream.topic)
        files = [p for topic in topics for pieces in topic.pieces for p in pieces if p.file.day in days]
        behind = 0
        with share_progress(f"fit {stream}") as tell:

            def one_more(_: Piece) -> None:
                nonlocal behind
                behind += 1
                tell(behind / max(len(files), 1))

            made = fit(job, archive, days, one_more)
        put(place, made)
    except (ArchiveError, ImportError) as error:
        raise UserError(str(error)) from error
    except ArtefactUnavailable as error:
        raise UserError(f"the archive lacks what a control names: {error}") from error
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    except OSError as error:
        raise UserError(f"the output cannot be written: {error}") from error
    return {"stream": stream, "name": made.name, "sha256": made.sha256, "card": msgspec.to_builtins(made.card)}


def _day(option: str, text: str | None) -> str | None:
    try:
        return text and date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise UserError(f"{option} {text}: expected a date such as 2026-01-31 ({error})") from error
