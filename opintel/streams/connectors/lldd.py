"""Topics of a Kafka cluster whose messages are parts of larger ones, as interferometers' frames are distributed at low
latency (igwn-lldd-common): whole frames come out, for the domain's wire.

A part is `PART,part_id=…,part_num=…,part_tot=…,evt_id=…,evt_len=…,part_off=…,part_len=…` and a NUL, then its bytes.
`part_id` counts a producer's frames, `evt_id` is a frame's GPS second. Parts may come twice, out of order, or not at
all: then their frame is given up once others are complete, and a message says so. What is no part passes as it is.

A position says, besides how far the topics were read, from where the parts of frames that are not complete are read
again. Which frames those are it says too, so that any stretch gives the same frames again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from opintel.detector import Message
from opintel.ids import natural_id
from opintel.streams.connectors import Listened
from opintel.streams.connectors.kafka import KafkaSource, KafkaSourceSettings
from opintel.streams.stream import Stream

MAX_FRAME = 64 << 20
"""Bytes of a frame."""
MAX_PARTS = 10_000
"""Of a frame."""
HELD, HELD_BYTES = 4, 128 << 20
"""Frames that wait for parts, and their bytes, in all; beyond, the oldest is given up."""
PATIENCE = 3
"""Frames of the same partition that are complete before one that began earlier is given up."""
DONE = 16
"""Frames that are remembered, so that a part of one that comes again begins none."""
_PART = b"PART,"
_HEADER = 400
"""Bytes that a header may take."""
_FIELD = re.compile(rb"(part_num|part_tot|part_id|evt_id|evt_len|part_off|part_len)=(\d{1,20})(?!\d)")


class LlddSettings(KafkaSourceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster and the topics there that frames come from."""

    def open(self, secrets: Mapping[str, str], stream: Stream) -> LlddSource:  # type: ignore[override]
        """The source; ValueError where a user has no password."""
        return LlddSource(KafkaSource(self, self.password(secrets)))


class FramePosition(msgspec.Struct, frozen=True, array_like=True):
    """How far parts were read."""

    parts: Any = None
    """The topics' position."""
    since: Any = None
    """Theirs before the first part of a frame that is not complete."""
    waiting: list[tuple[int, int]] = []
    """Such frames, the oldest first: a hash of each, and how many others were complete since it began."""
    done: list[int] = []
    """Hashes of the frames that were complete, or given up, last."""


