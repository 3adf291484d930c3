"""Stage 2: one partition of a derived topic → findings, scope by scope, window by window.

A window is judged once all stage-1 partitions have said `closed` beyond its end. Its records are upserted by
(kind, key) until then and dropped when they come again later. A judge that raises is quarantined for its scope;
the others go on.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from opintel.detector import QUARANTINED, Closing, Controls, Judge, Pipeline, Record, model_hash
from opintel.evidence import MAX_BYTES
from opintel.finding import Finding, Origin, Window
from opintel.streams.controls import MAX_CONTROLS, NOT_PLAIN, ControlTable, is_plain
from opintel.streams.findings import Found, Judged, encode
from opintel.streams.log import Aside, AsideKind, Entry
from opintel.streams.records import NEVER, Closed, Forwarded, derived_codec
from opintel.streams.stage import CRASH, Output, said
from opintel.streams.stream import FINDINGS, Stream

STATE_FORMAT = 1
MAX_SCOPES = 1000
WINDOWS = 100
"""Windows judged in one go."""
SETTINGS = "settings"
"""Kind of the control that carries a stream's detector settings; its subject is the stream."""


class Said(NamedTuple):
    """A stage-1 partition's last word: all windows of this epoch of the raw topic with end <= `through` are closed."""

    epoch: str
    through: int


