"""The alert service: the findings topic comes in, alerts, incidents and messages go out, in one transaction a batch.

Position, alert state, incidents and outbox are committed together, so a crash loses nothing and doubles nothing.
Findings wait in the store until the `Judged` of their window; what comes again is recognised and ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
import sqlalchemy as sa

from opintel.alerts.incidents import OF_SCOPE, OF_STREAM
from opintel.alerts.round import Round, in_scope
from opintel.alerts.settings import AlertSettings, Calendar, Maintenance
from opintel.finding import Finding, same_content
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding
from opintel.streams.findings import Found, Judged

# Asked in every window; made once, because to make a statement costs more than to run it.
_CONSUMER = t.position.c.consumer == sa.bindparam("of_consumer")
_POSITION = sa.select(t.position.c.position).where(_CONSUMER)
_ADVANCE = (
    sa.update(t.position)
    .where(_CONSUMER, t.position.c.position == sa.bindparam("old"))
    .values(position=sa.bindparam("new"))
)
_END: sa.BindParameter[int] = sa.bindparam("end")
_HERE = (t.judged.c.stream == OF_STREAM) & (t.judged.c.scope == OF_SCOPE)
_THROUGH = sa.select(t.judged.c.through).where(_HERE)
_PASS = sa.update(t.judged).where(_HERE).values(through=_END)
_WAITING = (
    sa.select(t.finding.c.content)
    .where(t.finding.c.pending == 1, t.finding.c.stream == OF_STREAM, t.finding.c.window_end <= _END)
    .order_by(t.finding.c.id)
)


class PositionMoved(RuntimeError):
    """Another consumer has moved the position: two alert services run on one store."""


class AlertService:
    """Decides on findings. `warm_until`: windows that end at or before it (ns UTC) are stored, and raise no alarm.

    `epoch` is the findings topic's: a new log under an old store is read from its start, not from the old position.
    `announced`: downtimes beside those of the settings, asked for in each transaction.
    """

    def __init__(
        self,
        store: Store,
        settings: AlertSettings,
        *,
        warm_until: int = 0,
        epoch: str = "",
        announced: Callable[[], Sequence[Maintenance]] = tuple,
    ) -> None:
        self._store = store
        self._announced = announced
        self._consumer = f"alerts {epoch[:16]}".strip()
        self._settings = settings
        self._warm_until = warm_until

    def position(self) -> int:
        """Position in the findings topic from which to go on; 0 at first."""
        with self._store.read() as connection:
            return _position(connection, self._consumer) or 0

    def consume(self, position_from: int, records: Sequence[Found | Judged], position_to: int) -> list[str]:
        """Processes the records of [position_from, position_to) and commits everything that follows from them, or
        nothing.

        Returns what contradicts itself: a finding that came again under its id with other content (the first stays;
        a detector breaks the contract, or another program writes to the topic). Raises PositionMoved where the store
        does not stand at `position_from`.
        """
        conflicts: list[str] = []
        planned = [*self._settings.calendar.maintenance, *self._announced()]
        settings = msgspec.structs.replace(self._settings, calendar=Calendar(maintenance=planned))
        with self._store.write() as connection:
            _advance(connection, self._consumer, position_from, position_to)
            waiting: list[Found] = []
            for record in records:
                if isinstance(record, Found):
                    waiting.append(record)
                    continue
                conflicts += keep(connection, waiting)
                waiting = []
                self._judge(connection, settings, record)
            conflicts += keep(connection, waiting)
        return conflicts

    def _judge(self, connection: sa.Connection, settings: AlertSettings, judged: Judged) -> None:
        if not _first_time(connection, judged):
            return
        found = _claim(connection, judged)
        if judged.window.end > self._warm_until:
            Round(connection, settings, judged).run(found)


def _position(connection: sa.Connection, consumer: str) -> int | None:
    return connection.execute(_POSITION, {"of_consumer": consumer}).scalar()


def _advance(connection: sa.Connection, consumer: str, old: int, new: int) -> None:
    if _position(connection, consumer) is None:
        connection.execute(sa.insert(t.position).values(consumer=consumer, position=0))
    moved = connection.execute(_ADVANCE, {"of_consumer": consumer, "old": old, "new": new})
    if moved.rowcount != 1:
        raise PositionMoved(
            f"the store stands at position {_position(connection, consumer)} of the findings topic, not at {old}: "
            "another alert service works on it; let one of them run"
        )


def _first_time(connection: sa.Connection, judged: Judged) -> bool:
    """Whether the window is newer than all that were decided on; notes that it is decided on now."""
    here, end = {"of_stream": judged.stream, "of_scope": judged.scope}, judged.window.end
    through = connection.execute(_THROUGH, here).scalar()
    if through is None:
        connection.execute(sa.insert(t.judged).values(stream=judged.stream, scope=judged.scope, through=end))
    elif through < end:
        connection.execute(_PASS, here | {"end": end})
    return through is None or through < end


def keep(connection: sa.Connection, records: Sequence[Found]) -> list[str]:
    """Stores findings, returns conflicts; those of a window that has been decided on already wait for nothing."""
    if not records:
        return []
    conflicts: list[str] = []
    new: dict[str, Found] = {}
    there = dict(_contents(connection, [r.finding.id for r in records]))
    for record in records:
        f = record.finding
        known = there.get(f.id) or (new[f.id].finding if f.id in new else None)
        if known is None:
            new[f.id] = record
        elif not same_content(known, f):
            conflicts.append(
                f"finding {f.id} came with two contents: {known.detector} said {known.summary[:200]!r} for "
                f"{known.subject}, {f.detector} now says {f.summary[:200]!r} for {f.subject}"
            )
    if not new:
        return conflicts
    decided = {(row.stream, row.scope): row.through for row in connection.execute(sa.select(t.judged))}
    connection.execute(sa.insert(t.finding), [_row(record, decided) for record in new.values()])
    return conflicts


def _row(record: Found, decided: dict[tuple[str, str], int]) -> dict[str, object]:
    f = record.finding
    through = [end for (stream, scope), end in decided.items() if stream == record.stream and in_scope(f, scope)]
    return {
        "id": f.id,
        "stream": record.stream,
        "detector": f.detector,
        "kind": f.kind,
        "window_start": f.window.start,
        "window_end": f.window.end,
        "log10_p": f.log10_p,
        "severity": f.severity,
        "evidence": len(f.evidence),
        "pending": int(f.window.end > max(through, default=f.window.end - 1)),
        "content": msgspec.json.encode(f).decode(),
    }


def _claim(connection: sa.Connection, judged: Judged) -> list[Finding]:
    """The findings that waited for this window, in order of id."""
    rows = connection.execute(_WAITING, {"of_stream": judged.stream, "end": judged.window.end}).scalars()
    found = [f for f in map(read_finding, rows) if in_scope(f, judged.scope)]
    for part in _parts([f.id for f in found]):
        connection.execute(sa.update(t.finding).where(t.finding.c.id.in_(part)).values(pending=0))
    return found


def _contents(connection: sa.Connection, ids: Sequence[str]) -> Iterable[tuple[str, Finding]]:
    for part in _parts(ids):
        query = sa.select(t.finding.c.id, t.finding.c.content).where(t.finding.c.id.in_(part))
        for id, content in connection.execute(query):
            yield id, read_finding(content)


def _parts(ids: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
