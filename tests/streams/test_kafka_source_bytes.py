"""What others write to a Kafka topic may begin with any byte, also with the one that our log marks refusals with."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from opintel.demo.broker import Broker
from opintel.streams.connectors.kafka import KafkaSource, KafkaSourceSettings
from opintel.streams.log import REFUSED


@pytest.mark.parametrize("body", [REFUSED * 4 + b"an Arrow stream begins so", REFUSED, b"\x00", b"{}"])
def test_a_senders_bytes_are_never_taken_for_a_refusal(kafka: Broker, body: bytes) -> None:
    topic = f"bytes-{uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    producer.send(topic, body)
    producer.send(topic, None, key=b"no value")
    producer.flush()
    source = KafkaSource(KafkaSourceSettings(bootstrap=[kafka.bootstrap], topics=[topic]))
    try:
        position, messages, end = None, [], time.monotonic() + 30
        while len(messages) < 2 and time.monotonic() < end:
            more, position = source.read(position, 10, len(messages))
            messages += more
    finally:
        source.close()
        producer.close()
        admin.delete_topics([topic])
        admin.close()
    assert [m.body for m in messages if m.form != "refused"] == [body]
    assert [m.form for m in messages][1:] == ["refused"]
