"""`opintel archive`: files of others as the archive of a log, which `backfill`, `replay` and `run --ingest` read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import config_option, json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.backfill.files import FilesRead
    from opintel.site.settings import Site


@click.command(short_help="Make an archive of files.")
@click.argument("stream")
@click.argument("files", nargs=-1, required=True)
@click.option("--archive", "url", required=True, metavar="URL", help="Folder or fsspec URL of the archive to be made.")
@config_option
@json_option
def command(stream: str, files: tuple[str, ...], url: str, config: Path | None, as_json: bool) -> None:
    """Reads FILES of STREAM as `replay` does, in order of time, into an archive as `run archive` writes one of a log. A
    backfill over it finds what `replay` finds. What is there already of the same files is not written again."""
    from opintel.site.load import load_site
    from opintel.site.sources import archive_given
    from opintel.site.watched import watched_stream

    site = load_site(config)
    if archive_given(watched_stream(site, stream), files) is not None:
        raise UserError(f"{files[0]}: it is an archive already")
    with archived(site, stream, files, url) as (_, read):
        document = {"stream": stream, "files": read.files, "messages": read.messages, "set_aside": read.set_aside}
    if as_json:
        print_json(document | {"input": read.input})
    else:
        _print(document, read.input)


@contextmanager
def archived(
    site: Site, stream: str, files: Sequence[str], url: str | None, *, below: str = ""
) -> Iterator[tuple[str, FilesRead]]:
    """The URL of an archive of these files, and what was read of them. It is made at `url`, or in a folder of its own
    below it where `below` names one; without a URL in a folder that is removed in the end. Raises UserError.
    """
    from opintel.backfill.files import files_archived
    from opintel.cli.progress import share_progress
    from opintel.site.watched import public_key_warning, watched_stream

    with tempfile.TemporaryDirectory(prefix="opintel-archive-") as folder:
        root, paths = (url or folder).rstrip("/"), [Path(file) for file in files]
        with share_progress(f"archive {stream}") as tell:
            made = files_archived(site, stream, paths, lambda e: f"{root}/{below}/{e}" if below else root, tell)
        if warning := public_key_warning(site, {stream: watched_stream(site, stream).pipeline.wire}):
            click.echo(f"opintel: {warning}", err=True)
        yield made


def _print(document: dict[str, Any], read: dict[str, Any]) -> None:
    from opintel.cli.shown import print_input

    print_input(read)
    others = ", ".join(f"{n} {kind}" for kind, n in document["set_aside"].items()) or "none"
    click.echo(
        f"{document['files']} files, {document['messages']} messages, {read['rows']} rows of {read['keys']} keys; "
        f"rows set aside: {others}"
    )
