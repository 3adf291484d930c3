"""Stage 1: one partition of a raw topic → records of closed windows, by key.

Windows close when the running maximum of the records' stamps passes their end, never by a clock. A row of a
closed window is late, a known natural id is a duplicate, a new key above the shard's cap is refused, a key
whose detector raised is quarantined. All rows between two records that close a window are looked at together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import QUARANTINED, Controls, Pipeline, Record, Reducer
from opintel.finding import Window
from opintel.ids import natural_id
from opintel.rows import Batch, Index
from opintel.streams.controls import NOT_PLAIN, ControlTable, is_plain
from opintel.streams.log import Aside, AsideKind, Entry
from opintel.streams.records import (
    NEVER,
    Closed,
    Control,
    Forwarded,
    Rows,
    Tick,
    derived_codec,
    raw_codec,
    shard_of,
)
from opintel.streams.seen import Seen
from opintel.streams.stage import CRASH, DetectorFailed, Output, said
from opintel.streams.stream import Stream

STATE_FORMAT = 2
_key_mark = lru_cache(1 << 16)(natural_id)
"""What a key adds to its rows' ids: the same id under two keys is two rows."""


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
        self._open: dict[int, dict[str, int]] = {}
        """Window start → key → rows taken."""
        self._seen: dict[int, Seen] = {}
        """Window start → natural ids seen, each mixed with its key."""
        self._held: dict[int, dict[str, int]] = {}
        """Window start → quarantined key → rows not judged."""
        self._keys: dict[str, int] = {}
        """Key → end of its last closed window."""
        self._in_shard: dict[int, int] = {}
        self._quarantined: dict[str, int] = {}
        """Key → window end at which it gets another chance."""
        self._waiting: list[tuple[int, Batch[Any]]] = []
        """(position, rows) since a window closed last: taken together."""
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
                self._flush(out, careful)  # its start depends on the rows before it
                self._control(record, position, out)
                continue
            if record.wm > self.wm:
                if isinstance(record, Tick) and record.listened < record.wm:
                    incomplete.append(self.stream.grid.start(record.wm))
                if self.stream.grid.start(record.wm) == self.stream.grid.start(self.wm):
                    self.wm = record.wm  # no window end between the two
                else:
                    self._advance(record.wm, position, out, careful)
            if isinstance(record, Rows):
                self._waiting.append((position, record.batch))
        self._flush(out, careful)
        grid = self.stream.grid
        if grid.start(self.wm) != grid.start(before):
            closed = Closed(self.partition, self.stream.partitions, self.epoch, self.wm, incomplete)
            out.closing += self._to_all(self._derived.encode(closed))
        return out

    def _control(self, control: Control, position: int, out: Output) -> None:
        if control.id in self._controls:
            return
        if self._controls.full or not is_plain(control.value):
            reason = "too many controls" if self._controls.full else NOT_PLAIN
            out.asides.append(self._aside("dead", position, 0, reason, control.id.encode("utf-8", "replace")))
            return
        unseen = max(self.max_event, control.seen) + 1
        start = self.stream.grid.at_or_after(max(control.effective, self.wm + self.stream.lateness + 1, unseen))
        self._controls.add(control, start)
        forwarded = Forwarded(self.partition, self.stream.partitions, start, control)
        out.records += self._to_all(self._derived.encode(forwarded))

    def _flush(self, out: Output, careful: bool) -> None:
        """Takes the rows that wait: all together, or one by one."""
        waiting, self._waiting = [(at, batch) for at, batch in self._waiting if len(batch)], []
        if not waiting:
            return
        rows = Batch.joined([batch for _, batch in waiting])
        position = np.repeat([at for at, _ in waiting], [len(batch) for _, batch in waiting])
        n = np.concatenate([np.arange(len(batch)) for _, batch in waiting])
        if not careful:
            self._take(rows, position, n, out, careful)
            return
        for row in range(len(rows)):
            one = slice(row, row + 1)
            self._take(rows.take(np.array([row])), position[one], n[one], out, careful)

    def _take(
        self, rows: Batch[Any], position: NDArray[np.int64], n: NDArray[np.int64], out: Output, careful: bool
    ) -> None:
        """Takes rows (their record's position and their number in it beside them): new ones go to the reducer."""

        def set_aside(kind: AsideKind, index: Index, reason: str) -> None:
            for row in index.tolist():
                excerpt = msgspec.json.encode(rows.row(row))
                out.asides.append(self._aside(kind, int(position[row]), int(n[row]), reason, excerpt))

        start = rows.time - rows.time % self.stream.window
        left = start + self.stream.window > self.wm
        if not left.all():
            set_aside("late", np.flatnonzero(~left), "its window was closed")
        values, code = rows.key
        if self._quarantined:
            held = np.array([key in self._quarantined for key in values])[code] & left
            for row in np.flatnonzero(held).tolist():
                self._hold(int(start[row]), values[code[row]], 1)
            set_aside("quarantined", np.flatnonzero(held), "its key is quarantined")
            left &= ~held
        if not all(map(self._keys.__contains__, values)):
            refused = ~self._admitted(rows, left)[code] & left
            set_aside("refused", np.flatnonzero(refused), f"its shard holds {self.stream.max_keys} keys")
            left &= ~refused
        mark = rows.id ^ np.fromiter(map(_key_mark, values), dtype=np.int64)[code]
        for window in np.unique(start[left]).tolist():
            here = np.flatnonzero(left & (start == window))
            fresh = self._seen.setdefault(window, Seen()).add(mark[here])
            left[here[~fresh]] = False
            self.duplicates += len(here) - int(fresh.sum())
            counts = self._open.setdefault(window, {})
            taken = np.bincount(code[here[fresh]], minlength=len(values)).tolist()
            counts.update({key: counts.get(key, 0) + n for key, n in zip(values, taken, strict=True) if n})
        index = np.flatnonzero(left)
        if not len(index):
            return
        new = rows if len(index) == len(rows) else rows.take(index)
        self.max_event = max(self.max_event, int(new.time.max()))
        try:
            self.reducer.update(new, start[index])
        except CRASH:
            raise
        except Exception as error:
            if not careful:
                raise DetectorFailed(said(error)) from error
            set_aside("quarantined", index, said(error))
            self._quarantine(new.key.values[0], int(start[index[0]]) + self.stream.window)

    def _admitted(self, rows: Batch[Any], left: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(keys,) whether each key of the rows that are left is known or finds room, first come first served."""
        values, code = rows.key
        known = np.array([key in self._keys for key in values])
        new, first = np.unique(code[left & ~known[code]], return_index=True)
        for k in new[np.argsort(first)].tolist():
            known[k] = self._admit(values[k])
        return known

    def _admit(self, key: str) -> bool:
        shard = shard_of(key, self.stream.shards)
        if self._in_shard.get(shard, 0) >= self.stream.max_keys:
            return False
        self._in_shard[shard] = self._in_shard.get(shard, 0) + 1
        self._keys[key] = NEVER
        return True

    def _advance(self, wm: int, position: int, out: Output, careful: bool) -> None:
        """Passes one window end or more."""
        self._flush(out, careful)
        grid, size, before = self.stream.grid, self.stream.window, self.stream.grid.start(self.wm)
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
            for key in self._open.pop(start, ()):
                self._keys[key] = max(self._keys[key], window.end)
            self._seen.pop(start, None)
            for key, count in sorted(self._held.pop(start, {}).items()):
                records.append(Record(window, QUARANTINED, key, self.reducer.scope(key), count))
            by_partition: dict[int, list[Record[Any]]] = {}
            for record in records:
                by_partition.setdefault(shard_of(record.scope, self.derived_partitions), []).append(record)
            for partition, its in by_partition.items():
                out.records += [Entry(self.stream.derived, partition, v) for v in self._derived.together(its)]
        self._expire(before, grid.start(wm))

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
                self._hold(start, key, keys.pop(key))

    def _hold(self, start: int, key: str, rows: int) -> None:
        held = self._held.setdefault(start, {})
        held[key] = held.get(key, 0) + rows

    def _forget(self, key: str) -> None:
        self.reducer.drop(key)
        del self._keys[key]
        self._in_shard[shard_of(key, self.stream.shards)] -= 1

    def _expire(self, before: int, window_end: int) -> None:
        """Forgets keys unseen for the TTL, in a full shard for `quiet`: what is gone must not keep out what comes."""
        # at every window end in (before, window_end], whether or not this partition had a window there: all partition
        # counts agree
        alive = set().union(*self._open.values())
        full = {shard for shard, n in self._in_shard.items() if n >= self.stream.max_keys}
        by_shard: dict[int, dict[str, int]] = {shard: {} for shard in full}
        for key, last in self._keys.items() if full else ():
            if (shard := shard_of(key, self.stream.shards)) in full and key not in alive:
                by_shard[shard][key] = last + min(self.stream.quiet, self.stream.ttl)
        for keys in by_shard.values():
            first = max(min(keys.values(), default=window_end + 1), before + 1)
            end = self.stream.grid.at_or_after(first)  # the first at which there is room again
            for key in [k for k, until in keys.items() if until <= end <= window_end]:
                self._forget(key)
        for key in [k for k, last in self._keys.items() if last + self.stream.ttl <= window_end and k not in alive]:
            self._forget(key)
        for key in [k for k, until in self._quarantined.items() if until <= window_end]:
            del self._quarantined[key]

    def _to_all(self, value: bytes) -> Iterable[Entry]:
        return (Entry(self.stream.derived, p, value) for p in range(self.derived_partitions))

    def _aside(self, kind: AsideKind, position: int, row: int, reason: str, excerpt: bytes) -> Aside:
        return Aside(kind, self.stream.topic, self.partition, position, row, reason, excerpt=excerpt[:4096])

    def state(self) -> dict[str, Any]:
        opened = [
            [start, sorted(keys.items()), self._seen[start].state()] for start, keys in sorted(self._open.items())
        ]
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
        self._open = {start: dict(keys) for start, keys, _ in state["open"]}
        self._seen = {start: Seen(ids) for start, _, ids in state["open"]}
        self._held = {s: dict(keys) for s, keys in state["held"]}
        self._keys = dict(state["keys"])
        self._quarantined = dict(state["quarantined"])
        for key in self._keys:
            shard = shard_of(key, self.stream.shards)
            self._in_shard[shard] = self._in_shard.get(shard, 0) + 1
        self.reducer.restore(state["reducer"])
