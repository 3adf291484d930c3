"""Frames that come in parts over Kafka: put together whatever becomes of the parts, the same after any restart."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaProducer

from opintel.demo.broker import Broker
from opintel.detector import Message
from opintel.streams.connectors.kafka import KafkaSource
from opintel.streams.connectors.lldd import MAX_FRAME, LlddSettings, LlddSource
from opintel.streams.stream import Stream


def parts(frame: bytes, number: int, size: int = 10, **said: int) -> list[bytes]:
    """A frame's parts; `said` stands in place of what is right."""
    chunks = [frame[at : at + size] for at in range(0, len(frame), size)]
    found = []
    for n, chunk in enumerate(chunks):
        about = {
            "part_id": number,
            "part_num": n,
            "part_tot": len(chunks),
            "evt_id": 1_400_000_000 + number,
            "evt_len": len(frame),
            "part_off": n * size,
            "part_len": len(chunk),
        } | said
        found.append(b"PART," + ",".join(f"{k}={v:012d}" for k, v in about.items()).encode() + b"\0" + chunk)
    return found


def frame(number: int, size: int = 45) -> bytes:
    return b"IGWD" + random.Random(number).randbytes(size - 4)


class Topic:
    """Messages of one partition, or several in turn, read by position as those of Kafka are."""

    delay = 0

    def __init__(self, messages: Sequence[bytes], places: int = 1) -> None:
        self.messages = [Message(body, f"t-{n % places} offset {n}") for n, body in enumerate(messages)]

    def read(self, position: Any, limit: int, first: int = 0) -> tuple[list[Message], Any]:
        at = position or 0
        found = self.messages[at : at + limit]
        return [msgspec.structs.replace(m, index=first + n) for n, m in enumerate(found)], at + len(found)

    def between(self, before: Any, after: Any, first: int = 0) -> list[Message]:
        return self.read(before, after - (before or 0), first)[0]


def source(messages: Sequence[bytes], places: int = 1) -> LlddSource:
    return LlddSource(cast(KafkaSource, Topic(messages, places)))


def read_all(opened: LlddSource, total: int, limit: int = 1000) -> tuple[list[Message], list[Any]]:
    found: list[Message] = []
    positions: list[Any] = [None]
    while positions[-1] is None or positions[-1][0] < total:
        some, position = opened.read(positions[-1], limit, len(found))
        found += some
        positions.append(position)
    return found, positions


def outcome(messages: Sequence[bytes], limit: int = 1000) -> list[tuple[str, bytes]]:
    return [(m.form, m.body) for m in read_all(source(messages), len(messages), limit)[0]]


def test_frames_are_put_together() -> None:
    frames = [frame(n, size) for n, size in enumerate((45, 40, 4, 100))]
    sent = [part for n, one in enumerate(frames) for part in parts(one, n)]
    assert outcome(sent) == [("json", one) for one in frames]


def test_parts_in_any_order_and_twice() -> None:
    sent = parts(frame(1), 1) + parts(frame(2), 2)
    random.Random(1).shuffle(sent)
    found = outcome(sent + sent)
    assert sorted(found) == sorted([("json", frame(1)), ("json", frame(2))])


def test_a_frame_that_lost_a_part_is_given_up_when_others_are_complete() -> None:
    sent = parts(frame(0), 0)[:-1] + [part for n in range(1, 6) for part in parts(frame(n), n)]
    found = outcome(sent)
    (lost,) = [n for n, (form, _) in enumerate(found) if form == "gap"]
    assert lost == 3
    assert found[lost][1] == b"frame part_id=0 evt_id=1400000000: 4 of 5 parts came"
    assert [body for form, body in found if form == "json"] == [frame(n) for n in range(1, 6)]
    # a part that comes later begins no frame
    assert outcome([*sent, parts(frame(0), 0)[-1]]) == found


def test_of_many_frames_that_are_not_complete_the_oldest_goes() -> None:
    sent = [part for n in range(20) for part in parts(frame(n), n)[:2]]
    found = outcome(sent)
    assert [form for form, _ in found] == ["gap"] * 16
    assert b"part_id=0 " in found[0][1]


