"""A file of histograms for those who compare: read by another process, within limits of memory and time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from opintel.dqm.files.found import FileElement, Unread
from opintel.dqm.files.reading import SentElements
from opintel.streams.connectors.parsed import FileRefused, parsed_file

MAX_BYTES = 2 << 30
"""Of contents that are held of a file."""


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
    for body, damaged in parsed_file("opintel.dqm.files.reading:sent", None, path):
        if damaged:
            raise FileRefused(f"{path}: {body.decode('utf-8', 'replace')}")
        held += len(body)
        if held > MAX_BYTES:
            raise FileRefused(f"{path}: expected at most {MAX_BYTES >> 30} GiB of contents")
        found = msgspec.msgpack.decode(body, type=SentElements)
        elements += [one.element for one in found.elements]
        unread += found.unread
    return Opened(elements, unread)
