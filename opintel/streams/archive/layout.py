"""The names of an archive's files: `TOPIC/epoch=E/day=D/partition=P/FIRST-FOLLOWING.parquet` below its root.

The names are the archive's only state: what is archived, and where an archiver goes on, is read from them. Positions
are half open; one file goes on where the one before it ends, whatever positions the log has no record at. What begins
with `.` or `_` is none of them: a file that is being written, what controls name (`_artefacts/SHA256`), what is said of
the files that an archive was made of (`_files/TOPIC`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

ARTEFACTS, FILES = "_artefacts", "_files"
_NAME = re.compile(
    r"([a-zA-Z0-9][a-zA-Z0-9._-]{0,248})/epoch=([a-zA-Z0-9_-]{1,100})/day=(\d{4}-\d{2}-\d{2})/partition=(\d{1,4})/"
    r"(\d{16})-(\d{16})\.parquet"
)


class ArchivedFile(NamedTuple):
    """A file: the records of one partition, of one day of event time, from `first` to before `following`.

    >>> ArchivedFile("fts.transfers", "e1", 3, 0, 500, "2026-11-30").name
    'fts.transfers/epoch=e1/day=2026-11-30/partition=3/0000000000000000-0000000000000500.parquet'
    """

    topic: str
    epoch: str
    partition: int
    first: int
    following: int
    day: str

    @property
    def name(self) -> str:
        """Its path below the archive's root."""
        return f"{self.folder}/{self.first:016d}-{self.following:016d}.parquet"

    @property
    def folder(self) -> str:
        """The path of its folder."""
        return f"{self.topic}/epoch={self.epoch}/day={self.day}/partition={self.partition}"


def read_name(name: str) -> ArchivedFile | None:
    """The file that a path below the root names; None where it is no archived file's."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[6]) <= int(match[5]):
        return None
    return ArchivedFile(match[1], match[2], int(match[4]), int(match[5]), int(match[6]), match[3])


class Piece(NamedTuple):
    """A file, and the position from which it has what no file before it has."""

    file: ArchivedFile
    start: int


class MissingRecords(ValueError):
    """An archive lacks a range of positions between two of its files."""


def chain(files: Iterable[ArchivedFile]) -> list[Piece]:
    """The files of one partition of one epoch in order of position, each record in one of them: a short last file goes
    where a longer one has come in its place. Raises MissingRecords.

    >>> short, long = ArchivedFile("t", "e", 0, 0, 5, "2026-11-30"), ArchivedFile("t", "e", 0, 0, 9, "2026-11-30")
    >>> [piece.file.following for piece in chain([short, long])]
    [9]
    """
    pieces: list[Piece] = []
    following: int | None = None
    for file in sorted(files, key=lambda file: (file.first, -file.following)):
        if following is not None and file.first > following:
            where = f"{file.topic}-{file.partition}"
            raise MissingRecords(f"{where}: positions {following} to {file.first - 1} are missing")
        if following is None or file.following > following:
            pieces.append(Piece(file, max(file.first, following or 0)))
            following = file.following
    return pieces
