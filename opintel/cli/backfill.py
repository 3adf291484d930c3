"""`opintel backfill`: an archive judged again by the same detectors, with the findings of the live run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from opintel.cli.stored import config_option, json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from opintel.backfill.chain import Engine
    from opintel.backfill.outcomes import Counts, Outcomes
    from opintel.backfill.stages import Job
    from opintel.backfill.what_if import Instead
    from opintel.detector import Pipeline
    from opintel.finding import Finding
    from opintel.streams.archive.reader import Archive

    MakeEngine = Callable[[Job, Archive], Engine]

WITHOUT = "_without"
"""Folder of the output, beside what was found under other settings: what is found without."""
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
@click.option("--local", is_flag=True, help="In this process, without Spark.")
@click.option("--master", metavar="MASTER", help="Spark's master; without it local[*], or what spark-submit says.")
@click.option(
    "--set",
    "asked",
    multiple=True,
    metavar="PATH=VALUE",
    help="What if: a setting such as detectors.fts.failures.emit=-5; may be given several times.",
)
@config_option
@json_option
def command(
    stream: str,
    source: str,
    output: str,
    begin: str | None,
    end: str | None,
    local: bool,
    master: str | None,
    asked: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> None:
    """Judges the archived records of STREAM and prints its findings, those of the live run, id for id. They go
    to the output, and never to the findings topic: no incident opens. A folder or fsspec URL keeps each day's outcome,
    and days that are there are not judged again. It runs in Spark (extra `spark`), or with --local in this process.
    With --set it says what would be found under other settings, and compares that with what is found without."""
    if local and master is not None:
        raise UserError("--local is without Spark: expected no --master beside it")
    since, until = _time("--from", begin), _time("--to", end)
    with nullcontext(_here) if local else _spark(stream, master) as engine:
        document = backfill(stream, source, output, since, until, config, asked, engine)
    if as_json:
        print_json(document)
    else:
        _print(document)


def backfill(
    stream: str,
    source: str,
    output: str,
    since: int | None,
    until: int | None,
    config: Path | None,
    asked: Sequence[str],
    engine: MakeEngine,
) -> dict[str, Any]:
    """The document of `opintel backfill --json`."""
    from opintel.backfill.comparing import compare
    from opintel.backfill.jobs import job_of
    from opintel.backfill.outcomes import Outcomes
    from opintel.cli.progress import share_progress
    from opintel.naming import named_json
    from opintel.site.load import load_site

    job = job_of(load_site(config), stream, source)
    what_if = job._replace(instead=_instead(asked, job.pipeline)) if asked else None
    outcomes = None if _DATABASE.match(output) else Outcomes(output, stream)
    put = _into_store(stream, output) if outcomes is None else lambda _: None
    with share_progress(f"backfill {stream}") as tell:
        span = _Span(since, until)
        share = 0.5 if what_if else 1.0
        done = _judged(what_if or job, source, outcomes, span, engine, put, lambda part: tell(share * part))
        if what_if:
            without = None if outcomes is None else Outcomes(f"{output.rstrip('/')}/{WITHOUT}", stream)
            there = _judged(job, source, without, span, engine, lambda _: None, lambda part: tell(0.5 + part / 2))

    def shown(findings: Iterable[Finding]) -> list[dict[str, Any]]:
        return [named_json(finding, job.pipeline.naming) for finding in findings]

    document: dict[str, Any] = {
        "stream": stream,
        "days": done.days,
        "records": done.counts.records,
        "rows": done.counts.rows,
        "late": done.counts.asides.get("late", 0),
        "dead_letters": done.counts.asides.get("dead", 0),
        "set_aside": done.counts.asides,
        "findings": shown(done.findings),
    }
    if what_if:
        compared = compare(done.findings, there.findings)
        document["compare"] = {
            "only_here": shown(compared.only_here),
            "only_there": shown(compared.only_there),
            "changed": [dict(zip(("here", "there"), shown(pair), strict=True)) for pair in compared.changed],
        }
    return document


def _judged(
    job: Job,
    source: str,
    outcomes: Outcomes | None,
    span: _Span,
    engine: MakeEngine,
    put: Callable[[list[Finding]], None],
    tell: Callable[[float], None],
) -> _Done:
    """A whole backfill, its findings put away day by day."""
    from opintel.backfill.chain import judged_again
    from opintel.backfill.outcomes import Counts, OutcomeError
    from opintel.streams.archive.layout import Piece
    from opintel.streams.archive.reader import Archive, ArchiveError
    from opintel.streams.artefacts import ArtefactUnavailable

    days, counts, kept = list[str](), Counts(), list["Finding"]()
    try:
        archive = Archive(source)
        files = sum(len(pieces) for topic in archive.epochs(job.stream.topic) for pieces in topic.pieces)
        behind = 0

        def one_more(_: Piece) -> None:
            nonlocal behind
            behind += 1
            tell(behind / max(files, 1))

        for day in judged_again(job, archive, engine, outcomes, until=span.until, behind=one_more):
            wanted = [finding for finding in day.findings if span.has(finding)]
            put(wanted)
            kept += wanted
            days.append(day.day.name)
            counts += day.counts
    except (ArchiveError, OutcomeError) as error:
        raise UserError(str(error)) from error
    except ArtefactUnavailable as error:
        raise UserError(f"the archive lacks what a control names: {error}") from error
    return _Done(days, counts, sorted(kept, key=lambda finding: (finding.window.end, finding.id)))


class _Done(NamedTuple):
    """What a backfill came to."""

    days: list[str]
    counts: Counts
    findings: list[Finding]


class _Span(NamedTuple):
    """Which findings are wanted, by the end of their window; ns UTC, None: no bound."""

    since: int | None
    until: int | None

    def has(self, finding: Finding) -> bool:
        end = finding.window.end
        return (self.since is None or end > self.since) and (self.until is None or end <= self.until)


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


def _instead(asked: Sequence[str], pipeline: Pipeline) -> Instead:
    """The settings that `--set` asks for."""
    import yaml

    from opintel.backfill.what_if import instead_of

    pairs: list[tuple[str, Any]] = []
    for one in asked:
        path, equals, text = one.partition("=")
        try:
            if not equals:
                raise ValueError(f"expected PATH=VALUE, got {one!r}")
            pairs.append((path, yaml.safe_load(text)))
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"--set {one}: {' '.join(str(error).split())}") from error
    try:
        return instead_of(pairs, pipeline)
    except ValueError as error:
        raise UserError(f"--set {error}") from error


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
    if compared := document.get("compare"):
        only_here, only_there, changed = (len(compared[name]) for name in ("only_here", "only_there", "changed"))
        click.echo(f"beside the settings as they were: {only_here} more, {only_there} fewer, {changed} say otherwise")
