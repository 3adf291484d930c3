"""Stage 1: one partition of a raw topic → records of closed windows, by key.

Windows close when the running maximum of the records' stamps passes their end, never by a clock. A row of a
closed window is late, a known natural id is a duplicate, a new key above the shard's cap is refused, a key
whose detector raised is quarantined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from opintel.detector import QUARANTINED, Controls, Pipeline, Record, Reducer, Row
from opintel.finding import Window
from opintel.streams.controls import ControlTable, is_plain
from opintel.streams.log import Aside, AsideKind, Entry
from opintel.streams.records import (
    NEVER,
    Closed,
    Control,
    Derived,
    Forwarded,
    Rows,
    Tick,
    derived_codec,
    raw_codec,
    shard_of,
)
from opintel.streams.stage import CRASH, DetectorFailed, Output, said
from opintel.streams.stream import Stream

STATE_FORMAT = 1


class ReduceStage:
    """The state of one raw partition and what each record does to it."""

    def __init__(self, stream: Stream, pipeline: Pipeline, partition: int, epoch: str, derived_partitions: int) -> None:
        self.stream, self.partition, self.epoch = stream, partition, epoch
        self.derived_partitions = derived_partitions
        self.reducer: Reducer[Any] = pipeline.reducer()
        self.duplicates = 0
        """Dropped since the start of the process; a count for people, not state."""
        self.wm = self.max_event = NEVER
        self._raw, self._derived = raw_codec(pipeline.payload), derived_codec(pipeline.record)
        self._controls = ControlTable()
        self._open: dict[int, dict[str, set[int]]] = {}
        """Window start → key → natural ids seen."""
        self._held: dict[int, dict[str, int]] = {}
        """Window start → quarantined key → rows not judged."""
        self._keys: dict[str, int] = {}
        """Key → end of its last window."""
        self._in_shard: dict[int, int] = {}
        self._quarantined: dict[str, int] = {}
        """Key → window end at which it gets another chance."""
        self._rows: list[Row[Any]] = []
        self._starts: list[int] = []
        self.structure = {
            "stage": 1,
            "format": STATE_FORMAT,
            "stream": stream.structure,
            "epoch": epoch,
            "reducer": [self.reducer.name, self.reducer.version],
        }

    @property
    def pending(self) -> bool:
        return False

    def process(self, batch: Sequence[tuple[int, bytes]], careful: bool) -> Output:
        out = Output()
        before = self.wm
        incomplete: list[int] = []
        for position, value in batch:
            try:
                record = self._raw.decode(value)
            except ValueError as error:
                out.asides.append(self._aside("dead", position, 0, str(error), value))
                continue
            if isinstance(record, Control):
                self._control(record, position, out)
                continue
            if record.wm > self.wm:
                if isinstance(record, Tick) and record.listened < record.wm:
                    incomplete.append(self.stream.grid.start(record.wm))
                self._advance(record.wm, position, out, careful)
            if isinstance(record, Rows):
                self._take(record, position, out, careful)
        self._flush()
        grid = self.stream.grid
        if grid.start(self.wm) != grid.start(before):
            closed = Closed(self.partition, self.stream.partitions, self.epoch, self.wm, incomplete)
            out.closing += self._to_all(self._derived.encode(closed))
        return out

    def _control(self, control: Control, position: int, out: Output) -> None:
        if control.id in self._controls:
            return
        if self._controls.full or not is_plain(control.value):
            reason = "too many controls" if self._controls.full else "a control's value is plain JSON, at most 64 kB"
            out.asides.append(self._aside("dead", position, 0, reason, control.id.encode("utf-8", "replace")))
            return
        unseen = max(self.max_event, control.seen) + 1
        start = self.stream.grid.at_or_after(max(control.effective, self.wm + self.stream.lateness + 1, unseen))
        self._controls.add(control, start)
        forwarded = Forwarded(self.partition, self.stream.partitions, start, control)
        out.records += self._to_all(self._derived.encode(forwarded))

    def _take(self, record: Rows[Any], position: int, out: Output, careful: bool) -> None:
        size, wm = self.stream.window, self.wm
        for n, row in enumerate(record.rows):
            start = row.time - row.time % size
            if start + size <= wm:
                out.asides.append(self._row_aside("late", position, n, "its window was closed", row))
                continue
            key = row.key
            if key in self._quarantined:
                self._hold(start, key, 1)
                out.asides.append(self._row_aside("quarantined", position, n, "its key is quarantined", row))
                continue
            if key not in self._keys and not self._admit(key):
                reason = f"its shard holds {self.stream.max_keys} keys"
                out.asides.append(self._row_aside("refused", position, n, reason, row))
                continue
            seen = self._open.setdefault(start, {}).setdefault(key, set())
            if row.id in seen:
                self.duplicates += 1
                continue
            seen.add(row.id)
            self._keys[key] = max(self._keys.get(key, NEVER), start + size)
            self.max_event = max(self.max_event, row.time)
            if not careful:
                self._rows.append(row)
                self._starts.append(start)
                continue
            try:
                self.reducer.update([row], [start])
            except CRASH:
                raise
            except Exception as error:
                self._quarantine(key, start + size)
                out.asides.append(self._row_aside("quarantined", position, n, said(error), row))

    def _admit(self, key: str) -> bool:
        shard = shard_of(key, self.stream.shards)
        if self._in_shard.get(shard, 0) >= self.stream.max_keys:
            return False
        self._in_shard[shard] = self._in_shard.get(shard, 0) + 1
        self._keys[key] = NEVER
        return True

    def _flush(self) -> None:
        if self._rows:
            rows, starts, self._rows, self._starts = self._rows, self._starts, [], []
            try:
                self.reducer.update(rows, starts)
            except CRASH:
                raise
            except Exception as error:
                raise DetectorFailed(said(error)) from error

    def _advance(self, wm: int, position: int, out: Output, careful: bool) -> None:
        self._flush()
        grid, size, before = self.stream.grid, self.stream.window, self.wm
        self.wm = wm
        for start in sorted({s for s in (*self._open, *self._held) if s + size <= wm}):
            window = Window(start, start + size)
            keys = sorted(self._open.get(start, ()))
            controls = self._controls.at(start)
            records = (
                self._close_carefully(window, keys, controls, position, out)
                if careful
                else self._close(window, keys, controls)
            )
            self._open.pop(start, None)
            for key, count in sorted(self._held.pop(start, {}).items()):
                records.append(Record(window, QUARANTINED, key, self.reducer.scope(key), count))
            for record in records:
                value = self._derived.encode(Derived(record))
                partition = shard_of(record.scope, self.derived_partitions)
                out.records.append(Entry(self.stream.derived, partition, value))
        if grid.start(wm) != grid.start(before):
            self._expire(grid.start(wm))

    def _close(self, window: Window, keys: list[str], controls: Controls) -> list[Record[Any]]:
        try:
            return self.reducer.close(window, keys, controls)
        except CRASH:
            raise
        except Exception as error:
            raise DetectorFailed(said(error)) from error

    def _close_carefully(
        self, window: Window, keys: list[str], controls: Controls, position: int, out: Output
    ) -> list[Record[Any]]:
        records: list[Record[Any]] = []
        for n, key in enumerate(keys):
            try:
                records += self.reducer.close(window, [key], controls)
            except CRASH:
                raise
            except Exception as error:
                self._quarantine(key, window.end)
                reason = f"closing its window: {said(error)}"
                out.asides.append(self._aside("quarantined", position, -1 - n, reason, key.encode()))
        return records

    def _quarantine(self, key: str, window_end: int) -> None:
        self._quarantined[key] = window_end + self.stream.ttl
        self._forget(key)
        for start, keys in self._open.items():
            if key in keys:
                self._hold(start, key, len(keys.pop(key)))

    def _hold(self, start: int, key: str, rows: int) -> None:
        held = self._held.setdefault(start, {})
        held[key] = held.get(key, 0) + rows

    def _forget(self, key: str) -> None:
        self.reducer.drop(key)
        del self._keys[key]
        self._in_shard[shard_of(key, self.stream.shards)] -= 1

    def _expire(self, window_end: int) -> None:
        # at every passed window end, whether or not this partition had a window there: all partition counts agree
        for key in [k for k, last in self._keys.items() if last + self.stream.ttl <= window_end]:
            self._forget(key)
        for key in [k for k, until in self._quarantined.items() if until <= window_end]:
            del self._quarantined[key]

    def _to_all(self, value: bytes) -> Iterable[Entry]:
        return (Entry(self.stream.derived, p, value) for p in range(self.derived_partitions))

    def _aside(self, kind: AsideKind, position: int, row: int, reason: str, excerpt: bytes) -> Aside:
        return Aside(kind, self.stream.topic, self.partition, position, row, reason, excerpt=excerpt[:4096])

    def _row_aside(self, kind: AsideKind, position: int, n: int, reason: str, row: Row[Any]) -> Aside:
        return self._aside(kind, position, n, reason, msgspec.json.encode(row))

    def state(self) -> dict[str, Any]:
        opened = [[s, [[k, sorted(ids)] for k, ids in sorted(keys.items())]] for s, keys in sorted(self._open.items())]
        return {
            "wm": self.wm,
            "max_event": self.max_event,
            "controls": self._controls.state(),
            "open": opened,
            "held": [[s, sorted(keys.items())] for s, keys in sorted(self._held.items())],
            "keys": sorted(self._keys.items()),
            "quarantined": sorted(self._quarantined.items()),
            "reducer": self.reducer.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.wm, self.max_event = state["wm"], state["max_event"]
        self._controls.restore(state["controls"])
        self._open = {s: {k: set(ids) for k, ids in keys} for s, keys in state["open"]}
        self._held = {s: dict(keys) for s, keys in state["held"]}
        self._keys = dict(state["keys"])
        self._quarantined = dict(state["quarantined"])
        for key in self._keys:
            shard = shard_of(key, self.stream.shards)
            self._in_shard[shard] = self._in_shard.get(shard, 0) + 1
        self.reducer.restore(state["reducer"])
