"""Of which backfill the findings of a store are, where they are one's: the console says so on every page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from opintel.store import schema as t
from opintel.store.database import Store


class BackfillNote(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill whose findings a store holds; one of a stream."""

    stream: str
    archive: str
    """Its URL, without secrets, or the files of others that it was made of, as they were given."""
    begin: int
    end: int
    """Windows that end after the first, and by the second, ns UTC."""
    settings: Mapping[str, Any]
    """`detectors.fts.failures.emit` → what it was set to; empty: as archived."""
    rows: int
    build: str
    """Version of opintel."""
    at: int
    """When it was made, ns UTC."""


def backfills(store: Store) -> list[BackfillNote]:
    """By stream; none of a store that a running system writes."""
    with store.read() as connection:
        rows = connection.execute(sa.select(t.backfill).order_by(t.backfill.c.stream)).all()
    return [_note(row) for row in rows]


def note_backfill(connection: sa.Connection, note: BackfillNote) -> BackfillNote | None:
    """Notes a backfill in the place of an earlier one of the stream, which it returns."""
    here = t.backfill.c.stream == note.stream
    earlier = connection.execute(sa.select(t.backfill).where(here)).first()
    connection.execute(sa.delete(t.backfill).where(here))
    text = msgspec.json.encode(note.settings, order="deterministic").decode()
    connection.execute(sa.insert(t.backfill).values(msgspec.structs.asdict(note) | {"settings": text}))
    return None if earlier is None else _note(earlier)


def _note(row: Any) -> BackfillNote:
    return BackfillNote(**dict(row._mapping) | {"settings": msgspec.json.decode(row.settings)})
