"""Reads an archive: the records of a partition in order of position, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opintel.streams.archive.layout import ArchivedFile, MissingRecords, Piece, chain
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.log import Stored


class ArchiveError(ValueError):
    """An archive that cannot be read as asked: nothing of the topic, damaged, a file missing."""


class ArchivedTopic(NamedTuple):
    """A topic as it is archived, of one epoch."""

    name: str
    epoch: str
    pieces: Sequence[Sequence[Piece]]
    """Of each partition, in order of position; none of one that had no record."""

    @property
    def days(self) -> list[str]:
        """The days of its files, in order."""
        return sorted({piece.file.day for pieces in self.pieces for piece in pieces})

    def of_day(self, partition: int, day: str) -> list[Piece]:
        """The pieces of a partition that are of a day."""
        return [piece for piece in self.pieces[partition] if piece.file.day == day]


class Archive:
    """An archive at an fsspec URL."""

    def __init__(self, url: str) -> None:
        self.url, self._store = url, ArchiveStore(url)
        self.shown = self._store.shown

    def topics(self) -> list[str]:
        """The names of the topics that have files."""
        return sorted({file.topic for file in self._store.files()})

    def epochs(self, topic: str) -> list[ArchivedTopic]:
        """A topic: as often as it was re-created, the oldest first. Raises ArchiveError where it has no file, or lacks
        records between two.
        """
        files = list(self._store.files(topic))
        if not files:
            there = ", ".join(self.topics()) or "none"
            raise ArchiveError(f"{self.shown}: no file of topic {topic!r}; its topics: {there}")
        found = [self._topic(topic, epoch, files) for epoch in sorted({file.epoch for file in files})]
        return found if len(found) == 1 else sorted(found, key=self._began)

    def read(self, piece: Piece) -> Iterator[list[Stored]]:
        """The records of a piece, some at a time. Raises ArchiveError where the file is damaged."""
        try:
            for group in self._store.read(piece.file):
                rest = group if group[0][0] >= piece.start else [r for r in group if r[0] >= piece.start]
                if rest:
                    yield rest
        except ValueError as error:
            raise ArchiveError(f"{self.shown}: {error}") from error

    def _topic(self, topic: str, epoch: str, files: Sequence[ArchivedFile]) -> ArchivedTopic:
        mine = [file for file in files if file.epoch == epoch]
        try:
            partitions = self._store.described(mine[0]).partitions
            pieces = [chain(file for file in mine if file.partition == p) for p in range(partitions)]
        except MissingRecords as error:
            raise ArchiveError(f"{self.shown}: {error}; a backfill would not give what was found live") from error
        except ValueError as error:
            raise ArchiveError(f"{self.shown}: {error}") from error
        return ArchivedTopic(topic, epoch, pieces)

    def _began(self, topic: ArchivedTopic) -> int:
        """When its first record was appended, ns."""
        firsts = [pieces[0] for pieces in topic.pieces if pieces]
        return min(next(self.read(piece))[0][2] for piece in firsts)
