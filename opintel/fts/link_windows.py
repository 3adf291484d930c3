"""The derived records of the FTS domain: what `opintel.fts.reducer` counts of a link in a window, for the judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Record

SLICES = 10
"""A window is counted in this many equal slices, so that a judge can tell when inside it something began."""


class LinkWindow(msgspec.Struct, array_like=True):
    """One link (or a scope's bare messages) in one closed window; a file counts once, by its last outcome there."""

    source: str
    destination: str
    ok: int
    failed: int
    aborted: int
    attempts: int
    """Tries, so attempts − (ok + failed + aborted) are retries."""
    bytes: int
    """Bytes of the files that arrived."""
    slices: list[tuple[int, int, int, int, float]]
    """By the time of the outcome, those of the `SLICES` slices in which there was one: (slice, ok, failed, transfers
    with a throughput, their sum of ln(bytes/s))."""
    log_rate: tuple[int, float, float]
    """Completed transfers with a throughput: count, sum and sum of squares of ln(bytes/s)."""
    forms: list[tuple[str, str, int, str]]
    """Masked forms of the errors, most frequent first: (template id, masked text, count, one example as sent)."""
    other_forms: int = 0
    """Errors whose form did not fit in the cap."""
    submitted: int = 0
    active: int = 0
    """The optimiser's last word on the link's queue in the window."""
    facets: list[tuple[str, str, int, int]] = []
    """Who moved the files: (VO, activity, ok, failed), most failures first; the last may be `OTHERS`. Unknown is ''."""
    jobs: list[list[tuple[str, str]]] = []
    """For each of `forms`, the first jobs that met it: (id, http or https URL of FTS's log or '')."""

    @property
    def local(self) -> bool:
        """Whether it is one endpoint's own: staging from tape has source and destination alike."""
        return self.source == self.destination

    def by_slice(self) -> NDArray[np.float64]:
        """(SLICES, 4): ok, failed, transfers with a throughput, their sum of ln(bytes/s)."""
        table = np.zeros((SLICES, 4))
        for at, *counts in self.slices:
            table[at] = counts
        return table


OTHERS = "others"
"""In place of VO and activity: all that have no entry of their own."""
WITHIN = "within itself (staging)"
"""What an endpoint does where a link is its own."""
LINK = "link"
MESSAGES = "messages"
"""Kinds of derived record: a link's window; the window of bare messages, which have no link."""


def link_windows(records: Sequence[Record[Any]]) -> list[LinkWindow]:
    """The typed payloads of the `link` records, in their order."""
    return [read_window(r.payload) for r in records if r.kind == LINK]


def read_window(payload: Any) -> LinkWindow:
    """A record's payload as a `LinkWindow`; plain data are converted."""
    return payload if isinstance(payload, LinkWindow) else msgspec.convert(payload, LinkWindow)
