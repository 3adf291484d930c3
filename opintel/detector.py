"""The one contract of detection: rows and closed windows come in, records and findings go out, and nothing
else.

A domain has two stages. A `Reducer` (stage 1) is parallel by key: it sees the rows of its keys and, when a
window closes, emits small `Record`s. A `Judge` (stage 2) sees all records of a scope (an FTS instance, a
subsystem, a fleet) for one closed window and emits `Finding`s. The worker in `opintel.streams` drives both;
neither ever reads a clock, a file or the network.

Traps, each of which breaks "the same findings online, after a crash and in a backfill":

* `close` gets all rows of a window at once, sorted by (key, time, id). After a fault it gets some of the keys only: a
  key's output depends on its own rows only, and what needs several keys is a judge's work.
* `state()` must hold everything that later output depends on, as plain data (msgpack's types), sets as sorted
  lists; arrays as few large `bytes`. The rows of open windows are not part of it: the stage holds them.
* Emit in a fixed order; iterate over sorted keys, never over a set.
* Rows come as columns (`opintel.rows`): a loop over them in Python costs more than all else in stage 1.
* Emit records of the window that closes and of no other. What happened inside it has its own time in the payload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.finding import Finding, Label, Window, digest
from opintel.naming import Naming
from opintel.rejects import Reject, Rejects
from opintel.rows import Batch, Row
from opintel.simulation import Stories
from opintel.tables import NOTHING_READ, ColumnsRead, CsvForm, CsvTable

P = TypeVar("P")

Emit = Annotated[float, msgspec.Meta(ge=-300, le=0)]
"""Setting of a judge: findings with log10 p at most this are emitted."""
Most = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
"""Setting: at most so many."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as a transport delivers it, with its place in the source."""

    body: bytes
    file: str = ""
    """File relative to the source's root, or the broker's destination."""
    row: int = 0
    """Row in the file, from 0."""
    index: int = 0
    """Running number over the whole source, from 0."""
    form: str = "json"
    """`json`: the stream's wire format; `text`: one bare message (a line of text, a CSV cell); `table`: the heading of
    a CSV file, a newline and one of its rows; `refused`: the transport would not read it, and the body says why
    (UTF-8); `gap`: the same of what was not there any more."""
    table: CsvTable | None = None
    """Of a row of a CSV file, where the domain looks at the first ones."""


class Decoded(NamedTuple, Generic[P]):
    """What a wire made of some messages.

    >>> def length(message):
    ...     return [Row("a", 0, 0, len(message.body))] if message.body else ["expected a body, got none"]
    >>> found = each(length, [Message(b"xy"), Message(b"")], int)
    >>> found.rows.payload, found.rejects == [Reject(1, [0], "expected a body, got none")]
    ([2], True)
    """

    rows: Batch[P]
    """In order of the messages, inside a message in its own order."""
    message: NDArray[np.int64]
    """(rows,) which of the messages each came from."""
    n: NDArray[np.int64]
    """(rows,) which of that message's records it is, from 0; rejects count too."""
    rejects: list[Reject]
    """One for each message and reason."""
    columns: ColumnsRead = NOTHING_READ
    """Of the tables among the messages."""


class Wire(Protocol[P]):
    """A domain's wire format. Everything that comes in is untrusted: bound it, check it, never raise for its
    content.

    >>> class Lines(Wire[str]):
    ...     def decode(self, messages):
    ...         return each(lambda m: [Row("a", 0, m.index, m.body.decode("utf-8", "replace"))], messages, str)
    ...     def redacted(self, body):
    ...         return body[:4096]
    >>> Lines().decode([Message(b"one"), Message(b"\\xff", index=1)]).rows.payload
    ['one', '\ufffd']
    """

    def decode(self, messages: Sequence[Message]) -> Decoded[P]:
        """The rows of the messages (a message may hold many records), and what is wrong with each bad record.

        What becomes of a message does not depend on the others. Forms: see `Message`; never `refused` or `gap`.
        """

    def redacted(self, body: bytes) -> bytes:
        """The start of an undecodable message as it may be kept: personal data replaced, at most 4096 bytes."""