class _Scope:
    """The judges of one scope."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.judges: dict[str, Judge] = {j.name: j for j in (make() for make in pipeline.judges)}
        self.last = NEVER
        """End of the last window that had records."""
        self.quarantined: dict[str, int] = {}
        """Judge → window end at which it gets another chance."""


class JudgeStage:
    """The state of one derived partition and what each record does to it."""

    def __init__(self, stream: Stream, pipeline: Pipeline, partition: int, epoch: str, origin: Origin = "live") -> None:
        self.stream, self.pipeline, self.partition, self.origin = stream, pipeline, partition, origin
        self.frontier = NEVER
        """All windows with end <= frontier are judged."""
        self._due = NEVER
        """All windows with end <= it are closed by all partitions of one epoch; beyond the frontier in a step only."""
        self.repeated = 0
        """Records of judged windows that came again since the start of the process; a count for people, not state."""
        self._codec = derived_codec(pipeline.record)
        self._kept: Any = list[Record[pipeline.record | int]]  # type: ignore[name-defined]
        self._closed: dict[int, Said] = {}
        """What each stage-1 partition said last."""
        self._incomplete: set[int] = set()
        """Ends of open windows that the end of the input cut short."""
        self._controls = ControlTable()
        self._waiting: dict[str, dict[int, int]] = {}
        """Control → stage-1 partition → from; in force once all partitions have it."""
        self._records: dict[int, dict[str, dict[tuple[str, str], Record[Any]]]] = {}
        """Window start → scope → (kind, key) → record."""
        self._scopes: dict[str, _Scope] = {}
        self.structure = {
            "stage": 2,
            "format": STATE_FORMAT,
            "stream": stream.structure,
            "epoch": epoch,
            "judges": [[j.name, j.version] for j in _Scope(pipeline).judges.values()],
        }

    def process(self, batch: Sequence[tuple[int, bytes]], careful: bool) -> Output:
        out = Output()
        for position, value in batch:
            try:
                record = self._codec.decode(value)
                if isinstance(record, Forwarded):
                    self._forwarded(record)
                elif isinstance(record, Closed):
                    self._closed_by(record)
                else:
                    out.asides += self._upsert(record.records, position)
            except ValueError as error:
                out.asides.append(self._dead(position, 0, error, value))
        self._advance(out)
        return out

    @property
    def pending(self) -> bool:
        """Whether windows are closed by all partitions and not judged yet."""
        return self.frontier < self._due

    def _dead(self, position: int, n: int, why: ValueError, excerpt: bytes) -> Aside:
        return Aside("dead", self.stream.derived, self.partition, position, n, str(why), excerpt=excerpt[:4096])

    def _upsert(self, records: Sequence[Record[Any]], position: int) -> list[Aside]:
        """Takes records; those that cannot be are set aside, one by one."""
        dead = []
        for n, record in enumerate(records):
            try:
                self._upsert_one(record)
            except ValueError as error:
                dead.append(self._dead(position, n, error, msgspec.json.encode(record)))
        return dead

    def _upsert_one(self, record: Record[Any]) -> None:
        window, scope = record.window, record.scope
        if window.start % self.stream.window or window.end - window.start != self.stream.window:
            raise ValueError(f"window [{window.start}, {window.end}) is not on the grid of {self.stream.window} ns")
        if isinstance(record.payload, int) != (record.kind == QUARANTINED):
            raise ValueError(
                f"a record of kind {record.kind!r} with {str(record.payload)[:100]}: a count is of quarantined rows"
            )
        if window.end <= self._due:
            self.repeated += 1
            return
        self._records.setdefault(window.start, {}).setdefault(scope, {})[record.kind, record.key] = record

    def _forwarded(self, record: Forwarded) -> None:
        control = record.control
        if control.id in self._controls:
            return
        if self._controls.full or len(self._waiting) >= MAX_CONTROLS:
            raise ValueError("too many controls")
        if not is_plain(control.value):
            raise ValueError(NOT_PLAIN)
        if (control.kind, control.subject) == (SETTINGS, self.stream.name):
            self._check_settings(control.value)
        self._check_partition(record)
        starts = self._waiting.setdefault(control.id, {})
        starts.setdefault(record.partition, record.start)
        if len(starts) == record.of:
            self._controls.add(control, max(self._waiting.pop(control.id).values()))

    def _check_partition(self, record: Forwarded | Closed) -> None:
        partitions = self.stream.partitions
        if record.of != partitions or not 0 <= record.partition < partitions:
            raise ValueError(f"from partition {record.partition} of {record.of}; the raw topic has {partitions}")

    def _check_settings(self, given: Any) -> None:
        """Raises ValueError for settings that a judge would not understand: those in force stay in force."""
        known = {make().name: make().Settings for make in self.pipeline.judges}
        if not isinstance(given, dict) or given.keys() - known.keys():
            raise ValueError(f"settings are by detector ({', '.join(known)}), got {str(given)[:200]}")
        for name, values in given.items():
            try:
                msgspec.convert(values, known[name])
            except msgspec.ValidationError as error:
                raise ValueError(f"settings of {name}: {error}") from error

    def _closed_by(self, record: Closed) -> None:
        self._check_partition(record)
        self._incomplete.update(end for end in record.incomplete if end > self._due)
        known = self._closed.get(record.partition)
        through = record.through
        if known is not None and known.epoch == record.epoch:
            through = max(known.through, through)
        self._closed[record.partition] = Said(record.epoch, through)
        said = self._closed.values()
        # a raw topic that was made anew says nothing about the old one's partitions, nor they about it
        if len(said) == self.stream.partitions and len({s.epoch for s in said}) == 1:
            self._due = max(self._due, min(s.through for s in said))

    def _advance(self, out: Output) -> None:
        """Judges what all partitions have closed, at most WINDOWS of it: a gap in the input may span very many."""
        if not self.pending:
            return
        for n, end in enumerate(self._ends(self.frontier, self._due)):
            if n == WINDOWS:
                return
            self.frontier = end
            window = Window(end - self.stream.window, end)
            controls = self._controls.at(window.start)
            records = self._records.pop(window.start, {})
            self._admit(window, records, out)
            for name in sorted(self._scopes):
                self._judge(name, window, records.get(name, {}), controls, end not in self._incomplete, out)
        self.frontier = self._due
        self._incomplete = {end for end in self._incomplete if end > self.frontier}

    def _admit(self, window: Window, records: Mapping[str, Any], out: Output) -> None:
        """Forgets scopes unseen for the TTL, makes those that are new; where there are too many, those that are silent
        go first, and what then finds no room is refused.
        """
        self._forget(window.end - self.stream.ttl, ())
        if len(self._scopes.keys() | records.keys()) > MAX_SCOPES:
            self._forget(window.end - self.stream.quiet, records)
        new = sorted(records.keys() - self._scopes.keys())
        room = max(0, MAX_SCOPES - len(self._scopes))
        for name in new[:room]:
            self._scopes[name] = _Scope(self.pipeline)
        if refused := new[room:]:
            shown = ", ".join(repr(name[:80]) for name in refused[:3])
            reason = f"more than {MAX_SCOPES} scopes: of window end {window.end} are refused {len(refused)}: {shown} …"
            out.asides.append(self._of_window("refused", window, -1, reason))

    def _forget(self, before: int, but: Container[str]) -> None:
        for name in [name for name, scope in self._scopes.items() if scope.last < before and name not in but]:
            del self._scopes[name]

    def _of_window(self, kind: AsideKind, window: Window, line: int, reason: str) -> Aside:
        """An aside about a window: where that stands in the log depends on the batch, its number does not."""
        number = window.end // self.stream.window
        return Aside(kind, self.stream.derived, self.partition, number, line, reason)

    def _ends(self, after: int, through: int) -> Iterator[int]:
        """Window ends in (after, through] that have records or a scope that is still judged, in order."""
        size, end = self.stream.window, after
        while True:
            with_records = min(self._records, default=None)
            candidates = [] if with_records is None else [with_records + size]
            following = self.stream.grid.start(end) + size
            if any(s.last != NEVER and following <= s.last + self.stream.quiet for s in self._scopes.values()):
                candidates.append(following)
            if not candidates or min(candidates) > through:
                return
            end = min(candidates)
            yield end

    def _judge(
        self,
        name: str,
        window: Window,
        records: Mapping[tuple[str, str], Record[Any]],
        controls: Controls,
        complete: bool,
        out: Output,
    ) -> None:
        scope = self._scopes[name]
        if records:
            scope.last = window.end
        elif scope.last == NEVER or window.end > scope.last + self.stream.quiet:
            return
        ordered = [record for _, record in sorted(records.items())]
        tests: dict[str, int] = {}
        for n, judge in enumerate(list(scope.judges.values())):
            if scope.quarantined.get(judge.name, NEVER) > window.start:
                continue
            scope.quarantined.pop(judge.name, None)
            try:
                findings = self._findings(judge, window, name, ordered, controls, complete)
                tests.update(judge.tests)
            except CRASH:
                raise
            except Exception as error:
                scope.judges[judge.name] = next(
                    j for j in _Scope(self.pipeline).judges.values() if j.name == judge.name
                )
                scope.quarantined[judge.name] = window.end + self.stream.ttl
                reason = f"{judge.name} on {name}, window end {window.end}: {said(error)}"
                line = -2 - (n + len(scope.judges) * sorted(self._scopes).index(name))
                out.asides.append(self._of_window("quarantined", window, line, reason))
                continue
            out.records += [Entry(FINDINGS, 0, encode(Found(self.stream.name, f))) for f in findings]
        out.closing.append(Entry(FINDINGS, 0, encode(Judged(self.stream.name, name, window, tests, complete))))

    def _findings(
        self,
        judge: Judge,
        window: Window,
        scope: str,
        records: list[Record[Any]],
        controls: Controls,
        complete: bool,
    ) -> list[Finding]:
        given = (controls.value(SETTINGS, self.stream.name) or {}).get(judge.name, {})
        settings = msgspec.convert(given, judge.Settings)
        model = model_hash(judge, self.stream.name, settings, controls)
        findings = judge.judge(Closing(window, scope, records, controls, settings, model, complete))
        for finding in findings:
            size = len(msgspec.json.encode(finding.evidence))
            if size > MAX_BYTES:
                raise ValueError(f"evidence of {size} bytes, at most {MAX_BYTES}: use opintel.evidence.capped")
        return [msgspec.structs.replace(f, origin=self.origin) for f in findings]

    def state(self) -> dict[str, Any]:
        return {
            "frontier": self.frontier,
            "closed": [[p, said.through] for p, said in sorted(self._closed.items())],
            "epochs": [[p, said.epoch] for p, said in sorted(self._closed.items())],
            "incomplete": sorted(self._incomplete),
            "controls": self._controls.state(),
            "waiting": [[i, sorted(starts.items())] for i, starts in sorted(self._waiting.items())],
            "records": [
                msgspec.to_builtins(record)
                for _, scopes in sorted(self._records.items())
                for _, records in sorted(scopes.items())
                for _, record in sorted(records.items())
            ],
            "scopes": [
                [
                    name,
                    scope.last,
                    sorted(scope.quarantined.items()),
                    [[j.name, j.state()] for j in scope.judges.values()],
                ]
                for name, scope in sorted(self._scopes.items())
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.frontier = self._due = state["frontier"]
        # checkpoints had no epochs once: '' is nobody's, and the partitions say it again at their next window
        epochs = dict(state.get("epochs", ()))
        self._closed = {p: Said(epochs.get(p, ""), through) for p, through in state["closed"]}
        self._incomplete = set(state["incomplete"])
        self._controls.restore(state["controls"])
        self._waiting = {i: dict(starts) for i, starts in state["waiting"]}
        for name, last, quarantined, judges in state["scopes"]:
            scope = self._scopes[name] = _Scope(self.pipeline)
            scope.last, scope.quarantined = last, dict(quarantined)
            for judge, kept in judges:
                scope.judges[judge].restore(kept)
        for record in msgspec.convert(state["records"], self._kept):
            self._records.setdefault(record.window.start, {}).setdefault(record.scope, {})[record.kind, record.key] = (
                record
            )
