"""Whether what is given to be read as a whole is the archive of a log, or files of others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from opintel.streams.archive.layout import read_name
from opintel.streams.archive.reader import ArchiveError
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.archive.tables import KEY
from opintel.streams.connectors.identity import listed
from opintel.streams.urls import is_url

MAX_FOOTER = 1 << 20
"""Bytes of the end of a Parquet file that are looked at; that of an archived file has some hundred."""


def archive_of(given: Sequence[str], suffixes: Sequence[str]) -> str | None:
    """The URL of the archive that is given; None for files and folders of others, whose messages are in files of these
    suffixes. Raises ArchiveError for a URL without an archive, a place that holds both, an archived file that lies
    elsewhere than in its archive, and an archive beside other inputs; ArchiveUnavailable.
    """
    archived = {place: name for place in given if (name := _archived(place)) is not None}
    for place in given:
        others = _others(place, suffixes)
        if place in archived and others:
            both = f"{archived[place]} and {others[0]}"
            raise ArchiveError(f"{place}: expected an archive or files of others, got both: {both}")
        for name in others:
            if name.endswith(".parquet") and _is_archived(Path(place, name)):
                raise ArchiveError(f"{Path(place, name)}: a file of an archive; expected the folder of the archive")
    if archived and len(given) > 1:
        raise ArchiveError(f"{next(iter(archived))}: an archive is read by itself, got {len(given)} inputs")
    return next(iter(archived), None)


def _archived(place: str) -> str | None:
    """The name of an archived file below it."""
    if not is_url(place) and not os.path.isdir(place):
        return None
    store = ArchiveStore(place)
    file = next(store.files(), None)
    if file is None and is_url(place):
        raise ArchiveError(f"{store.shown}: no archive of a log is there; files of others are read from a local folder")
    return None if file is None else file.name


def _others(place: str, suffixes: Sequence[str]) -> list[str]:
    """The paths of files of others: below it, or its own."""
    if not os.path.isdir(place):
        return [os.path.abspath(place)] if os.path.isfile(place) else []
    return [file.name for file in listed(Path(place), suffixes, deep=True)[0] if read_name(file.name) is None]


def _is_archived(path: Path) -> bool:
    """Whether a Parquet file's metadata says that it is of an archive."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        footer = min(int.from_bytes(file.read(4), "little"), size, MAX_FOOTER)
        file.seek(max(0, size - 8 - footer))
        return KEY in file.read(footer)