class Record(msgspec.Struct, Generic[P], frozen=True, array_like=True):
    """What stage 1 says about one key in one closed window. Keyed (window, kind, key): same key, same content."""

    window: Window
    kind: Label
    key: Label
    scope: Label
    payload: P


QUARANTINED = "quarantined"
"""Kind of the record by which stage 2 knows how many rows of a (row's) key were not judged in a window."""


class Controls:
    """The controls in force for one window: for each (kind, subject) the highest version wins.

    >>> controls = Controls({("mask", "a"): (2, True)})
    >>> controls.value("mask", "a"), controls.value("mask", "b", False), controls.versions(["mask"])
    (True, False, [('mask', 'a', 2)])
    """

    def __init__(self, in_force: Mapping[tuple[str, str], tuple[int, Any]] | None = None) -> None:
        self._in_force = dict(in_force or {})

    def value(self, kind: str, subject: str, default: Any = None) -> Any:
        """The value in force for `subject`, else `default`."""
        found = self._in_force.get((kind, subject))
        return default if found is None else found[1]

    def of_kind(self, kind: str) -> dict[str, Any]:
        """subject → value of all controls of a kind, in order of subject."""
        return {s: v for (k, s), (_, v) in sorted(self._in_force.items(), key=lambda i: i[0]) if k == kind}

    def versions(self, kinds: Iterable[str]) -> list[tuple[str, str, int]]:
        """(kind, subject, version) of the controls of `kinds`: what goes into a finding's `model`."""
        wanted = set(kinds)
        return sorted((k, s, version) for (k, s), (version, _) in self._in_force.items() if k in wanted)


class Artefact(NamedTuple):
    """A file that was learned or agreed on elsewhere (weights, a table), known by its content.

    >>> from hashlib import sha256
    >>> Artefact(sha256(b"weights").hexdigest(), b"weights").sha256[:8]
    '9a129038'
    """

    sha256: str
    """Hexadecimal."""
    data: bytes


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of what has none."""


class WindowRows(NamedTuple, Generic[P]):
    """One closed window of some keys, as a reducer sees it."""

    window: Window
    rows: Batch[P]
    """The rows of the window, sorted by (key, time, id); `rows.key.values` are the keys in order."""
    context: Batch[P]
    """Rows of the same keys beside the window, likewise sorted, as far as `Pipeline.context` reaches and as they were
    there when the window closed; none where the pipeline asks for none."""
    controls: Controls
    settings: Any
    """The reducer's own `Settings`, those in force for this window."""
    artefacts: Mapping[str, Artefact]
    """Name → what is in force of the `models` that the reducer asks for; one that no control names is missing."""


class Reduced(NamedTuple):
    """What a reducer says of a closed window."""

    records: Sequence[Record[Any]]
    """All of that window."""
    tested: Mapping[str, Mapping[str, int]] = {}
    """Scope → finding kind → how many hypotheses were tested for these records; the stage adds up over calls, stage 2
    over partitions."""


