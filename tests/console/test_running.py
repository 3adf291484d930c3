"""Console and probes of a process whose log cannot be reached: it stays up, and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from opintel.console.running import ASKED_EVERY, View
from opintel.site.system import System
from opintel.streams.log import Log, LogUnavailable
from opintel.streams.loop import Watchdog

AWAY = "no broker answers at kafka.example.org"


class Away:
    """A log that cannot be reached."""

    def __getattr__(self, name: str) -> object:
        def unreachable(*_: object, **__: object) -> None:
            raise LogUnavailable(AWAY)

        return unreachable


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    system = System(tmp_path)
    log: Log = system.log
    system.log = Away()  # type: ignore[assignment]
    yield View(system, Watchdog(), lambda: 0)
    system.log = log
    system.close()


def test_the_console_stays_up_and_says_that_the_log_is_away(view: View) -> None:
    client = TestClient(view.app(), base_url="http://localhost", raise_server_exceptions=False)
    for page in ("/", "/budgets"):
        told = client.get(page)
        assert told.status_code == 200
        assert f"The log cannot be reached: what stands here is old, and nothing new is judged. ({AWAY})" in told.text
    streams = client.get("/streams")
    assert streams.status_code == 503
    assert AWAY in streams.text
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (503, f"the log cannot be reached: {AWAY}\n")


def test_the_console_takes_back_that_the_log_was_away(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "streams", lambda self: [])
    client = TestClient(view.app(), base_url="http://localhost")
    assert AWAY in client.get("/").text
    monkeypatch.setattr(Away, "__getattr__", lambda self, name: lambda *_: 0)
    later = time.monotonic() + 2 * ASKED_EVERY
    monkeypatch.setattr("opintel.console.running.time.monotonic", lambda: later)
    assert AWAY not in client.get("/").text


def test_metrics_tell_what_the_process_knows_without_the_log(view: View) -> None:
    text = TestClient(view.probes()).get("/metrics").text
    assert "opintel_log_up 0.0" in text
    assert "opintel_stalled 0.0" in text
    assert "opintel_lag_records" not in text