class LlddSource:
    """Frames of the topics that `source` reads. Not for several threads; it raises what `source` does."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        self.delay = source.delay
        self._at: FramePosition | None = None
        self._assembly = _Assembly(FramePosition())

    def read(self, position: Any, limit: int, first: int = 0) -> tuple[list[Message], Any]:
        """The frames that are complete with the next `limit` messages of the topics, and the position behind these."""
        at = _position(position)
        assembly = self._assembled(at)
        self._at = None  # until all was taken
        messages, parts = self._source.read(at.parts, limit, first)
        found = assembly.take(messages, at.parts, first)
        self._at = assembly.position(parts)
        return found, msgspec.to_builtins(self._at)

    def listened(self, position: Any, now: int) -> Listened:
        """Until when all parts were read."""
        return self._source.listened(_position(position).parts, now)

    def between(self, before: Any, after: Any, first: int = 0) -> list[Message]:
        """The frames of one earlier `read` once more."""
        at, end = _position(before), _position(after)
        assembly = self._assembled(at)
        self._at = None
        return assembly.take(self._source.between(at.parts, end.parts, first), at.parts, first)

    def close(self) -> None:
        """Leaves the cluster."""
        self._source.close()

    def _assembled(self, at: FramePosition) -> _Assembly:
        """Where frames wait that are not complete at a position."""
        if self._at != at:
            self._assembly = _Assembly(at)
            if at.waiting:
                self._assembly.recall(self._source.between(at.since, at.parts))
        return self._assembly


class _Part(NamedTuple):
    key: int
    frame: str
    """Which one it is of, in words."""
    number: int
    total: int
    length: int
    """Bytes of the frame."""
    offset: int
    body: bytes


class _Waiting:
    """A frame that is not complete."""

    def __init__(self, since: Any, place: str, passed: int = 0) -> None:
        self.since, self.place, self.passed = since, place, passed
        self.about = ""
        self.total = self.length = 0
        self.parts: dict[int, tuple[int, bytes]] = {}
        self.size = 0

    def add(self, part: _Part) -> str:
        """Takes a part; why it cannot be."""
        if not self.parts:
            self.about, self.total, self.length = part.frame, part.total, part.length
        if (part.total, part.length) != (self.total, self.length):
            was = f"{self.total} parts and {self.length} bytes"
            return f"{part.frame}: expected {was} as before, got {part.total} and {part.length}"
        if part.number not in self.parts:
            self.parts[part.number] = (part.offset, part.body)
            self.size += len(part.body)
        return ""

    def whole(self) -> bytes | None:
        """The frame; None where its parts do not lie one behind the other."""
        at = 0
        for number in range(self.total):
            offset, body = self.parts[number]
            if offset != at:
                return None
            at += len(body)
        return b"".join(self.parts[number][1] for number in range(self.total)) if at == self.length else None


class _Assembly:
    """Puts frames together. What comes out depends on the parts and the position it began at, and on nothing else."""

    def __init__(self, at: FramePosition) -> None:
        self._waiting = {key: _Waiting(at.since, "", passed) for key, passed in at.waiting}
        self._done = list(at.done)

    def recall(self, messages: list[Message]) -> None:
        """Takes the parts of the frames that wait once more."""
        for message in messages:
            part = _parsed(message) if message.form == "json" else None
            if isinstance(part, _Part) and (frame := self._waiting.get(part.key)) is not None:
                frame.place = _place(message)
                frame.add(part)

    def take(self, messages: list[Message], at: Any, first: int) -> list[Message]:
        """What messages of the topics that were read from a position give, numbered from `first`."""
        found: list[Message] = []

        def tell(message: Message, body: bytes, form: str) -> None:
            found.append(msgspec.structs.replace(message, body=body, index=first + len(found), form=form))

        for message in messages:
            part = _parsed(message) if message.form == "json" else None
            if part is None:
                tell(message, message.body, message.form)
            elif isinstance(part, str):
                tell(message, part.encode(), "refused")
            elif part.key not in self._done:
                frame = self._waiting.setdefault(part.key, _Waiting(at, _place(message)))
                if wrong := frame.add(part):
                    tell(message, wrong.encode(), "refused")
                elif len(frame.parts) == frame.total:
                    self._finish(part.key)
                    body = frame.whole()
                    reason = f"{part.frame}: its parts do not make up the {frame.length} bytes that they say"
                    tell(message, *((reason.encode(), "refused") if body is None else (body, "json")))
                for lost in self._given_up():
                    tell(message, f"{lost.about}: {len(lost.parts)} of {lost.total} parts came".encode(), "gap")
        return found

    def position(self, parts: Any) -> FramePosition:
        """Where it stands, the topics being read up to `parts`."""
        waiting = [(key, frame.passed) for key, frame in self._waiting.items()]
        since = next((frame.since for frame in self._waiting.values()), None)
        return FramePosition(parts, since, waiting, list(self._done))

    def _finish(self, key: int) -> None:
        done = self._waiting.pop(key)
        self._done = [*self._done, key][-DONE:]
        for frame in self._waiting.values():
            frame.passed += frame.place == done.place

    def _given_up(self) -> list[_Waiting]:
        found = []
        size = sum(frame.size for frame in self._waiting.values())
        for key, frame in list(self._waiting.items()):
            if frame.passed >= PATIENCE or len(self._waiting) > HELD or size > HELD_BYTES:
                found.append(self._waiting.pop(key))
                self._done = [*self._done, key][-DONE:]
                size -= frame.size
        return found


def _position(plain: Any) -> FramePosition:
    return FramePosition() if plain is None else msgspec.convert(plain, FramePosition)


def _place(message: Message) -> str:
    """The partition that a message is of."""
    return message.file.partition(" offset")[0]


def _parsed(message: Message) -> _Part | str | None:
    """A part, what is wrong with it, or None for a message that is none."""
    if not message.body.startswith(_PART):
        return None
    header, end, _ = message.body[:_HEADER].partition(b"\0")
    if not end:
        return f"expected a part's header of at most {_HEADER} bytes"
    said = {name.decode(): int(number) for name, number in _FIELD.findall(header)}
    if len(said) < 7:
        return "expected a part's header with its seven numbers, got others"
    body = message.body[len(header) + 1 :]
    number, total, length = said["part_num"], said["part_tot"], said["evt_len"]
    if not (0 < total <= MAX_PARTS and number < total):
        return f"expected part_num below part_tot, and that at most {MAX_PARTS}, got {number} and {total}"
    if not 0 < length <= MAX_FRAME:
        return f"expected evt_len of at most {MAX_FRAME} bytes, got {length}"
    if said["part_len"] != len(body) or said["part_off"] + len(body) > length:
        return f"expected part_len of {len(body)} bytes inside the frame's {length}, got {said['part_len']}"
    frame = f"frame part_id={said['part_id']} evt_id={said['evt_id']}"
    return _Part(natural_id(_place(message), frame), frame, number, total, length, said["part_off"], body)
