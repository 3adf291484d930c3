"""A stage as it is run over one partition, by a worker or over an archive: with a way back when a detector raises.

A reducer that raises may have changed its state for any row, so the state before is needed. A snapshot of it is kept in
memory with the records since; where a batch raises, they are processed again from there, and the batch itself record by
record, with care. What comes out is what a run over sound rows would have said of the others: nothing is said twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from opintel.streams.log import Stored
from opintel.streams.stage import DetectorFailed, Output, Stage

S = TypeVar("S", bound=Stage)
SNAPSHOT_BYTES = 4 << 20
"""A snapshot is due after this much input, or what the last one weighs, if that is more: to take snapshots then costs
less than to read the input, and the records since are no heavier than a state."""
log = logging.getLogger(__name__)


class Run(Generic[S]):
    """A stage of one partition that is fed its records in order.

    `make` gives a fresh stage. After an error of `feed` the run is not to be used any more: the state is unknown.
    """

    def __init__(self, make: Callable[[], S], name: str) -> None:
        """`name`: the partition, as the log's lines about a failing detector call it."""
        self.name, self._make = name, make
        self.stage = make()
        self._snapshot: bytes | None = None
        """The state before the records since, encoded; None: a fresh stage's."""
        self._since: list[Sequence[Stored]] = []
        self._weight = 0
        """Bytes of the records since."""

    def feed(self, batch: Sequence[Stored]) -> Output:
        """What the stage says of the records; also none, while it is `pending`."""
        try:
            out = self.stage.process(batch, careful=False)
        except DetectorFailed as error:
            log.warning("%s: a detector raised (%s); going back to find the row", self.name, error)
            out = self._carefully(batch)
            self._take_snapshot()  # or a fault in each window would cost all the way back
            return out
        if self.stage.may_fail:
            self._since.append(batch)
            self._weight += sum(len(value) for _, value, _ in batch)
            if self._weight >= max(SNAPSHOT_BYTES, len(self._snapshot or b"")):
                self._take_snapshot()
        return out

    def state(self) -> dict[str, Any]:
        """The stage's, as plain data."""
        return self.stage.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self._keep(state)
        self.stage = self._make()
        self.stage.restore(state)

    def _carefully(self, batch: Sequence[Stored]) -> Output:
        """From the snapshot to before the batch once more, then the batch, record by record."""
        self.stage = self._make()
        if self._snapshot is not None:
            self.stage.restore(msgspec.msgpack.decode(self._snapshot))
        for before in self._since:
            self.stage.process(before, careful=False)
        out = Output()
        for record in batch:
            its = self.stage.process([record], careful=True)
            out.asides += its.asides
            out.records += its.records
            out.closing += its.closing
            out.rows += its.rows
        return out

    def _take_snapshot(self) -> None:
        self._keep(self.stage.state())

    def _keep(self, state: dict[str, Any]) -> None:
        self._snapshot = msgspec.msgpack.encode(state) if self.stage.may_fail else None
        self._since, self._weight = [], 0
