"""What controls name, kept beside the records: an archive whose models are gone could not be judged again."""

from __future__ import annotations

import logging

from opintel.streams.archive.store import ArchiveStore
from opintel.streams.artefacts import MODEL, ArtefactUnavailable, Door, sha_of
from opintel.streams.records import Control

log = logging.getLogger(__name__)


class ArtefactCopies:
    """Copies into an archive the files that controls name. One that cannot be opened now is tried again with the next
    file; the records are archived without it, and a backfill that lacks it says so.
    """

    def __init__(self, store: ArchiveStore, door: Door) -> None:
        self._store, self._door = store, door
        self._wanted: dict[str, bool] = {}
        """SHA-256 → whether it was said that it cannot be opened."""

    def see(self, control: Control) -> None:
        """Notes what a control names."""
        if control.kind == MODEL:
            try:
                self._wanted.setdefault(sha_of(control.value), False)
            except ValueError:
                return  # the stage sets such a control aside

    def copy(self) -> None:
        """Copies what is not there yet. ArchiveUnavailable where the archive does not take it."""
        for sha, said in list(self._wanted.items()):
            if not self._store.has_artefact(sha):
                try:
                    data = self._door(sha).data
                except ArtefactUnavailable as error:
                    if not said:
                        log.error("archived without it, a backfill will lack it: %s", error)
                        self._wanted[sha] = True
                    continue
                self._store.put_artefact(sha, bytes(data))
            del self._wanted[sha]
