"""What each service may do on the cluster: one Kafka user a service, one writer for each topic that carries meaning.

Only ingest writes raw records and controls, only stage 1 derived ones, only stage 2 findings; all services that process
may set records aside. What is not here Kafka's authorizer refuses (`allow.everyone.if.no.acl.found=false`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from opintel.streams.archive.archiver import archive_group
from opintel.streams.kafka.topics import ASIDES, until_shown
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS, Stream

Operation = Literal["read", "write", "describe"]
SERVICES = ("ingest", "stage1", "stage2", "alerts", "clusters", "archive", "delivery", "console")
"""The services that open the log; each has the Kafka user `opintel-SERVICE`."""
NOTED = ("stage1", "stage2", "archive")
"""Services whose positions all may see."""


class Right(NamedTuple):
    """A principal may do an operation on a topic or a consumer group; reading and writing include describing."""

    principal: str
    operation: Operation
    kind: Literal["topic", "group"]
    name: str


class RightChange(NamedTuple):
    """`create`: missing; `extra`: another user's right to write what has one writer."""

    right: Right
    action: Literal["create", "same", "extra"]
    host: str = "*"


def rights(streams: Iterable[Stream]) -> list[Right]:
    """What the services need, and no more.

    All may see the topics, read what was set aside and the newest raw record, and see how far stages and archive are:
    each process serves metrics of them.
    """
    found = set[Right]()
    streams = list(streams)
    topics = {FINDINGS, ASIDES, *(t for s in streams for t in (s.topic, s.derived, control_topic(s)))}
    for service in SERVICES:
        found |= {Right(principal(service), "describe", "topic", topic) for topic in topics}
        found |= {Right(principal(service), "describe", "group", f"opintel.{stage}") for stage in NOTED}
        found |= {Right(principal(service), "read", "topic", topic) for topic in (ASIDES, *(s.topic for s in streams))}
    for stream in streams:
        for service, reads, writes, groups in _ways(stream):
            found |= {Right(principal(service), "read", "topic", topic) for topic in reads}
            found |= {Right(principal(service), "write", "topic", topic) for topic in (*writes, ASIDES)}
            found |= {Right(principal(service), "read", "group", f"opintel.{group}") for group in groups}
    implied = {right._replace(operation="describe") for right in found if right.operation != "describe"}
    return sorted(found - implied)


def principal(service: str) -> str:
    """The Kafka user of a service."""
    return f"User:opintel-{service}"


def missing(admin: Any, wanted: Sequence[Right]) -> list[RightChange]:
    """What the cluster lacks, and rights to write our topics that the plan does not give.

    `admin`: a kafka-python KafkaAdminClient. Raises its SecurityDisabledError where the cluster has no authorizer.
    """
    there = list(_there(admin))
    allowed = {right for right, host in there if host == "*"}
    topics = {right.name for right in wanted if right.kind == "topic"}
    extra = [
        RightChange(right, "extra", host)
        for right, host in there
        if right.kind == "topic" and right.operation == "write" and right.name in topics and right not in wanted
    ]
    return [RightChange(right, "same" if right in allowed else "create") for right in wanted] + extra


def grant(admin: Any, wanted: Sequence[Right]) -> list[RightChange]:
    """Gives what is missing; takes nothing away. What was done, as `missing` gives it. Raises KafkaError."""
    changes = missing(admin, wanted)
    new = {change.right for change in changes if change.action == "create"}
    for error in admin.create_acls([_acl(right) for right in sorted(new)])["failed"] if new else []:
        raise error
    until_shown(lambda: new <= {right for right, _ in _there(admin)})
    return changes


def _ways(stream: Stream) -> Iterator[tuple[str, Sequence[str], Sequence[str], Sequence[str]]]:
    """(service, topics it reads, topics it writes, groups it joins or commits to): the way of the data."""
    name, raw, derived, controls = stream.name, stream.topic, stream.derived, control_topic(stream)
    # after a crash ingest reads the tail of what it wrote, and it sends the settings as a control
    yield "ingest", (raw, controls), (raw, controls), (f"{name}.ingest",)
    yield "stage1", (raw,), (derived,), ("stage1", f"{name}.stage1")
    yield "stage2", (derived,), (FINDINGS,), ("stage2", f"{name}.stage2")
    yield "alerts", (FINDINGS,), (), ("alerts",)
    archived = (raw, controls, FINDINGS)
    yield "archive", archived, (), ("archive", *(archive_group(topic) for topic in archived))


def _there(admin: Any) -> Iterator[tuple[Right, str]]:
    """Every right that the cluster gives on a topic or group by its name, and from which host."""
    names: dict[Any, Operation] = {
        ACLOperation.READ: "read",
        ACLOperation.WRITE: "write",
        ACLOperation.ALL: "write",
        ACLOperation.DESCRIBE: "describe",
    }
    any_of = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.LITERAL)
    found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ALLOW, any_of))
    for acl in found:
        resource, operation = acl.resource_pattern, names.get(acl.operation)
        if operation and resource.resource_type in (ResourceType.TOPIC, ResourceType.GROUP):
            kind: Literal["topic", "group"] = "topic" if resource.resource_type == ResourceType.TOPIC else "group"
            yield Right(acl.principal, operation, kind, resource.resource_name), acl.host


def _acl(right: Right) -> ACL:
    kind = ResourceType.TOPIC if right.kind == "topic" else ResourceType.GROUP
    operation = ACLOperation[right.operation.upper()]
    return ACL(right.principal, "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, right.name))
