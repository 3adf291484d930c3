"""`opintel fit`: what can be learned of an archive, so that a new site does not begin with nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.fitting import Days
    from opintel.backfill.stages import Job
    from opintel.site.settings import Site
    from opintel.streams.archive.layout import Piece
    from opintel.streams.archive.reader import Archive


@click.command(short_help="Learn from an archive what a new site begins with.")
@click.argument("stream")
@click.option("--input", "source", required=True, metavar="URL", help="Folder or fsspec URL of the archive.")
@click.option(
    "--output",
    required=True,
    metavar="URL",
    help="Folder or fsspec URL: `models` of the site; of gw any folder. Of fts: the SQLAlchemy URL of the store that "
    "it begins with.",
)
@click.option("--from", "begin", metavar="DATE", help="Only the records of this day of event time and later.")
@click.option("--to", "end", metavar="DATE", help="Only the records of this day and before.")
@config_option
@json_option
def command(
    stream: str, source: str, output: str, begin: str | None, end: str | None, config: Path | None, as_json: bool
) -> None:
    """Learns from the archived records of STREAM, in this process. Of health and dqm: what stage 1 knows at the end, in
    a file under its SHA-256 with a card beside it, which `models` in a stream's YAML names. Of fts: the clusters of
    errors with their names, put into a store with which a site begins. Of gw: a row for each second in Parquet, from
    which a model of glitches is learned."""
    document = learn(stream, source, output, (begin, end), config)
    if as_json:
        print_json(document)
        return
    card = ", ".join(f"{name} {_shown(name, value)}" for name, value in document["card"].items())
    click.echo(f"{document['name']}: {card}")
    if "sha256" in document:
        click.echo(f"{document['sha256']} in {output}")


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
    if days.first and days.last and days.first > days.last:
        raise UserError(f"--to {days.last}: expected a day not before --from {days.first}")
    site = load_site(config)
    job = job_of(site, stream, source)
    try:
        archive = Archive(source)
        topics = archive.epochs(job.stream.topic)
        files = [p for topic in topics for pieces in topic.pieces for p in pieces if p.file.day in days]
        behind = 0
        with share_progress(f"fit {stream}") as tell:

            def one_more(_: Piece) -> None:
                nonlocal behind
                behind += 1
                tell(min(1.0, behind / max(len(files), 1)))

            if job.pipeline.domain == "fts":
                return _clusters(job, archive, days, output, site, one_more)
            if job.pipeline.domain == "gw":
                return _training(job, archive, days, output, one_more)
            made = fit(job, archive, days, one_more)
        put(Location.of(output), made)
    except (ArchiveError, ImportError) as error:
        raise UserError(str(error)) from error
    except ArtefactUnavailable as error:
        raise UserError(f"the archive lacks what a control names: {error}") from error
    except ValueError as error:
        raise UserError(f"{stream}: {error}") from error
    except OSError as error:
        raise UserError(f"the output cannot be written: {error}") from error
    return {"stream": stream, "name": made.name, "card": msgspec.to_builtins(made.card), "sha256": made.sha256}


def _clusters(
    job: Job, archive: Archive, days: Days, output: str, site: Site, behind: Callable[[Piece], None]
) -> dict[str, Any]:
    import msgspec
    from sqlalchemy.exc import SQLAlchemyError

    from opintel.backfill.clusters import fit_clusters
    from opintel.store import open_store

    try:
        with closing(open_store(output)) as store:
            card = fit_clusters(job, archive, days, store, site.settings.clusters, behind)
    except (SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise UserError(f"--output: expected the SQLAlchemy URL of a store, got {reason}") from error
    return {"stream": job.stream.name, "name": "fts.clusters", "card": msgspec.to_builtins(card)}


def _shown(name: str, value: Any) -> str:
    """A value of a card, for people: times (ns UTC) as RFC 3339, no brackets."""
    from opintel.finding import rfc3339

    if name in {"start", "end"} and isinstance(value, int):
        return rfc3339(value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown('', of_it)}" for key, of_it in value.items()) or "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _training(job: Job, archive: Archive, days: Days, output: str, behind: Callable[[Piece], None]) -> dict[str, Any]:
    import msgspec

    from opintel.backfill.training import fit_training
    from opintel.streams.urls import Location

    made = fit_training(job, archive, days, Location.of(output), behind)
    return {
        "stream": job.stream.name,
        "name": made.card.name,
        "card": msgspec.to_builtins(made.card),
        "sha256": made.sha256,
    }


def _day(option: str, text: str | None) -> str | None:
    try:
        return text and date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise UserError(f"{option} {text}: expected a date such as 2026-01-31 ({error})") from error
