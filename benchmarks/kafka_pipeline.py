"""FTS records per CPU-second on a real Kafka broker, beside a kafka-python consumer that does nothing but poll them.

`python benchmarks/kafka_pipeline.py [--rate 150000] [--hours 0.7] [--repeat 3] [--profile]`. Both read the same source
topic in the same process, in turns; a figure is CPU of this process alone, the threads of its connections included. The
pipeline goes from the source topic over raw, derived and findings topics of the same broker to incidents in the store.
"""

from __future__ import annotations

import argparse
import cProfile
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from msgspec import structs
from rooms import batches, rooms

from opintel.demo.broker import Broker
from opintel.finding import NS
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.site.load import load_site
from opintel.site.system import System
from opintel.store.queries import finding_counts
from opintel.streams.connectors.kafka import KafkaSource, KafkaSourceSettings
from opintel.streams.feeds import ReplayableFeed
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.loop import calm_collector

RECORDS = 1000
"""Records of a batched message."""
PARTITIONS = 4
QUIET = 3
"""Rounds in which no worker had anything to do, after which all is done."""


class Topic(NamedTuple):
    """A source topic with the story in it."""

    name: str
    what: str
    messages: int
    records: int
    stream: str = "fts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=150_000.0, help="Messages an hour: WLCG has 80,000 to 170,000.")
    parser.add_argument("--hours", type=float, default=0.7)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--profile", action="store_true", help="Also print where the time goes (slower while it looks)."
    )
    given = parser.parse_args()
    simulator = FtsSimulator(seed=1, hours=given.hours, rate=given.rate)
    lines = [body for _, body in simulator.messages()]
    with tempfile.TemporaryDirectory() as name, Broker(Path(name, "kafka")) as broker:
        bench = Bench(Path(name), broker.bootstrap, simulator.end)
        topics = [bench.fill("bench.single", "single messages", lines, len(lines))]
        size = sum(map(len, lines)) / len(lines)
        print(f"{len(lines)} MONIT messages of {size:.0f} bytes, {given.rate:,.0f} an hour", end="")
        if batched := batches(lines, RECORDS):
            each = sum(map(len, batched)) / len(batched)
            topics.append(bench.fill("bench.batched", "batched messages", batched, RECORDS * len(batched)))
            print(
                f"; the complete ones as\n{len(batched)} Arrow messages of {RECORDS} records, {each:.0f} bytes", end=""
            )
        print(f"\n\n{'records/CPU-s, ' + str(given.repeat) + ' times in turns':44}{'median':>15}{'us each':>10}   all")
        few = [bench.fill("bench.few", "few", lines[:3000], 3000)]
        for topic in few:  # imports and first use are not what is measured
            bench.poll(topic)
            bench.pipeline(topic)
        for topic in topics:
            polled, judged = [], []
            for _ in range(given.repeat):
                polled.append(took(lambda topic=topic: bench.poll(topic)))
                judged.append(bench.pipeline(topic))
            show(f"{topic.what}, kafka-python polls them", topic.records, polled)
            show(f"{topic.what}, topic to incident", topic.records, judged)
        if given.profile:
            for topic in topics:
                profile = cProfile.Profile(time.thread_time)
                spent = bench.pipeline(topic, profile)
                rooms(f"{topic.what}, topic to incident", profile, spent.all - spent.here)


class Bench:
    """A broker with source topics, and the two that read them."""

    def __init__(self, folder: Path, bootstrap: str, end: int) -> None:
        """`end`: of the story, ns; the clock of the ingest stands there."""
        self._folder, self._bootstrap, self._end = folder, bootstrap, end
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self._runs = 0

    def fill(self, name: str, what: str, messages: list[bytes], records: int, stream: str = "fts") -> Topic:
        self._admin.create_topics({name: {"num_partitions": PARTITIONS, "replication_factor": 1}})
        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap, linger_ms=50, batch_size=1 << 19, max_request_size=8 << 20
        )
        for n, message in enumerate(messages):
            producer.send(name, message, partition=n % PARTITIONS)
        producer.flush()
        producer.close()
        return Topic(name, what, len(messages), records, stream)

    def poll(self, topic: Topic) -> None:
        """What any consumer written with kafka-python pays before it does anything."""
        consumer = KafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        places = [TopicPartition(topic.name, p) for p in range(PARTITIONS)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        left = topic.messages
        while left > 0:
            left -= sum(len(found) for found in consumer.poll(500, max_records=5000).values())
        consumer.close()

    def pipeline(self, topic: Topic, profile: cProfile.Profile | None = None) -> Spent:
        """From the source topic to incidents, all services in this process; topics and store are new each time."""
        self._runs += 1
        site = load_site()
        site = site._replace(settings=structs.replace(site.settings, bus=KafkaSettings(bootstrap=[self._bootstrap])))
        system = System(self._folder / str(self._runs), site)
        watched = system.stream(topic.stream)
        source = KafkaSource(KafkaSourceSettings(bootstrap=[self._bootstrap], topics=[topic.name]))
        feed = ReplayableFeed(
            source, system.ingester(watched, "kafka", live=True, replayable=True), lambda: self._end + 120 * NS
        )
        first = [system.sequencer(feed.ingester), feed]
        stages = [system.stage1(watched), system.stage2(watched), system.alerting()]

        def flow() -> None:
            quiet = 0
            while quiet < QUIET:
                worked = [service.step() for service in (*first, *stages)]
                done = feed.ingester.resume.messages >= topic.messages and all(s.idle() for s in stages)
                quiet = quiet + 1 if done and not any(worked) else 0
                if not any(worked):
                    time.sleep(0.02)

        calm_collector()
        spent = took(flow if profile is None else lambda: profile.runcall(flow))
        assert system.undecided() == 0
        assert not any(kind == "dead" for _, kind in system.log.aside_counts())
        assert finding_counts(system.store)
        for service in (*first, *stages):
            service.close()
        system.close()
        self._empty()
        return spent

    def _empty(self) -> None:
        """Removes what the pipeline made."""
        while names := [n for n in self._admin.list_topics() if not n.startswith(("__", "bench."))]:
            self._admin.delete_topics(names, raise_errors=False)
            time.sleep(0.1)


class Spent(NamedTuple):
    """CPU, s."""

    all: float
    """Of the process: every thread, user and system."""
    here: float
    """Of the thread that works."""


def took(work: Callable[[], object]) -> Spent:
    before, here = time.process_time(), time.thread_time()
    work()
    return Spent(time.process_time() - before, time.thread_time() - here)


def show(what: str, records: int, spent: list[Spent]) -> None:
    """One line: median and every repetition."""
    rates = [records / one.all for one in spent]
    median = statistics.median(rates)
    print(f"{what:44}{median:>15,.0f}{1e6 / median:>10.1f}   {' '.join(f'{rate:,.0f}' for rate in rates)}")


if __name__ == "__main__":
    main()
