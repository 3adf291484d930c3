"""What findings say, in short, by the things they are about: what the map and a thing's page are drawn from.

Reads the store, every stream alike; which labels name a thing is the alert settings' `Grouping`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from opintel.alerts.grouping import entities
from opintel.alerts.settings import Grouping
from opintel.finding import NS
from opintel.store import Store
from opintel.store import schema as t

HOUR = 3600 * NS
MOST_AN_HOUR = 2000
"""Findings of a stream and hour that are read, the most surprising."""
HOURS_KEPT = 2000
THINGS_KEPT = 200_000
LIVE_READ = 1000
UNRANKED = {"info": 3.0, "warning": 5.0, "critical": 8.0}
"""The place of findings without a p-value on the scale of −log10 p, by severity."""


class Thing(NamedTuple):
    """What findings and incidents are about; `about` is as `grouping.entities` has it, empty for the scope as such."""

    stream: str
    scope: str
    about: tuple[str, ...]

    def query(self, **more: str) -> str:
        """The query string of its page."""
        named = [("stream", self.stream), ("scope", self.scope), *(("about", text) for text in self.about)]
        return f"?{urlencode([*named, *more.items()])}"


class Marks(NamedTuple):
    """Findings in short, (N,) each."""

    things: NDArray[np.int64]
    """Index into `Past.things`."""
    matters: NDArray[np.int64]
    """Hash of kind, detector and subject: findings of one matter are one thing's later and earlier states."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    surprises: NDArray[np.float64]
    """−log10 p, or the place of the severity on that scale."""
    ranked: NDArray[np.bool_]
    ids: NDArray[np.object_]

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Marks:
        """Those of a mask, or in the order of an index."""
        return Marks._make(column[chosen] for column in self)

    def latest(self) -> Marks:
        """The last one of each matter, the newest first; of those of one window the most surprising first."""
        newest = self.where(np.lexsort((-self.surprises, -self.ends)))
        _, first = np.unique(newest.matters, return_index=True)
        return newest.where(np.sort(first))


class Coverage(NamedTuple):
    """From when to when streams and scopes are known; ns UTC."""

    since: dict[str, int]
    """Stream → start of its earliest finding's window: judged since then, which is all the store knows."""
    through: dict[tuple[str, str], int]

    def of(self, thing: Thing) -> tuple[int, int] | None:
        """[from, to) of a thing's scope; None: never."""
        begin, end = self.since.get(thing.stream), self.through.get((thing.stream, thing.scope))
        return None if begin is None or end is None or begin > end else (begin, end)


class Live(NamedTuple):
    """A live incident."""

    id: str
    severity: str
    start: int


