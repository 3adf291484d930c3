"""The archiver of one partition: reads on from what the names in the archive say, and writes a file where the log says
that one ends.

Killed anywhere, or with another one beside it, it writes the same files again. It goes on from the beginning of the
last file, which may be a short one that waits for the rest, so the log has to keep that: `commit` notes it for the
log's retention.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from opintel.streams.archive.copies import ArtefactCopies
from opintel.streams.archive.cutting import Cutter, day_number, day_of, day_text
from opintel.streams.archive.layout import ArchivedFile
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.findings import Found
from opintel.streams.findings import decode as decode_finding
from opintel.streams.log import Aside, Log, LogUnavailable, Stored, Topic
from opintel.streams.records import Codec, Control, stamp_of
from opintel.streams.stream import Stream

GROUP = "archive"
"""Under which the log notes how far the archive is."""
BATCH = 1000
"""Records that a step looks at, at most."""
QUIET = 2
"""Steps without news after which what lies behind the last cut is written, where the archiver is to come to an end."""
LOOK = 5.0
"""Seconds between two looks of an idle archiver at where its partition begins."""
log = logging.getLogger(__name__)


class Dated(NamedTuple):
    """What the archiver has to know of a record."""

    time: int | None = None
    """Event time up to which the log has come with it, ns UTC, where it says so."""
    control: Control | None = None


Date = Callable[[Stored], Dated]


def archive_group(topic: str) -> str:
    """The group whose members share the work of archiving a topic."""
    return f"archive.{topic}"


def of_raw(stream: Stream) -> Date:
    """Dates records of a raw topic: by the stamp, where it claims no more than the log's time allows."""

    def date(record: Stored) -> Dated:
        _, value, at = record
        try:
            stamp = stamp_of(value)
            if stamp is None:
                return Dated(control=_control.decode(value))
        except ValueError:
            return Dated()  # a dead letter to the stage
        return Dated(stamp.wm if stamp.wm <= stream.closable(at) else None)

    return date


def of_controls(record: Stored) -> Dated:
    """Dates records of a control topic: by when they were appended, as a control may be dated ahead."""
    _, value, at = record
    try:
        return Dated(at, _control.decode(value))
    except ValueError:
        return Dated(at)


def of_findings(streams: Mapping[str, Stream]) -> Date:
    """Dates records of the findings topic: by the ends of windows."""

    def date(record: Stored) -> Dated:
        _, value, at = record
        try:
            found = decode_finding(value)
        except ValueError:
            return Dated()
        end = found.finding.window.end if isinstance(found, Found) else found.window.end
        stream = streams.get(found.stream)
        return Dated(end if stream is not None and end <= stream.closable(at, 2) else None)

    return date


