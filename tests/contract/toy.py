"""A toy domain for the contract tests: counters by key, a judge with memory, and a judge that emits first sightings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Controls, Decoded, Message, Pipeline, Record, each
from opintel.finding import Effect, Finding, Window, finding_id
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


class ToyReducer:
    """Counts and sums by key and window; raises on the value 666 (and at close on a window that holds 667)."""

    name, version = "toy.reducer", 1

    def __init__(self) -> None:
        self.sums: dict[str, dict[int, list[int]]] = {}

    def update(self, rows: Batch[Value], window_starts: NDArray[np.int64]) -> None:
        for row, start in zip(rows.rows(), window_starts.tolist(), strict=True):
            held = self.sums.setdefault(row.key, {}).setdefault(start, [0, 0, 0])
            held[0] += 1
            held[1] += row.payload.value
            held[2] |= row.payload.value == 667
            if row.payload.value == 666:
                raise ArithmeticError("the number of the beast")

    def close(self, window: Window, keys: Sequence[str], controls: Controls) -> list[Record]:
        out = []
        for key in keys:
            count, total, bad = self.sums[key].pop(window.start)
            if bad:
                raise ArithmeticError("its neighbour")
            payload = [count, total * controls.value("scale", "all", 1)]
            out.append(Record(window, "sum", key, self.scope(key), payload))
        return out

    def scope(self, key: str) -> str:
        return key.split(".")[0]

    def drop(self, key: str) -> None:
        self.sums.pop(key, None)

    def state(self) -> dict[str, Any]:
        return {k: sorted((s, list(v)) for s, v in by.items()) for k, by in self.sums.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.sums = {k: {s: list(v) for s, v in by} for k, by in state.items()}


class Total:
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
        total = sum(s for _, s in sums) + closing.settings.offset
        if any(r.key.endswith("cursed") for r in closing.records):
            raise ArithmeticError("cursed")
        self.running = (self.running * 31 + total) % 1_000_003
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


class Seen:
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

    @classmethod
    def of(cls, payloads: Sequence[Value]) -> Values:
        return cls(np.array([payload.value for payload in payloads], dtype=np.int64))

    def row(self, n: int, key: str) -> Value:
        return Value(int(self.value[n]))


class ColumnWire(ToyWire):
    """The same rows as columns."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Value]:
        return each(self.read, messages, Values)


class ColumnReducer(ToyReducer):
    """The same sums by numpy."""

    def update(self, rows: Batch[Value], window_starts: NDArray[np.int64]) -> None:
        value = rows.payload.value
        pairs, group = np.unique(np.stack([rows.key.code, window_starts]), axis=1, return_inverse=True)
        for n, (code, start) in enumerate(pairs.T.tolist()):
            here = value[group.reshape(-1) == n]
            held = self.sums.setdefault(rows.key.values[code], {}).setdefault(start, [0, 0, 0])
            held[0] += len(here)
            held[1] += int(here.sum())
            held[2] |= bool((here == 667).any())
        if (value == 666).any():
            raise ArithmeticError("the number of the beast")


COLUMN_TOY = TOY._replace(payload=Values, wire=ColumnWire, reducer=ColumnReducer)
