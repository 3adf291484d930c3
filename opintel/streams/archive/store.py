"""An archive's files in their place: listed by name, written whole or not at all, read.

Two who write a file write the same bytes, so that it does not matter who comes last.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from opintel.streams.archive import tables
from opintel.streams.archive.layout import ARTEFACTS, FILES, ArchivedFile, read_name
from opintel.streams.log import LogUnavailable, Stored
from opintel.streams.urls import Location

log = logging.getLogger(__name__)


class ArchiveUnavailable(LogUnavailable):
    """An archive's place does not answer, is full or refuses: what has to be written is tried again later."""


class ArchiveStore:
    """The files below an archive's URL."""

    def __init__(self, url: str) -> None:
        """Raises ArchiveUnavailable where fsspec cannot open the URL."""
        try:
            self._place = Location.of(url)
        except (ValueError, ImportError) as error:
            raise ArchiveUnavailable(f"archive: {error}") from error
        self.shown = self._place.hidden(url)
        """The URL without a password."""

    def files(self, topic: str = "") -> Iterator[ArchivedFile]:
        """Those of a topic, or all; in no order."""
        try:
            for name in self._names(topic):
                if (file := read_name(name)) is not None and topic in ("", file.topic):
                    yield file
        except FileNotFoundError:
            return
        except Exception as error:  # each file system has errors of its own
            raise self._failed("cannot be listed", error) from self._cause(error)

    def write(self, file: ArchivedFile, partitions: int, records: Iterable[Stored]) -> None:
        """Writes a file of these records of a topic with so many partitions; when this returns it is durable."""
        body = tables.encode(file, partitions, records)
        self._put(file.name, body)

    def remove(self, file: ArchivedFile) -> None:
        """Removes a file whose records are in another one."""
        try:
            self._place.fs.rm_file(self._place.path(file.name))
        except FileNotFoundError:
            log.debug("%s was removed by another archiver", file.name)
        except Exception as error:
            raise self._failed(f"{file.name} cannot be removed", error) from self._cause(error)

    def read(self, file: ArchivedFile) -> Iterator[list[Stored]]:
        """Its records in order, a group at a time. ValueError where it is damaged or another one."""
        with self._open(file) as source:
            yield from tables.decode(source, file)[1]

    def described(self, file: ArchivedFile) -> tables.FileHead:
        """What a file says of itself. ValueError where it is no file of an archive."""
        with self._open(file) as source:
            return tables.decode(source, file)[0]

    def has_artefact(self, sha256: str) -> bool:
        """Whether what a control names lies here."""
        try:
            return bool(self._place.fs.exists(self._place.path(f"{ARTEFACTS}/{sha256}")))
        except Exception as error:
            raise self._failed("cannot be listed", error) from self._cause(error)

    def put_artefact(self, sha256: str, data: bytes) -> None:
        """Keeps what a control names."""
        self._put(f"{ARTEFACTS}/{sha256}", data)

    def note(self, topic: str) -> bytes | None:
        """What was noted of a topic that was made of files; None where nothing was."""
        try:
            return bytes(self._place.fs.cat_file(self._place.path(f"{FILES}/{topic}")))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed(f"{FILES}/{topic} cannot be read", error) from self._cause(error)

    def put_note(self, topic: str, body: bytes) -> None:
        """Notes it."""
        self._put(f"{FILES}/{topic}", body)

    def sweep(self, file: ArchivedFile) -> None:
        """Removes what killed archivers left half written of this file, or of a shorter one in its place."""
        if not self._place.local:
            return
        for path in Path(self._place.path(file.folder)).glob(f".{file.first:016d}-*.part"):
            path.unlink(missing_ok=True)

    def _names(self, topic: str) -> Iterator[str]:
        root, fs = self._place.root, self._place.fs
        if self._place.local:  # fsspec passes over a whole folder when a file in it is removed meanwhile
            for folder, _, names in os.walk(f"{root}/{topic}" if topic else root):
                yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)
            return
        fs.invalidate_cache()  # others write there too
        yield from (path.removeprefix(root).lstrip("/") for path in fs.find(f"{root}/{topic}" if topic else root))

    def _open(self, file: ArchivedFile):  # type: ignore[no-untyped-def]  # fsspec has no types
        try:
            return self._place.fs.open(self._place.path(file.name), "rb")
        except Exception as error:
            raise self._failed(f"{file.name} cannot be read", error) from self._cause(error)

    def _put(self, name: str, body: bytes) -> None:
        try:
            self._place.put(name, body)
        except Exception as error:
            raise self._failed(f"{name} cannot be written", error) from self._cause(error)

    def _failed(self, what: str, error: Exception) -> ArchiveUnavailable:
        said = f"{type(error).__name__}: {error}"[:500]
        return ArchiveUnavailable(f"archive {self.shown}: {what}: {self._place.hidden(said)}")

    def _cause(self, error: Exception) -> Exception | None:
        """What may be shown of it in a traceback."""
        return None if self._place.secret else error
