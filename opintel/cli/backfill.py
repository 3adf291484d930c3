"""`opintel backfill`: an archive judged again by the same detectors, with the findings of the live run."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.chain import DayOutcome
    from opintel.finding import Finding

_DATABASE = re.compile(r"(sqlite|postgresql)(\+\w+)?:")
"""A URL of SQLAlchemy's, not fsspec's."""


@click.command(short_help="Judge an archive again, with the findings of the live run.")
@click.argument("stream")
@click.option("--input", "source", required=True, metavar="URL", help="Folder or fsspec URL of the archive.")
@click.option(
    "--output",
    required=True,
    metavar="URL",
    help="Folder or fsspec URL for Parquet, or the SQLAlchemy URL of a store of its own.",
)
@click.option("--from", "begin", metavar="TIME", help="Only findings of windows that end after this date or time.")
@click.option("--to", "end", metavar="TIME", help="Only findings of windows that end by then; nothing beyond is read.")
@click.option("--local", is_flag=True, help="In this process.")
@config_option
@json_option
def command(
    stream: str,
    source: str,
    output: str,
    begin: str | None,
    end: str | None,
    local: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Judges the archived records of STREAM and prints its findings, those of the live run, id for id. They go
    to the output, and never to the findings topic: no incident opens. A folder or fsspec URL keeps each day's outcome,
    and days that are there are not judged again."""
    if not local:
        raise UserError("expected --local: a backfill in Spark is not built yet")
    since, until = _time("--from", begin), _time("--to", end)
    document = backfill(stream, source, output, since, until, config)
    if as_json:
        print_json(document)
    else:
        _print(document)


def backfill(
    stream: str, source: str, output: str, since: int | None, until: int | None, config: Path | None
) -> dict[str, Any]:
    """The document of `opintel backfill --json`."""
    from opintel.backfill.jobs import job_of
    from opintel.backfill.local import backfill
    from opintel.backfill.outcomes import Counts, OutcomeError, Outcomes
    from opintel.cli.progress import share_progress
    from opintel.naming import named_json
    from opintel.site.load import load_site
    from opintel.streams.archive.layout import Piece
    from opintel.streams.archive.reader import Archive, ArchiveError
    from opintel.streams.artefacts import ArtefactUnavailable

    job = job_of(load_site(config), stream, source)
    days, counts, kept = list[str](), Counts(), list["Finding"]()
    try:
        archive = Archive(source)
        files = sum(len(pieces) for topic in archive.epochs(job.stream.topic) for pieces in topic.pieces)
        outcomes = None if _DATABASE.match(output) else Outcomes(output, stream)
        put = _into_store(stream, output) if outcomes is None else lambda _: None
        behind = 0
        with share_progress(f"backfill {stream}") as tell:

            def one_more(_: Piece) -> None:
                nonlocal behind
                behind += 1
                tell(behind / max(files, 1))

            for day in backfill(job, archive, outcomes, until=until, behind=one_more):
                wanted = _between(day, since, until)
                put(wanted)
                kept += wanted
                days.append(day.day.name)
                counts += day.counts
    except (ArchiveError, OutcomeError) as error:
        raise UserError(str(error)) from error
    except ArtefactUnavailable as error:
        raise UserError(f"the archive lacks what a control names: {error}") from error
    kept.sort(key=lambda finding: (finding.window.end, finding.id))
    return {
        "stream": stream,
        "days": days,
        "records": counts.records,
        "rows": counts.rows,
        "late": counts.asides.get("late", 0),
        "dead_letters": counts.asides.get("dead", 0),
        "set_aside": counts.asides,
        "findings": [named_json(finding, job.pipeline.naming) for finding in kept],
    }


def _into_store(stream: str, url: str) -> Callable[[list[Finding]], None]:
    """Puts findings into the store at an SQLAlchemy URL; UserError where it holds others of the same ids."""
    from sqlalchemy.exc import SQLAlchemyError

    from opintel.backfill.stored import put
    from opintel.store import open_store

    def putting(findings: list[Finding]) -> None:
        try:
            with closing(open_store(url)) as store:
                conflicts = put(store, stream, findings)
        except (SQLAlchemyError, RuntimeError, ImportError) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
            raise UserError(f"the store at --output cannot be used: {reason}") from error
        if conflicts:
            raise UserError(f"the store at --output holds other findings of this stream: {conflicts[0]}")

    return putting


def _between(day: DayOutcome, since: int | None, until: int | None) -> list[Finding]:
    return [
        finding
        for finding in day.findings
        if (since is None or finding.window.end > since) and (until is None or finding.window.end <= until)
    ]


def _time(option: str, text: str | None) -> int | None:
    from opintel.finding import parse_rfc3339

    if text is None:
        return None
    try:
        return parse_rfc3339(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
    except ValueError as error:
        raise UserError(f"{option} {text}: expected a date or a time such as 2026-01-31T12:00:00Z ({error})") from error


def _print(document: dict[str, Any]) -> None:
    from opintel.cli.shown import print_findings

    print_findings(document["findings"])
    others = ", ".join(f"{n} {kind}" for kind, n in document["set_aside"].items()) or "none"
    click.echo(
        f"{len(document['days'])} days, {document['records']} records, {document['rows']} rows, "
        f"{len(document['findings'])} findings; rows set aside: {others}"
    )
