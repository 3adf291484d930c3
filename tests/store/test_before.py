"""The same error before: which past incidents an incident points at, and with whose words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from opintel.evidence import Table
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.store import Store, open_store, sqlite_url
from opintel.store import schema as t
from opintel.store.before import Families, OperatorSaid, same_before

HOUR = 3600 * NS
Rows = list[list[str | float | int | None]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(sqlite_url(tmp_path / "store.db"))
    yield opened
    opened.close()


def put_errors(store: Store, hour: int, *rows: tuple[str, int, str]) -> None:
    """An hour's errors: (family, messages, hosts)."""
    window, subject = Window(hour * HOUR, (hour + 1) * HOUR), {"scope": "fts1"}
    table: Rows = [[family, n, hosts] for family, n, hosts in rows]
    found = Finding(
        id=finding_id("d", 1, "m", subject, window),
        detector="d",
        kind="errors",
        subject=subject,
        window=window,
        log10_p=None,
        basis="none",
        effect=Effect(1.0, "messages"),
        severity="info",
        summary="errors",
        evidence=(Table("errors", ["family", "messages", "hosts"], table),),
    )
    row = {"id": found.id, "stream": "fts", "detector": "d", "kind": "errors", "severity": "info", "evidence": 1}
    row |= {"window_start": window.start, "window_end": window.end, "pending": 0}
    with store.write() as connection:
        connection.execute(sa.insert(t.finding).values(**row, content=msgspec.json.encode(found).decode()))


def put_incident(store: Store, hour: int, *about: str, scope: str = "fts1", merged_into: str | None = None) -> str:
    id = f"i{hour}-{scope}"
    times = {"start": hour * HOUR, "opened": hour * HOUR + 1, "last": (hour + 1) * HOUR}
    row: dict[str, object] = {"id": id, "fingerprint": id, "stream": "fts", "scope": scope, "title": f"at {hour}"}
    row |= {"severity": "warning", "state": "closed", "subjects": "[]", "lead": "[]", "merged_into": merged_into}
    with store.write() as connection:
        about_json = msgspec.json.encode(about).decode()
        connection.execute(sa.insert(t.incident).values(**row, **times, about=about_json))
    return id


def answer(store: Store, incident: str, note: str) -> None:
    with store.write() as connection:
        said = {"incident": incident, "answer": "confirmed", "by": "ada", "at": 0, "note": note}
        connection.execute(sa.insert(t.feedback).values(**said))


def test_incidents_of_the_same_thing_and_family_come_with_what_operators_said(store: Store) -> None:
    full, late = ("no-space", 90, "a.example x.example"), ("timeout", 60, "a.example")
    put_errors(store, 1, full, ("unclassified", 99, "a.example"), ("rare", 1, "a.example"))
    put_errors(store, 2, ("timeout", 500, "b.example"), full)
    put_errors(store, 3, late)
    put_errors(store, 4, ("no-space", 90, "b.example"))
    put_errors(store, 9, full, late, ("rare", 1, "a.example"))
    first = put_incident(store, 1, "a.example")
    second = put_incident(store, 2, "a.example", "c.example")
    third = put_incident(store, 3, "a.example")
    put_incident(store, 4, "b.example")
    put_incident(store, 1, "a.example", scope="fts2")
    now = put_incident(store, 9, "a.example")
    answer(store, first, "emptied the dark data")
    found = same_before(store, now)
    assert [(e.id, e.families) for e in found] == [
        (first, ("no-space",)),
        (third, ("timeout",)),
        (second, ("no-space",)),
    ]
    assert found[0].said == [OperatorSaid("confirmed", "ada", "1970-01-01T00:00:00Z", "emptied the dark data")]
    assert found[1].said == []
    assert same_before(store, first) == []


def test_nothing_is_said_where_the_family_is_not_known_and_what_merged_is_left_out(store: Store) -> None:
    put_errors(store, 1, ("no-space", 90, "a.example"))
    put_errors(store, 5, ("unclassified", 90, "a.example"), ("no-space", 5, "a.example"))
    put_errors(store, 6, ("no-space", 5, "a.example"))
    put_incident(store, 1, "a.example", merged_into="another")
    odd, quiet, full = (put_incident(store, hour, "a.example") for hour in (5, 8, 6))
    assert same_before(store, odd) == same_before(store, quiet) == same_before(store, full) == []
    assert same_before(store, "none") == []


def test_what_was_read_of_an_incident_is_read_once(store: Store) -> None:
    for hour in (1, 5):
        put_errors(store, hour, ("no-space", 90, "a.example"))
    first, second = put_incident(store, 1, "a.example"), put_incident(store, 5, "a.example")
    known: dict[tuple[str, int], Families] = {}
    found = same_before(store, second, known)
    assert [e.id for e in found] == [first]
    assert set(known.values()) == {("no-space",)}
    with store.write() as connection:
        connection.execute(sa.delete(t.finding))
    assert same_before(store, second, known) == found
    assert same_before(store, second) == []
