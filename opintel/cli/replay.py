"""`opintel replay`: real files through the real pipeline in one process, into a throw-away store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import MANY_LATE, config_option, json_option, late_warning, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.chain import DayOutcome


@click.command(short_help="Judge real files through the real pipeline.")
@click.argument("stream")
@click.argument("files", nargs=-1, required=True)
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
    stream: str, files: tuple[str, ...], batch_size: int, config: Path | None, data: Path | None, as_json: bool
) -> int:
    """Judges FILES of STREAM (messages as *.jsonl, *.json; records as *.csv, *.parquet, *.arrow; error texts as *.txt
    and, in a column `message` or `content`, *.csv; any of these texts gzipped; for dqm histograms as *.root and UHI;
    folders of them; a folder or URL with the archive of a log) and prints what was read of them, the findings and
    incidents. Leaves with 3 where more than 5 % of the rows were late: they were not judged."""
    if data is not None:
        if data.exists() and any(data.iterdir()):
            raise UserError(f"{data} is not empty; a replay starts in a new folder")
        return _finish(_document(stream, files, data, config, batch_size), as_json)
    with tempfile.TemporaryDirectory(prefix="opintel-replay-") as folder:
        return _finish(_document(stream, files, Path(folder), config, batch_size), as_json)


def _document(stream: str, files: tuple[str, ...], data: Path, config: Path | None, batch: int) -> dict[str, Any]:
    from opintel.site.load import load_site
    from opintel.site.sources import archive_given
    from opintel.site.watched import watched_stream

    url = archive_given(watched_stream(load_site(config), stream), files)
    if url is not None:
        return replay_archive(stream, url, data, config)
    return replay(stream, tuple(map(Path, files)), data, config, batch, _warn)


def replay(
    stream: str, files: tuple[Path, ...], data: Path, config: Path | None, batch: int, warn: Callable[[str], None]
) -> dict[str, Any]:
    """The document of `opintel replay --json`."""
    from opintel.cli.progress import bytes_progress
    from opintel.site.files_read import complete_files, read_of
    from opintel.site.load import load_site
    from opintel.site.system import System, drain
    from opintel.site.watched import public_key_warning
    from opintel.store.queries import findings, incidents
    from opintel.streams.loop import Service
    from opintel.streams.vitals import KINDS

    system = System(data, load_site(config).by_itself(), replayed=True)
    try:
        for warning in system.warnings:
            warn(warning)
        watched = system.stream(stream)
        feed = complete_files(system, watched, files)
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
        read = read_of(system, feed.ingester)
        if warning := public_key_warning(system.site, {stream: watched.pipeline.wire}):
            warn(warning)
        return {
            "stream": stream,
            "messages": messages,
            "dead_letters": dead,
            "late": sum(n for (_, kind), n in counts.items() if kind == "late"),
            "input": read,
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
    from opintel.backfill.jobs import job_of
    from opintel.backfill.local import backfill
    from opintel.backfill.outcomes import Counts
    from opintel.site.files_read import Reasons
    from opintel.site.load import load_site
    from opintel.site.system import System
    from opintel.store.queries import findings, incidents
    from opintel.streams.archive.reader import Archive, ArchiveError

    system = System(data, load_site(config).by_itself(), replayed=True)
    try:
        job, counts = job_of(system.site, stream, archive, "replay"), Counts()
        reasons = Reasons()

        def counted() -> Iterator[DayOutcome]:
            nonlocal counts
            for day in backfill(job, Archive(archive)):
                counts += day.counts
                reasons.add(aside for aside in day.asides if aside.kind == "dead")
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
                "rejected": reasons.most_frequent(),
                "out_of_order": [],
            },
            "set_aside": counts.asides,
            "findings": findings(system.store, naming={stream: job.pipeline.naming}),
            "incidents": incidents(system.store),
        }
    except ArchiveError as error:
        raise UserError(str(error)) from error
    finally:
        system.close()


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
    from opintel.cli.shown import print_findings, print_incidents, print_input

    if others := {kind: n for kind, n in document["set_aside"].items() if kind != "dead"}:
        click.echo("set aside: " + ", ".join(f"{n} {kind}" for kind, n in others.items()))
    print_incidents(document["incidents"])
    print_findings(document["findings"])
    read = document["input"]
    print_input(read)
    what, keys = ("records", "") if read["keys"] is None else ("messages", f" of {read['keys']} keys")
    click.echo(
        f"{document['messages']} {what}, {read['rows']} rows{keys}, "
        f"{document['dead_letters']} dead letters, {document['late']} late, "
        f"{len(document['findings'])} findings, {len(document['incidents'])} incidents"
    )
