"""The Kafka log where it is more than the log's contract: hostile batches, re-created topics, outages, transactions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from crafted import CODECS, bomb, produce, records
from kafka import KafkaAdminClient, KafkaProducer
from slow_way import SlowWay
from stored import read

from opintel.demo.broker import Broker, free_port
from opintel.streams.kafka.fetcher import Fetcher
from opintel.streams.kafka.reader import Reader
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.kafka.topics import TopicSpec
from opintel.streams.log import REFUSED, Aside, Entry, LogError, LogUnavailable
from opintel.streams.log_kafka import KafkaLog

GIB = 1 << 30
T = TypeVar("T")


@pytest.fixture
def log(kafka: Broker) -> Iterator[KafkaLog]:
    made = KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]))
    yield made
    made.close()


@pytest.fixture
def topic(log: KafkaLog) -> str:
    """A topic of one partition."""
    return log.create(f"test-{uuid4().hex[:12]}", 1).name


def all_of(log: KafkaLog, topic: str, partition: int = 0) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while batch := read(log, topic, partition, found[-1][0] + 1 if found else 0, 1000):
        found += batch
    return found


def eventually(work: Callable[[], T]) -> T:
    """Its result, tried while the log is not available."""
    until = time.monotonic() + 30
    while True:
        try:
            return work()
        except LogUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def seen(log: KafkaLog, topic: str, position: int) -> list[tuple[int, bytes]]:
    """What comes to stand at a position, within a while."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if found := read(log, topic, 0, position, 100):
            return found
        time.sleep(0.01)
    raise AssertionError(f"nothing came to stand at {position}")


def test_bombs_of_every_codec_are_refused_in_little_memory(kafka: Broker, log: KafkaLog, topic: str) -> None:
    """A gigabyte in a few kilobytes, through the broker, to a process that has less than that."""
    log.append([Entry(topic, 0, b"before")])
    for codec in CODECS[1:]:
        # snappy packs 1 : 20 at best, so a batch that a topic takes holds no more
        size = (150 if codec == "snappy" else 1280) << 20
        assert produce(kafka.bootstrap, topic, bomb(codec, size)) == 0
        log.append([Entry(topic, 0, f"after {codec}".encode())])
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("bombed.py"), kafka.bootstrap, topic, str(GIB)],
        capture_output=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr.decode()
    told = json.loads(child.stdout)
    values = dict(told["items"])
    assert list(values) == list(range(9))
    assert [values[n] for n in (0, 2, 4, 6, 8)] == ["before", *(f"after {codec}" for codec in CODECS[1:])]
    for n, codec in zip((1, 3, 5, 7), CODECS[1:], strict=True):
        assert values[n].startswith(f"{REFUSED.decode('latin-1')}{topic}-0, records {n} to {n}, {codec}, ")
        assert "inflates to more than 67108864 bytes" in values[n]
    assert told["peak"] < 400 << 20


def test_a_refused_batch_has_its_whole_range_and_the_last_position(kafka: Broker, log: KafkaLog, topic: str) -> None:
    assert produce(kafka.bootstrap, topic, records([b"x" * (20 << 20)] * 4, codec="zstd")) == 0
    log.append([Entry(topic, 0, b"good")])
    (position, value), good = all_of(log, topic)
    assert (position, value[:1], good) == (3, REFUSED, (4, b"good"))
    assert f"{topic}-0, records 0 to 3, zstd, ".encode() in value
    assert read(log, topic, 0, 2, 10)[0][0] == 3


def test_a_batch_that_inflates_to_much_is_read_on_from_any_place(kafka: Broker, log: KafkaLog, topic: str) -> None:
    """Behind what one read may return at most, too."""
    n, other = 16_000, log.create(f"test-{uuid4().hex[:12]}", 1).name
    body = records([b"%06d" % i + b"x" * 2594 for i in range(n)], codec="zstd")
    for name in (topic, other):
        assert produce(kafka.bootstrap, name, body) == 0
        log.append([Entry(name, 0, b"after")])
    at = {topic: 0, other: 0}
    while min(at.values()) <= n:  # in turns, so that they drive each other's rest out of the buffer
        for name in at:
            items = read(log, name, 0, at[name], 2000)
            assert items or at[name] > n
            if items:
                assert [p for p, _ in items] == list(range(at[name], items[-1][0] + 1))
                at[name] = items[-1][0] + 1
    fresh = KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]))
    for position in (7000, 12_000, n - 1, n):
        (found,) = read(fresh, topic, 0, position, 1)
        assert (found[0], found[1][:6]) == (position, b"after" if position == n else b"%06d" % position)
    fresh.close()


