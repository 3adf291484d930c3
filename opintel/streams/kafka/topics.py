"""The topics of a site on a Kafka cluster: what they must be, how the cluster differs, and making it so.

The plan comes from the streams' settings, goes to `opintel topics` and to the log, which makes a topic it misses as
planned. Nothing is ever deleted here, and no number of partitions is changed: it is part of a topic's identity, since a
key's partition depends on it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError, for_code

from opintel.finding import NS
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS, Stream

ASIDES = "opintel.asides"
"""The topic of what workers could not use, one partition, shared by all streams."""
MAX_BATCH = 8 << 20
"""Bytes of a batch as it is sent; our largest records are about 1 MiB."""
FINDINGS_RETENTION = 400 * 86_400 * NS
"""More than a year: after the loss of the store the findings are read again."""
ASIDES_RETENTION = 30 * 86_400 * NS
SHOWN = 10.0
"""Seconds that news may take from the controller to the brokers."""
_HOUR, _DAY = 3600 * NS, 86_400 * NS
_DERIVED = re.compile(r"(.+)\.derived\.[0-9a-f]{8}")
_UNKNOWN_TOPIC = 3

TopicAction = Literal["create", "alter", "same", "error", "leftover"]


class TopicSpec(NamedTuple):
    """What a topic must be; `configs` in Kafka's words."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


class Change(NamedTuple):
    """A topic of the plan or a leftover: what is to be done about it, and what a person should know."""

    topic: str
    action: TopicAction
    partitions: int
    detail: str = ""
    configs: Mapping[str, str] = {}
    """What is to be set: all of a new topic's, those that differ of an old one's."""


