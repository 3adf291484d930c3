"""What the process that runs the console passes it about streams; everything else it reads from the store."""

from __future__ import annotations

from typing import Literal

import msgspec

StreamState = Literal["live", "stale", "withheld", "idle"]


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    """One stream at one moment."""

    name: str
    messages: int
    findings: int
    lag: int
    """Records not yet processed."""
    freshness: float | None
    """s since data or a tick came last; None = never."""
    watermark: int | None
    """Event time up to which all is thought to be there, ns UTC."""
    dead_letters: int
    late: int
    refused: int
    quarantined: int
    gaps: int
    state: StreamState
    """`stale`: a live source that has fallen silent; `withheld`: one that does not show all that it has; `idle`:
    there is none (files, or nothing yet)."""
    recent: list[tuple[str, str, str, int]]
    """Dead letters, (place, reason, excerpt, rows that it stands for): as sent, so escaped where they are shown."""
    withheld: int | None = None
    """Since when its source withholds something, ns UTC."""
