"""`opintel backfill`: an archive judged again by the same detectors, with the findings of the live run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import MANY_LATE, config_option, json_option, late_warning, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.files import FilesRead
    from opintel.site.settings import Site


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
    from opintel.cli.backfill_document import BackfillOptions, backfill
    from opintel.cli.engines import in_process, in_spark
    from opintel.cli.shown import print_backfill
    from opintel.site.load import load_site

    if local and master is not None:
        raise UserError("--local is without Spark: expected no --master beside it")
    if page is not None and not (settings or against):
        raise UserError("--html shows what a change means: expected --set or --against beside it")
    if page is not None and not page.resolve().parent.is_dir():
        raise UserError(f"--html {page}: no such folder {page.resolve().parent}")
    span, site = (_time("--from", begin), _time("--to", end)), load_site(config)
    if span[0] is not None and span[1] is not None and span[0] >= span[1]:
        raise UserError(f"--to {end}: expected a time after --from {begin}")
    with (
        _archived(site, stream, source, output) as (archive, read),
        nullcontext(in_process) if local else in_spark(stream, master) as engine,
    ):
        options = BackfillOptions(
            stream, archive, output, span, settings, against is not None, "" if read is None else source
        )
        document, report = backfill(site, options, engine)
    if read is not None:
        _add_files(document, read)
    if page is not None and report is not None:
        from opintel.cli.what_if_page import what_if_page
        from opintel.site.watched import watched_stream

        page.write_text(what_if_page(report, watched_stream(site, stream).pipeline.naming), encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        print_backfill(document)
    return _late(document) if read is not None else 0


@contextmanager
def _archived(site: Site, stream: str, source: str, output: str) -> Iterator[tuple[str, FilesRead | None]]:
    """The URL of the archive, and what was read of files of others: these become an archive first, which is kept beside
    the days' outcomes.
    """
    from opintel.cli.archive import archived
    from opintel.cli.backfill_document import is_store
    from opintel.site.sources import archive_given
    from opintel.site.watched import watched_stream

    url = archive_given(watched_stream(site, stream), [source])
    if url is not None:
        yield url, None
        return
    place = None if is_store(output) else output
    with archived(site, stream, [source], place, below=f"{stream}/_archive") as made:
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


def _time(option: str, text: str | None) -> int | None:
    from opintel.finding import parse_rfc3339

    if text is None:
        return None
    try:
        return parse_rfc3339(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
    except ValueError as error:
        raise UserError(f"{option} {text}: expected a date or a time such as 2026-01-31T12:00:00Z ({error})") from error
