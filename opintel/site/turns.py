"""What takes turns in a process beside the feeds: the workers of the two stages, over the log."""

from __future__ import annotations

from collections.abc import Mapping

from opintel.streams.log import LogUnavailable
from opintel.streams.worker import Worker


class Lineage:
    """Ends the services over a topic that has been re-created since: another service of this process may have seen it
    first, and the log reads the new one from then on.
    """

    name = "lineage"

    def __init__(self, epochs: Mapping[str, str]) -> None:
        self._now, self._then = epochs, dict(epochs)

    def step(self) -> bool:
        for topic, epoch in self._then.items():
            if self._now[topic] != epoch:
                raise LogUnavailable(f"topic {topic} was re-created")
        return False

    def idle(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to do."""


class WorkerTurn:
    """A worker as a service."""

    def __init__(self, worker: Worker) -> None:
        self.name = f"{worker.group} {worker.topic}-{worker.partition}"
        self.worker = worker

    def step(self) -> bool:
        return self.worker.step() > 0

    def idle(self) -> bool:
        return self.worker.lag == 0

    def close(self) -> None:
        self.worker.checkpoint()