def plan(
    streams: Iterable[Stream], retention: Mapping[str, int], replication: int, most_bytes: Mapping[str, int] = {}
) -> list[TopicSpec]:
    """All topics of a site, by name. `retention`: stream → ns that its raw and derived records are kept; `most_bytes`:
    stream → bytes that each of the two topics keeps at most, where that is bounded.

    Retention counts from when the broker appended a record (`LogAppendTime`): no sender's clock decides it.
    """
    kept = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_BATCH),
        # with one copy less than all, a broker may restart; what was acknowledged is on two at least
        "min.insync.replicas": str(max(1, replication - 1)),
        # a copy that lags must never lead: acknowledged records would be gone, and positions reused
        "unclean.leader.election.enable": "false",
    }

    def deleted(after: int) -> dict[str, str]:
        # only whole segments are dropped, so that one must not span much of the time
        return kept | {"cleanup.policy": "delete", "retention.ms": _ms(after), "segment.ms": _segment(after)}

    compacted = kept | {"cleanup.policy": "compact", "segment.ms": _ms(_DAY), "max.compaction.lag.ms": _ms(7 * _DAY)}
    bounded = compacted | {"cleanup.policy": "compact,delete", "retention.ms": _ms(ASIDES_RETENTION)}
    specs = {
        FINDINGS: TopicSpec(FINDINGS, 1, replication, deleted(FINDINGS_RETENTION)),
        ASIDES: TopicSpec(ASIDES, 1, replication, bounded),
    }
    for stream in streams:
        configs, most = deleted(retention[stream.name]), most_bytes.get(stream.name, 0)
        for topic, partitions in ((stream.topic, stream.partitions), (stream.derived, 1)):
            specs[topic] = TopicSpec(topic, partitions, replication, configs | _bounded(most // partitions))
        specs[control_topic(stream)] = TopicSpec(control_topic(stream), 1, replication, compacted)
    return [specs[name] for name in sorted(specs)]


def difference(admin: Any, specs: Sequence[TopicSpec]) -> list[Change]:
    """What the cluster lacks of the plan, a line a topic, and derived topics of earlier structures as leftovers.

    `admin`: a kafka-python KafkaAdminClient, whose errors come through.
    """
    there = {topic["name"]: topic for topic in admin.describe_topics([spec.name for spec in specs])}
    present = [spec for spec in specs if not there[spec.name]["error_code"]]
    asked = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in present]
    known = admin.describe_configs(asked, config_filter="all") if asked else {}
    configs = known.get("topic", {})
    changes = [_change(spec, there[spec.name], configs.get(spec.name, {})) for spec in specs]
    return changes + _leftovers(admin.list_topics(), {spec.name for spec in specs})


def apply(admin: Any, specs: Sequence[TopicSpec]) -> list[Change]:
    """Creates topics that are missing and sets configurations that differ; what was done, or why it could not be.

    `same` are those that were right already. Another apply at the same time does no harm. Returns when the cluster
    shows what was made.
    """
    by_name = {spec.name: spec for spec in specs}
    done = [_done(admin, change, by_name.get(change.topic)) for change in difference(admin, specs)]
    made = [change.topic for change in done if change.action == "create"]
    until_shown(lambda: not any(topic["error_code"] for topic in admin.describe_topics(made)))
    return done


def until_shown(shown: Callable[[], bool]) -> None:
    """Waits, for some seconds at most, until brokers show what the controller has acknowledged."""
    deadline = time.monotonic() + SHOWN
    while not shown() and time.monotonic() < deadline:
        time.sleep(0.05)


def _change(spec: TopicSpec, there: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> Change:
    if there["error_code"] == _UNKNOWN_TOPIC:
        return Change(spec.name, "create", spec.partitions, configs=spec.configs)
    if there["error_code"]:
        return Change(spec.name, "error", spec.partitions, _reason(there["error_code"]))
    partitions, copies = len(there["partitions"]), min(len(p["replica_nodes"]) for p in there["partitions"])
    if partitions != spec.partitions:
        detail = (
            f"has {partitions} partitions, {spec.partitions} are asked for: a key's partition depends on their number,"
            " so that it is never changed; go back, or give the stream another topic"
        )
        return Change(spec.name, "error", partitions, detail)
    if copies < spec.replication:
        detail = f"has {copies} copies, {spec.replication} are asked for; Kafka's kafka-reassign-partitions adds them"
        return Change(spec.name, "error", partitions, detail)
    if not configs:
        return Change(spec.name, "error", partitions, "its settings may not be seen by this user; an administrator may")
    wrong = {key: value for key, value in spec.configs.items() if configs.get(key, {}).get("value") != value}
    was = ", ".join(f"{key}: {configs.get(key, {}).get('value')} -> {value}" for key, value in wrong.items())
    return Change(spec.name, "alter" if wrong else "same", partitions, was, wrong)


def _leftovers(names: Iterable[str], planned: set[str]) -> list[Change]:
    streams = {match[1] for name in planned if (match := _DERIVED.fullmatch(name))}
    old = sorted(n for n in names if n not in planned and (match := _DERIVED.fullmatch(n)) and match[1] in streams)
    detail = "of an earlier structure of its stream; delete it when no older service runs"
    return [Change(name, "leftover", 0, detail) for name in old]


def _done(admin: Any, change: Change, spec: TopicSpec | None) -> Change:
    if spec is not None and change.action == "create":
        asked = {
            "num_partitions": spec.partitions,
            "replication_factor": spec.replication,
            "configs": dict(spec.configs),
        }
        answer = admin.create_topics({spec.name: asked}, raise_errors=False)["topics"][0]
        if answer["error_code"] not in (0, TopicAlreadyExistsError.errno):
            return change._replace(action="error", detail=_reason(answer["error_code"], answer.get("error_message")))
    elif change.action == "alter":
        resource = ConfigResource(ConfigResourceType.TOPIC, change.topic, dict(change.configs))
        said = admin.alter_configs([resource], raise_on_unknown=False)["topic"][change.topic]
        if said != "OK":
            return change._replace(action="error", detail=said)
    return change


def _reason(code: int, message: str | None = None) -> str:
    error = for_code(code)
    return message or getattr(error, "description", "") or error.__name__


def _bounded(share: int) -> dict[str, str]:
    """For a partition of at most so many bytes, 0: however many. Only whole segments are dropped."""
    return {"retention.bytes": str(share), "segment.bytes": str(min(1 << 30, share // 8))} if share else {}


def _segment(retention: int) -> str:
    return _ms(max(_HOUR, min(7 * _DAY, retention // 8)))


def _ms(ns: int) -> str:
    return str(ns // (NS // 1000))
