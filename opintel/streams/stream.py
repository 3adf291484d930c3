"""A stream as the streaming path needs it: names, partitions, the window grid and the limits. Settings become
one of these.
"""

from __future__ import annotations

from typing import NamedTuple

from opintel.finding import NS, digest
from opintel.streams.grid import Grid

FINDINGS = "opintel.findings"
"""The topic of findings, one partition, shared by all streams."""


FAR = (1 << 63) - 1
CLOCKS = 60 * NS
"""By how much the clocks of ingest and of the log's machines may differ: what is honest stays below it."""


class Stream(NamedTuple):
    """What is watched. Times in ns."""

    name: str
    topic: str
    partitions: int = 4
    shards: int = 64
    window: int = 600 * NS
    """Length of the grid's windows; where windows come with the data, the beat of forgetting and of controls."""
    lateness: int = 300 * NS
    skew: int = 120 * NS
    """How far a live event time may lie after its arrival; at most the lateness, or one fast clock makes all late."""
    interval: int = 60 * NS
    """Between two ticks of a live source."""
    max_keys: int = 4096
    """Keys a shard may hold; above it new keys are refused."""
    ttl: int = 30 * 86_400 * NS
    """A key unseen for this long is forgotten (in a full shard, for `quiet`); a quarantined one gets another chance."""
    quiet: int = 21_600 * NS
    """A scope without records for this long is no longer judged until one comes."""
    ahead: int | None = None
    """How far an event time may lie after the log's time of the record that claims it; None: however far, where the
    clock is not the world's (files, stories)."""
    phase: int = 0
    """The grid's windows start at multiples of `window` plus this."""

    @property
    def structure(self) -> dict[str, str | int]:
        """What the meaning of a partition's records and states depends on: goes into the names of checkpoints."""
        kept = self._asdict()
        del kept["skew"], kept["interval"], kept["ahead"]  # they bound what comes in
        if not self.phase:
            del kept["phase"]  # or streams from before it would start over
        return kept

    @property
    def grid(self) -> Grid:
        """Its windows."""
        return Grid(self.window, self.phase)

    def latest(self, appended: int) -> int:
        """The latest event time that a row may have which was appended at this time, ns."""
        return FAR if self.ahead is None else appended + self.ahead

    def closable(self, appended: int, hops: int = 0) -> int:
        """The latest time, ns, up to which a record may say that windows are closed which was appended at this time, so
        many topics behind the raw one: the end of a file closes the window in which its last row lies.
        """
        return FAR if self.ahead is None else self.latest(appended) + self.window + hops * CLOCKS

    @property
    def derived(self) -> str:
        """The topic between the stages; another structure has another one, so that two never mix."""
        return f"{self.name}.derived.{digest(self.structure)[:8]}"
