"""A producer of MONIT messages for the soak: a process that writes a simulated story of several FTS instances to a
source topic, as fast as it is allowed or each message when it is due.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Iterator
from ctypes import c_int64
from multiprocessing.synchronize import Event

from kafka import KafkaAdminClient, KafkaProducer

from opintel.finding import NS
from opintel.fts.simulated.simulate import FtsSimulator

SOURCE, PARTITIONS = "fts.source", 4
KEPT = 1 << 30
"""Bytes that a partition keeps."""
PART = 500
AHEAD = 400
"""Parts by which the story is made ahead: two minutes at a time."""
UNPACED = 30_000.0
"""Messages a second of a story without a set pace; more than come through, or its dates would run ahead."""
NAME, INSTANCES = b"fts.example.org", 8
"""Instances that live through the same: a simulator of such a rate would hold millions of messages at a time."""
BEFORE = 15 * NS
"""How long before its begin a story is started, to be in time."""
HOURS = 2.0
"""Length of a story."""


def make_source(bootstrap: str) -> None:
    """The topic, with little retention."""
    kept = {"retention.bytes": str(KEPT), "segment.bytes": str(KEPT // 4)}
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({SOURCE: {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": kept}})
    admin.close()


class Hose:
    """A story that begins soon, on its way into SOURCE, `rate` messages a second; None: as far as `allowed`."""

    def __init__(self, bootstrap: str, *, seed: int, rate: float | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.allowed = context.Value(c_int64, 2 * PART)
        """Messages that may have been sent, without a rate."""
        self.sent = context.Value(c_int64, 0)
        self._stop = context.Event()
        arguments = (bootstrap, seed, rate, self.allowed, self.sent, self._stop)
        self._process = context.Process(target=_pour, args=arguments, daemon=True)

    def stop(self) -> int:
        """Ends the story here; messages that were sent."""
        self._stop.set()
        self._process.join()
        return int(self.sent.value)

    @property
    def pid(self) -> int:
        """Of the producer."""
        return self._process.pid or 0

    def __enter__(self) -> Hose:
        self._process.start()
        while not self.sent.value and self._process.is_alive():
            time.sleep(0.05)
        if not self.sent.value:
            raise RuntimeError("the producer has ended; its error stands above")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _pour(bootstrap: str, seed: int, rate: float | None, allowed: c_int64, sent: c_int64, stop: Event) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, batch_size=1 << 18, acks=1)
    parts: queue.Queue[list[tuple[int, bytes]]] = queue.Queue(AHEAD)
    threading.Thread(target=_tell, args=(seed, rate, parts), daemon=True).start()
    while not stop.is_set():
        part = parts.get()
        if not part:
            break
        while not stop.is_set() and not (_due(part) if rate else sent.value + len(part) <= allowed.value):
            time.sleep(0.005)
        for n, (_, body) in enumerate(part):
            producer.send(SOURCE, body, partition=n % PARTITIONS)
        producer.flush()
        sent.value += len(part)
    producer.close()


def _due(part: list[tuple[int, bytes]]) -> bool:
    return part[-1][0] <= time.time_ns()


def _tell(seed: int, rate: float | None, parts: queue.Queue[list[tuple[int, bytes]]]) -> None:
    for part in _story(seed, rate or UNPACED):
        parts.put(part)
    parts.put([])  # it is over


def _story(seed: int, rate: float) -> Iterator[list[tuple[int, bytes]]]:
    """Parts of (arrival, message) at `rate` messages a second at this time of the day."""
    begin = time.time_ns() + BEFORE
    few = FtsSimulator(seed=seed, hours=0.2, start=begin, rate=20_000.0, faults=())
    habit = sum(len(_told(body)) for _, body in few.messages()) / (0.2 * 20_000.0)
    part: list[tuple[int, bytes]] = []
    for arrival, body in FtsSimulator(seed=seed, hours=HOURS, start=begin, rate=3600 * rate / habit).messages():
        part += [(arrival, one) for one in _told(body)]
        if len(part) >= PART:
            yield part
            part = []


def _told(body: bytes) -> list[bytes]:
    """The message of each instance; one that names none comes once."""
    if NAME not in body:
        return [body]
    return [body.replace(NAME, b"fts-%d.example.org" % n) for n in range(INSTANCES)]
