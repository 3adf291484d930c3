"""What the live run found, as the archive holds it: made by the build of its time, and so what another build's
findings are held against before that is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from opintel.streams.archive.reader import Archive
from opintel.streams.findings import Found, Judged, decode
from opintel.streams.stream import FINDINGS


class ArchivedFindings(NamedTuple):
    """The records of one stream in the archived findings topic, in order."""

    records: list[Found | Judged]
    """A finding that came again under its id is left out; the first stays."""
    unread: int
    """Records of the topic that are none."""


def archived_findings(archive: Archive, stream: str) -> ArchivedFindings:
    """Those of a stream. Raises ArchiveError where the archive has no findings topic, or lacks a part of it."""
    found, seen, unread = list[Found | Judged](), set[str](), 0
    for value in _values(archive):
        try:
            record = decode(value)
        except ValueError:
            unread += 1
            continue
        if record.stream != stream or (isinstance(record, Found) and record.finding.id in seen):
            continue
        if isinstance(record, Found):
            seen.add(record.finding.id)
        found.append(record)
    return ArchivedFindings(found, unread)


def _values(archive: Archive) -> Iterator[bytes]:
    for topic in archive.epochs(FINDINGS):
        for pieces in topic.pieces:
            for piece in pieces:
                for group in archive.read(piece):
                    yield from (value for _, value, _ in group)
