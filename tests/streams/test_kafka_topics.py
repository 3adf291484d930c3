"""The plan of a site's topics against a real broker: what is missing is made, what differs is set, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from opintel.demo.broker import Broker
from opintel.finding import NS
from opintel.streams.kafka.topics import ASIDES, Change, TopicSpec, apply, difference, plan
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS, Stream

DAY = 86_400 * NS
STREAM = Stream("planned", "planned.raw", partitions=3)


@pytest.fixture
def admin(kafka: Broker) -> Iterator[KafkaAdminClient]:
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as client:
        yield client


def own(specs: list[TopicSpec]) -> list[TopicSpec]:
    """Without the topics that all streams share: other tests have them as they like."""
    return [spec for spec in specs if spec.name not in (FINDINGS, ASIDES)]


def actions(changes: list[Change]) -> dict[str, str]:
    return {change.topic: change.action for change in changes}


def test_the_plan_has_every_topic_of_the_way(admin: KafkaAdminClient) -> None:
    specs = {spec.name: spec for spec in plan([STREAM], {"planned": 8 * DAY}, 3)}
    assert {name: spec.partitions for name, spec in specs.items()} == {
        STREAM.topic: 3,
        STREAM.derived: 1,
        control_topic(STREAM): 1,
        FINDINGS: 1,
        ASIDES: 1,
    }
    assert {spec.replication for spec in specs.values()} == {3}
    assert {spec.configs["min.insync.replicas"] for spec in specs.values()} == {"2"}
    assert {spec.configs["message.timestamp.type"] for spec in specs.values()} == {"LogAppendTime"}
    raw, controls = specs[STREAM.topic].configs, specs[control_topic(STREAM)].configs
    assert (raw["cleanup.policy"], raw["retention.ms"]) == ("delete", str(8 * 86_400_000))
    assert int(raw["segment.ms"]) <= 86_400_000  # else a record would outlive its retention by far
    assert controls["cleanup.policy"] == "compact"
    assert "retention.ms" not in controls
    assert specs[ASIDES].configs["cleanup.policy"] == "compact,delete"
    assert not any("retention.bytes" in spec.configs for spec in specs.values())


def test_bytes_are_shared_by_a_topics_partitions() -> None:
    specs = {spec.name: spec for spec in plan([STREAM], {"planned": 8 * DAY}, 3, {"planned": 400 * 10**9})}
    kept = {name: spec.configs["retention.bytes"] for name, spec in specs.items() if "retention.bytes" in spec.configs}
    assert kept == {STREAM.topic: str(400 * 10**9 // STREAM.partitions), STREAM.derived: str(400 * 10**9)}
    assert int(specs[STREAM.topic].configs["segment.bytes"]) <= 1 << 30


def test_what_is_missing_is_made_and_what_differs_is_set(admin: KafkaAdminClient) -> None:
    specs = own(plan([STREAM], {"planned": 8 * DAY}, 1))
    assert set(actions(difference(admin, specs)).values()) == {"create"}
    assert set(actions(apply(admin, specs)).values()) == {"create"}
    assert set(actions(apply(admin, specs)).values()) == {"same"}
    raw = ConfigResource(ConfigResourceType.TOPIC, STREAM.topic, {"retention.ms": "1000", "flush.ms": "77"})
    admin.alter_configs([raw])
    wrong = next(change for change in difference(admin, specs) if change.topic == STREAM.topic)
    assert (wrong.action, wrong.configs) == ("alter", {"retention.ms": str(8 * 86_400_000)})
    assert wrong.detail == f"retention.ms: 1000 -> {8 * 86_400_000}"
    apply(admin, specs)
    assert set(actions(difference(admin, specs)).values()) == {"same"}
    ask = ConfigResource(ConfigResourceType.TOPIC, STREAM.topic)
    kept = admin.describe_configs([ask], config_filter="all")["topic"][STREAM.topic]
    assert kept["flush.ms"]["value"] == "77"  # what the plan does not speak of is the operator's


def test_partitions_and_copies_are_never_changed(admin: KafkaAdminClient) -> None:
    stream = STREAM._replace(name="fixed", topic="fixed.raw")
    apply(admin, own(plan([stream], {"fixed": DAY}, 1)))
    other = stream._replace(partitions=5)
    changes = {c.topic: c for c in apply(admin, own(plan([other], {"fixed": DAY}, 1)))}
    assert changes["fixed.raw"].action == "error"
    assert "has 3 partitions, 5 are asked for" in changes["fixed.raw"].detail
    assert len(admin.describe_topics(["fixed.raw"])[0]["partitions"]) == 3
    assert changes[other.derived].action == "create"
    assert changes[stream.derived].action == "leftover"
    assert admin.describe_topics([stream.derived])[0]["error_code"] == 0
    copies = {c.topic: c for c in difference(admin, own(plan([stream], {"fixed": DAY}, 3)))}
    assert "has 1 copies, 3 are asked for" in copies["fixed.raw"].detail


def test_a_topic_that_cannot_be_made_says_why_and_the_others_are_made(admin: KafkaAdminClient) -> None:
    wide = TopicSpec("wide", 1, 3, {})
    wrong = TopicSpec("wrong", 1, 1, {"cleanup.policy": "perhaps"})
    narrow = TopicSpec("narrow", 1, 1, {})
    changes = {change.topic: change for change in apply(admin, [wide, wrong, narrow])}
    assert {name: change.action for name, change in changes.items()} == {
        "wide": "error",
        "wrong": "error",
        "narrow": "create",
    }
    assert "only 1 broker(s) are registered" in changes["wide"].detail
    assert "perhaps" in changes["wrong"].detail
