"""`opintel replay`: real files through the real pipeline in one process, into a throw-away store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, late_warning, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.chain import DayOutcome
    from opintel.site.system import System
    from opintel.streams.ingest import Ingester
    from opintel.streams.log import Aside

MANY_LATE = 3
"""Exit code where more rows were late than can be chance."""
MOST_ASIDES, MOST_REASONS, SHOWN_REASONS = 100_000, 100, 10
"""Dead letters that are looked at, reasons in the document, reasons in words."""


@click.command(short_help="Judge real files through the real pipeline.")
@click.argument("stream")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--batch-size",
    default=64,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Records a step; changes nothing.",
)
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep log and store in this new folder (default: thrown away).",
)
@json_option
def command(
    stream: str, files: tuple[Path, ...], batch_size: int, config: Path | None, data: Path | None, as_json: bool
) -> int:
    """Judges FILES of STREAM (messages as *.jsonl, *.json; records as *.csv, *.parquet, *.arrow; error texts as *.txt
    and, in a column `message` or `content`, *.csv; for dqm histograms as *.root and UHI; folders of them; the archive
    of a log) and prints what was read of them, the findings and incidents. Leaves with 3 where more than 5 % of the
    rows were late: they were not judged."""
    if data is not None:
        if data.exists() and any(data.iterdir()):
            raise UserError(f"{data} is not empty; a replay starts in a new folder")
        return _finish(_document(stream, files, data, config, batch_size), as_json)
    with tempfile.TemporaryDirectory(prefix="opintel-replay-") as folder:
        return _finish(_document(stream, files, Path(folder), config, batch_size), as_json)


def _document(stream: str, files: tuple[Path, ...], data: Path, config: Path | None, batch: int) -> dict[str, Any]:
    from opintel.streams.archive.reader import is_archive

    if len(files) == 1 and files[0].is_dir() and is_archive(str(files[0])):
        return replay_archive(stream, str(files[0]), data, config)
    return replay(stream, files, data, config, batch, _warn)


def replay(
    stream: str, files: tuple[Path, ...], data: Path, config: Path | None, batch: int, warn: Callable[[str], None]
) -> dict[str, Any]:
    """The document of `opintel replay --json`."""
    from opintel.cli.progress import bytes_progress
    from opintel.site.load import load_site
    from opintel.site.system import System, drain
    from opintel.site.watched import public_key_warning
    from opintel.store.queries import findings, incidents
    from opintel.streams.connectors.files import FileSource
    from opintel.streams.connectors.framing import FileForms
    from opintel.streams.feeds import file_feed
    from opintel.streams.loop import Service
    from opintel.streams.vitals import KINDS

    system = System(data, load_site(config), replayed=True)
    try:
        for warning in system.warnings:
            warn(warning)
        watched = system.stream(stream)
        try:
            FileSource(files, FileForms.of(watched.pipeline)).require_content()
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from error
        feed = file_feed(lambda name: system.ingester(watched, name, live=False), files, final=True)
        services: list[Service] = [
            system.sequencer(feed.ingester),
            feed,
            system.stage1(watched, batch=batch),
            system.stage2(watched, origin="replay", batch=batch),
            system.alerting(),
        ]
        with bytes_progress(f"replay {stream}", feed.progress) as tick:
            drain(services, tick)
        counts = system.log.aside_counts()
        dead = sum(n for (topic, kind), n in counts.items() if kind == "dead")
        messages = feed.ingester.resume.messages
        if feed.ingester.taken == 0:
            first = system.log.asides(kind="dead", limit=1)
            reason = f"; the first: {first[0].place}: {first[0].reason}" if first else ""
            raise UserError(f"none of {messages} messages could be decoded as {stream}{reason}")
        if warning := public_key_warning(system.site, {stream: watched.pipeline.wire}):
            warn(warning)
        return {
            "stream": stream,
            "messages": messages,
            "dead_letters": dead,
            "late": sum(n for (_, kind), n in counts.items() if kind == "late"),
            "input": _input(system, feed.ingester),
            "set_aside": {kind: n for kind in KINDS if (n := sum(c for (_, k), c in counts.items() if k == kind))},
            "findings": findings(system.store, naming={stream: watched.pipeline.naming}),
            "incidents": incidents(system.store),
        }
    finally:
        system.close()


def replay_archive(stream: str, archive: str, data: Path, config: Path | None) -> dict[str, Any]:
    """The same of the archive of a log: its records have their stamps, ticks and controls, so that the findings and
    incidents are those of its time."""
    from opintel.backfill.decided import decide, records_of
    from opintel.backfill.jobs import by_itself, job_of
    from opintel.backfill.local import backfill
    from opintel.backfill.outcomes import Counts
    from opintel.site.load import load_site
    from opintel.site.system import System
    from opintel.store.queries import findings, incidents
    from opintel.streams.archive.reader import Archive, ArchiveError

    system = System(data, by_itself(load_site(config)), replayed=True)
    try:
        job, counts = job_of(system.site, stream, archive, "replay"), Counts()
        reasons: dict[str, dict[str, Any]] = {}

        def counted() -> Iterator[DayOutcome]:
            nonlocal counts
            for day in backfill(job, Archive(archive)):
                counts += day.counts
                _add_reasons(reasons, [aside for aside in day.asides if aside.kind == "dead"])
                yield day

        decide(system.store, system.alerts, (records_of(stream, day) for day in counted()))
        return {
            "stream": stream,
            "messages": counts.records,
            "dead_letters": counts.asides.get("dead", 0),
            "late": counts.asides.get("late", 0),
            "input": {
                "rows": counts.rows,
                "keys": None,
                "columns_used": [],
                "columns_dropped": [],
                "rejected": _most_frequent(reasons),
            },
            "set_aside": counts.asides,
            "findings": findings(system.store, naming={stream: job.pipeline.naming}),
            "incidents": incidents(system.store),
        }
    except ArchiveError as error:
        raise UserError(str(error)) from error
    finally:
        system.close()


def _input(system: System, ingester: Ingester) -> dict[str, Any]:
    """What was read of the files: rows, keys, columns, and the reasons of the dead letters, the most frequent first."""
    reasons: dict[str, dict[str, Any]] = {}
    _add_reasons(reasons, system.log.asides(kind="dead", limit=MOST_ASIDES))
    return {
        "rows": ingester.taken,
        "keys": len(ingester.keys),
        "columns_used": sorted(ingester.columns.used),
        "columns_dropped": sorted(ingester.columns.dropped),
        "rejected": _most_frequent(reasons),
    }


def _add_reasons(reasons: dict[str, dict[str, Any]], dead: Iterable[Aside]) -> None:
    for aside in dead:
        found = reasons.setdefault(aside.reason, {"place": aside.place, "reason": aside.reason, "count": 0})
        found["count"] += aside.count


def _most_frequent(reasons: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(reasons.values(), key=lambda one: -one["count"])[:MOST_REASONS]


def _warn(text: str) -> None:
    click.echo(f"opintel: {text}", err=True)


def _finish(document: dict[str, Any], as_json: bool) -> int:
    """Prints the document; the exit code."""
    if as_json:
        print_json(document)
    else:
        _print(document)
    if warning := late_warning(document["stream"], document["late"], document["input"]["rows"]):
        _warn(f"WARNING: {warning}")
    return MANY_LATE if warning else 0


def _print(document: dict[str, Any]) -> None:
    from opintel.cli.shown import print_findings, print_incidents

    if others := {kind: n for kind, n in document["set_aside"].items() if kind != "dead"}:
        click.echo("set aside: " + ", ".join(f"{n} {kind}" for kind, n in others.items()))
    print_incidents(document["incidents"])
    print_findings(document["findings"])
    read = document["input"]
    for title in ("used", "dropped"):
        if names := read[f"columns_{title}"]:
            click.echo(f"columns {title}: {', '.join(names)}")
    for one in read["rejected"][:SHOWN_REASONS]:
        click.echo(f"refused: {one['count']}, the first at {one['place']}: {one['reason']}")
    if (more := len(read["rejected"]) - SHOWN_REASONS) > 0:
        click.echo(f"refused for {more} more reasons: see --json")
    what, keys = ("records", "") if read["keys"] is None else ("messages", f" of {read['keys']} keys")
    click.echo(
        f"{document['messages']} {what}, {read['rows']} rows{keys}, "
        f"{document['dead_letters']} dead letters, {document['late']} late, "
        f"{len(document['findings'])} findings, {len(document['incidents'])} incidents"
    )
