"""What the kill tests kill: the alert service and the deliverer over a file of records. Their steps are reached by
wrapping public seams, the product knows nothing of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from alert_story import settings

from opintel.alerts.delivery import Deliverer
from opintel.alerts.service import AlertService
from opintel.alerts.settings import RetryPolicy
from opintel.alerts.sinks import Intent, Receipt
from opintel.alerts.sinks.webhook import Webhook
from opintel.durations import Duration
from opintel.store import open_store
from opintel.streams.findings import decode

KEY = bytes(range(32))
BATCH = 7
STEPS = (
    "before a decision is committed",
    "after a decision is committed",
    "before an attempt is committed",
    "before a message is sent",
    "after a message is sent",
    "after its outcome is committed",
)


class Killer:
    """Counts how often a step is reached."""

    def __init__(self, step: str, count: int) -> None:
        self.step, self.left = step, count

    def reach(self, step: str) -> None:
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Wrapped:
    """A sink that may die before or after it sent."""

    def __init__(self, inner: Webhook, reach: Callable[[str], None]) -> None:
        self.inner, self.reach = inner, reach

    def send(self, intent: Intent) -> Receipt:
        self.reach("before a message is sent")
        receipt = self.inner.send(intent)
        self.reach("after a message is sent")
        return receipt

    def close(self) -> None:
        self.inner.close()


def main(store_url: str, records: Path, url: str, step: str, count: int) -> None:
    """SIGKILLs its process at the `count`-th time that it reaches `step` (`none`: never)."""
    killer = Killer(step, count)
    store = open_store(store_url)
    doing = "decision"

    def committing(_: Any) -> None:
        if doing == "decision":
            killer.reach("before a decision is committed")
        if doing == "attempt":
            killer.reach("before an attempt is committed")

    sa.event.listen(store.engine, "commit", committing)
    log = [decode(value) for value in msgspec.msgpack.decode(records.read_bytes())]
    service = AlertService(store, settings(sinks=["receiver"]))
    rules = RetryPolicy(first=Duration(1_000_000), longest=Duration(2_000_000))
    deliverer = Deliverer(store, "receiver", Wrapped(Webhook(url, KEY), killer.reach), rules)
    position = service.position()
    while position < len(log):
        doing = "decision"
        service.consume(position, log[position : position + BATCH], position + BATCH)
        killer.reach("after a decision is committed")
        position += BATCH
        doing = "attempt"
        while deliverer.step():
            killer.reach("after its outcome is committed")
    while deliverer.step():
        pass
