"""A toy domain of samples for the contract tests: channels of float32, a second a row, on a grid with a phase.

Its filter needs half a second on both sides of a sample, so at the edges of a window it is right only with context. Its
taps are an artefact.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import (
    Artefact,
    Closing,
    Decoded,
    Judge,
    Message,
    Pipeline,
    Record,
    Reduced,
    Reducer,
    WindowRows,
    each,
)
from opintel.finding import NS, Effect, Finding, Label, Time, finding_id
from opintel.ids import natural_id
from opintel.rows import Arrays, Columns, Numbers, Row
from opintel.streams.artefacts import MODEL
from opintel.streams.records import NEVER, Control
from opintel.streams.stream import Stream

RATE = 16
"""Samples a second."""
REACH = 8
"""Samples that the filter sees on each side of one."""
TAPS = np.linspace(1.0, 2.0, 2 * REACH + 1)
"""Those of a stream that has no artefact."""


class Second(msgspec.Struct, array_like=True):
    """A second of a channel."""

    samples: list[float]


class Seconds(Columns):
    """`Second`s as columns."""

    ROW = Second
    samples: Annotated[Arrays, Numbers("<f4", most=RATE, finite=False)]


class Frame(msgspec.Struct, array_like=True):
    """A message: the same second of some channels."""

    time: Time
    channels: dict[Label, bytes]
    """Little-endian float32."""


class SampleWire:
    """Frames in msgpack."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Second]:
        return each(self.read, messages, Seconds)

    def read(self, message: Message) -> Sequence[Row[Second] | str]:
        try:
            frame = msgspec.msgpack.decode(message.body, type=Frame)
        except msgspec.DecodeError as error:
            return [f"expected a frame: {error}"]
        if frame.time % NS:
            return [f"expected whole seconds, got {frame.time} ns"]
        return [self._row(frame.time, channel, data) for channel, data in frame.channels.items()]

    def _row(self, time: int, channel: str, data: bytes) -> Row[Second] | str:
        if len(data) != 4 * RATE:
            return f"expected {RATE} samples, got {len(data)} bytes"
        return Row(channel, time, natural_id(channel, time), Second(np.frombuffer(data, dtype="<f4").tolist()))

    def redacted(self, body: bytes) -> bytes:
        return body[:100]