def test_partitions_beside_a_full_one_are_heard(kafka: Broker, log: KafkaLog) -> None:
    """A broker cuts what it sends of them when the first has filled its answer."""
    name = log.create(f"test-{uuid4().hex[:12]}", 3).name
    other = KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]))
    at = [0, 0, 0]
    for _ in range(5):
        for p in range(3):
            assert read(log, name, p, at[p], 10) == []
        value = os.urandom(1_500_000)
        other.append([Entry(name, p, value) for p in range(3)])
        for p in range(3):
            until = time.monotonic() + 20
            while not (items := read(log, name, p, at[p], 10)):
                assert time.monotonic() < until, f"nothing comes of partition {p}"
            assert items == [(at[p], value)]
            at[p] += 1
    other.close()


def test_a_record_without_a_value_is_refused(kafka: Broker, log: KafkaLog, topic: str) -> None:
    assert produce(kafka.bootstrap, topic, records([b"a", None, b"c"], codec="lz4")) == 0
    assert all_of(log, topic) == [(0, b"a"), (1, REFUSED + b"a record without a value"), (2, b"c")]


def test_a_topic_made_anew_is_another_one(kafka: Broker, log: KafkaLog, topic: str) -> None:
    old = log.create(topic, 1)
    log.append([Entry(topic, 0, b"old %d" % n) for n in range(5)])
    assert len(all_of(log, topic)) == 5
    other = KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]))
    admin = KafkaAdminClient(bootstrap_servers=[kafka.bootstrap])
    try:
        admin.delete_topics([topic])
        while other.create(topic, 1).epoch == old.epoch:
            time.sleep(0.05)
        for attempt in (lambda: log.append([Entry(topic, 0, b"lost")]), lambda: _poll(log, topic, 5)):
            with pytest.raises(LogUnavailable):
                attempt()
        for _ in range(2):  # looking does not make it ours
            with pytest.raises(LogUnavailable, match=r"re-created|gone"):
                log.end(topic, 0)
            with pytest.raises(LogUnavailable, match=r"re-created|gone"):
                read(log, topic, 0, 0, 1)
        new = log.create(topic, 1)
        assert new.epoch == other.create(topic, 1).epoch != old.epoch
        before = eventually(lambda: all_of(log, topic))
        log.append([Entry(topic, 0, b"new")])
        assert [v for _, v in all_of(log, topic)] == [*(v for _, v in before), b"new"]
        admin.delete_topics([topic])
        with pytest.raises((LogUnavailable, LogError), match=topic):
            _poll(log, topic, len(before) + 1)
    finally:
        admin.close()
        other.close()


