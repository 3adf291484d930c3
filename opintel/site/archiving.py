"""What of a site's log is archived, and by whom: for each topic that carries meaning a service whose members share its
partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from opintel.site.system import System
from opintel.streams.archive.archiver import Archiver, Date, archive_group, of_controls, of_findings, of_raw
from opintel.streams.archive.copies import ArtefactCopies
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.log import Topic
from opintel.streams.loop import Service
from opintel.streams.ownership import Owned
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS, Stream


class ToArchive(NamedTuple):
    """A topic, and what its records say of time."""

    name: str
    partitions: int
    date: Date


def archivers(system: System, *, final: bool = False) -> dict[str, Callable[[], Service]]:
    """What makes the archiving services of a site that has an archive, by name. `final`: they come to an end."""
    topics = _topics({name: watched.stream for name, watched in system.streams.items()})
    return {f"archive {topic.name}": partial(_owned, system, topic, final) for topic in topics}


def _topics(streams: Mapping[str, Stream]) -> list[ToArchive]:
    found = [ToArchive(FINDINGS, 1, of_findings(streams))]
    for stream in streams.values():
        found.append(ToArchive(stream.topic, stream.partitions, of_raw(stream)))
        found.append(ToArchive(control_topic(stream), 1, of_controls))
    return found


def _owned(system: System, topic: ToArchive, final: bool) -> Owned:
    url, name, partitions = system.site.settings.archive, topic.name, topic.partitions
    assert url is not None

    def make(partition: int) -> list[Service]:
        there, store = Topic(name, partitions, system.epoch(name)), ArchiveStore(url)
        copies = ArtefactCopies(store, system.door)
        return [Archiver(system.log, there, partition, store, topic.date, copies, final=final)]

    return system.over({name: partitions}, f"archive {name}", f"opintel.{archive_group(name)}", name, make)
