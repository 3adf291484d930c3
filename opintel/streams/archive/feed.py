"""An archive as a stream's source: its raw records, controls among them, are copied into a log that has no others.

The copy counts as live, however old it is. It is read on where the log ends, after a crash too.
"""

from __future__ import annotations

from collections.abc import Iterator

from opintel.streams.archive.reader import Archive, ArchiveError
from opintel.streams.log import Entry, Log
from opintel.streams.stream import Stream

AT_ONCE = 500
"""Records of a partition that a step copies, at most."""


class ArchiveFeed:
    """Copies a stream's archived records, partition by partition in turn, as a service."""

    def __init__(self, archive: Archive, bus: Log, stream: Stream) -> None:
        """Raises ArchiveError where the topic was created several times, has another number of partitions, or the log
        holds other records.
        """
        self.name = f"ingest {stream.name}"
        self._archive, self._bus, self._topic = archive, bus, stream.topic
        epochs = archive.epochs(stream.topic)
        if len(epochs) > 1:
            raise ArchiveError(f"{archive.shown}: {stream.topic} was created {len(epochs)} times: `opintel backfill`")
        (topic,) = epochs
        if len(topic.pieces) != stream.partitions:
            raise ArchiveError(
                f"{archive.shown}: {stream.topic} has {len(topic.pieces)} partitions, the stream {stream.partitions}"
            )
        self._pieces = topic.pieces
        self._rest = [self._behind(partition) for partition in range(stream.partitions)]

    def step(self) -> bool:
        batches = [next(rest, []) for rest in self._rest]
        self._bus.append([Entry(self._topic, p, value) for p, batch in enumerate(batches) for value in batch])
        if not any(batches):
            self._rest = []
        return bool(self._rest)

    def idle(self) -> bool:
        return not self._rest

    def close(self) -> None:
        """Nothing to do: the log says how much of the archive it has."""

    def _behind(self, partition: int) -> Iterator[list[bytes]]:
        """The values that the log does not have."""
        there = end = self._bus.end(self._topic, partition)
        last = [value for _, value, _ in self._bus.read(self._topic, partition, end - 1, 1)] if end else []
        for piece in self._pieces[partition]:
            for group in self._archive.read(piece):
                values = [value for _, value, _ in group]
                if 0 < there <= len(values) and values[there - 1 : there] != last:
                    raise ArchiveError(f"topic {self._topic}: its log holds other records than {self._archive.shown}")
                there, values = max(0, there - len(values)), values[there:]
                for at in range(0, len(values), AT_ONCE):
                    yield values[at : at + AT_ONCE]
        if there:
            raise ArchiveError(f"topic {self._topic}: its log holds more records than {self._archive.shown}")
