"""What operators answer to incidents, on its way to the judges: as the control `feedback` of a stream.

A "false alarm" says that p of what the incident was raised for is too small: a decade for each, three at most;
"confirmed" takes one back, and of an incident the last answer counts. What is sent follows from all answers in the
store, so a restart sends nothing new, and a changed mind is undone. The domain says which control a subject has
(`Pipeline.feedback`). It runs where ingest and alerts are one process: a stream's controls have one writer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding
from opintel.streams.log import Log, LogError, LogUnavailable
from opintel.streams.sequencer import send_control
from opintel.streams.stream import Stream

FEEDBACK = "feedback"
"""Kind of the control."""
MOST = 3.0
"""Decades."""
EVERY = 2.0
"""Seconds between two looks at the answers."""
log = logging.getLogger(__name__)
Subjects = Callable[[Mapping[str, str]], str | None]


class AnswersTo(NamedTuple):
    """A stream whose judges listen."""

    stream: Stream
    subjects: Subjects


class Answers:
    """Sends them."""

    name = "answers"

    def __init__(self, store: Store, bus: Log, listeners: list[AnswersTo]) -> None:
        self._store, self._bus, self._listeners = store, bus, listeners
        self._seen: int | None = None
        self._sent: dict[tuple[str, str], float] = {}
        self._next = 0.0

    def step(self) -> bool:
        if not self._listeners or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY
        try:
            return self.send()
        except (SQLAlchemyError, LogError, LogUnavailable) as error:
            log.warning("answers to incidents wait: %s", error)
            return False

    def send(self) -> bool:
        """Sends what answers have changed; whether there were new ones."""
        with self._store.read() as connection:
            newest = connection.execute(sa.select(sa.func.max(t.feedback.c.id))).scalar()
        if newest is None or newest == self._seen:
            return False
        for one in self._listeners:
            for subject, decades in decades_of(self._store, one.stream.name, one.subjects).items():
                if self._sent.get(place := (one.stream.name, subject)) != decades:
                    send_control(self._bus, one.stream, FEEDBACK, subject, {"decades": decades})
                    self._sent[place] = decades
        self._seen = newest
        return True

    def idle(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to do: what was answered is in the store."""


def decades_of(store: Store, stream: str, subjects: Subjects) -> dict[str, float]:
    """Subject of the control → decades, by all answers to incidents of a stream; 0 where they were taken back."""
    with store.read() as connection:
        of = t.feedback.join(t.incident, t.incident.c.id == t.feedback.c.incident)
        query = sa.select(t.feedback.c.incident, t.feedback.c.answer).select_from(of)
        rows = connection.execute(query.where(t.incident.c.stream == stream).order_by(t.feedback.c.id)).all()
        answers: dict[str, str] = {}
        doubted: set[str] = set()
        for incident, answer in rows:
            answers.pop(incident, None)
            answers[incident] = answer
            doubted |= {incident} if answer == "false-alarm" else set()
        about = {incident: _about(connection, incident, subjects) for incident in answers}
    known = {subject for incident in doubted for subject in about[incident]}
    found = dict.fromkeys(sorted(known), 0.0)
    for incident, answer in answers.items():
        for subject in sorted(about[incident] & known):
            more = 1.0 if answer == "false-alarm" else -1.0
            found[subject] = min(MOST, max(0.0, found[subject] + more))
    return found


def _about(connection: sa.Connection, incident: str, subjects: Subjects) -> set[str]:
    """The subjects of the control for what an incident was raised for."""
    link = t.incident_finding
    query = sa.select(t.finding.c.content).join(link, link.c.finding == t.finding.c.id)
    query = query.where(link.c.incident == incident, link.c.role == "alarm")
    found = (subjects(read_finding(content).subject) for content in connection.execute(query).scalars())
    return {subject for subject in found if subject is not None}
