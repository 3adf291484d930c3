"""What the two stages of the worker share: what a processed batch yields, and how a detector's failure is
reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from opintel.streams.log import Aside, Entry, Stored

CRASH = (MemoryError, OSError)
"""Faults of the machine, time-outs among them: they end the worker and never quarantine a key."""


class Output(msgspec.Struct):
    """What a batch gave: written in this order, each part acknowledged before the next."""

    asides: list[Aside] = []
    records: list[Entry] = []
    closing: list[Entry] = []
    rows: int = 0
    """Rows that the records held, whatever became of them."""


class DetectorFailed(Exception):
    """A detector raised on one of its rows or windows; the state is not to be used any more."""


class Stage(Protocol):
    """One partition's processing as a function of the log's prefix."""

    structure: dict[str, Any]
    """What a checkpoint depends on besides the rows: its hash names the checkpoint's folder."""
    may_fail: bool
    """Whether `process` may raise DetectorFailed."""

    def process(self, batch: Sequence[Stored], careful: bool) -> Output:
        """Takes records in order. `careful`: row by row, quarantining the key whose row raises, instead of
        DetectorFailed.
        """

    @property
    def pending(self) -> bool:
        """Whether `process` has bounded its work and wants to be called again, without records, before the next."""

    def state(self) -> dict[str, Any]:
        """Everything later output depends on, as plain data."""

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse, on a fresh stage."""


def said(error: Exception) -> str:
    """One line about an exception, bounded."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]