class Reducer(Protocol[P]):
    """Stage 1: rows by key → records of closed windows.

    >>> class Sums(Reducer[float]):
    ...     name, version = "toy.sums", 1
    ...     def scope(self, key):
    ...         return "all"
    ...     def close(self, closing):
    ...         rows = closing.rows
    ...         sums = [(key, sum(rows.payload[first:end])) for key, first, end in rows.spans()]
    ...         return Reduced([Record(closing.window, "sum", key, self.scope(key), total) for key, total in sums])
    >>> rows = Batch.of([Row("a", 1, 1, 2.0), Row("a", 3, 2, 5.0)], float)
    >>> reduced = Sums().close(WindowRows(Window(0, 60), rows, rows.cut(0, 0), Controls(), NoSettings(), {}))
    >>> [(record.key, record.payload) for record in reduced.records]
    [('a', 7.0)]
    """

    name: str
    version: int
    """Major version: raised when the same rows give other records, or `state()` changes its form."""
    controls: tuple[str, ...] = ()
    """Kinds of control that change what it says (besides settings); their versions go into `model`."""
    models: tuple[str, ...] = ()
    """Names of the artefacts it asks for; their SHA-256 goes into `model`."""

    @property
    def Settings(self) -> type[msgspec.Struct]:
        """Typed settings with defaults (a class attribute); the stream's YAML may override them."""
        return NoSettings

    def close(self, closing: WindowRows[P]) -> Reduced:
        """What is to be said of each key with rows in the window."""

    def scope(self, key: str) -> str:
        """The scope a key belongs to."""

    def drop(self, key: str) -> None:
        """Forgets a key altogether (expired or quarantined). Here: nothing is kept of keys."""

    def state(self) -> Any:
        """Plain values, a snapshot that later calls do not change. Here: there is none."""

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh reducer."""


class Closing(NamedTuple):
    """One closed window of one scope, as a judge sees it."""

    window: Window
    scope: str
    records: Sequence[Record[Any]]
    """Sorted by (kind, key)."""
    controls: Controls
    settings: Any
    """The judge's own `Settings`, those in force for this window."""
    model: str
    """Hash of settings and control versions in force: goes into each finding."""
    complete: bool
    """False where the input ended inside the window (end of a file): nothing may be declared missing or silent."""
    tested: Mapping[str, int] = {}
    """Finding kind → how many hypotheses stage 1 tested for these records."""
    artefacts: Mapping[str, Artefact] = {}
    """Name → what is in force of the `models` that the judge asks for; one that no control names is missing."""


class Judge(Protocol):
    """Stage 2: one scope's records, window by window in order of time → findings. One instance a scope.

    >>> from opintel.finding import Effect, finding_id
    >>> class Largest(Judge):
    ...     name, version, controls = "toy.largest", 1, ()
    ...     def judge(self, closing):
    ...         self.tests = {"largest": len(closing.records)}
    ...         return [self.finding(closing, max(closing.records, key=lambda record: record.payload))]
    ...     def finding(self, closing, record):
    ...         subject = {"scope": closing.scope, "key": record.key}
    ...         id = finding_id(self.name, self.version, closing.model, subject, closing.window)
    ...         about = {"id": id, "detector": self.name, "kind": "largest", "subject": subject}
    ...         why = {"log10_p": None, "basis": "none", "effect": Effect(record.payload, "s"), "severity": "info"}
    ...         return Finding(**about, **why, window=closing.window, summary=f"{record.key} is the largest")
    >>> records = [Record(Window(0, 60), "sum", key, "all", total) for key, total in (("a", 7.0), ("b", 9.0))]
    >>> judge = Largest()
    >>> judge.judge(Closing(Window(0, 60), "all", records, Controls(), NoSettings(), "", complete=True))[0].summary
    'b is the largest'
    """

    name: str
    version: int
    controls: tuple[str, ...]
    """Kinds of control that change what it says (besides settings); their versions go into `model`."""
    models: tuple[str, ...] = ()
    """Names of the artefacts it asks for; their SHA-256 goes into `model`."""
    tests: dict[str, int]
    """Finding kind → how many hypotheses the last `judge` call tested: what an alarm budget is divided by."""

    @property
    def Settings(self) -> type[msgspec.Struct]:
        """Typed settings with defaults (a class attribute); the stream's YAML may override them."""
        return NoSettings

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window. Called for windows without records too, as long as the scope lives."""

    def state(self) -> Any:
        """Plain values, a snapshot."""

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""


ANY_LABEL = "*"
"""Stands in `Pipeline.kinds` for labels that come with the data."""


class Pipeline(NamedTuple):
    """A domain as its `pipeline.py` declares it: its two stages, and what others ask of it.

    >>> toy = Pipeline("toy", float, float, Wire, Reducer, (Judge,), kinds={"largest": ("scope", "key")})
    >>> toy.csv, toy.context, toy.kinds["largest"]
    ('text', (0, 0), ('scope', 'key'))
    """

    domain: str
    payload: type
    """What a batch of rows carries, for the bounded decoder: a struct, or a `Columns`."""
    record: Any
    """Type, or union of types, of `Record.payload`; the worker adds `int`, its count of quarantined rows."""
    wire: Callable[..., Wire[Any]]
    """Called with the stream's `wire:` settings."""
    reducer: Callable[[], Reducer[Any]]
    judges: tuple[Callable[[], Judge], ...]
    ends: Callable[[Batch[Any]], NDArray[np.int64]] | None = None
    """(rows,) the end (ns UTC) of each row's window, which starts at the row's time: windows that come with the data,
    as runs and lumisections do. None: the stream's grid. Two ends for one start are two windows."""
    context: tuple[int, int] = (0, 0)
    """ns before and after a window on the grid from which a reducer sees rows too; `after` at most the lateness."""
    kinds: Mapping[str, tuple[str, ...]] = {}
    """Kind of finding → the labels of its subject, `ANY_LABEL` where the data bring their own. Settings name these. The
    worst comes first: where severities are alike, it titles an incident."""
    adapting: tuple[str, ...] = ()
    """Kinds whose findings may end though what they found has not: the detector gets used to it, or gives it up. It is
    over when a finding of severity `info` about the subject says so; of other kinds, when no more come."""
    explaining: tuple[str, ...] = ()
    """Kinds whose findings raise no alarm, however surprising: they explain the incidents of others."""
    csv: CsvForm = "text"
    """The form in which the wire takes the rows of CSV files: `text` (their column `message` or `content`, else the
    first), `table`, or what a function says of a file's first rows."""
    lines: tuple[str, ...] = ()
    """Suffixes of files of lines of text besides `.txt`."""
    files: Mapping[str, str] = {}
    """Suffix, `.root` → `module:function`, what parses such a file as a whole into messages of the wire: see
    `opintel.streams.connectors.parsed.Parser`. Another process imports it and runs it within limits. It is called with
    what the wire has as `parsing`, plain data, None where it has none."""
    naming: Naming = Naming()
    """What its subjects and times are called where people read them."""
    feedback: Callable[[Mapping[str, str]], str | None] | None = None
    """Subject of a finding → subject of the control `feedback`, by which its judges learn of operators' answers to
    incidents; None where they are about nothing that a judge retunes. None: its judges do not listen."""
    stories: Callable[[], Stories] | None = None
    """Its simulator's stories. A function, so that no service that runs imports a simulator."""