def test_messages_that_are_no_parts_pass() -> None:
    assert outcome([b"{}", b"IGWD whole", b""]) == [("json", b"{}"), ("json", b"IGWD whole"), ("json", b"")]


@pytest.mark.parametrize(
    "said",
    [
        {"evt_len": 10**12},
        {"evt_len": 0},
        {"evt_len": MAX_FRAME + 1},
        {"part_tot": 10**9},
        {"part_tot": 0},
        {"part_num": 5},
        {"part_len": 11},
        {"part_off": 10**11},
        {"part_id": 10**30},
    ],
)
def test_a_hostile_header_is_refused_and_takes_no_room(said: dict[str, int]) -> None:
    bad, good = parts(frame(0), 0, **said)[0], parts(frame(1), 1)
    found = outcome([bad, *good])
    assert [form for form, _ in found] == ["refused", "json"]
    assert b"expected" in found[0][1]


@pytest.mark.parametrize("body", [b"PART,", b"PART," + b"x" * 10_000, b"PART,part_id=1\0abc", b"PART,\0"])
def test_half_a_header_is_refused(body: bytes) -> None:
    assert [form for form, _ in outcome([body])] == ["refused"]


def test_parts_that_contradict_each_other_make_no_frame() -> None:
    first, *rest = parts(frame(0), 0)
    (other, *_) = parts(frame(0, 80), 0)[1:]
    found = outcome([first, other, *rest])
    assert [form for form, _ in found] == ["refused", "json"]
    gap = parts(frame(2), 2)
    gap[1] = gap[1].replace(b"part_off=000000000010", b"part_off=000000000020")
    ((form, body),) = outcome(gap)
    assert (form, body[-51:]) == ("refused", b"its parts do not make up the 45 bytes that they say")


@given(st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 2))
@settings(deadline=None)
def test_any_stretch_again_gives_the_same(rng: random.Random, limit: int, places: int) -> None:
    sent = [part for n in range(12) for part in parts(frame(n), n)]
    for _ in range(10):
        sent.pop(rng.randrange(len(sent)))
        sent.insert(rng.randrange(len(sent)), rng.choice(sent))
    for at in range(0, len(sent), 8):
        sent[at : at + 8] = rng.sample(sent[at : at + 8], len(sent[at : at + 8]))
    found, positions = read_all(source(sent, places), len(sent), limit)
    once = read_all(source(sent, places), len(sent))[0]
    assert found == once
    at = 0
    for before, after in pairwise(positions):
        plain = msgspec.json.decode(msgspec.json.encode([before, after]))  # as a log brings it back
        again = source(sent, places).between(*plain, at)
        assert again == found[at : at + len(again)]
        at += len(again)
        resumed, _ = source(sent, places).read(plain[1], len(sent), at)
        assert resumed == found[at:]
    assert at == len(found)
    assert all(len(msgspec.json.encode(position)) < 800 for position in positions)


def test_on_a_real_broker(kafka: Broker) -> None:
    name = f"frames-{secrets.token_hex(4)}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}})
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    frames = [frame(n, 250_000) for n in range(5)]
    sent = [part for n, one in enumerate(frames) for part in parts(one, n, 100_000)]
    sent[0], sent[1], sent[4] = sent[1], sent[0], sent[3]  # out of order; one is lost, another doubled
    sent.insert(5, parts(frame(9), 9, evt_len=10**12)[0])
    for part in sent:
        producer.send(name, part, partition=0)
    producer.flush()
    opened = LlddSettings(bootstrap=[kafka.bootstrap], topics=[name]).open({}, cast(Stream, None))
    try:
        found: list[Message] = []
        position = None
        while len(found) < 6:
            before = position
            some, position = opened.read(position, 4, len(found))
            found += some
        assert opened.between(before, position, len(found) - len(some)) == some
        assert [m.form for m in found] == ["json", "refused", "json", "json", "json", "gap"]
        assert [m.body for m in found if m.form == "json"] == [frames[n] for n in (0, 2, 3, 4)]
        assert found[-1].body == b"frame part_id=1 evt_id=1400000001: 2 of 3 parts came"
    finally:
        opened.close()
        producer.close()
        admin.delete_topics([name])
        admin.close()
