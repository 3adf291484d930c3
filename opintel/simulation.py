"""What the simulators of all domains have in common: faults whose truth is known, and a story written to files.

A domain's `simulate.py` has a class in the form of `Simulator` below, and its `STORIES` say what it can tell. The demo
tells stories live, `opintel simulate` writes them down, `opintel evaluate` measures the detectors by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from opintel.finding import NS, parse_rfc3339, rfc3339

DEFAULT_START = parse_rfc3339("2026-03-02T06:00:00Z")
"""A Monday; where a story without a date begins."""
HOUR = 3600 * NS
WRITTEN = 2000
"""Messages written at a time."""
_BEHIND = {".jsonl": b"\n", ".arrow": b""}
"""What stands behind a message in files that hold many."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One injected fault in [start, end) ns UTC; `subject` has the labels that its findings should have, `cause` is the
    family of causes that it is of, in a domain that names some."""

    id: str
    kind: str
    subject: dict[str, str]
    start: int
    end: int
    cause: str = ""


class Simulation(Protocol):
    """A simulation from `start` to `end` (ns UTC). The same arguments give the same bytes."""

    start: int
    end: int

    @property
    def truth(self) -> tuple[Fault, ...]:
        """What goes wrong in it, in order of start."""

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""


class Simulator(Protocol):
    """Makes simulations: `hours` of event time from `start` (ns UTC), one fault of each kind in `faults` after the
    first `quiet_hours`; another `seed` gives another story. Raises ValueError for unknown kinds and spans without room.
    """

    def __call__(
        self, *, seed: int, hours: float, start: int = ..., faults: Sequence[str] = ..., quiet_hours: float = ...
    ) -> Simulation: ...


class Played(NamedTuple):
    """A simulation and what the pipeline made of it."""

    simulation: Simulation
    records: Sequence[Any]
    """`opintel.detector.Record`s of stage 1, in order."""
    findings: Sequence[dict[str, Any]]
    """As `finding_json` has them."""


Figures = Callable[[Sequence[Played], Callable[[Simulation], Played]], Mapping[str, list[dict[str, Any]]]]
"""(stories that were played, what plays another one) → tables by title, each of rows of measures."""


class Stories(NamedTuple):
    """What a domain's simulator tells (`Pipeline.stories`)."""

    simulator: Simulator
    faults: tuple[str, ...]
    """Kinds of fault: one of each is injected unless others are asked for."""
    hours: float
    """Length of the stories that `opintel evaluate` tells, h."""
    quiet_hours: float
    """Length of the history before the demo's story goes live, h: what its detectors need to know what is usual."""
    summary: str
    """What there is to see, in a few words."""
    proposed: tuple[str, ...] = ()
    """Kinds of finding whose tickets the demo does not send by itself but proposes, to show that too."""
    suffix: str = ".jsonl"
    """Of the files that hold its messages: in `.jsonl` each is a line, in `.arrow` an IPC stream behind the last one;
    in a file of another suffix is one message."""
    wide: tuple[str, ...] = ()
    """Kinds of fault that may show at any subject of their scope."""
    harmless: tuple[str, ...] = ()
    """Kinds of event of which no incident should come."""
    evaluated: Callable[[int], Sequence[Simulation]] | None = None
    """Seed → the stories that `opintel evaluate` tells; none: one of `hours` with one fault of each kind."""
    figures: Figures | None = None
    """What else `opintel evaluate` says of the stories that it tells."""
    demo: Simulator | None = None
    """What tells the demo's story, where that is smaller: four streams share two cores."""


def write(
    out: Path, story: Simulation, progress: Callable[[float], None] = lambda share: None, *, suffix: str = ".jsonl"
) -> int:
    """Writes a story to `out`: messages/NNNN.jsonl (or .arrow), a file for each hour of arrival, and truth.json. With
    another `suffix` each message is a file, messages/NNNN-NNNNNN and the suffix.

    Files of an earlier story there are replaced. `progress` is called with the finished share, 0 to 1.
    The number of messages.
    """
    folder = out / "messages"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"[0-9]*{suffix}"):
        old.unlink()
    truth = [{**msgspec.to_builtins(f), "start": rfc3339(f.start), "end": rfc3339(f.end)} for f in story.truth]
    (out / "truth.json").write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=2) + b"\n")
    last = math.ceil((story.end - story.start) / HOUR) - 1
    bodies: list[bytes] = []
    hour, written, messages = 0, 0, 0

    def flush() -> None:
        if suffix not in _BEHIND:
            for n, body in enumerate(bodies, written):
                (folder / f"{hour:04d}-{n:06d}{suffix}").write_bytes(body)
        elif bodies:
            with (folder / f"{hour:04d}{suffix}").open("ab") as file:
                file.writelines(body + _BEHIND[suffix] for body in bodies)
        bodies.clear()

    for arrival, body in story.messages():
        now = min((arrival - story.start) // HOUR, last)
        if now != hour or len(bodies) == WRITTEN:
            count = len(bodies)
            flush()
            hour, written = now, written + count
            progress(min(1.0, (arrival - story.start) / (story.end - story.start)))
        bodies.append(body)
        messages += 1
    flush()
    progress(1.0)
    return messages
