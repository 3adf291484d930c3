"""What is judged again of a site's stream, as the live run judged it."""

from __future__ import annotations

from opintel.backfill.files import files_read
from opintel.backfill.stages import Job
from opintel.finding import Origin
from opintel.site.settings import Site
from opintel.site.watched import watched_stream
from opintel.streams.archive.layout import ARTEFACTS
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.artefacts import Artefacts


def job_of(site: Site, stream: str, archive: str, origin: Origin = "backfill") -> Job:
    """A stream over the archive at a URL, which is asked first for what controls name. UserError names the streams."""
    watched = watched_stream(site, stream)
    of_files = files_read(ArchiveStore(archive), watched.stream.topic) is not None
    if not (of_files or site.settings.simulated):
        watched = watched.bounded()
    door = Artefacts([f"{archive.rstrip('/')}/{ARTEFACTS}", site.settings.models or str(site.folder / "models")])
    return Job(watched.stream, watched.pipeline, door, origin)