def filtered(samples: NDArray[np.float64], taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n - 2 REACH,) the sums of the taps times the samples around each; NaN where a sample is.

    Summed in order of the taps, so that a value does not depend on where the series is cut.
    """
    size = len(samples) - 2 * REACH
    total = np.zeros(max(size, 0))
    for n, tap in enumerate(taps.tolist()):
        total += tap * samples[n : n + len(total)]
    return total


class SampleReducer(Reducer[Second]):
    """The loudest value of the filter by channel, and how many there are; raises where a sample is 666."""

    name, version, models = "samples.reducer", 1, ("taps",)

    def __init__(self) -> None:
        self._windows: dict[str, int] = {}
        """Channel → windows so far."""

    def close(self, closing: WindowRows[Second]) -> Reduced:
        artefact = closing.artefacts.get("taps")
        taps = TAPS if artefact is None else taps_of(artefact)
        beside = {key: (begin, end) for key, begin, end in closing.context.spans()}
        window, records, tested = closing.window, [], {}
        seconds = (window.end - window.start) // NS
        for key, begin, end in closing.rows.spans():
            series = np.full((seconds + 2) * RATE, np.nan)
            for rows, first, last in ((closing.rows, begin, end), (closing.context, *beside.get(key, (0, 0)))):
                for n in range(first, last):
                    place = ((int(rows.time[n]) - window.start) // NS + 1) * RATE
                    series[place : place + RATE] = rows.payload.samples.at(n)
            if (series == 666).any():
                raise ArithmeticError("the number of the beast")
            self._windows[key] = self._windows.get(key, 0) + 1
            values = filtered(series[RATE - REACH : REACH - RATE], taps)
            valid = np.flatnonzero(np.isfinite(values))
            at = int(valid[np.abs(values[valid]).argmax()]) if len(valid) else -1
            payload = [len(valid), at, float(values[at]) if len(valid) else 0.0, self._windows[key]]
            records.append(Record(window, "loudest", key, self.scope(key), payload))
            counts = tested.setdefault(self.scope(key), {"loud": 0})
            counts["loud"] += len(valid)
        return Reduced(records, tested)

    def scope(self, key: str) -> str:
        return key.partition(":")[0]

    def drop(self, key: str) -> None:
        self._windows.pop(key, None)

    def state(self) -> Any:
        return sorted(self._windows.items())

    def restore(self, state: Any) -> None:
        self._windows = dict(state)


class Loud(Judge):
    """A finding for each window: the loudest channel over its own level, which an artefact may give."""

    name, version, controls, models = "samples.loud", 1, (), ("level",)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._tested = 0

    def judge(self, closing: Closing) -> list[Finding]:
        self.tests = {"loud": closing.tested.get("loud", 0)}
        self._tested += self.tests["loud"]
        said = {r.key: r.payload for r in closing.records if r.kind == "loudest"}
        held = sum(r.payload for r in closing.records if r.kind == "quarantined")
        artefact = closing.artefacts.get("level")
        level = 1.0 if artefact is None else float(artefact.data)
        loudest = max((abs(value) / level for _, _, value, _ in said.values()), default=0.0)
        text = "; ".join(f"{key} {n} values, {value!r} at {at}, {k}th" for key, (n, at, value, k) in said.items())
        subject = {"scope": closing.scope}
        return [
            Finding(
                id=finding_id(self.name, self.version, closing.model, subject, closing.window),
                detector=self.name,
                kind="loud",
                subject=subject,
                window=closing.window,
                log10_p=None,
                basis="none",
                effect=Effect(loudest, "levels"),
                severity="warning",
                summary=f"{text}; held {held}, so far {self._tested}, whole {closing.complete}",
                model=closing.model,
            )
        ]

    def state(self) -> Any:
        return self._tested

    def restore(self, state: Any) -> None:
        self._tested = state


def taps_of(artefact: Artefact) -> NDArray[np.float64]:
    taps = np.frombuffer(artefact.data, dtype="<f8")
    if len(taps) != 2 * REACH + 1:
        raise ValueError(f"expected {2 * REACH + 1} taps, got {len(taps)}")
    return taps


SAMPLES = Pipeline(
    "samples",
    Seconds,
    list[float],
    SampleWire,
    SampleReducer,
    (Loud,),
    context=(NS, NS),
    kinds={"loud": ("scope",)},
)
SAMPLE_STREAM = Stream(
    "samples",
    "samples.raw",
    partitions=4,
    window=4 * NS,
    phase=2 * NS,
    lateness=3 * NS,
    skew=3 * NS,
    interval=2 * NS,
)
BEGIN = 1_700_000_001 * NS
SECONDS = 90
CHANNELS = ("h:strain", "h:seismic", "h:laser", "l:strain", "l:laser")
NEW_TAPS = np.cos(np.arange(2 * REACH + 1)).astype("<f8").tobytes()
LEVEL = b"2.5"


def samples(channel: str) -> NDArray[np.float32]:
    """(SECONDS, RATE) of a channel."""
    noise = np.random.default_rng(CHANNELS.index(channel))
    return noise.normal(size=(SECONDS, RATE)).astype("<f4")


def there(channel: str, second: int) -> bool:
    """Whether the samples of a second come before its window closes: channels end, have gaps, and one row is late."""
    ended = channel == "h:laser" and second >= 61
    gap = (channel == "l:laser" and 20 <= second < 33) or (channel == "h:strain" and second in (9, 46))
    return not ended and not gap and (channel, second) != LATE


LATE = ("l:strain", 17)
POISON = ("h:seismic", 70)


@cache
def sample_messages() -> Sequence[tuple[int, bytes]]:
    """A frame a second and scope, by up to 2 s out of order, some twice; NaN, a row that comes too late, a gap."""
    rng = random.Random(11)
    series = {channel: samples(channel).copy() for channel in CHANNELS}
    series["l:strain"][55, 3:6] = np.nan
    series[POISON[0]][POISON[1], 5] = 666
    sent: list[tuple[int, bytes]] = []
    for second in range(SECONDS):
        time = BEGIN + second * NS
        for scope in ("h", "l"):
            its = {c: series[c][second].tobytes() for c in CHANNELS if c[0] == scope and there(c, second)}
            body = msgspec.msgpack.encode(Frame(time, its))
            arrival = time + NS + rng.choice([0, 0, 0, 1]) * NS
            sent.append((arrival, body))
            if rng.random() < 0.1:
                sent.append((arrival + rng.randrange(3) * NS, body))
        if second == LATE[1] + 20:
            late = {LATE[0]: series[LATE[0]][LATE[1]].tobytes()}
            sent.append((time, msgspec.msgpack.encode(Frame(BEGIN + LATE[1] * NS, late))))
    sent.append((BEGIN + 30 * NS, msgspec.msgpack.encode(Frame(BEGIN + 29 * NS, {"h:torn": b"123"}))))
    return sorted(sent)


def sample_controls() -> list[tuple[int, Control]]:
    """(messages before it, control): other taps, later another level."""
    taps, level = ({"sha256": sha256(data).hexdigest()} for data in (NEW_TAPS, LEVEL))
    return [
        (60, Control("t1", MODEL, "taps", 1, NEVER, taps)),
        (110, Control("l1", MODEL, "level", 1, NEVER, level)),
    ]
