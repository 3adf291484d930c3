"""Whether the findings of the console's store are a backfill's, for the banner that says so on every page: nothing is
live there, and nothing decides on findings."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from opintel.finding import rfc3339
from opintel.store import Store
from opintel.store.backfills import BackfillNote, backfills
from opintel.store.queries import finding_counts

ASKED_EVERY = 10.0
"""Seconds for which an answer of the store is believed."""
VALUE = 200
"""Characters of a setting's value."""


class Backfilled:
    """The backfills whose findings a store holds."""

    def __init__(self, store: Store) -> None:
        self._store, self._known, self._ask_again = store, list[dict[str, Any]](), 0.0

    def read(self) -> list[dict[str, Any]]:
        """One of each stream, as the pages show it; none of a store that a running system writes. While the store is
        away, what was known last."""
        now = time.monotonic()
        if now >= self._ask_again:
            self._ask_again = now + ASKED_EVERY
            try:
                notes = backfills(self._store)
                counts = finding_counts(self._store) if notes else {}
            except (SQLAlchemyError, RuntimeError):  # the pages say so where they need it
                return self._known
            self._known = [_shown(note, counts) for note in notes]
        return self._known


def _shown(note: BackfillNote, counts: dict[tuple[str, str], int]) -> dict[str, Any]:
    return {
        "stream": note.stream,
        "archive": note.archive,
        "begin": rfc3339(note.begin),
        "end": rfc3339(note.end),
        "settings": [(name, str(value)[:VALUE]) for name, value in sorted(note.settings.items())],
        "rows": note.rows,
        "findings": sum(n for (stream, _), n in counts.items() if stream == note.stream),
        "build": note.build,
        "at": rfc3339(note.at),
    }
