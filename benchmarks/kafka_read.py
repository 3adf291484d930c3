"""Reading a Kafka topic of MONIT messages: our `Reader` beside kafka-python's consumer that only polls.

python benchmarks/kafka_read.py [--bootstrap HOST:PORT] [--passes 5] [--hours 3]

Both read the same topic in the same process, in turns; a figure is messages per second of CPU of this process, its
connections' threads included. Without --bootstrap a broker of its own is started.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from opintel.demo.broker import Broker
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.streams.kafka.reader import Reader

CODECS = (None, "lz4", "zstd")


def main(bootstrap: str, passes: int, hours: float) -> None:
    """Prints a row a codec: messages, their size, both rates (median and range), the ratio of the medians."""
    messages = [body for _, body in FtsSimulator(seed=1, hours=hours, faults=()).messages()]
    size = sum(map(len, messages)) / len(messages)
    print(
        f"{len(messages)} messages of {size:.0f} bytes, {passes} passes each; messages per CPU-second, median (range)"
    )
    print(f"{'codec':8} {'kafka-python poll':>28} {'opintel Reader':>28} {'ratio':>6}")
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    for codec in CODECS:
        topic = f"bench-{uuid4().hex[:8]}"
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        fill(bootstrap, topic, codec, messages)
        bare, ours = [], []
        for _ in range(passes):
            bare.append(rate(lambda t=topic: poll(bootstrap, t, len(messages)), len(messages)))
            ours.append(rate(lambda t=topic: read(bootstrap, t, len(messages)), len(messages)))
        ratio = statistics.median(ours) / statistics.median(bare)
        print(f"{codec or 'none':8} {spread(bare):>28} {spread(ours):>28} {ratio:6.2f}")
        admin.delete_topics([topic])
    admin.close()


def fill(bootstrap: str, topic: str, codec: str | None, messages: list[bytes]) -> None:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=50, batch_size=1 << 19, acks="all", compression_type=codec
    )
    for message in messages:
        producer.send(topic, message, partition=0)
    producer.flush()
    producer.close()


def poll(bootstrap: str, topic: str, count: int) -> None:
    """What any consumer written with kafka-python pays before it does anything."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    while count > 0:
        count -= sum(len(records) for records in consumer.poll(500, max_records=5000).values())
    consumer.close()


def read(bootstrap: str, topic: str, count: int) -> None:
    reader = Reader({"bootstrap_servers": [bootstrap]})
    position = 0
    while position < count:
        position = reader.read(topic, 0, position, 500)[-1][0] + 1
    reader.close()


def rate(work: Callable[[], None], count: int) -> float:
    begin = time.process_time()
    work()
    return count / (time.process_time() - begin)


def spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--hours", type=float, default=3.0)
    args = parser.parse_args()
    if args.bootstrap:
        main(args.bootstrap, args.passes, args.hours)
    else:
        with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
            main(broker.bootstrap, args.passes, args.hours)
