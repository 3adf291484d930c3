"""The worker: poll → process → set aside → append → close → checkpoint → commit, for one partition and one
stage.

Killed between any two of these it starts again at its newest checkpoint and writes the same once more: side outputs
are upserted, records are keyed, `closed` is cumulative, findings have ids. A detector's exception does not come so far:
`Run` finds the row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from opintel.finding import digest
from opintel.streams.checkpoints import CheckpointError, Checkpoints
from opintel.streams.log import Aside, Log, Stored
from opintel.streams.run import Run
from opintel.streams.stage import Stage

BATCH = 64
"""Records a step reads at most."""
CHECKPOINT_BYTES = 32 << 20
"""A checkpoint is due after this much input, …"""
CHECKPOINT_WEIGHT = 2
"""… after so many times what the last one weighs, if that is more: writing states costs less than reading the input,
and recovery reads little more than a state …"""
CHECKPOINT_SECONDS = 600.0
"""… or after this long, so that a quiet stream's state never falls out of the log's retention. When it is written
does not matter: its bytes are a function of its position."""
CHECKPOINT_AGAIN = 10.0
"""Seconds until another try where one could not be written."""
LOOK = 5.0
"""Seconds between two looks of an idle worker at where its partition begins."""
log = logging.getLogger(__name__)


class Worker:
    """Drives one stage over one partition of the log."""

    def __init__(
        self,
        bus: Log,
        topic: str,
        partition: int,
        make: Callable[[], Stage],
        checkpoints: str,
        *,
        batch: int = BATCH,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
    ) -> None:
        self.log, self.topic, self.partition = bus, topic, partition
        self._make, self._batch, self._due = make, batch, checkpoint_bytes
        self._run = self._fresh()
        self.group = f"stage{self.stage.structure['stage']}"
        self._checkpoints = Checkpoints(checkpoints, digest(self.stage.structure)[:16], topic, partition)
        self._since, self._last = 0, time.monotonic()
        self._not_before = self._look_at = 0.0
        self._sound = True
        """Whether the stage's state is that of exactly the records before `position`."""
        self.position = self._checkpointed = self._following = self._restore()
        """`_following`: where the batch ends that is being processed; the position where none is."""

    @property
    def stage(self) -> Stage:
        """The stage as it stands."""
        return self._run.stage

    @property
    def lag(self) -> int:
        """Records not yet processed."""
        return self.log.end(self.topic, self.partition) - self.position

    @property
    def _enough(self) -> int:
        """Bytes of input after which a checkpoint is due."""
        return max(self._due, CHECKPOINT_WEIGHT * self._checkpoints.size)

    def step(self) -> int:
        """One round; returns how many records were processed (0: nothing there)."""
        batch: list[Stored] = []
        if self._following == self.position:
            batch = self.log.read(self.topic, self.partition, self.position, self._batch)
            if not batch:
                return self._trimmed()
            if batch[0][0] > self.position and self.log.start(self.topic, self.partition) > self.position:
                self._gap(self.position, batch[0][0])
                return 1
            self._following = batch[-1][0] + 1
            self._since += sum(len(value) for _, value, _ in batch)
        following = self._following
        self._sound = False
        out = self._run.feed(batch)
        self.log.put_asides(out.asides)
        self.log.append(out.records)
        self.log.append(out.closing)
        if self.stage.pending:
            return 1
        self.position, self._sound = following, True
        now = time.monotonic()
        if now >= self._not_before and (self._since >= self._enough or now - self._last >= CHECKPOINT_SECONDS):
            self.checkpoint()
        self.log.commit(self.group, self.topic, self.partition, self.position)
        return max(1, len(batch))

    def checkpoint(self) -> None:
        """Writes one now, if there is anything new and the last step was not cut short by an error.

        Where it cannot be written the stream goes on without: a restart then reads more of the log, nothing is lost.
        """
        if not self._sound or self.position <= self._checkpointed:
            return
        try:
            self._checkpoints.put(self.position, self._run.state())
        except CheckpointError as error:
            log.error("%s-%d goes on without: %s", self.topic, self.partition, error)
            self._not_before = time.monotonic() + CHECKPOINT_AGAIN
            return
        self._checkpointed, self._since, self._last = self.position, 0, time.monotonic()

    def _fresh(self) -> Run[Stage]:
        return Run(self._make, f"{self.topic}-{self.partition}")

    def _restore(self) -> int:
        start, end = self.log.start(self.topic, self.partition), self.log.end(self.topic, self.partition)
        found = self._checkpoints.newest(end)
        if found is not None and found[0] >= start:
            self._run.restore(found[1])
            return found[0]
        if end > start:
            log.info("%s-%d: no checkpoint; reading %d records of the log", self.topic, self.partition, end - start)
        if start > 0:
            self._note_gap(0 if found is None else found[0], start)
        return start

    def _trimmed(self) -> int:
        """At the end: whether all that was left has fallen out of retention meanwhile."""
        now = time.monotonic()
        if now < self._look_at:
            return 0
        self._look_at = now + LOOK
        start = self.log.start(self.topic, self.partition)
        if start <= self.position:
            return 0
        self._gap(self.position, start)
        return 1

    def _gap(self, position: int, start: int) -> None:
        """Records fell out of retention under a running worker: a new lineage, visibly."""
        self._note_gap(position, start)
        self._run, self._sound = self._fresh(), True
        self.position = self._checkpointed = self._following = start

    def _note_gap(self, position: int, start: int) -> None:
        reason = f"records {position} to {start - 1} fell out of retention unread; what follows starts afresh"
        log.error("%s-%d: %s", self.topic, self.partition, reason)
        self.log.put_asides([Aside("gap", self.topic, self.partition, position, 0, reason)])