class Past:
    """What findings say, in short. Findings never change: an hour with as many as before is not read again.

    `reports`: kinds of finding that come in any case, with nothing that would be surprising; they are passed over.
    """

    def __init__(self, store: Store, grouping: Grouping, reports: Collection[str] = ()) -> None:
        self._store = store
        self._grouping = grouping
        self._telling = t.finding.c.kind.not_in(sorted(reports))
        self._hours: dict[tuple[str, int], tuple[int, Marks]] = {}
        self._codes: dict[Thing, int] = {}
        self._lock = threading.Lock()
        self.things: list[Thing] = []

    def read(self, streams: Sequence[str], begin: int, end: int) -> tuple[Marks, list[Thing]]:
        """The findings whose window ends in (begin, end], and the things that they are about."""
        with self._lock, self._store.read() as connection:
            if len(self._hours) > HOURS_KEPT or len(self.things) > THINGS_KEPT:
                self._hours, self._codes, self.things = {}, {}, []
            read = [_NONE]
            for stream in streams:
                for hour, count in self._counts(connection, stream, begin, end):
                    known = self._hours.get((stream, hour))
                    if known is None or known[0] != count:
                        known = count, self._hour(connection, stream, hour, count)
                        self._hours[stream, hour] = known
                    read.append(known[1])
            things = self.things
        marks = Marks._make(np.concatenate(columns) for columns in zip(*read, strict=True))
        return marks.where((marks.ends > begin) & (marks.ends <= end)), things

    def about(self, thing: Thing, begin: int, end: int) -> Marks:
        """The findings about one thing whose window ends in (begin, end]."""
        marks, things = self.read([thing.stream], begin, end)
        code = things.index(thing) if thing in things else -1
        return marks.where(marks.things == code)

    def _hour(self, connection: sa.Connection, stream: str, hour: int, count: int) -> Marks:
        table = t.finding.c
        unranked = sa.case(UNRANKED, value=table.severity, else_=0.0)
        surprise = sa.case((table.log10_p.is_(None), unranked), else_=-table.log10_p).label("surprise")
        within = (table.stream == stream, table.window_end >= hour * HOUR, table.window_end < (hour + 1) * HOUR)
        query = sa.select(*(table[name] for name in _COLUMNS), surprise).where(self._telling, *within)
        if count > MOST_AN_HOUR:
            query = query.order_by(surprise.desc(), table.id).limit(MOST_AN_HOUR)
        rows = connection.execute(query).all()
        ids, detectors, kinds, starts, ends, log10_ps, contents, surprises = zip(*rows, strict=True)
        subjects = [_about.decode(content).subject for content in contents]
        matters = zip(kinds, detectors, (tuple(sorted(subject.items())) for subject in subjects), strict=True)
        return Marks(
            np.array([self._code(stream, subject) for subject in subjects], np.int64),
            np.array([hash(matter) for matter in matters], np.int64),
            np.array(starts, np.int64),
            np.array(ends, np.int64),
            np.array(surprises, np.float64),
            np.array([log10_p is not None for log10_p in log10_ps], np.bool_),
            np.array(ids, np.object_),
        )

    def _counts(self, connection: sa.Connection, stream: str, begin: int, end: int) -> list[tuple[int, int]]:
        """(hour, its findings) of the hours that hold any."""
        f = t.finding.c
        hour = (f.window_end // HOUR).label("hour")
        within = (f.window_end >= begin // HOUR * HOUR, f.window_end < (end // HOUR + 1) * HOUR)
        query = sa.select(hour, sa.func.count()).where(self._telling, f.stream == stream, *within)
        rows = connection.execute(query.group_by(hour).order_by(hour))
        return [(int(row[0]), int(row[1])) for row in rows]

    def _code(self, stream: str, subject: Mapping[str, str]) -> int:
        scope = subject.get("scope", "")
        thing = Thing(stream, scope, entities(subject, stream, scope, self._grouping))
        code = self._codes.setdefault(thing, len(self.things))
        if code == len(self.things):
            self.things.append(thing)
        return code


def judged(store: Store) -> Coverage:
    """What is known to have been judged."""
    with store.read() as connection:
        through = {(row.stream, row.scope): row.through for row in connection.execute(sa.select(t.judged))}
        query = sa.select(t.finding.c.window_start).order_by(t.finding.c.window_end, t.finding.c.id).limit(1)
        streams = {stream for stream, _ in through}
        firsts = {s: connection.execute(query.where(t.finding.c.stream == s)).scalar() for s in sorted(streams)}
    return Coverage({stream: first for stream, first in firsts.items() if first is not None}, through)


def live_incidents(store: Store, states: Sequence[str]) -> dict[Thing, Live]:
    """Thing → the newest incident about it that is in one of these states."""
    table = t.incident.c
    query = sa.select(table.id, table.stream, table.scope, table.about, table.severity, table.start)
    query = query.where(table.state.in_(list(states))).order_by(table.opened.desc(), table.id).limit(LIVE_READ)
    with store.read() as connection:
        found = connection.execute(query).all()
    newest = {}
    for r in reversed(found):
        newest[Thing(r.stream, r.scope, tuple(msgspec.json.decode(r.about)))] = Live(r.id, r.severity, r.start)
    return newest


class _About(msgspec.Struct):
    subject: dict[str, str]


_about = msgspec.json.Decoder(_About)
_COLUMNS = ("id", "detector", "kind", "window_start", "window_end", "log10_p", "content")
_NONE = Marks._make(np.zeros(0, kind) for kind in ("int64", "int64", "int64", "int64", "float64", "bool", "object"))