def each(decode: Callable[[Message], Iterable[Row[P] | str]], messages: Sequence[Message], payload: type) -> Decoded[P]:
    """`Wire.decode` of a wire that takes messages one by one: `decode` gives rows, or what is wrong with a record."""
    rows: list[Row[P]] = []
    places: list[tuple[int, int]] = []
    rejects = Rejects()
    for at, message in enumerate(messages):
        for n, found in enumerate(decode(message)):
            if isinstance(found, str):
                rejects.add(at, n, found)
            else:
                rows.append(found)
                places.append((at, n))
    place = np.array(places, dtype=np.int64).reshape(-1, 2)
    return Decoded(Batch.of(rows, payload), place[:, 0], place[:, 1], rejects.found())


def model_hash(
    judge: Judge,
    stream: str,
    settings: msgspec.Struct,
    controls: Controls,
    reducer: Reducer[Any] | None = None,
    reducing: msgspec.Struct | None = None,
    artefacts: Mapping[str, str] | None = None,
) -> str:
    """The `model` of a judge's findings: the stream, its settings' values, the versions of the controls that it or the
    reducer before it reads, and what else is not as shipped: the reducer's settings (`reducing`), and `artefacts`, name
    → SHA-256.

    The stream is part of it because two streams may see the same scope (two feeds of one FTS instance).
    """
    kinds = {*judge.controls, *(reducer.controls if reducer is not None else ())}
    said = [stream, judge.name, judge.version, msgspec.to_builtins(settings), controls.versions(kinds)]
    if reducing is not None and reducing != type(reducing)():
        said.append(["reducer", msgspec.to_builtins(reducing)])
    if artefacts:
        said.append(["artefacts", sorted(artefacts.items())])
    return digest(said)[:16]
