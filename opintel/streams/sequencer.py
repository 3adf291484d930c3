"""Controls on their way into the raw partitions.

A sender of controls (the configuration, an operator, the alert service) appends them to the stream's
control topic. The process that ingests the stream copies them, in order, into every raw partition, where they meet the
rows at one place; copied again after a restart they are known by their id.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from opintel.finding import digest
from opintel.streams.controls import NOT_PLAIN, is_plain
from opintel.streams.ingest import Ingester
from opintel.streams.log import Aside, Entry, Log, Stored
from opintel.streams.records import NEVER, Codec, Control
from opintel.streams.stream import Stream

_codec: Codec[Any] = Codec(Control)


def control_topic(stream: Stream) -> str:
    """Where a stream's controls are appended."""
    return f"{stream.name}.controls"


def send_control(
    bus: Log, stream: Stream, kind: str, subject: str, value: Any, effective: int = NEVER
) -> Control | None:
    """Appends a control with the next version of its (kind, subject); None where that says what is in force already."""
    topic = control_topic(stream)
    bus.create(topic, 1)
    before = [
        c
        for c in _controls(bus, topic, bus.start(topic, 0), bus.end(topic, 0))
        if (c.kind, c.subject) == (kind, subject)
    ]
    latest = max(before, key=lambda c: c.version, default=None)
    if latest is not None and latest.value == value:
        return None
    version = 1 if latest is None else latest.version + 1
    control = Control(digest([kind, subject, version, value])[:16], kind, subject, version, effective, value)
    # of a subject that was controlled often, the newest is kept for ever
    bus.append([Entry(topic, 0, _codec.encode(control), key=digest([kind, subject])[:16].encode())])
    return control


def _controls(bus: Log, topic: str, position: int, end: int) -> list[Control]:
    """The controls from `position` to `end`; what is none is set aside."""
    found: list[Control] = []
    batch: list[Stored] = []
    while position < end and (part := bus.read(topic, 0, position, end - position)):
        batch += part
        position = part[-1][0] + 1
    for place, value, _ in batch:
        try:
            control = _codec.decode(value)
            if not is_plain(control.value):
                raise ValueError(NOT_PLAIN)
            found.append(control)
        except ValueError as error:
            bus.put_asides([Aside("dead", topic, 0, place, 0, str(error), excerpt=value[:4096])])
    return found


class Copied(NamedTuple):
    """What was copied already."""

    following: int
    """The next position of the control topic."""
    ends: list[int]
    """Where the raw partitions ended behind the copies."""


CopiedControls = dict[tuple[str, str], Copied]
"""What a process has copied, by the epochs of a control topic and of a raw topic."""


class Sequencer:
    """Copies a stream's controls into its raw partitions; those that `known` has are there, if the log is whole."""

    def __init__(self, bus: Log, ingester: Ingester, known: CopiedControls | None = None) -> None:
        self.name = f"controls {ingester.stream.name}"
        self.log, self.ingester = bus, ingester
        self._topic = control_topic(ingester.stream)
        self._known: CopiedControls = {} if known is None else known
        raw = bus.create(ingester.stream.topic, ingester.stream.partitions)
        self._lineage = (bus.create(self._topic, 1).epoch, raw.epoch)
        self._position = bus.start(self._topic, 0)
        copied = self._known.get(self._lineage)
        if copied is not None and all(map(int.__le__, copied.ends, self._ends())):
            self._position = max(self._position, copied.following)

    def step(self) -> bool:
        if self.idle():
            return False
        end = self.log.end(self._topic, 0)
        for control in _controls(self.log, self._topic, self._position, end):
            control.seen = self.ingester.seen
            self.ingester.control(control)
        self._position = end
        self._known[self._lineage] = Copied(end, self._ends())
        return True

    def _ends(self) -> list[int]:
        stream = self.ingester.stream
        return [self.log.end(stream.topic, p) for p in range(stream.partitions)]

    def idle(self) -> bool:
        return self._position >= self.log.end(self._topic, 0)

    def close(self) -> None:
        """Nothing to do: controls are in the log."""
