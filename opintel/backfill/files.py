"""Files of others (MONIT's JSON, ROOT, HDF5, …) as the archive of a log: what `replay` would read of them, by the same
connectors and ingest, cut into files by the same archiver. So a backfill over it finds what `replay` finds.

The raw records go through a log that is thrown away, which forgets what is archived: it holds some 64 MiB a partition.
Stopped, it begins anew, and writes no file that is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from opintel import __version__
from opintel.finding import digest
from opintel.site.errors import UserError
from opintel.site.files_read import complete_files, read_of
from opintel.site.settings import Site
from opintel.site.system import System, drain
from opintel.site.watched import Watched, wire_settings
from opintel.streams.archive.archiver import Archiver, of_raw
from opintel.streams.archive.copies import ArtefactCopies
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.archive.waiting import archived
from opintel.streams.connectors.files import FileSource
from opintel.streams.feeds import FileFeed
from opintel.streams.log import Log, Topic
from opintel.streams.stream import FAR


class FilesRead(msgspec.Struct, frozen=True):
    """What an archive that was made of files says of them."""

    epoch: str
    """Of what it depends on: build, settings, the secrets that these name, and the files by name, size and time of
    change."""
    files: int
    messages: int
    set_aside: dict[str, int]
    """Kind → rows that did not come into the log."""
    input: dict[str, Any]
    """As `opintel replay --json` says it."""


def files_archived(
    site: Site,
    stream: str,
    paths: Sequence[Path],
    url_of: Callable[[str], str],
    tell: Callable[[float], None] = lambda _: None,
) -> tuple[str, FilesRead]:
    """The URL of an archive of these files, and what was read of them; made where it is not there yet.

    `url_of`: its URL by its epoch; `tell` is called with the share that is done. Raises UserError where the files
    cannot be read, or the place holds another archive of the stream's topic; ArchiveUnavailable.
    """
    with tempfile.TemporaryDirectory(prefix="opintel-files-") as folder:
        system = System(Path(folder), site.by_itself(), replayed=True)
        try:
            watched = system.stream(stream)
            feed = complete_files(system, watched, paths)
            files = feed.source.files()
            epoch = _epoch(site, watched, feed.source)
            url = url_of(epoch)
            store, topic = ArchiveStore(url), watched.stream.topic
            if (there := files_read(store, topic)) is not None and there.epoch == epoch:
                return url, there
            if other := {file.epoch for file in store.files(topic)} - {epoch}:
                raise UserError(
                    f"{store.shown}: holds another archive of {topic} (epoch {min(other)}); expected a place of its own"
                )
            archivers = _archivers(system, watched, store, epoch)
            _feed(system, watched, feed, archivers(False), tell)
            read_in = read_of(
                system, feed.ingester
            )  # refuses what no message could be read of, before anything is there
            drain(archivers(True))
            counts = system.log.aside_counts()
            set_aside: dict[str, int] = {k: sum(n for (_, kind), n in counts.items() if kind == k) for _, k in counts}
            read = FilesRead(epoch, len(files), feed.ingester.resume.messages, set_aside, read_in)
            store.put_note(topic, msgspec.json.encode(read))
            return url, read
        finally:
            system.close()


def files_read(store: ArchiveStore, topic: str) -> FilesRead | None:
    """What an archive says of the files that it was made of; None where it is that of a log."""
    body = store.note(topic)
    try:
        return None if body is None else msgspec.json.decode(body, type=FilesRead)
    except msgspec.MsgspecError:
        return None


def _archivers(system: System, watched: Watched, store: ArchiveStore, epoch: str) -> Callable[[bool], list[Archiver]]:
    """Whether what lies behind the last cut is written too → an archiver for each partition."""
    stream = watched.stream
    topic = Topic(stream.topic, stream.partitions, epoch)

    def made(final: bool) -> list[Archiver]:
        copies, date = ArtefactCopies(store, system.door), of_raw(stream)
        return [Archiver(system.log, topic, p, store, date, copies, final=final) for p in range(stream.partitions)]

    return made


def _feed(
    system: System, watched: Watched, feed: FileFeed, archivers: list[Archiver], tell: Callable[[float], None]
) -> None:
    """Through ingest into the log, and from there into whole files of the archive; the log keeps little."""
    stream, bus = watched.stream, system.log
    kept = archived(bus, stream)

    def each_round() -> None:
        nonlocal kept
        if (now := archived(bus, stream)) != kept:
            kept = now
            _forget(bus, stream.topic, kept)
        done, there = feed.progress()
        tell(done / max(there, 1))

    drain([system.sequencer(feed.ingester), feed, *archivers], each_round)


def _forget(bus: Log, topic: str, kept: Sequence[int]) -> None:
    while bus.trim(topic, FAR, None, kept):
        pass


def _epoch(site: Site, watched: Watched, source: FileSource) -> str:
    files = [(file.name, (about := file.path.stat()).st_size, about.st_mtime_ns) for file in source.files()]
    return digest([__version__, site.documents[watched.stream.name].data, _secrets(site, watched), files])


def _secrets(site: Site, watched: Watched) -> dict[str, str]:
    """Keyword → digest of each secret of the wire: the settings have only the name of its file or variable, and under
    another key people have other pseudonyms.
    """
    name = watched.stream.name
    known = wire_settings(site, name, watched.pipeline.wire)
    return {key: digest(secret) for key, secret in known.items() if key not in site.streams[name].wire}
