"""What the simulators of all domains have in common: faults whose truth is known, and a story written to files.

A domain's `simulate.py` has a class `Simulator` in the form below, its `FAULT_KINDS` (those a story injects unless told
otherwise) and `DEFAULT_START`. The demo tells stories live, `opintel simulate` writes them down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from opintel.finding import NS, parse_rfc3339, rfc3339

DEFAULT_START = parse_rfc3339("2026-03-02T06:00:00Z")
"""A Monday; where a story begins that nobody dates."""
HOUR = 3600 * NS
LINES = 2000
"""Messages written at a time."""


class Fault(msgspec.Struct, frozen=True):
    """One injected fault in [start, end) ns UTC; `subject` has the labels that its findings should have."""

    id: str
    kind: str
    subject: dict[str, str]
    start: int
    end: int


class Simulation(Protocol):
    """A simulation from `start` to `end` (ns UTC). The same arguments give the same bytes."""

    start: int
    end: int

    @property
    def truth(self) -> tuple[Fault, ...]:
        """What goes wrong in it, in order of start."""

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""


def write(out: Path, story: Simulation, progress: Callable[[float], None] = lambda share: None) -> None:
    """Writes a story to `out`: messages/NNNN.jsonl, a file for each hour of arrival, and truth.json.

    Files of an earlier story there are replaced. `progress` is told the finished share, 0 to 1.
    """
    folder = out / "messages"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9]*.jsonl"):
        old.unlink()
    truth = [{**msgspec.to_builtins(f), "start": rfc3339(f.start), "end": rfc3339(f.end)} for f in story.truth]
    (out / "truth.json").write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=2) + b"\n")
    last = math.ceil((story.end - story.start) / HOUR) - 1
    lines: list[bytes] = []
    hour = 0

    def flush() -> None:
        if lines:
            with (folder / f"{hour:04d}.jsonl").open("ab") as file:
                file.write(b"\n".join(lines) + b"\n")
            lines.clear()

    for arrival, body in story.messages():
        now = min((arrival - story.start) // HOUR, last)
        if now != hour or len(lines) == LINES:
            flush()
            hour = now
            progress(min(1.0, (arrival - story.start) / (story.end - story.start)))
        lines.append(body)
    flush()
    progress(1.0)
