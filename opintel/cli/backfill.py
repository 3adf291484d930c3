"""`opintel backfill`: an archive judged again by the same detectors, with the findings of the live run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import MANY_LATE, config_option, json_option, late_warning, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from opintel.backfill.chain import DayOutcome, Engine
    from opintel.backfill.files import FilesRead
    from opintel.backfill.outcomes import Outcomes
    from opintel.backfill.report import Batches, Span, WhatIf
    from opintel.backfill.stages import Job
    from opintel.streams.archive.layout import Piece
    from opintel.streams.archive.reader import Archive

    MakeEngine = Callable[[Job, Archive], Engine]

_DATABASE = re.compile(r"(sqlite|postgresql)(\+\w+)?:")
"""A URL of SQLAlchemy's, not fsspec's."""


@click.command(short_help="Judge an archive again, with the findings of the live run.")
@click.argument("stream")
@click.option(
    "--input", "source", required=True, metavar="URL", help="The archive's folder or fsspec URL, or files of others."
)
@click.option(
    "--output",
    required=True,
    metavar="URL",
    help="Folder or fsspec URL for Parquet, or the SQLAlchemy URL of a store of its own.",
)
@click.option("--from", "begin", metavar="TIME", help="Only findings of windows that end after this date or time.")
@click.option("--to", "end", metavar="TIME", help="Only findings of windows that end by then; nothing beyond is read.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="A setting to judge under instead, as detectors.fts.failures.emit=-5; says what that changes.",
)
@click.option(
    "--against",
    type=click.Choice(["archive"]),
    help="Hold the findings against those that the archive holds, made by the build of their time.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What --set or --against changes, as one HTML page with pictures.",
)
@click.option("--local", is_flag=True, help="In this process, without Spark.")
@click.option("--master", metavar="MASTER", help="Spark's master; without it local[*], or what spark-submit says.")
@config_option
@json_option
def command(
    stream: str,
    source: str,
    output: str,
    begin: str | None,
    end: str | None,
    settings: tuple[str, ...],
    against: str | None,
    page: Path | None,
    local: bool,
    master: str | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Judges the archived records of STREAM and prints its findings, those of the live run, id for id, or of files of
    others (what `replay` reads) those of `replay`. They go
    to the output, and never to the findings topic: no incident opens. A folder or fsspec URL keeps each day's outcome,
    and days that are there are not judged again. It runs in Spark (extra `spark`), or with
    --local in this process."""
    if local and master is not None:
        raise UserError("--local is without Spark: expected no --master beside it")
    if page is not None and not (settings or against):
        raise UserError("--html shows what a change means: expected --set or --against beside it")
    if page is not None and not page.resolve().parent.is_dir():
        raise UserError(f"--html {page}: no such folder {page.resolve().parent}")
    since, until = _time("--from", begin), _time("--to", end)
    if since is not None and until is not None and since >= until:
        raise UserError(f"--to {end}: expected a time after --from {begin}")
    with (
        _archived(stream, source, output, config) as (archive, read),
        nullcontext(_here) if local else _spark(stream, master) as engine,
    ):
        document, report = backfill(stream, archive, output, (since, until), settings, against, config, engine)
    if read is not None:
        _add_files(document, read)
    if page is not None and report is not None:
        from opintel.cli.what_if_page import what_if_page
        from opintel.site.load import load_site
        from opintel.site.watched import watch

        text = what_if_page(report, watch(load_site(config))[stream].pipeline.naming)
        page.write_text(text, encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        _print(document)
    return _late(document) if read is not None else 0


@contextmanager
def _archived(stream: str, source: str, output: str, config: Path | None) -> Iterator[tuple[str, FilesRead | None]]:
    """The URL of the archive, and what was read of files of others: these become an archive first, which is kept beside
    the days' outcomes.
    """
    from opintel.cli.archive import archived
    from opintel.site.load import load_site
    from opintel.site.sources import archive_given
    from opintel.site.watched import watched_stream

    url = archive_given(watched_stream(load_site(config), stream), [source])
    if url is not None:
        yield url, None
        return
    place = None if _DATABASE.match(output) else output
    with archived(stream, [source], place, config, below=f"{stream}/_archive") as made:
        yield made


def _add_files(document: dict[str, Any], read: FilesRead) -> None:
    """What was set aside before it came into the archive, and what was read."""
    for kind, rows in read.set_aside.items():
        document["set_aside"][kind] = document["set_aside"].get(kind, 0) + rows
    document["dead_letters"] = document["set_aside"].get("dead", 0)
    document["input"] = {"files": read.files, "messages": read.messages, **read.input}


def _late(document: dict[str, Any]) -> int:
    """Warns where more rows of files were late than can be chance; the exit code."""
    warning = late_warning(document["stream"], document["late"], document["input"]["rows"])
    if warning:
        click.echo(f"opintel: WARNING: {warning}", err=True)
    return MANY_LATE if warning else 0


def backfill(
    stream: str,
    source: str,
    output: str,
    span: Span,
    settings: Sequence[str],
    against: str | None,
    config: Path | None,
    engine: MakeEngine,
) -> tuple[dict[str, Any], WhatIf | None]:
    """The document of `opintel backfill --json`, and what it compares."""
    from opintel.backfill.archived_findings import archived_findings
    from opintel.backfill.decided import records_of
    from opintel.backfill.jobs import job_of
    from opintel.backfill.outcomes import Counts, OutcomeError, Outcomes
    from opintel.backfill.report import findings_of, what_if, what_if_json
    from opintel.backfill.what_if import archived_settings, changed_settings, read_settings
    from opintel.naming import named_json
    from opintel.site.load import load_site
    from opintel.streams.archive.reader import Archive, ArchiveError
    from opintel.streams.artefacts import ArtefactUnavailable

    site = load_site(config)
    job = job_of(site, stream, source)
    try:
        plain, job = job, job._replace(settings=read_settings(settings, job.pipeline))
    except ValueError as error:
        raise UserError(f"--set {error}") from error
    unread = 0
    there: Batches = []
    try:
        archive = Archive(source)
        said_before = archived_settings(archive, archive.epochs(job.stream.topic), stream, span[1]) if settings else []
        if settings and not said_before:
            raise UserError(f"{archive.shown}: no control there carries settings of {stream}: nothing to set")
        if against:
            live = archived_findings(archive, stream)
            there, unread = [live.records], live.unread
        outcomes = None if _DATABASE.match(output) else Outcomes(output, stream)
        days = _days(job, archive, outcomes, span, engine)
        if settings and not against:
            there = [records_of(stream, day) for day in _days(plain, archive, None, span, engine)]
    except (ArchiveError, OutcomeError) as error:
        raise UserError(str(error)) from error
    except ArtefactUnavailable as error:
        raise UserError(f"the archive lacks what a control names: {error}") from error
    here = [records_of(stream, day) for day in days]
    found = findings_of(here, span)
    counts = sum((day.counts for day in days), start=Counts())
    changed = changed_settings(job.settings, said_before, job.pipeline)
    if outcomes is None:
        _into_store(output, stream, archive.shown, span, {one.name: one.now for one in changed}, counts.rows, here)
    naming = job.pipeline.naming
    document = {
        "stream": stream,
        "days": [day.day.name for day in days],
        "records": counts.records,
        "rows": counts.rows,
        "late": counts.asides.get("late", 0),
        "dead_letters": counts.asides.get("dead", 0),
        "set_aside": counts.asides,
        "findings": [named_json(finding, naming) for finding in found],
    }
    if not (settings or against):
        return document, None
    about = {"archive": archive.shown, "settings": changed, "rows": counts.rows}
    against_archive = against is not None
    report = what_if(
        site, stream, job.pipeline, here, there, span, **about, against_archive=against_archive, unread=unread
    )
    return document | {"compare": what_if_json(report, job.pipeline)}, report


def _days(job: Job, archive: Archive, outcomes: Outcomes | None, span: Span, engine: MakeEngine) -> list[DayOutcome]:
    """All days, with a bar on a terminal."""
    from opintel.backfill.chain import judged_again
    from opintel.cli.progress import share_progress

    files = sum(len(pieces) for topic in archive.epochs(job.stream.topic) for pieces in topic.pieces)
    behind = 0
    with share_progress(f"backfill {job.stream.name}") as tell:

        def one_more(_: Piece) -> None:
            nonlocal behind
            behind += 1
            tell(behind / max(files, 1))

        return list(judged_again(job, archive, engine, outcomes, until=span[1], behind=one_more))


def _here(job: Job, archive: Archive) -> Engine:
    from opintel.backfill.local import InProcess

    return InProcess(job, archive)


@contextmanager
def _spark(stream: str, master: str | None) -> Iterator[MakeEngine]:
    """Spark, started when the first day is to be judged."""
    from opintel.backfill.spark import InSpark

    started: list[SparkSession] = []

    def spark() -> SparkSession:
        if not started:
            started.append(_started(stream, master))
        return started[0]

    try:
        yield lambda job, archive: InSpark(spark, job, archive)
    finally:
        for one in started:
            one.stop()


def _started(stream: str, master: str | None) -> SparkSession:
    from opintel.backfill.spark import session
    from opintel.extras import install

    if master is None and "PYSPARK_GATEWAY_PORT" not in os.environ:  # which spark-submit sets
        master = "local[*]"
    try:
        return session(master, f"opintel backfill {stream}")
    except ImportError as error:
        raise UserError(f"a backfill in Spark needs the extra spark: {install('spark')}; or use --local") from error
    except RuntimeError as error:
        raise UserError(f"{error} Or use --local") from error


def _into_store(
    url: str, stream: str, archive: str, span: Span, settings: dict[str, Any], rows: int, said: Batches
) -> None:
    """Puts what a backfill said into the store at an SQLAlchemy URL; UserError where it holds something else."""
    import time

    from sqlalchemy.exc import SQLAlchemyError

    from opintel import __version__
    from opintel.backfill.report import findings_of, judged_in
    from opintel.backfill.stored import StoreTaken, put
    from opintel.store import open_store
    from opintel.store.backfills import BackfillNote

    judged = judged_in(said, span)
    note = BackfillNote(
        stream=stream,
        archive=archive,
        begin=min((one.window.start for one in judged), default=0),
        end=max((one.window.end for one in judged), default=0),
        settings=settings,
        rows=rows,
        build=__version__,
        at=time.time_ns(),
    )
    try:
        with closing(open_store(url)) as store:
            conflicts = put(store, note, findings_of(said, span), judged)
    except StoreTaken as error:
        raise UserError(f"the store at --output {error}") from error
    except (SQLAlchemyError, RuntimeError, ImportError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise UserError(f"the store at --output cannot be used: {reason}") from error
    if conflicts:
        raise UserError(f"the store at --output holds other findings of this stream: {conflicts[0]}")


def _time(option: str, text: str | None) -> int | None:
    from opintel.finding import parse_rfc3339

    if text is None:
        return None
    try:
        return parse_rfc3339(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
    except ValueError as error:
        raise UserError(f"{option} {text}: expected a date or a time such as 2026-01-31T12:00:00Z ({error})") from error


def _print(document: dict[str, Any]) -> None:
    from opintel.cli.shown import print_findings, print_input

    print_findings(document["findings"])
    if "input" in document:
        print_input(document["input"])
    if compared := document.get("compare"):
        _print_compared(compared)
    others = ", ".join(f"{n} {kind}" for kind, n in document["set_aside"].items()) or "none"
    days = len(document["days"])
    click.echo(
        f"{days} {'day' if days == 1 else 'days'}, {document['records']} records, {document['rows']} rows, "
        f"{len(document['findings'])} findings; rows set aside: {others}"
    )


def _print_compared(compared: dict[str, Any]) -> None:
    from opintel.cli.shown import print_incidents

    both, named = compared["incidents"], ("in the archive" if compared["against"] == "archive" else "without")
    mine = "found again" if compared["against"] == "archive" else "with these settings"
    for which, what in (("only_here", f"only {mine}"), ("only_there", f"only {named}")):
        click.echo(f"{what}: {len(compared[which])} findings, {len(both[which])} incidents")
        if both[which]:
            print_incidents(both[which])
    shifted = sum(1 for pair in both["both"] if pair["opened_later"])
    click.echo(
        f"changed: {len(compared['changed'])} findings; the same: {len(both['both'])} incidents, "
        f"{shifted} of them detected earlier or later"
    )