def test_asides_made_anew_are_read_anew(kafka: Broker) -> None:
    class Own(KafkaLog):
        asides_topic = f"test-{uuid4().hex[:12]}"

    logs = [Own(KafkaSettings(bootstrap=[kafka.bootstrap])) for _ in range(2)]
    logs[0].put_asides([Aside("dead", "t", 0, 1, 0, "old")])
    assert [a.reason for a in logs[1].asides()] == ["old"]
    admin = KafkaAdminClient(bootstrap_servers=[kafka.bootstrap])
    admin.delete_topics([Own.asides_topic])
    eventually(lambda: logs[0].put_asides([Aside("dead", "t", 0, 2, 0, "new")]))
    until = time.monotonic() + 30
    while [a.reason for a in eventually(logs[1].asides)] != ["new"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    for each in (admin, *logs):
        each.close()


def _poll(log: KafkaLog, topic: str, position: int) -> None:
    """Reads where nothing stands until that fails."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        read(log, topic, 0, position, 10)
        time.sleep(0.05)


def test_a_log_that_lost_its_tail_is_not_read_on(log: KafkaLog, topic: str) -> None:
    log.append([Entry(topic, 0, b"x")])
    with pytest.raises(LogUnavailable, match="ends at 1, 7 was asked for"):
        read(log, topic, 0, 7, 1)
    assert read(log, topic, 0, 1, 1) == []


def test_a_record_that_is_too_large_is_refused_and_nothing_is_written(log: KafkaLog, topic: str) -> None:
    with pytest.raises(LogError, match=f"topic {topic}: a record of 9437184 bytes"):
        log.append([Entry(topic, 0, b"fits"), Entry(topic, 0, bytes(9 << 20))])
    assert all_of(log, topic) == []


def test_a_topic_that_takes_less_says_so(kafka: Broker) -> None:
    name = f"test-{uuid4().hex[:12]}"
    log = KafkaLog(
        KafkaSettings(bootstrap=[kafka.bootstrap]),
        specs={name: TopicSpec(name, 1, 1, {"max.message.bytes": "1000"})},
    )
    log.create(name, 1)
    with pytest.raises(LogError, match="a record of 50000 bytes"):
        log.append([Entry(name, 0, os.urandom(50_000))])
    log.append([Entry(name, 0, b"fits")])
    assert read(log, name, 0, 0, 10) == [(0, b"fits")]
    log.close()


def test_a_topic_that_cannot_be_made_says_who_makes_it(kafka: Broker) -> None:
    name = f"test-{uuid4().hex[:12]}"
    log = KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]), specs={name: TopicSpec(name, 1, 3, {})})
    with pytest.raises(LogError, match="opintel topics apply"):
        log.create(name, 1)
    log.close()


def test_what_others_append_reaches_an_idle_reader(kafka: Broker, log: KafkaLog, topic: str) -> None:
    other = KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]))
    for n in range(20):
        assert read(log, topic, 0, n, 10) == []
        other.append([Entry(topic, 0, b"%d" % n)])
        assert seen(log, topic, n) == [(n, b"%d" % n)]
    assert read(log, topic, 0, other.end(topic, 0), 10) == []
    other.close()


def test_what_comes_soon_after_news_travels_together(
    kafka: Broker, log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait between two standing requests is held open here: nothing of what comes meanwhile is read alone."""
    held, pause = threading.Event(), Fetcher.sleep

    async def wait(fetcher: Fetcher, seconds: float) -> None:
        while not held.is_set():
            await pause(fetcher, 0.01)

    monkeypatch.setattr(Fetcher, "sleep", wait)
    monkeypatch.setattr("opintel.streams.kafka.reader.FRESH", 60.0)
    assert not read(log, topic, 0, 0, 100)
    with closing(KafkaLog(KafkaSettings(bootstrap=[kafka.bootstrap]))) as other:
        other.append([Entry(topic, 0, b"first")])
        assert seen(log, topic, 0) == [(0, b"first")]
        assert not read(log, topic, 0, 1, 100)
        for value in (b"second", b"third"):
            other.append([Entry(topic, 0, value)])
            assert not read(log, topic, 0, 1, 100)
    held.set()
    assert seen(log, topic, 1) == [(1, b"second"), (2, b"third")]


def test_readers_at_different_places_do_not_disturb_each_other(log: KafkaLog, topic: str) -> None:
    values = [b"%d" % n * 300 for n in range(5000)]
    log.append([Entry(topic, 0, value) for value in values])
    truth = list(enumerate(values))
    wrong: list[object] = []

    def read_on(position: int, limit: int) -> None:
        at = position
        while items := read(log, topic, 0, at, limit):
            if items != truth[at : at + len(items)]:
                wrong.append((at, limit))
            at = items[-1][0] + 1
        if at != len(truth):
            wrong.append(at)

    threads = [threading.Thread(target=read_on, args=(1000 * n, 50 + 33 * n)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_transactions_are_read_when_committed_and_never_when_aborted(kafka: Broker, log: KafkaLog, topic: str) -> None:
    producer = KafkaProducer(bootstrap_servers=[kafka.bootstrap], transactional_id=f"t-{topic}")
    producer.init_transactions()
    for n, end in enumerate((producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)):
        producer.begin_transaction()
        producer.send(topic, b"%d" % n, partition=0).get(10)
        if n == 2:
            assert all_of(log, topic) == [(0, b"0")]  # not yet
        end()
    producer.close()
    assert seen(log, topic, 1) == [(4, b"2")]
    assert all_of(log, topic) == [(0, b"0"), (4, b"2")]
    assert log.end(topic, 0) == 6
    assert [read(log, topic, 0, 5, 10) for _ in range(3)] == [[], [], []]
    log.append([Entry(topic, 0, b"plain")])
    assert read(log, topic, 0, 5, 10) == [(6, b"plain")]


@pytest.mark.broker
def test_an_outage_is_told_and_ends(part: object, tmp_path: Path) -> None:
    with Broker(tmp_path, jars=part("kafka")) as broker:  # type: ignore[operator]
        log = KafkaLog(KafkaSettings(bootstrap=[broker.bootstrap]))
        topic = log.create("t", 2)
        log.append([Entry("t", 0, b"before")])
        assert read(log, "t", 0, 0, 10) == [(0, b"before")]
        broker.kill()
        for attempt in (
            lambda: _poll(log, "t", 1),
            lambda: log.append([Entry("t", 0, b"during")]),
            lambda: log.create("t", 2),
            log.committed,
        ):
            with pytest.raises(LogUnavailable):
                attempt()
        log.commit("stage1", "t", 0, 1)
        broker.start()
        assert eventually(lambda: log.create("t", 2)) == topic
        eventually(lambda: log.append([Entry("t", 0, b"after")]))
        values = [v for _, v in all_of(log, "t")]
        assert (values[0], values[-1]) == (b"before", b"after")  # what failed between may be there
        assert log.committed() == {("stage1", "t", 0): 1}
        log.close()


@pytest.mark.soak
def test_a_slow_way_is_found_again_after_an_outage(
    part: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer ways than what is waited for while no broker answers: each try goes on where the one before ended."""
    inside = free_port()
    with SlowWay(inside, 0.17) as way:
        listeners = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{way.port}"}
        with Broker(tmp_path, jars=part("kafka"), port=inside, properties=listeners) as broker:  # type: ignore[operator]
            log = KafkaLog(KafkaSettings(bootstrap=[f"127.0.0.1:{way.port}"]))
            log.create("t", 1)
            log.append([Entry("t", 0, b"before")])
            monkeypatch.setattr("opintel.streams.kafka.writer.PATIENCE", -2.0)
            with pytest.raises(LogUnavailable):  # the producer would still wait
                log.append([Entry("t", 0, b"given up")])
            monkeypatch.undo()
            eventually(lambda: log.append([Entry("t", 0, b"again")]))
            way.delay, way.open = 0.3, False
            for attempt in (lambda: log.append([Entry("t", 0, b"during")]), lambda: log.create("t", 1)):
                with pytest.raises(LogUnavailable):
                    attempt()
            way.open = True
            eventually(lambda: log.append([Entry("t", 0, b"after")]))
            eventually(lambda: log.create("t", 1))
            values = [v for _, v in eventually(lambda: all_of(log, "t"))]
            assert (values[0], values[-1]) == (b"before", b"after")
            log.close()
            assert broker.port == inside


def test_the_buffer_is_bounded(kafka: Broker, log: KafkaLog, topic: str) -> None:
    log.append([Entry(topic, 0, uuid4().bytes * 4000) for _ in range(200)])
    reader = Reader({"bootstrap_servers": [kafka.bootstrap]}, buffer_bytes=8 << 20)
    for position in range(0, 200, 3):
        assert read(reader, topic, 0, position, 1)[0][0] == position
        assert reader.held <= 8 << 20
    reader.close()


def test_what_was_read_is_not_kept_when_news_of_it_comes_later(kafka: Broker, log: KafkaLog, topic: str) -> None:
    """A reader at the end that hears of a record from the writer beside it, and again from the broker."""
    reader = Reader({"bootstrap_servers": [kafka.bootstrap]})
    for position in range(300):
        log.append([Entry(topic, 0, bytes(20_000))])
        reader.appended(topic, 0, position, position + 1)
        assert [at for at, _ in read(reader, topic, 0, position, 64)] == [position]
        assert read(reader, topic, 0, position + 1, 64) == []
    assert reader.held <= 20_200
    reader.close()


def test_a_record_was_appended_when_the_broker_says_not_its_author(kafka: Broker, log: KafkaLog, topic: str) -> None:
    before = time.time_ns() // 1_000_000
    with closing(KafkaProducer(bootstrap_servers=[kafka.bootstrap])) as producer:
        producer.send(topic, b"of 2115", partition=0, timestamp_ms=4_575_744_000_000).get(10)
    log.append([Entry(topic, 0, b"ours")])
    times = [at // 1_000_000 for _, _, at in log.read(topic, 0, 0, 10)]
    assert len(times) == 2
    assert all(before - 1000 <= at <= time.time_ns() // 1_000_000 + 1000 for at in times)
