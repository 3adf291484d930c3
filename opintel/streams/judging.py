"""Stage 2: one partition of a derived topic → findings, scope by scope, window by window.

A window is judged once all stage-1 partitions have said `closed` beyond its end. Its records are upserted by
(kind, key) until then and dropped when they come again later. A judge that raises is quarantined for its scope;
the others go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence, Set
from typing import Any, NamedTuple

import msgspec

from opintel.detector import QUARANTINED, Closing, Judge, Pipeline, Record, model_hash
from opintel.evidence import MAX_BYTES
from opintel.finding import Finding, Origin, Window, rfc3339
from opintel.streams.artefacts import Door, closed, in_force, in_force_shas
from opintel.streams.closing import add
from opintel.streams.controls import MAX_CONTROLS, ControlTable
from opintel.streams.findings import Found, Judged, encode
from opintel.streams.log import Aside, AsideKind, Entry, Stored
from opintel.streams.records import NEVER, Closed, Forwarded, Tested, derived_codec, shard_of
from opintel.streams.settings import check, of_detector
from opintel.streams.stage import CRASH, Output, said
from opintel.streams.stream import FAR, FINDINGS, Stream

STATE_FORMAT = 1
MAX_SCOPES = 1000
WINDOWS = 100
"""Windows judged in one go."""


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

    may_fail = False

    def __init__(
        self,
        stream: Stream,
        pipeline: Pipeline,
        partition: int,
        epoch: str,
        origin: Origin = "live",
        door: Door = closed,
    ) -> None:
        self.stream, self.pipeline, self.partition, self.origin = stream, pipeline, partition, origin
        self._door, self._reducer = door, pipeline.reducer()
        self.frontier = NEVER
        """All windows with end <= frontier are judged."""
        self._closable = FAR
        """Up to when the record that is being read may say that windows are closed."""
        self._more = False
        """Whether a step has left windows for the next one."""
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
        self._records: dict[Window, dict[str, dict[tuple[str, str], Record[Any]]]] = {}
        """Window → scope → (kind, key) → record."""
        self._tested: dict[Window, dict[int, Any]] = {}
        """Window → stage-1 partition → scope → finding kind → hypotheses tested."""
        self._scopes: dict[str, _Scope] = {}
        self.structure = {
            "stage": 2,
            "format": STATE_FORMAT,
            "stream": stream.structure,
            "epoch": epoch,
            "judges": [[j.name, j.version] for j in _Scope(pipeline).judges.values()],
        }

    def process(self, batch: Sequence[Stored], careful: bool) -> Output:
        out = Output()
        for position, value, appended in batch:
            self._closable = self.stream.closable(appended, 1)
            try:
                record = self._codec.decode(value)
                if isinstance(record, Forwarded):
                    self._forwarded(record)
                elif isinstance(record, Closed):
                    self._closed_by(record)
                elif isinstance(record, Tested):
                    self._tested_by(record)
                else:
                    out.asides += self._upsert(record.records, position)
            except ValueError as error:
                out.asides.append(self._dead(position, 0, error, value))
        self._advance(out)
        return out

    @property
    def pending(self) -> bool:
        """Whether windows are closed by all partitions and not judged yet."""
        return self._more or self.frontier < self._due

    def _dead(self, position: int, n: int, why: ValueError, excerpt: bytes) -> Aside:
        return Aside("dead", self.stream.derived, self.partition, position, n, str(why), excerpt=excerpt[:4096])

    def _upsert(self, records: Sequence[Record[Any]], position: int) -> list[Aside]:
        """Takes records; those that cannot be are set aside, one by one."""
        dead: list[Aside] = []
        window: Window | None = None
        scopes: dict[str, dict[tuple[str, str], Record[Any]]] | None = None
        for n, record in enumerate(records):
            try:
                if record.window != window:
                    self._check_window(record.window)
                    window = record.window
                    scopes = None if window.end <= self._due else self._records.setdefault(window, {})
                if isinstance(record.payload, int) != (record.kind == QUARANTINED):
                    shown = str(record.payload)[:100]
                    raise ValueError(f"a record of kind {record.kind!r} with {shown}: a count is of quarantined rows")
            except ValueError as error:
                dead.append(self._dead(position, n, error, msgspec.json.encode(record)))
                continue
            if scopes is None:
                self.repeated += 1
            else:
                scopes.setdefault(record.scope, {})[record.kind, record.key] = record
        return dead

    def _tested_by(self, record: Tested) -> None:
        self._check_window(record.window)
        self._check_partition(record)
        if record.window.end > self._due:
            self._tested.setdefault(record.window, {})[record.partition] = record.counts

    def _check_time(self, end: int) -> None:
        """Raises ValueError where a record says that time has passed which has not: it would be believed for ever."""
        if end > self._closable:
            most = rfc3339(self._closable)
            raise ValueError(f"expected a time of {most} or before, by when it was appended, got {rfc3339(end)}")

    def _check_window(self, window: Window) -> None:
        self._check_time(window.end)
        longest, grid = self.stream.ttl, self.stream.grid
        if self.pipeline.ends is not None:
            if window.end - window.start > longest:
                raise ValueError(f"expected a window of at most {longest} ns, got [{window.start}, {window.end})")
        elif grid.window(window.start) != window or grid.start(window.start) != window.start:
            raise ValueError(f"expected a window on {grid}, got [{window.start}, {window.end})")

    def _forwarded(self, record: Forwarded) -> None:
        control = record.control
        if control.id in self._controls:
            return
        if len(self._waiting) >= MAX_CONTROLS:
            raise ValueError("too many controls")
        check(control, self._controls, self.pipeline, self.stream.name)
        self._check_partition(record)
        self._check_time(
            record.start - max(control.effective - self._closable, self.stream.lateness) - self.stream.window
        )
        starts = self._waiting.setdefault(control.id, {})
        starts.setdefault(record.partition, record.start)
        if len(starts) == record.of:
            self._controls.add(control, max(self._waiting.pop(control.id).values()))

    def _check_partition(self, record: Forwarded | Closed | Tested) -> None:
        partitions = self.stream.partitions
        if record.of != partitions or not 0 <= record.partition < partitions:
            raise ValueError(f"from partition {record.partition} of {record.of}; the raw topic has {partitions}")

    def _closed_by(self, record: Closed) -> None:
        self._check_partition(record)
        self._check_time(record.through)
        self._incomplete.update(end for end in record.incomplete if end > self._due)
        known = self._closed.get(record.partition)
        through = record.through
        if known is not None and known.epoch == record.epoch:
            through = max(known.through, through)
        self._closed[record.partition] = Said(record.epoch, through)
        said = self._closed.values()
        # a re-created raw topic says nothing about the old one's partitions, nor they about it
        if len(said) == self.stream.partitions and len({s.epoch for s in said}) == 1:
            self._due = max(self._due, min(s.through for s in said))

    def _advance(self, out: Output) -> None:
        """Judges what all partitions have closed, at most WINDOWS of it: a gap in the input may span very many."""
        if not self.pending:
            return
        for n in itertools.count():
            window = self._next_window()
            self._more = window is not None and n == WINDOWS
            if window is None or self._more:
                break
            self.frontier = window.end
            controls = self._controls.at(window.start)
            records, tested = self._records.pop(window, {}), self._tested_in(window)
            self._admit(window, records.keys() | tested.keys(), out)
            for name in sorted(self._scopes):
                closing = Closing(
                    window=window,
                    scope=name,
                    records=[record for _, record in sorted(records.get(name, {}).items())],
                    controls=controls,
                    settings=None,
                    model="",
                    complete=window.end not in self._incomplete,
                    tested=tested.get(name, {}),
                )
                self._judge(closing, out)
        if self._more:
            return
        self.frontier = self._due
        self._incomplete = {end for end in self._incomplete if end > self.frontier}

    def _admit(self, window: Window, there: Set[str], out: Output) -> None:
        """Forgets scopes unseen for the TTL, makes those that are `there` and new; where there are too many, those that
        are silent go first, and what then finds no room is refused.
        """
        self._forget(window.end - self.stream.ttl, ())
        if len(self._scopes.keys() | there) > MAX_SCOPES:
            self._forget(window.end - self.stream.quiet, there)
        new = sorted(there - self._scopes.keys())
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
        """An `Aside` about a window: where that stands in the log depends on the batch, its number does not."""
        number = window.end // self.stream.window if self.pipeline.ends is None else window.end
        return Aside(kind, self.stream.derived, self.partition, number, line, reason)

    def _tested_in(self, window: Window) -> dict[str, dict[str, int]]:
        """Scope → finding kind → hypotheses that all partitions tested; forgets the window."""
        total: dict[str, dict[str, int]] = {}
        for counts in self._tested.pop(window, {}).values():
            add(total, counts)
        return total

    def _next_window(self) -> Window | None:
        """The next window to judge, in order of (end, start): one with records, or on the grid the one that follows as
        long as a scope is still judged. None where all that is closed is judged.
        """
        there = min(self._records.keys() | self._tested.keys(), key=lambda w: (w.end, w.start), default=None)
        if self.pipeline.ends is None:
            following = self.stream.grid.window(self.stream.grid.start(self.frontier))
            alive = (s.last != NEVER and following.end <= s.last + self.stream.quiet for s in self._scopes.values())
            if (there is None or following.end < there.end) and any(alive):
                there = following
        return None if there is None or there.end > self._due else there

    def _judge(self, closing: Closing, out: Output) -> None:
        name, window = closing.scope, closing.window
        scope = self._scopes[name]
        if closing.records or closing.tested:
            scope.last = window.end
        elif scope.last == NEVER or window.end > scope.last + self.stream.quiet:
            return
        tests: dict[str, int] = {}
        for judge in list(scope.judges.values()):
            if scope.quarantined.get(judge.name, NEVER) > window.start:
                continue
            scope.quarantined.pop(judge.name, None)
            artefacts = in_force(judge.models, closing.controls, self._door)
            try:
                findings = self._findings(judge, closing._replace(artefacts=artefacts))
                tests.update(judge.tests)
            except CRASH:
                raise
            except Exception as error:
                scope.judges[judge.name] = next(
                    j for j in _Scope(self.pipeline).judges.values() if j.name == judge.name
                )
                scope.quarantined[judge.name] = window.end + self.stream.ttl
                reason = f"{judge.name} on {name}, window end {window.end}: {said(error)}"
                line = -2 - shard_of(f"{judge.name} {name}", 1 << 32)  # whatever other scopes there are
                out.asides.append(self._of_window("quarantined", window, line, reason))
                continue
            out.records += [Entry(FINDINGS, 0, encode(Found(self.stream.name, f))) for f in findings]
        out.closing.append(Entry(FINDINGS, 0, encode(Judged(self.stream.name, name, window, tests, closing.complete))))

    def _findings(self, judge: Judge, closing: Closing) -> list[Finding]:
        """The judge's findings, under the settings in force; `closing` lacks these and the model only."""
        stream, controls, reducer = self.stream.name, closing.controls, self._reducer
        settings = of_detector(controls, stream, judge.name, judge.Settings)
        reducing = of_detector(controls, stream, reducer.name, reducer.Settings)
        shas = in_force_shas([*judge.models, *reducer.models], controls)
        model = model_hash(judge, stream, settings, controls, reducer, reducing, shas)
        findings = judge.judge(closing._replace(settings=settings, model=model))
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
            "tested": [
                [w.start, w.end, sorted([p, counts] for p, counts in tested.items())]
                for w, tested in sorted(self._tested.items())
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
        # checkpoints had no epochs once: '' is no topic's, and the partitions say it again at their next window
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
            self._records.setdefault(record.window, {}).setdefault(record.scope, {})[record.kind, record.key] = record
        for start, end, tested in state.get("tested", ()):
            self._tested[Window(start, end)] = dict(tested)
