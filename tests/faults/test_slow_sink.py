"""A ticket system that is slow, then refuses for a while, with the delivery killed in between: everything else keeps
its pace, and each ticket is there once in the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from opintel.alerts.sinks.webhook import read_secret
from opintel.demo.receiver import Receiver
from opintel.store.queries import outbox_empty

from .rig import SECRET, Row, Site

pytestmark = pytest.mark.broker


class Moody(Receiver):
    """Keeps a message for seconds before it takes it; while `closed` it takes none."""

    def __init__(self, slow: float) -> None:
        super().__init__(read_secret(SECRET))
        self.slow, self.closed = slow, threading.Event()
        self.held, self.refused, self.again = 0, 0, 0
        self._ids: set[str] = set()

    def take(self, headers: Any, body: bytes) -> tuple[int, str]:
        if self.closed.is_set():
            self.refused += 1
            return 503, "not now"
        if headers.get("webhook-id") in self._ids:
            self.again += 1
        self._ids.add(headers.get("webhook-id"))
        answer = super().take(headers, body)
        self.held += 1
        threading.Event().wait(self.slow)
        return answer


def test_a_slow_sink_holds_nobody_up(make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    moody = Moody(2.0)
    moody.start()
    site: Site = make_site(receiver=moody)
    site.start("ingest")
    site.start("workers", "stage1", "stage2", "alerts")
    site.start("delivery")
    site.feed(0.7)
    site.until(lambda: moody.held > 0, "a message is being taken")
    site.kill("delivery")  # it never hears that the message was taken: sends it again, under the same id
    site.until(lambda: moody.again > 0, "the message came again")
    moody.closed.set()
    site.finish()  # all is judged and decided on …
    site.until(lambda: moody.refused > 3, "the sink refuses")
    assert not outbox_empty(site.system.store), "… while the sink has not taken it"
    moody.closed.clear()
    moody.slow = 0.2
    site.settle()
    report(site.check("ticket system slow, then 503; delivery killed"))
