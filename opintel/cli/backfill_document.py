"""What `opintel backfill --json` says: an archive judged again, its outcome kept by day in a folder or put into a store
of its own, and held against what was found without a change.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.chain import DayOutcome
    from opintel.backfill.outcomes import Outcomes
    from opintel.backfill.report import Batches, Span, WhatIf
    from opintel.backfill.stages import Job
    from opintel.cli.engines import MakeEngine
    from opintel.site.settings import Site
    from opintel.store.backfills import BackfillNote
    from opintel.streams.archive.layout import Piece
    from opintel.streams.archive.reader import Archive

_DATABASE = re.compile(r"(sqlite|postgresql)(\+\w+)?:")
"""A URL of SQLAlchemy's, not fsspec's."""


class BackfillOptions(NamedTuple):
    """What is judged again, and where the outcome goes."""

    stream: str
    archive: str
    """URL."""
    output: str
    span: Span
    settings: tuple[str, ...] = ()
    """PATH=VALUE each."""
    against_archive: bool = False
    files: str = ""
    """The files of others that the archive was made of, as they were given."""


def is_store(output: str) -> bool:
    """Whether an output is a store, by its SQLAlchemy URL, not a folder or fsspec URL."""
    return _DATABASE.match(output) is not None


def backfill(site: Site, options: BackfillOptions, engine: MakeEngine) -> tuple[dict[str, Any], WhatIf | None]:
    """The document, and what it compares where a change is asked for. Raises UserError."""
    from opintel.backfill.archived_findings import archived_findings
    from opintel.backfill.decided import records_of
    from opintel.backfill.jobs import job_of
    from opintel.backfill.outcomes import Counts, OutcomeError, Outcomes
    from opintel.backfill.report import findings_of, what_if, what_if_json
    from opintel.backfill.what_if import archived_settings, changed_settings, read_settings
    from opintel.naming import named_json
    from opintel.streams.archive.reader import Archive, ArchiveError
    from opintel.streams.artefacts import ArtefactUnavailable
    from opintel.streams.connectors.identity import shown

    stream, settings, span = options.stream, options.settings, options.span
    job = job_of(site, stream, options.archive)
    try:
        plain, job = job, job._replace(settings=read_settings(settings, job.pipeline))
    except ValueError as error:
        raise UserError(f"--set {error}") from error
    unread = 0
    there: Batches = []
    try:
        archive = Archive(options.archive)
        source = shown(options.files or archive.shown)
        said_before = archived_settings(archive, archive.epochs(job.stream.topic), stream, span[1]) if settings else []
        if settings and not said_before:
            raise UserError(f"{source}: no control there carries settings of {stream}: nothing to set")
        if options.against_archive:
            live = archived_findings(archive, stream)
            there, unread = [live.records], live.unread
        outcomes = None if is_store(options.output) else Outcomes(options.output, stream)
        days = _days(job, archive, outcomes, span, engine)
        if settings and not options.against_archive:
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
        note = _note(options, source, {one.name: one.now for one in changed}, counts.rows, here)
        _into_store(options, note, here)
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
    if not (settings or options.against_archive):
        return document, None
    report = what_if(
        site,
        stream,
        job.pipeline,
        here,
        there,
        span,
        archive=source,
        settings=changed,
        rows=counts.rows,
        against_archive=options.against_archive,
        unread=unread,
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


def _note(options: BackfillOptions, source: str, settings: dict[str, Any], rows: int, said: Batches) -> BackfillNote:
    """What a store says of the backfill whose findings it holds."""
    from opintel import __version__
    from opintel.backfill.report import judged_in
    from opintel.store.backfills import BackfillNote

    judged = judged_in(said, options.span)
    return BackfillNote(
        stream=options.stream,
        archive=source,
        begin=min((one.window.start for one in judged), default=0),
        end=max((one.window.end for one in judged), default=0),
        settings=settings,
        rows=rows,
        build=__version__,
        at=time.time_ns(),
    )


def _into_store(options: BackfillOptions, note: BackfillNote, said: Batches) -> None:
    """Puts what a backfill said into the store at an SQLAlchemy URL; UserError where it holds something else."""
    from sqlalchemy.exc import SQLAlchemyError

    from opintel.backfill.report import findings_of, judged_in
    from opintel.backfill.stored import StoreTaken, put
    from opintel.store import open_store

    span = options.span
    try:
        with closing(open_store(options.output)) as store:
            conflicts = put(store, note, findings_of(said, span), judged_in(said, span))
    except StoreTaken as error:
        raise UserError(f"the store at --output {error}") from error
    except (SQLAlchemyError, RuntimeError, ImportError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise UserError(f"the store at --output cannot be used: {reason}") from error
    if conflicts:
        raise UserError(f"the store at --output holds other findings of this stream: {conflicts[0]}")
