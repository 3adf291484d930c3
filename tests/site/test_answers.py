"""Answers to incidents become controls: bounded, once each, and undone by a changed mind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dqm.shift import DEAD, STREAM, open_shift

from opintel.alerts import actions
from opintel.detector import Controls
from opintel.dqm.pipeline import PIPELINE
from opintel.dqm.quality.feedback import MOST, feedback_decades, feedback_subject
from opintel.site import answers
from opintel.site.answers import Answers, AnswersTo, decades_of
from opintel.store import Store
from opintel.store import schema as t
from opintel.streams.log import Log
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.sequencer import control_topic, send_control
from opintel.streams.stream import Stream

DQM = Stream(STREAM, "dqm.histograms", partitions=1)
KEY = f"Calo||{DEAD}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_shift(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Log]:
    bus = SqliteLog(tmp_path / "log.db")
    yield bus
    bus.close()


def incident(store: Store) -> str:
    """The one about the dead range."""
    query = sa.select(t.incident.c.id).where(t.incident.c.subjects.contains(DEAD), t.incident.c.stream == STREAM)
    with store.read() as connection:
        return str(connection.execute(query.order_by(t.incident.c.opened)).scalars().first())


def in_force(bus: Log, decades: float) -> bool:
    """Whether the newest control of the histogram says so (to send it again would change nothing)."""
    return send_control(bus, DQM, "feedback", KEY, {"decades": decades}) is None


def test_a_false_alarm_is_sent_once_and_confirmed_undoes_it(store: Store, bus: Log) -> None:
    assert PIPELINE.feedback is feedback_subject
    listeners = [AnswersTo(DQM, feedback_subject)]
    sending, id = Answers(store, bus, listeners), incident(store)
    assert not sending.send()
    actions.false_alarm(store, id, "ann", now=1)
    assert sending.send()
    assert not sending.send()
    assert Answers(store, bus, listeners).send()  # another process: all again, which is nothing new
    end = bus.end(control_topic(DQM), 0)
    assert end == len(decades_of(store, STREAM, feedback_subject))
    assert in_force(bus, 1.0)
    actions.confirm(store, id, "bob", now=2)
    assert sending.send()
    assert in_force(bus, 0.0)


def test_answers_about_one_histogram_add_up_to_a_bound(store: Store) -> None:
    id = incident(store)
    actions.false_alarm(store, id, "ann", now=1)
    with store.write() as connection:
        (row,) = connection.execute(sa.select(t.incident).where(t.incident.c.id == id)).mappings()
        links = connection.execute(sa.select(t.incident_finding).where(t.incident_finding.c.incident == id)).mappings()
        links = [dict(one) for one in links]
        for n in range(5):
            again = dict(row) | {"id": f"again{n}", "feedback": "false-alarm"}
            connection.execute(sa.insert(t.incident).values(**again))
            connection.execute(sa.insert(t.incident_finding), [one | {"incident": f"again{n}"} for one in links])
            about = {"answer": "false-alarm", "by": "ann", "at": n, "note": ""}
            connection.execute(sa.insert(t.feedback).values(incident=f"again{n}", **about))
    assert decades_of(store, STREAM, feedback_subject)[KEY] == 3.0


def test_the_judge_holds_the_same_bound_and_passes_over_what_is_no_answer() -> None:
    assert answers.MOST == MOST
    odd = [None, [], {"decades": "2"}, {"decades": True}, {"decades": -1}, {"decades": float("nan")}, {"decades": 1e9}]
    said = Controls({("feedback", str(n)): (1, value) for n, value in enumerate(odd)})
    assert feedback_decades(said) == {"6": MOST}
