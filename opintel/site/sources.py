"""Where a stream's messages come from: files that are given, a story that is simulated, or the broker, topics or server
that its YAML names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from opintel.site.errors import UserError
from opintel.site.secrets import opened
from opintel.site.settings import Site
from opintel.site.story import Story, StoryFeed
from opintel.site.system import Feed, System
from opintel.site.watched import Watched
from opintel.streams.archive.feed import ArchiveFeed
from opintel.streams.archive.found import archive_of
from opintel.streams.archive.reader import Archive
from opintel.streams.connectors import Acknowledged, Replayable
from opintel.streams.connectors.framing import FileForms
from opintel.streams.connectors.identity import suffix_of
from opintel.streams.feeds import BrokerFeed, ReplayableFeed, file_feed


def files(system: System, watched: Watched, paths: list[Path], *, final: bool) -> Callable[[], Feed]:
    """Opens files and folders: `final` where they are complete, else they are tailed. Raises UserError for a file of
    another suffix.
    """
    _require(paths, FileForms.of(watched.pipeline), final)

    def make() -> Feed:
        # what is appended to a file that is tailed was written before now, whatever it says
        return file_feed(
            lambda source: system.ingester(watched, source, live=not final, replayable=True), paths, final=final
        )

    return make


def archive_given(watched: Watched, places: Sequence[str]) -> str | None:
    """The URL of the archive of a log that is given; None for files and folders of messages. Raises ArchiveError,
    ArchiveUnavailable.
    """
    forms = FileForms.of(watched.pipeline)
    return archive_of(places, (*forms.suffixes, *forms.packed))


def archived(system: System, watched: Watched, url: str) -> Callable[[], ArchiveFeed]:
    """Copies an archive, whose records have their stamps already."""
    return lambda: ArchiveFeed(Archive(url), system.log, watched.stream)


def _require(paths: list[Path], forms: FileForms, final: bool) -> None:
    """What an operator gave by mistake; what becomes of it later is the feed's business."""
    suffixes = (*forms.suffixes, *forms.packed) if final else forms.suffixes
    for path in paths:
        suffix = suffix_of(path.name)
        if not path.is_dir() and suffix not in suffixes:
            raise UserError(f"{path}: {forms.not_read(suffix, suffixes)}")


def simulated(system: System, watched: Watched, story: Story) -> Callable[[], Feed] | None:
    """Opens a stream's part in a story; None where it has none."""
    chapter = story.chapter(watched.stream.name)
    if chapter is None:
        return None
    return lambda: StoryFeed(story, chapter, system.ingester(watched, story.source, live=True, replayable=True))


def configured(system: System, watched: Watched) -> Callable[[], Feed] | None:
    """Opens the live source that a stream's YAML names; None where it names none. It raises ConfigError."""
    name = watched.stream.name
    if name not in system.site.sources:
        return None

    def make() -> Feed:
        source = open_source(system.site, name)
        kind = system.site.sources[name].kind
        if isinstance(source, Acknowledged):
            return BrokerFeed(source, system.ingester(watched, kind, live=True))
        return ReplayableFeed(source, system.ingester(watched, kind, live=True, replayable=True))

    return make


def open_source(site: Site, name: str) -> Replayable | Acknowledged:
    """A stream's live source, not connected yet. Raises ConfigError where its secrets or files are not there."""
    kind, settings = site.sources[name]
    return opened(
        site.documents[name], (kind,), settings, lambda secrets: settings.open(secrets, site.streams[name].stream)
    )
