"""A toy domain for the contract tests: counters by key, a judge with memory, and a judge that emits first sightings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Decoded, Judge, Message, Pipeline, Record, Reduced, Reducer, WindowRows, each
from opintel.finding import Effect, Finding, finding_id
from opintel.ids import natural_id
from opintel.rows import Batch, Columns, Numbers, Row


class Value(msgspec.Struct, array_like=True):
    value: int


class ToyWire:
    """`key time_ns value`, separated by blanks."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Value]:
        return each(self.read, messages, Value)

    def read(self, message: Message) -> Sequence[Row[Value] | str]:
        parts = message.body.split()
        if len(parts) != 3:
            return ["expected `key time value`"]
        key, time, value = parts[0].decode(), int(parts[1]), int(parts[2])
        return [Row(key, time, natural_id(key, time, value), Value(value))]

    def redacted(self, body: bytes) -> bytes:
        return body[:100]


class ToyReducer(Reducer[Value]):
    """Counts and sums by key and window, and all rows of a key so far; raises on the values 666 and 667."""

    name, version = "toy.reducer", 1

    def __init__(self) -> None:
        self.so_far: dict[str, int] = {}

    def close(self, closing: WindowRows[Value]) -> Reduced:
        records = []
        for key, begin, end in closing.rows.spans():
            values = self.values(closing.rows, begin, end)
            self.so_far[key] = self.so_far.get(key, 0) + len(values)
            for bad, reason in ((666, "the number of the beast"), (667, "its neighbour")):
                if bad in values:
                    raise ArithmeticError(reason)
            payload = [len(values), sum(values) * closing.controls.value("scale", "all", 1), self.so_far[key]]
            records.append(Record(closing.window, "sum", key, self.scope(key), payload))
        return Reduced(records)

    def values(self, rows: Batch[Value], begin: int, end: int) -> list[int]:
        return [payload.value for payload in rows.payload[begin:end]]

    def scope(self, key: str) -> str:
        return key.split(".")[0]

    def drop(self, key: str) -> None:
        self.so_far.pop(key, None)

    def state(self) -> Any:
        return sorted(self.so_far.items())

    def restore(self, state: Any) -> None:
        self.so_far = dict(state)


class Total(Judge):
    """A finding for each window: the sum over the scope, next to the running sum of all windows so far."""

    name, version, controls = "toy.total", 1, ()

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        offset: int = 0

    def __init__(self) -> None:
        self.running = 0
        self.tests: dict[str, int] = {}

    def judge(self, closing: Closing) -> list[Finding]:
        sums = [r.payload for r in closing.records if r.kind == "sum"]
        held = sum(r.payload for r in closing.records if r.kind == "quarantined")
        total = sum(s for _, s, _ in sums) + closing.settings.offset
        if any(r.key.endswith("cursed") for r in closing.records):
            raise ArithmeticError("cursed")
        self.running = (self.running * 31 + total + sum(so_far for *_, so_far in sums)) % 1_000_003
        self.tests = {"total": len(sums)}
        subject = {"scope": closing.scope}
        return [
            Finding(
                id=finding_id(self.name, self.version, closing.model, subject, closing.window),
                detector=self.name,
                kind="total",
                subject=subject,
                window=closing.window,
                log10_p=-float(total % 7),
                basis="exact",
                effect=Effect(float(total), "units"),
                severity="warning",
                summary=f"{len(sums)} keys, sum {total}, running {self.running}, held {held}, whole {closing.complete}",
                model=closing.model,
            )
        ]

    def state(self) -> Any:
        return self.running

    def restore(self, state: Any) -> None:
        self.running = state


class Seen(Judge):
    """A finding for each key seen the first time."""

    name, version, controls = "toy.seen", 1, ()

    class Settings(msgspec.Struct, frozen=True):
        pass

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.tests: dict[str, int] = {}

    def judge(self, closing: Closing) -> list[Finding]:
        found = []
        for record in closing.records:
            if record.key in self.keys:
                continue
            self.keys.add(record.key)
            subject = {"scope": closing.scope, "key": record.key}
            found.append(
                Finding(
                    id=finding_id(self.name, self.version, closing.model, subject, closing.window),
                    detector=self.name,
                    kind="seen",
                    subject=subject,
                    window=closing.window,
                    log10_p=None,
                    basis="none",
                    effect=Effect(1.0, "keys"),
                    severity="info",
                    summary=f"{record.key} seen",
                    model=closing.model,
                )
            )
        return found

    def state(self) -> Any:
        return sorted(self.keys)

    def restore(self, state: Any) -> None:
        self.keys = set(state)


TOY = Pipeline("toy", Value, list[int], ToyWire, ToyReducer, (Total, Seen))


class Values(Columns):
    """`Value`s as columns."""

    ROW = Value
    value: Annotated[NDArray[np.int64], Numbers("<i8")]


class ColumnWire(ToyWire):
    """The same rows as columns."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Value]:
        return each(self.read, messages, Values)


class ColumnReducer(ToyReducer):
    """The same of columns."""

    def values(self, rows: Batch[Value], begin: int, end: int) -> list[int]:
        found: list[int] = rows.payload.value[begin:end].tolist()
        return found


COLUMN_TOY = TOY._replace(payload=Values, wire=ColumnWire, reducer=ColumnReducer)
