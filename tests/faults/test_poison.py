"""Garbage among good records, in every topic: dead letters with their offsets, services that stay up, the same
findings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from streams.crafted import bomb, produce

from opintel.finding import Effect
from opintel.streams.findings import Found, decode, encode
from opintel.streams.kafka.topics import ASIDES
from opintel.streams.log import REFUSED
from opintel.streams.records import Codec, Control, Derived, Forwarded
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS

from .rig import SERVICES, STREAM, Row, Site, get

pytestmark = pytest.mark.broker

DEEP = b"\x91" * 100_000
"""msgpack: a list in a list in a list …"""
BOMB = 256 << 20
HUGE = 1 << 64


def garbage(good: bytes) -> list[bytes | None]:
    """Records that no build writes, and pieces of a good one."""
    return [
        None,
        b"",
        b"\x00",
        b"\x01",
        b"\xff\xfe\xfd",
        REFUSED + b"not for us to say",
        b"\x02" + good[1:],
        good[: len(good) // 2],
        good + b"\x00",
        b"\x01" + DEEP,
        b"\x01\x9f" + DEEP,
        b'{"json": true}',
        b"\x01" + bytes(1 << 20),
    ]


def controls() -> list[bytes | None]:
    """Controls that are none, and unusable settings."""
    encoder = msgspec.msgpack.Encoder()
    fields = ["control", "x", "settings", STREAM, 2, 0, {}, 0]
    wrong = [
        [*fields[:1], "x" * 10_000, *fields[2:]],
        [*fields[:4], -1, *fields[5:]],
        [*fields[:4], 1 << 60, *fields[5:]],
        [*fields[:5], "now", *fields[6:]],
        [*fields[:5], HUGE - 1, *fields[6:]],
        fields[:4],
    ]
    return [b"\x01" + encoder.encode(one) for one in wrong]


def settings() -> list[Control]:
    """Sound controls with values that the judges do not understand: refused where they would come into force."""
    values = [[1, 2], {"no.such.detector": {}}, {"fts.failures": {"fdr": "drop table"}}]
    return [Control(f"bad{n}", "settings", STREAM, 1000 + n, 0, value) for n, value in enumerate(values)]


def asides() -> list[bytes | None]:
    """Side outputs that no table can hold."""
    whole: dict[str, Any] = {"kind": "dead", "topic": STREAM, "partition": 0, "position": 0, "row": 0, "reason": "r"}
    encoded = msgspec.msgpack.encode
    return [
        encoded(whole | {"position": HUGE - 1}),
        encoded(whole | {"row": -(1 << 63), "partition": HUGE - 1}),
        encoded(whole | {"kind": "nonsense"}),
        encoded(whole)[:-1] + b"\xff",
        b"\x81\xa1x" + DEEP,
    ]


class Poisoner:
    """Writes past our own code, and knows which offsets came of it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._producer = KafkaProducer(bootstrap_servers=[site.broker.bootstrap], max_request_size=8 << 20)
        self.written: set[tuple[str, int, int]] = set()

    def write(self, topic: str, partition: int, values: list[bytes | None]) -> None:
        for value in values:
            told = self._producer.send(topic, value, key=b"poison", partition=partition).get(30)
            self.written.add((topic, partition, told.offset))

    def bomb(self, topic: str, codec: str) -> None:
        end = self._site.system.log.end(topic, 0)
        assert produce(self._site.broker.bootstrap, topic, bomb(codec, BOMB)) == 0
        self.written.add((topic, 0, end))

    def close(self) -> None:
        self._producer.close()


def contradiction(site: Site) -> bytes:
    """A finding that is there already, with another effect."""
    for _, value, _ in site.system.log.read(FINDINGS, 0, 0, 10_000):
        record = decode(value)
        if isinstance(record, Found):
            other = msgspec.structs.replace(record.finding, effect=Effect(1e6, "hoaxes"), summary="all is well")
            return encode(Found(STREAM, other))
    raise AssertionError("no finding yet")


def test_poison_in_every_topic(make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    site = make_site()
    stream, log = site.stream, site.system.log
    site.start("all", *SERVICES, "console")
    site.feed(0.4)
    site.until(site.judged, "the first part was judged")
    poison = Poisoner(site)
    try:
        for partition in range(stream.partitions):
            good = log.read(stream.topic, partition, log.end(stream.topic, partition) - 1, 1)[0][1]
            poison.write(stream.topic, partition, [*garbage(good), *controls()])
        for topic in (stream.derived, FINDINGS, control_topic(stream)):
            good = log.read(topic, 0, log.start(topic, 0), 1)[0][1]
            poison.write(topic, 0, [*garbage(good), *controls()])
        spoken: Codec[Any] = Codec(Control | Derived[Any] | Forwarded)
        for control in settings():
            poison.write(
                stream.derived,
                0,
                [spoken.encode(Forwarded(p, stream.partitions, 0, control)) for p in range(stream.partitions)],
            )
        for topic, codec in ((stream.topic, "zstd"), (stream.derived, "lz4"), (FINDINGS, "gzip")):
            poison.bomb(topic, codec)
        dead = set(poison.written)
        poison.write(ASIDES, 0, [*garbage(good), *asides()])  # there is no aside of an aside
        poison.write(FINDINGS, 0, [contradiction(site)])
    finally:
        poison.close()
    site.feed(0.6)
    site.until(site.judged, "it goes on")
    assert not site.services["all"].exits
    site.leave("all")
    shutil.rmtree(site.folder / "data/checkpoints")  # who begins again meets it again
    site.start("all again", *SERVICES, "console")
    site.feed(0.8)
    site.until(site.judged, "it goes on after a restart")
    url = site.url("all again")
    status, page = get(url + "/streams")
    assert status == 200
    at = max(position for topic, partition, position in dead if (topic, partition) == (stream.topic, 0))
    assert f"{stream.topic}-0@{at}" in page
    assert get(url + "/metrics")[0] == 200
    site.finish()
    told = {(a.topic, a.partition, a.position): a for a in log.asides(kind="dead", limit=10_000)}
    assert not dead - told.keys(), "each has its dead letter"
    assert all(a.reason for a in told.values())
    conflict = [a for a in told.values() if "came with two contents" in a.reason]
    assert len(conflict) == 1
    found = {(t, p, n) for t, p, n in told if t in {stream.topic, stream.derived, FINDINGS, control_topic(stream)}}
    assert len(found - poison.written) <= 1, "nothing good is dead"
    site.settle()
    report(site.check(f"{len(poison.written)} poisoned records and batches"))