class Archiver:
    """Archives one partition, as a service."""

    def __init__(
        self,
        bus: Log,
        topic: Topic,
        partition: int,
        store: ArchiveStore,
        date: Date,
        copies: ArtefactCopies,
        *,
        final: bool = False,
    ) -> None:
        """`final`: it is to come to an end, and writes what lies behind the last cut too when nothing more comes."""
        self.name = f"archive {topic.name}-{partition}"
        self.log, self._topic, self._partition = bus, topic, partition
        self._store, self._date, self._copies, self._final = store, date, copies, final
        self._position = self._kept = 0
        """The next record to look at; behind the last one in a file."""
        self._quiet = 0
        self._look_at = 0.0
        self._cutter = self._resume()

    def step(self) -> bool:
        batch = self.log.read(self._topic.name, self._partition, self._position, BATCH)
        if not batch:
            return (self._due() and self._trimmed()) or self._rest()
        self._quiet = 0
        if batch[0][0] > self._position and self._trimmed():
            return True
        for record in batch:
            position, value, _ = record
            dated = self._date(record)
            if dated.control is not None:
                self._copies.see(dated.control)
            day = None if dated.time is None else day_of(dated.time)
            if (end := self._cutter.end_before(position, day)) is not None:
                self._cut(end)
            end = self._cutter.take(position, len(value), day)
            self._position = position + 1
            if end is not None:
                self._cut(end)
        return True

    def idle(self) -> bool:
        ended = self._position >= self.log.end(self._topic.name, self._partition)
        return ended and not (self._final and self._unsaved)

    def close(self) -> None:
        """Nothing to do: the names of the files say where it stands."""

    @property
    def _unsaved(self) -> bool:
        return self._cutter.records > 0 and self._kept < self._position

    def _resume(self) -> Cutter:
        """The file to go on with: the last one once more, as it may be short; a new one where the log has lost that."""
        files = [f for f in self._store.files(self._topic.name) if f.epoch == self._topic.epoch]
        mine = [f for f in files if f.partition == self._partition]
        start = self.log.start(self._topic.name, self._partition)
        if not mine:
            self._position = self._kept = start
            return Cutter(start)
        last = max(mine, key=lambda f: (f.first, f.following))
        self._kept = last.following
        self._position = last.first if start <= last.first else max(last.following, start)
        if start > last.following:
            self._note_gap(last.following, start)
        elif start <= last.first:
            self._commit(last.first)
        return Cutter(self._position, day_number(last.day))

    def _due(self) -> bool:
        """Whether to look where the partition begins: a cluster is not to be asked at each turn."""
        due = time.monotonic() >= self._look_at
        if due:
            self._look_at = time.monotonic() + LOOK
        return due

    def _trimmed(self) -> bool:
        """Whether records have fallen out of retention unread: what is left goes into a new file."""
        start = self.log.start(self._topic.name, self._partition)
        if start <= self._position:
            return False
        if self._unsaved:
            self._note_gap(self._cutter.first, start)
        else:
            self._note_gap(self._position, start)
        self._position = start
        self._cutter.begin(start)
        return True

    def _note_gap(self, position: int, start: int) -> None:
        reason = f"records {position} to {start - 1} fell out of retention before they were archived"
        log.error("%s: %s", self.name, reason)
        self.log.put_asides([Aside("gap", self._topic.name, self._partition, position, -1, reason)])

    def _rest(self) -> bool:
        """Writes what lies behind the last cut, once nothing more seems to come."""
        self._quiet += 1
        if not self._final or self._quiet < QUIET or not self._unsaved:
            return self._final and self._unsaved
        self._write(self._position)
        return True

    def _cut(self, end: int) -> None:
        """The file that is being filled ends here."""
        self._write(end)
        self._cutter.begin(end)
        self._commit(end)

    def _write(self, end: int) -> None:
        """Writes the file up to here where nobody has, and removes shorter ones in its place."""
        self._copies.copy()
        topic, cutter = self._topic, self._cutter
        day = day_text(cutter.day)
        file = ArchivedFile(topic.name, topic.epoch, self._partition, cutter.first, end, day)
        there = [f for f in self._store.files(topic.name) if f[:4] == file[:4]]
        if not any(known.following >= end for known in there):
            self._store.write(file, topic.partitions, self._between(cutter.first, end))
            log.info("%s: %s", self.name, file.name)
        self._store.sweep(file)
        for shorter in there:
            if shorter.following < end:
                self._store.remove(shorter)
                self._store.sweep(shorter)
        self._kept = end

    def _between(self, first: int, end: int) -> Iterator[Stored]:
        position = first
        while position < end and (batch := self.log.read(self._topic.name, self._partition, position, BATCH)):
            yield from (record for record in batch if record[0] < end)
            position = batch[-1][0] + 1
        if self.log.start(self._topic.name, self._partition) > first:
            raise LogUnavailable(f"{self.name}: records fell out of retention while they were archived")

    def _commit(self, position: int) -> None:
        self.log.commit(GROUP, self._topic.name, self._partition, position)


_control: Codec[Control] = Codec(Control)
