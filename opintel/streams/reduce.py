"""Stage 1: one partition of a raw topic → records of closed windows, by key.

Windows close when the running maximum of the records' stamps passes their end, never by a clock. A row of a
closed window is late, a known natural id is a duplicate, a new key above the shard's cap is refused, a key
whose rows made the detector raise is quarantined. Rows between two records that close a window are looked at together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import QUARANTINED, Pipeline, Record, Reduced, Reducer, WindowRows
from opintel.finding import Window, rfc3339
from opintel.rows import Batch, Index
from opintel.streams.artefacts import Door, closed, in_force
from opintel.streams.closing import Failed, close, close_carefully
from opintel.streams.controls import ControlTable
from opintel.streams.keys import Keys
from opintel.streams.log import EXCERPT, Aside, AsideKind, Entry, Stored
from opintel.streams.open_windows import OpenWindows, add_counts, counts
from opintel.streams.records import (
    NEVER,
    Closed,
    Control,
    Forwarded,
    Rows,
    Tested,
    Tick,
    derived_codec,
    raw_codec,
    shard_of,
)
from opintel.streams.settings import check, of_detector
from opintel.streams.stage import CRASH, DetectorFailed, Output, said
from opintel.streams.stream import Stream
from opintel.streams.windows import Ints, cut_of, groups

STATE_FORMAT = 3
TOGETHER = 1 << 18
"""Bytes of records whose rows are looked at together: more at once costs copies and saves nothing."""
PLACES = 5
"""Places that an `Aside` of several rows names."""


class _Waiting:
    """Rows whose turn has not come: with the position of their record and their windows."""

    def __init__(
        self, position: int, batch: Batch[Any], start: Ints, end: Ints, size: int = 0, latest: int = 0
    ) -> None:
        """`latest`: the latest event time that a row may have, ns."""
        self.batch, self.start, self.end, self.size = batch, start, end, size
        self.latest = np.full(len(batch), latest)
        self.position = np.full(len(batch), position)
        self.n = np.arange(len(batch))

    @classmethod
    def joined(cls, parts: Sequence[_Waiting]) -> _Waiting:
        if len(parts) == 1:
            return parts[0]
        new = cls(0, Batch.joined([p.batch for p in parts]), _join(parts, "start"), _join(parts, "end"))
        new.position, new.n, new.latest = (_join(parts, name) for name in ("position", "n", "latest"))
        return new


def _join(parts: Sequence[_Waiting], name: str) -> Ints:
    return np.concatenate([getattr(part, name) for part in parts])


class ReduceStage:
    """The state of one raw partition and what each record does to it."""

    may_fail = True

    def __init__(
        self,
        stream: Stream,
        pipeline: Pipeline,
        partition: int,
        epoch: str,
        derived_partitions: int,
        door: Door = closed,
    ) -> None:
        self.stream, self.pipeline, self.partition, self.epoch = stream, pipeline, partition, epoch
        self.derived_partitions, self._door = derived_partitions, door
        self.reducer: Reducer[Any] = pipeline.reducer()
        self.duplicates = 0
        """Dropped since the start of the process; a count for people, not state."""
        self.wm = self.max_event = NEVER
        self._raw, self._derived = raw_codec(pipeline.payload), derived_codec(pipeline.record)
        self._controls = ControlTable()
        self._cut = cut_of(stream, pipeline)
        self._keys = Keys(stream)
        self._windows = OpenWindows(pipeline.payload, *pipeline.context)
        self._waiting: list[_Waiting] = []
        """Rows since a window closed last."""
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

    def process(self, batch: Sequence[Stored], careful: bool) -> Output:
        out = Output()
        before = self.wm
        incomplete: list[int] = []
        for position, value, appended in batch:
            try:
                record = self._raw.decode(value)
            except ValueError as error:
                out.asides.append(self._aside("dead", position, 0, str(error), value))
                continue
            if isinstance(record, Control):
                self._flush(out)  # its start depends on the rows before it
                record.seen = min(record.seen, self.stream.latest(appended))
                self._control(record, position, out)
                continue
            wm = self._believed(record, appended, position, out)
            if wm > self.wm:
                if isinstance(record, Tick) and record.listened < record.wm:
                    incomplete.append(self._cut.cut_short(wm))
                self._advance(wm, position, out, careful)
            if isinstance(record, Rows) and len(record.batch):
                out.rows += len(record.batch)
                cut = self._cut(record.batch)
                self._waiting.append(_Waiting(position, record.batch, *cut, len(value), self.stream.latest(appended)))
        self._flush(out)
        if self._moved(before):
            said_closed = Closed(self.partition, self.stream.partitions, self.epoch, self.wm, incomplete)
            out.closing += self._to_all(self._derived.encode(said_closed))
        return out

    def _believed(self, record: Rows | Tick, appended: int, position: int, out: Output) -> int:
        """The watermark that a stamp gives; none, and a dead letter, where it claims more than the log's time allows.
        The rows beside it are taken.
        """
        most = self.stream.closable(appended)
        if record.wm <= most:
            return record.wm
        reason = f"expected a stamp of {rfc3339(most)} or before, by when it was appended, got {rfc3339(record.wm)}"
        out.asides.append(self._aside("dead", position, -1, reason, b""))
        return NEVER

    def _moved(self, before: int) -> bool:
        """Whether a window end may lie between a watermark and ours."""
        grid = self.stream.grid
        return self.wm > before if self.pipeline.ends is not None else grid.start(self.wm) != grid.start(before)

    def _control(self, control: Control, position: int, out: Output) -> None:
        if control.id in self._controls:
            return
        try:
            check(control, self._controls, self.pipeline, self.stream.name)
        except ValueError as error:
            out.asides.append(self._aside("dead", position, 0, str(error), control.id.encode("utf-8", "replace")))
            return
        unseen = max(self.max_event, control.seen) + 1
        start = self.stream.grid.at_or_after(max(control.effective, self.wm + self.stream.lateness + 1, unseen))
        self._controls.add(control, start)
        forwarded = Forwarded(self.partition, self.stream.partitions, start, control)
        out.records += self._to_all(self._derived.encode(forwarded))

    def _flush(self, out: Output) -> None:
        """Takes the rows that wait, small records together."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            size, n = 0, 0
            while n < len(waiting) and (n == 0 or size < TOGETHER):
                size += waiting[n].size
                n += 1
            self._take(_Waiting.joined(waiting[:n]), out)
            del waiting[:n]

    def _take(self, rows: _Waiting, out: Output) -> None:
        """Takes rows: new ones are held until their window closes."""

        def set_aside(kind: AsideKind, index: Index, reason: str) -> None:
            self._set_aside(kind, rows, index, reason, out)

        batch, start, end = rows.batch, rows.start, rows.end
        values, code = batch.key
        left = ~self._cut.refused(start, end)
        if not left.all():
            set_aside("dead", np.flatnonzero(~left), self._cut.expected)
        ahead = left & (self._cut.last(batch, end) > rows.latest)
        if ahead.any():
            set_aside("dead", np.flatnonzero(ahead), "event time too far after it was appended")
            left &= ~ahead
        late = left & (end <= self.wm)
        if late.any():
            set_aside("late", np.flatnonzero(late), "its window was closed")
            left &= ~late
        held = self._keys.quarantined(values)[code] & left
        left &= ~held
        known = self._keys.known(values)
        if not known.all():
            refused = ~self._admitted(batch, left, known)[code] & left
            if refused.any():
                set_aside("refused", np.flatnonzero(refused), f"its shard holds {self.stream.max_keys} keys")
            left &= ~refused
        mark = batch.id ^ self._keys.marks(values)[code]
        not_judged = [np.arange(0)]
        there = np.flatnonzero(left | held)
        for window, index in groups(start[there], end[there]):
            here = there[index]
            new = here[self._windows.new(window, mark[here])]
            self.duplicates += len(here) - len(new)
            if len(fresh := new[left[new]]):
                added = batch if len(fresh) == len(batch) else batch.take(fresh)
                self._windows.add(window, added)
                self.max_event = max(self.max_event, int(self._cut.last(added, end[fresh]).max()))
            if len(fresh) < len(new):
                not_judged.append(new[held[new]])
                self._windows.hold(window, batch.key.take(not_judged[-1]))
        if len(index := np.sort(np.concatenate(not_judged))):
            set_aside("quarantined", index, "its key is quarantined")

    def _admitted(self, rows: Batch[Any], left: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(keys,) whether each key of the rows that are left is known or finds room, first come first served."""
        values, code = rows.key
        new, first = np.unique(code[left & ~known[code]], return_index=True)
        for k in new[np.argsort(first)].tolist():
            known[k] = self._keys.admit(values[k])
        return known

    def _advance(self, wm: int, position: int, out: Output, careful: bool) -> None:
        """Moves the watermark: takes what waits and closes what ends, where an end is passed."""
        before = self.stream.grid.start(self.wm)
        after = self.stream.grid.start(wm)
        if before == after and not self._ends_by(wm):
            self.wm = wm
            return
        self._flush(out)
        self.wm = wm
        failed = 0
        for window in self._windows.ended(wm):
            failed += self._close(window, position, failed, out, careful)
        if before != after:
            for key in self._keys.expire(before, after, self._windows.alive()):
                self.reducer.drop(key)

    def _ends_by(self, wm: int) -> bool:
        """Whether a window that came with the data, its rows taken or waiting, ends by then."""
        if self.pipeline.ends is None:
            return False
        first = self._windows.first_end
        waiting = min((int(rows.end.min()) for rows in self._waiting), default=wm + 1)
        return waiting <= wm or (first is not None and first <= wm)

    def _close(self, window: Window, position: int, failed: int, out: Output, careful: bool) -> int:
        """Closes one; `failed` keys were quarantined at this position before. Returns how many now were."""
        rows, context, not_judged = self._windows.close(window)
        keys = rows.key.values
        bad: list[Failed] = []
        records: list[Record[Any]] = []
        if keys:
            controls = self._controls.at(window.start)
            settings = of_detector(controls, self.stream.name, self.reducer.name, self.reducer.Settings)
            artefacts = in_force(self.reducer.models, controls, self._door)
            closing = WindowRows(window, rows, context, controls, settings, artefacts)
            if careful:
                self.reducer, reduced, bad = close_carefully(self.pipeline.reducer, self.reducer, closing)
            else:
                reduced = self._reduced(closing)
            self._keys.closed(keys, window.end)
            records = list(reduced.records)
            self._emit_tested(window, reduced.tested, out)
        if bad:
            here = counts(rows.key)
            add_counts(not_judged, {key: here[key] for key, _ in bad})
            self._windows.drop({key for key, _ in bad})
        for n, (key, reason) in enumerate(bad, failed):
            self._keys.quarantine(key, window.end)
            out.asides.append(self._aside("quarantined", position, -1 - n, reason, key.encode()))
        for key, count in sorted(not_judged.items()):
            records.append(Record(window, QUARANTINED, key, self.reducer.scope(key), count))
        self._emit(records, out)
        return len(bad)

    def _reduced(self, closing: WindowRows[Any]) -> Reduced:
        try:
            return close(self.reducer, closing)
        except CRASH:
            raise
        except Exception as error:
            raise DetectorFailed(said(error)) from error

    def _emit_tested(self, window: Window, tested: Mapping[str, Mapping[str, int]], out: Output) -> None:
        """Each derived partition gets the counts of its own scopes: it judges those that it hears of."""
        by_partition: dict[int, dict[str, Any]] = {}
        for scope, counts_of in tested.items():
            by_partition.setdefault(shard_of(scope, self.derived_partitions), {})[scope] = counts_of
        for partition, its in by_partition.items():
            value = self._derived.encode(Tested(window, self.partition, self.stream.partitions, its))
            out.records.append(Entry(self.stream.derived, partition, value))

    def _emit(self, records: Sequence[Record[Any]], out: Output) -> None:
        by_partition: dict[int, list[Record[Any]]] = {}
        if self.derived_partitions == 1:
            by_partition[0] = list(records)
            records = ()
        for record in records:
            by_partition.setdefault(shard_of(record.scope, self.derived_partitions), []).append(record)
        for partition, its in by_partition.items():
            out.records += [Entry(self.stream.derived, partition, v) for v in self._derived.together(its)]

    def _to_all(self, value: bytes) -> Iterable[Entry]:
        return (Entry(self.stream.derived, p, value) for p in range(self.derived_partitions))

    def _set_aside(self, kind: AsideKind, rows: _Waiting, index: Index, reason: str, out: Output) -> None:
        """One `Aside` for all of these rows of a record, its first ones named."""
        positions, first, counts = np.unique(rows.position[index], return_index=True, return_counts=True)
        for position, at, count in zip(positions.tolist(), first.tolist(), counts.tolist(), strict=True):
            mine = index[at : at + count]
            place = "rows " + ", ".join(str(n + 1) for n in rows.n[mine[:PLACES]].tolist())
            excerpt = msgspec.json.encode(rows.batch.row(int(mine[0])))
            aside = self._aside(kind, position, int(rows.n[mine[0]]), reason, excerpt)
            out.asides.append(msgspec.structs.replace(aside, place=place, count=count))

    def _aside(self, kind: AsideKind, position: int, row: int, reason: str, excerpt: bytes) -> Aside:
        return Aside(kind, self.stream.topic, self.partition, position, row, reason, excerpt=excerpt[:EXCERPT])

    def state(self) -> dict[str, Any]:
        return {
            "wm": self.wm,
            "max_event": self.max_event,
            "controls": self._controls.state(),
            "windows": self._windows.state(),
            "keys": self._keys.state(),
            "reducer": self.reducer.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.wm, self.max_event = state["wm"], state["max_event"]
        self._controls.restore(state["controls"])
        self._windows.restore(state["windows"])
        self._keys.restore(state["keys"])
        self.reducer.restore(state["reducer"])
