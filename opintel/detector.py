"""The one contract of detection: rows and closed windows come in, records and findings go out, and nothing
else.

A domain has two stages. A `Reducer` (stage 1) is parallel by key: it sees the rows of its keys and, when a
window closes, emits small `Record`s. A `Judge` (stage 2) sees all records of a scope (an FTS instance, a
subsystem, a fleet) for one closed window and emits `Finding`s. The worker in `opintel.streams` drives both;
neither ever reads a clock, a file or the network.

Traps, each of which breaks "the same findings online, after a crash and in a backfill":

* Do no arithmetic on *the batch*: how rows are split into `update` calls is chance. Add up, do it at `close`.
* `state()` must hold everything that later output depends on, as plain data (msgpack's types), sets as sorted
  lists.
* Emit in a fixed order; iterate over sorted keys, never over a set.
* Rows come as columns (`opintel.rows`): a loop over them in Python costs more than all else in stage 1.
* A key's output depends on its own rows only. What needs several keys is a judge's work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.finding import Finding, Label, Window, digest
from opintel.naming import Naming
from opintel.rows import Batch, Row
from opintel.simulation import Stories

P = TypeVar("P")

Emit = Annotated[float, msgspec.Meta(ge=-300, le=0)]
"""Setting of a judge: findings with log10 p at most this are emitted."""
Most = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
"""Setting: at most so many."""


class Reject(NamedTuple):
    """What a wire says of content that it cannot decode."""

    message: int
    """Which of the messages it was."""
    n: int
    """Which of that message's records, from 0."""
    reason: str


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


class Decoded(NamedTuple, Generic[P]):
    """What a wire made of some messages."""

    rows: Batch[P]
    """In order of the messages, inside a message in its own order."""
    message: NDArray[np.int64]
    """(rows,) which of the messages each came from."""
    n: NDArray[np.int64]
    """(rows,) which of that message's records it is, from 0; rejects count too."""
    rejects: list[Reject]


class Wire(Protocol[P]):
    """A domain's wire format. Everything that comes in is untrusted: bound it, check it, never raise for its
    content.
    """

    def decode(self, messages: Sequence[Message]) -> Decoded[P]:
        """The rows of the messages (a message may hold many records), and a `Reject` for each bad record.

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
"""Kind of the record that tells stage 2 how many rows of a (row's) key were not judged in a window."""


class Controls:
    """The controls in force for one window: for each (kind, subject) the highest version wins."""

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


class Reducer(Protocol[P]):
    """Stage 1: rows by key → records of closed windows."""

    name: str
    version: int
    """Major version: raised when the same rows give other records, or `state()` changes its form."""

    def update(self, rows: Batch[P], window_starts: NDArray[np.int64]) -> None:
        """Takes rows in order of arrival, with the start of each one's window; any split into calls gives the same."""

    def close(self, window: Window, keys: Sequence[str], controls: Controls) -> list[Record[Any]]:
        """The records of `keys` (sorted; those with rows in `window`), and forgets what belonged to the window."""

    def scope(self, key: str) -> str:
        """The scope a key belongs to."""

    def drop(self, key: str) -> None:
        """Forgets a key altogether (expired or quarantined)."""

    def state(self) -> dict[str, Any]:
        """key → plain values; a snapshot that later updates do not change."""

    def restore(self, state: Mapping[str, Any]) -> None:
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


class Judge(Protocol):
    """Stage 2: one scope's records, window by window in order of time → findings. One instance a scope."""

    name: str
    version: int
    controls: tuple[str, ...]
    """Kinds of control that change what it says (besides settings); their versions go into `model`."""
    tests: dict[str, int]
    """Finding kind → how many hypotheses the last `judge` call tested: what an alarm budget is divided by."""

    @property
    def Settings(self) -> type[msgspec.Struct]:
        """Typed settings with defaults (a class attribute); the stream's YAML may override them."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window. Called for windows without records too, as long as the scope lives."""

    def state(self) -> Any:
        """Plain values, a snapshot."""

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""


class Pipeline(NamedTuple):
    """A domain as its `pipeline.py` declares it: its two stages, and what others ask of it."""

    domain: str
    payload: type
    """What a batch of rows carries, for the bounded decoder: a struct, or a `Columns`."""
    record: Any
    """Type, or union of types, of `Record.payload`; the worker adds `int`, its count of quarantined rows."""
    wire: Callable[..., Wire[Any]]
    """Called with the stream's `wire:` settings."""
    reducer: Callable[[], Reducer[Any]]
    judges: tuple[Callable[[], Judge], ...]
    csv: Literal["text", "table"] = "text"
    """The form in which the wire takes the rows of CSV files: `text` (their column `message` or `content`, else the
    first) or `table`; see `Message`."""
    naming: Naming = Naming()
    """What its subjects and times are called where people read them."""
    stories: Callable[[], Stories] | None = None
    """What its simulator tells. A function, so that no service that runs imports a simulator."""


def each(decode: Callable[[Message], Sequence[Row[P] | str]], messages: Sequence[Message], payload: type) -> Decoded[P]:
    """`Wire.decode` of a wire that takes messages one by one: `decode` gives rows, or what is wrong with a record."""
    rows: list[Row[P]] = []
    places: list[tuple[int, int]] = []
    rejects: list[Reject] = []
    for at, message in enumerate(messages):
        for n, found in enumerate(decode(message)):
            if isinstance(found, str):
                rejects.append(Reject(at, n, found))
            else:
                rows.append(found)
                places.append((at, n))
    place = np.array(places, dtype=np.int64).reshape(-1, 2)
    return Decoded(Batch.of(rows, payload), place[:, 0], place[:, 1], rejects)


def model_hash(judge: Judge, stream: str, settings: msgspec.Struct, controls: Controls) -> str:
    """The `model` of a judge's findings: the stream, its settings' values and the versions of the controls it reads.

    The stream is part of it because two streams may see the same scope (two feeds of one FTS instance).
    """
    return digest(
        [stream, judge.name, judge.version, msgspec.to_builtins(settings), controls.versions(judge.controls)]
    )[:16]
