"""Reading topics that others write, on the real broker: by position, again message by message, with gaps reported; and
on into the log, where a crash between two partitions loses and doubles nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from contract.cases import TOY_STREAM
from contract.toy import TOY, ToyWire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from opintel.demo.broker import Broker
from opintel.detector import Message
from opintel.finding import NS
from opintel.streams.connectors.kafka import KafkaSource, KafkaSourceSettings
from opintel.streams.feeds import ReplayableFeed
from opintel.streams.ingest import CHUNK, Ingester
from opintel.streams.log import Entry, Log, LogError, LogUnavailable
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.records import Rows, Tick, raw_codec
from opintel.streams.vitals import StreamStatus, stream_status

T0 = 1_700_000_000 * NS
CODEC = raw_codec(TOY.payload)


class Topic:
    """A topic of two partitions that a test writes, and sources of it."""

    def __init__(self, bootstrap: str) -> None:
        self.name = f"monit-{secrets.token_hex(4)}"
        self.settings = KafkaSourceSettings(bootstrap=[bootstrap], topics=[self.name])
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.producer = KafkaProducer(bootstrap_servers=bootstrap)
        self.opened: list[KafkaSource] = []
        self.make()

    def make(self) -> None:
        self.admin.create_topics({self.name: {"num_partitions": 2, "replication_factor": 1}})

    def write(self, partition: int, *values: bytes | None) -> None:
        for value in values:
            self.producer.send(self.name, value, b"key", partition=partition)
        self.producer.flush()

    def source(self) -> KafkaSource:
        self.opened.append(KafkaSource(self.settings))
        return self.opened[-1]

    def close(self) -> None:
        for source in self.opened:
            source.close()
        self.producer.close()
        self.admin.delete_topics([self.name])
        self.admin.close()


@pytest.fixture
def topic(kafka: Broker) -> Iterator[Topic]:
    made = Topic(kafka.bootstrap)
    yield made
    made.close()


def read_all(source: KafkaSource, position: object, limit: int = CHUNK) -> tuple[list[Message], list[object]]:
    """All messages to the end and the position after each read."""
    messages: list[Message] = []
    positions = [position]
    while True:
        some, position = source.read(position, limit, len(messages))
        if not some:
            return messages, positions
        messages += some
        positions.append(position)


def test_all_is_read_once_in_order_and_every_stretch_again_as_it_was(topic: Topic) -> None:
    topic.write(0, *(b"a%d" % n for n in range(40)))
    topic.write(1, *(b"b%d" % n for n in range(7)))
    source = topic.source()
    messages, positions = read_all(source, None, limit=10)
    assert [m.index for m in messages] == list(range(47))
    for partition, wanted in ((b"a", 40), (b"b", 7)):
        assert [m.body for m in messages if m.body[:1] == partition] == [partition + b"%d" % n for n in range(wanted)]
    assert messages[0].file == f"{topic.name}-0 offset 0"
    at = 0
    for before, after in pairwise(positions):
        plain = msgspec.json.decode(msgspec.json.encode([before, after]))  # as a log brings it back
        again = topic.source().between(*plain, at)
        assert again == messages[at : at + len(again)]
        assert again
        at += len(again)
    topic.write(1, b"later")
    deadline = time.monotonic() + 10
    while not (more := source.read(positions[-1], 10)[0]):
        assert time.monotonic() < deadline
    assert [m.body for m in more] == [b"later"]


def test_a_backlog_is_read_in_step(topic: Topic) -> None:
    topic.write(0, *(b"x" for _ in range(3000)))
    topic.write(1, *(b"y" for _ in range(300)))
    source, position = topic.source(), None
    for _ in range(4):
        _, position = source.read(position, CHUNK)
        first, second = position[topic.name][1]
        assert first / 3000 == pytest.approx(second / 300, abs=0.05)
    assert first > 1000


def test_what_cannot_be_read_and_what_fell_out_of_retention_is_told(topic: Topic) -> None:
    topic.write(0, b"one", None, b"three")
    messages, positions = read_all(topic.source(), None)
    assert [(m.form, m.file) for m in messages] == [
        ("json", f"{topic.name}-0 offset 0"),
        ("refused", f"{topic.name}-0 offsets 1 to 1"),
        ("json", f"{topic.name}-0 offset 2"),
    ]
    assert messages[1].body == b"a record without a value"
    topic.write(0, b"four", b"five", b"six")
    topic.admin.delete_records({TopicPartition(topic.name, 0): 5})
    after, _ = read_all(topic.source(), positions[-1])
    assert [(m.form, m.body) for m in after] == [
        ("gap", b"offsets 3 to 4 fell out of the topic's retention unread"),
        ("json", b"six"),
    ]
    # first-comers begin with what there is: they had no claim to the rest
    assert [m.body for m in read_all(topic.source(), None)[0]] == [b"six"]


def read_until(source: KafkaSource, position: object, deadline: float) -> None:
    while time.monotonic() < deadline:
        source.read(position, 10)


def test_a_topic_made_anew_is_told_and_read_from_its_start(topic: Topic) -> None:
    topic.write(0, b"old", b"older")
    source = topic.source()
    _, positions = read_all(source, None)
    topic.admin.delete_topics([topic.name])
    deadline = time.monotonic() + 30
    while topic.name in topic.admin.list_topics():
        assert time.monotonic() < deadline
    topic.make()
    topic.producer.close()
    topic.producer = KafkaProducer(bootstrap_servers=topic.settings.bootstrap)
    topic.write(0, b"new")
    with pytest.raises(LogUnavailable, match=r"re-created|gone"):  # who reads meanwhile begins again
        read_until(source, positions[-1], deadline)
    messages, _ = read_all(topic.source(), positions[-1])
    assert [(m.form, m.body[:25]) for m in messages] == [("gap", b"the topic was re-created;"), ("json", b"new")]


def test_a_topic_that_is_not_there_is_named(kafka: Broker) -> None:
    source = KafkaSource(KafkaSourceSettings(bootstrap=[kafka.bootstrap], topics=["never-made"]))
    with pytest.raises(LogError, match="no topic 'never-made'"):
        source.read(None, 10)
    source.close()


class Torn:
    """A log that appends only a part of what it is given and then fails, as a crash between partitions would."""

    def __init__(self, bus: Log, entries: int) -> None:
        self._bus, self._left = bus, entries

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)

    def append(self, entries: Sequence[Entry]) -> None:
        part = entries[: self._left]
        self._left -= len(part)
        self._bus.append(part)
        if len(part) < len(entries):
            raise ConnectionError("torn")


def toy(n: int) -> bytes:
    return f"a.k{n % 9} {T0 + n * NS // 10} {n}".encode()


def ingest(topic: Topic, bus: Log, clock: Callable[[], int]) -> None:
    """Takes all that is there, until a tick says so."""
    ingester = Ingester(bus, TOY_STREAM, TOY, ToyWire(), "kafka", live=True, replayable=True)
    feed = ReplayableFeed(topic.source(), ingester, clock)
    while feed.step():
        pass
    feed.close()


def rows(bus: Log) -> dict[int, list[int]]:
    return {
        p: [
            row.payload.value
            for _, v, _ in bus.read(TOY_STREAM.topic, p, 0, 10**6)
            if isinstance(record := CODEC.decode(v), Rows)
            for row in record.batch.rows()
        ]
        for p in range(TOY_STREAM.partitions)
    }


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 9), max_size=4))
def test_crashes_between_two_partitions_lose_and_double_nothing(
    topic: Topic, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    source = topic.source()
    if not source.read(None, 10)[0]:
        topic.write(0, *(toy(n) for n in range(0, 1500, 2)))
        topic.write(1, *(toy(n) for n in range(1, 1500, 2)))
    bus = SqliteLog(tmp_path_factory.mktemp("log") / "log.db")
    now = T0 + 200 * NS
    for entries in cuts:
        try:
            ingest(topic, Torn(bus, entries), lambda: now)  # type: ignore[arg-type]
        except ConnectionError:
            continue
    ingest(topic, bus, lambda: now)
    assert sorted(v for part in rows(bus).values() for v in part) == list(range(1500))
    bus.close()


def test_dead_letters_and_gaps_have_their_place_in_the_log(topic: Topic, tmp_path: Path) -> None:
    topic.write(0, b"junk", None, toy(1))
    bus = SqliteLog(tmp_path / "log.db")
    now = T0 + 200 * NS
    ingest(topic, bus, lambda: now)
    topic.write(0, toy(2), toy(3))
    topic.admin.delete_records({TopicPartition(topic.name, 0): 4})
    ingest(topic, bus, lambda: now)
    told = [(a.kind, a.position, a.place, a.reason, a.excerpt) for a in bus.asides(f"{TOY_STREAM.name}.ingest")]
    assert told == [
        ("dead", 0, f"{topic.name}-0 offset 0", "expected `key time value`", b"junk"),
        ("dead", 1, f"{topic.name}-0 offsets 1 to 1", "a record without a value", b""),
        ("gap", 3, f"{topic.name}-0", "offsets 3 to 3 fell out of the topic's retention unread", b""),
    ]
    ticks = [r for _, v, _ in bus.read(TOY_STREAM.topic, 0, 0, 100) if isinstance(r := CODEC.decode(v), Tick)]
    assert len(ticks) == 2
    bus.close()


def test_of_more_partitions_than_fit_into_a_read_none_is_forgotten(topic: Topic) -> None:
    many = f"{topic.name}-many"
    topic.admin.create_topics({many: {"num_partitions": 12, "replication_factor": 1}})
    for partition in range(12):
        for n in range(30 if partition < 3 else 2):
            topic.producer.send(many, b"%d %d" % (partition, n), partition=partition)
    topic.producer.flush()
    topic.opened.append(KafkaSource(KafkaSourceSettings(bootstrap=topic.settings.bootstrap, topics=[many])))
    source, position = topic.opened[-1], None
    messages: list[Message] = []
    told: set[str] = set()
    while True:
        some, after = source.read(position, 12, len(messages))
        if not some:
            break
        assert len(some) <= 12
        assert source.between(position, after, len(messages)) == some
        messages, position = messages + some, after
        if len(messages) <= 70:
            told = {m.file.split(" ")[0] for m in messages}
    assert len(messages) == 3 * 30 + 9 * 2
    assert len(told) == 12  # the short ones did not wait for the long ones
    topic.admin.delete_topics([many])


def test_what_an_open_transaction_hides_is_not_late_when_it_comes(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker shows nothing behind the first record of an open transaction, not even what other producers wrote."""
    monkeypatch.setattr("opintel.streams.connectors.kafka.LOOK", 0.0)  # each tick asks for the source's ends first
    bus, clock = SqliteLog(tmp_path / "log.db"), [T0]
    ingester = Ingester(bus, TOY_STREAM, TOY, ToyWire(), "kafka", live=True, replayable=True)
    feed = ReplayableFeed(topic.source(), ingester, lambda: clock[0])
    deadline = time.monotonic() + 60

    def status_at(tick: int) -> StreamStatus:
        """The feed takes its turns until it has ticked at a time."""
        clock[0] = tick
        while not ((status := stream_status(bus, TOY_STREAM)).arrival == tick and status.live):
            assert time.monotonic() < deadline
            if not feed.step():
                time.sleep(0.01)
        return status

    def status_with(values: list[int]) -> StreamStatus:
        """At the first tick at which the log has these values and nothing is on its way."""
        while True:
            status = status_at(clock[0] + 2 * TOY_STREAM.interval)
            if sorted(v for part in rows(bus).values() for v in part) == values and status.withheld == hidden:
                return status

    hidden = None
    topic.write(0, toy(0))
    shown = status_with([0])
    assert shown.watermark == clock[0] - TOY_STREAM.lateness
    author = KafkaProducer(bootstrap_servers=topic.settings.bootstrap, transactional_id=topic.name)
    author.init_transactions()
    author.begin_transaction()
    author.send(topic.name, toy(1), partition=0).get(10)
    topic.write(0, *(toy(n) for n in range(2, 9)))  # committed, and not shown
    hidden = clock[0]
    for n in range(3):
        topic.write(1, f"a.k1 {clock[0]} {100 + n}".encode())  # shown
        status = status_with([0, *range(100, 101 + n)])
    assert status.watermark == shown.watermark
    assert len(rows(bus)) == TOY_STREAM.partitions
    author.commit_transaction()
    author.close()
    hidden = None
    status = status_with([*range(9), 100, 101, 102])
    assert status.watermark == clock[0] - TOY_STREAM.lateness
    feed.close()
    bus.close()
