"""Where a stream's messages come from: files that are given, a story that is simulated, or the broker, topics or server
that its YAML names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opintel.site.errors import UserError
from opintel.site.secrets import opened
from opintel.site.settings import Site
from opintel.site.story import Story, StoryFeed
from opintel.site.system import Feed, System
from opintel.site.watched import Watched
from opintel.streams.archive.feed import ArchiveFeed
from opintel.streams.archive.reader import Archive
from opintel.streams.connectors import Acknowledged, Replayable
from opintel.streams.connectors.framing import FileForms
from opintel.streams.feeds import BrokerFeed, ReplayableFeed, file_feed


def files(system: System, watched: Watched, paths: list[Path], *, final: bool) -> Callable[[], Feed]:
    """Opens files and folders: `final` where they are complete, else they are tailed. Raises UserError for a file of
    another suffix.
    """
    _require(paths, FileForms.of(watched.pipeline))

    def make() -> Feed:
        # what is appended to a file that is tailed was written before now, whatever it says
        return file_feed(
            lambda source: system.ingester(watched, source, live=not final, replayable=True), paths, final=final
        )

    return make


def archived(system: System, watched: Watched, path: Path) -> Callable[[], ArchiveFeed]:
    """Copies an archive, whose records have their stamps already."""
    return lambda: ArchiveFeed(Archive(str(path)), system.log, watched.stream)


def _require(paths: list[Path], forms: FileForms) -> None:
    """What an operator gave by mistake; what becomes of it later is the feed's business."""
    for path in paths:
        if not path.is_dir() and path.suffix not in forms.suffixes:
            raise UserError(f"{path}: {forms.not_read(path.suffix)}")


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
