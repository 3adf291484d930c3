"""One worker a sink, in the service as it runs: a sink that hangs and a store that is away end nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from opintel.alerts.delivery import Deliverer
from opintel.finding import NS
from opintel.site.delivery import Delivery
from opintel.site.load import load_site
from opintel.site.shipped import copy_shipped
from opintel.site.system import System
from opintel.store import schema as t
from opintel.store.queries import outbox

MESSAGES = 5


@pytest.fixture
def hanging() -> Iterator[str]:
    """URL of a server that takes connections and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    server.close()


@pytest.fixture
def system(tmp_path: Path, hanging: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    monkeypatch.setattr("opintel.site.delivery.LEAVE_WITHIN", 0.1)
    copy_shipped(tmp_path / "etc")
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    webhook = {"type": "webhook", "url": hanging, "secret_file": str(tmp_path / "secret"), "timeout": "10m"}
    sinks = {"hanging": webhook, "record": {"type": "file", "path": str(tmp_path / "record.jsonl")}}
    (tmp_path / "etc/alerts/routes.yaml").write_text(yaml.safe_dump({"sinks": sinks}))
    made = System(tmp_path / "data", load_site(tmp_path / "etc"))
    for sink in ("hanging", "record", "gone"):
        fill(made, sink)
    yield made
    made.close()


def fill(system: System, sink: str) -> None:
    """An incident with a ticket in a sink, and its messages."""
    nothing = {"fingerprint": "f", "stream": "s", "scope": "", "title": "t", "severity": "warning", "state": "open"}
    lists = {"about": "[]", "subjects": "[]", "lead": "[]"}
    with system.store.write() as connection:
        incident = {**nothing, **lists, "id": sink, "start": 1, "opened": 1, "last": 1}
        connection.execute(sa.insert(t.incident).values(incident))
        connection.execute(sa.insert(t.ticket).values(key=sink, incident=sink, sink=sink, state="queued", at=1))
        for n in range(1, MESSAGES + 1):
            counts = {"sequence": n, "at": NS, "attempts": 0, "due": 0}
            texts = {"id": f"{sink}.{n}", "ticket": sink, "sink": sink, "kind": "updated", "body": "{}"}
            connection.execute(sa.insert(t.outbox).values(**texts, **counts, state="queued"))


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_sink_that_hangs_delays_only_itself(system: System, caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery(system)
    until(lambda: outbox(system.store)["record"].queued == 0)
    assert delivery.step() is False
    assert not delivery.idle()
    standing = {sink: (s.queued, s.failed) for sink, s in outbox(system.store).items()}
    assert standing == {"hanging": (MESSAGES, 0), "record": (0, 0), "gone": (MESSAGES, 0)}
    assert f"{MESSAGES} messages wait for the sink 'gone', which is not configured" in caplog.text
    delivery.close()


def test_what_fails_around_a_sink_is_tried_again(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, failed = Deliverer.step, threading.Event()

    def step(self: Any) -> bool:
        if self.name == "record" and not failed.is_set():
            failed.set()
            raise sa.exc.OperationalError("SELECT 1", {}, Exception("database is locked"))
        return inner(self)

    monkeypatch.setattr(Deliverer, "step", step)
    delivery = Delivery(system)
    until(lambda: outbox(system.store)["record"].queued == 0)
    assert failed.is_set()
    delivery.close()
