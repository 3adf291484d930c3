"""A file of histograms for those who compare: read by another process, within limits of memory and time."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from opintel.dqm.files.found import FileElement, Unread
from opintel.dqm.files.reading import SentElements
from opintel.streams.connectors.parsed import parsed

MAX_BYTES = 2 << 30
"""Of contents that are held of a file."""


class FileRefused(ValueError):
    """Nothing in a file can be read; the message names it."""


class Opened(NamedTuple):
    """What a file holds."""

    elements: list[FileElement]
    """By run, lumisection and path."""
    unread: list[Unread]


def opened(path: Path) -> Opened:
    """The histograms of a file. Raises FileRefused, with one line."""
    elements: list[FileElement] = []
    unread: list[Unread] = []
    held = 0
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileRefused(f"{path}: expected a file")
            if not (size := os.fstat(file.fileno()).st_size):
                raise FileRefused(f"{path}: the file is empty")
            for body, _, damaged in parsed("opintel.dqm.files.reading:sent", None, file, 0, size):
                if damaged:
                    raise FileRefused(f"{path}: {body.decode('utf-8', 'replace')}")
                held += len(body)
                if held > MAX_BYTES:
                    raise FileRefused(f"{path}: expected at most {MAX_BYTES >> 30} GiB of contents")
                found = msgspec.msgpack.decode(body, type=SentElements)
                elements += [one.element for one in found.elements]
                unread += found.unread
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror or error}") from error
    return Opened(elements, unread)
