"""A source, a sink and a store by a newcomer raise, hang, flood, fill a disk or lie about time: they end nothing
but themselves, and what they did is told.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import sqlalchemy as sa
import yaml
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from opintel.alerts.sinks import SINKS, Intent, Receipt
from opintel.console.running import View
from opintel.detector import Message
from opintel.site import parts as parts_module
from opintel.site.load import load_site
from opintel.site.parts import Part
from opintel.site.system import System
from opintel.site.team import team
from opintel.store import Store
from opintel.store import schema as t
from opintel.streams import log_sqlite, loop
from opintel.streams.connectors import SOURCES
from opintel.streams.connectors.files import MAX_FILES
from opintel.streams.ingest import CHUNK
from opintel.streams.loop import Stop, Watchdog, run
from opintel.streams.stream import Stream
from opintel.streams.vitals import stream_status

Fault = Literal["", "raises", "exits", "hangs", "floods", "fills", "lies"]


class ToySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a source and a sink alike."""

    def open(self, secrets: Mapping[str, str], stream: Stream | None = None) -> Toy:
        return Toy()


class Toy:
    """A source and a sink; `fault` is what it does next."""

    fault: Fault = ""
    released = threading.Event()
    connected = True
    sent: list[str]

    def read(self, limit: int, timeout: float) -> list[tuple[Any, Message]]:
        n = self._act(limit)
        ahead = 1e9 if self.fault == "lies" else 0.0
        return [(i, Message(sample(time.time() + ahead), index=i)) for i in range(n)]

    def acknowledge(self, tokens: Iterable[Any]) -> None:
        """Nothing to do."""

    def send(self, intent: Intent) -> Receipt:
        self._act(0)
        self.sent.append(intent.id)
        return Receipt("sent", "taken")

    def close(self) -> None:
        """Nothing is held."""

    def _act(self, limit: int) -> int:
        fault = self.fault
        if fault == "raises":
            raise ZeroDivisionError("a bug of the toy")
        if fault == "exits":
            raise SystemExit(3)
        if fault == "fills":
            raise OSError(errno.ENOSPC, "No space left on device")
        if fault == "hangs":
            self.released.wait()
        return 2 * CHUNK if fault == "floods" else int(fault == "lies")


class ToyStore(Store):
    """Another store whose database is away, or does not answer, while it has a fault."""

    fault: Fault = ""

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self._act()
        with super().write() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        self._act()
        with super().read() as connection:
            yield connection

    def _act(self) -> None:
        if self.fault == "raises":
            raise OperationalError("select 1", {}, Exception("connection refused"))
        if self.fault == "hangs":
            Toy.released.wait()


def sample(at: float) -> bytes:
    return json.dumps({"timestamp": at, "value": 1.0, "name": "m", "labels": {"job": "j"}}).encode()


def eventually(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until, f"it did not come about: {what}"
        time.sleep(0.02)


class Running:
    """A site of two streams over the embedded log: `good` tails a folder, `bad` has the toy; its parts at work."""

    def __init__(self, folder: Path, watchdog: Watchdog) -> None:
        for name in ("etc/streams", "etc/alerts", "in"):
            (folder / name).mkdir(parents=True)
        common = {"domain": "health", "partitions": 1, "window": "1s", "lateness": "1s", "skew": "1s", "interval": "1s"}
        for name, source in {"good": {}, "bad": {"toy": {}}}.items():
            text = yaml.safe_dump({"name": name, "topic": f"{name}.raw", **common, **source})
            (folder / f"etc/streams/{name}.yaml").write_text(text)
        routes = {"sinks": {"toy": {"type": "toy"}}, "routes": [{"sinks": ["toy"], "ticket": "auto"}]}
        (folder / "etc/alerts/routes.yaml").write_text(yaml.safe_dump(routes))
        self.folder, self.written = folder, 0
        self.system = System(folder / "data", load_site(folder / "etc"))
        self.stop, self.watchdog = Stop(), watchdog
        self.system.reach_store()

    def start(self, bad: Path | None = None) -> None:
        """`bad`: a folder to tail instead of the toy."""
        services = ("ingest", "stage1", "stage2", "alerts", "delivery", "retention")
        paths = {"good": [str(self.folder / "in")]} | ({"bad": [str(bad)]} if bad else {})
        made = team(self.system, services, paths)
        self.parts = {name: Part(name, make, self.watchdog, self.stop) for name, make in made.items()}
        members = list(self.parts.values())
        view = View(self.system, self.watchdog, time.time_ns, parts=members)
        self.console = TestClient(view.app(), base_url="http://localhost", raise_server_exceptions=False)
        self.thread = threading.Thread(target=run, args=(members, self.stop), kwargs={"watchdog": self.watchdog})
        self.thread.start()

    def goes_on(self) -> None:
        """The other stream takes what comes now and judges it."""
        self.written += 1
        (self.folder / f"in/{self.written:03d}.jsonl").write_bytes(sample(time.time()) + b"\n")
        stream = self.system.stream("good").stream
        eventually(
            lambda: (s := stream_status(self.system.log, stream)).messages == self.written and s.lag == 0,
            "the other stream goes on",
        )

    def fails(self, part: str, why: str) -> None:
        """It is told in the metrics and on the console; `why` in the part's own words."""
        eventually(lambda: why in self.parts[part].trouble, f"{part} fails")
        told = self.console.get("/metrics").text
        assert f'opintel_part_up{{part="{part}"}} 0.0' in told
        assert f'opintel_part_failures_total{{part="{part}"}} 0.0' not in told

    def is_well(self, part: str) -> None:
        eventually(lambda: not self.parts[part].trouble, f"{part} works again")
        assert f'opintel_part_up{{part="{part}"}} 1.0' in self.console.get("/metrics").text


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setitem(SOURCES, "toy", f"{__name__}:ToySettings")
    monkeypatch.setitem(SINKS, "toy", f"{__name__}:ToySettings")
    monkeypatch.setattr(parts_module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(parts_module, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(log_sqlite, "BUSY", 0.2)
    monkeypatch.setattr(loop, "calm_collector", lambda: None)
    Toy.fault, Toy.released, Toy.sent = "", threading.Event(), []
    made = Running(tmp_path, Watchdog(1.0))
    yield made
    Toy.released.set()
    made.stop.set()
    made.thread.join(20)
    assert not made.thread.is_alive()
    made.system.close()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raises", "a bug of the toy"),
        ("exits", "3"),
        ("hangs", "has not come back"),
        ("floods", f"at most {CHUNK} messages"),
        ("fills", "No space left"),
    ],
)
def test_a_source_ends_nothing_but_itself(running: Running, fault: Fault, told: str) -> None:
    Toy.fault = fault
    running.start()
    running.fails("ingest bad", told)
    running.goes_on()
    assert "ingest bad" in running.console.get("/").text
    Toy.fault = ""
    Toy.released.set()
    running.is_well("ingest bad")
    running.goes_on()
    assert not any(part.trouble for part in running.parts.values())


def test_a_source_that_lies_about_time_has_dead_letters(running: Running) -> None:
    Toy.fault = "lies"
    running.start()
    running.goes_on()
    stream = running.system.stream("bad").stream
    eventually(lambda: stream_status(running.system.log, stream).asides["dead"] > 3, "its lies are set aside")
    assert not running.parts["ingest bad"].trouble


@pytest.mark.parametrize(("fault", "told"), [("raises", "connection refused"), ("hangs", "has not come back")])
def test_a_store_ends_nothing_but_what_needs_it(running: Running, fault: Fault, told: str) -> None:
    store = ToyStore(running.system.store.engine)
    store.fault = fault
    running.system.store = store  # type: ignore[misc]
    running.start()
    running.fails("alerts", told)
    running.goes_on()
    store.fault = ""
    Toy.released.set()
    running.is_well("alerts")
    eventually(lambda: not any(part.trouble for part in running.parts.values()), "all are well")


def test_a_log_and_a_store_that_a_backup_keeps_locked_are_waited_for(
    tmp_path: Path, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.start()
    running.goes_on()
    locks = [sqlite3.connect(tmp_path / "data" / name, isolation_level=None) for name in ("log.db", "store.db")]
    for lock in locks:
        lock.execute("begin immediate")
    (tmp_path / "in/later.jsonl").write_bytes(sample(time.time()) + b"\n")
    queued = threading.Thread(target=queue, args=(running.system.store, "k"))
    queued.start()
    eventually(lambda: "log.db: database is locked" in caplog.text, "the log is told to be away")
    assert running.console.get("/").status_code == 200
    for lock in locks:
        lock.execute("rollback")
        lock.close()
    queued.join(30)
    running.written += 1
    running.goes_on()
    eventually(lambda: Toy.sent == ["k.1"], "the message was sent")
    assert running.thread.is_alive()


def test_a_folder_with_too_many_files_stops_its_own_feed_until_it_is_tidied(running: Running) -> None:
    folder = running.folder / "many"
    folder.mkdir()
    for n in range(MAX_FILES + 1):
        (folder / f"{n:04d}.jsonl").write_bytes(sample(time.time()) + b"\n")
    running.start(bad=folder)
    running.fails("ingest bad", f"{MAX_FILES + 1} files; a source has at most {MAX_FILES}")
    running.goes_on()
    (folder / "0000.jsonl").unlink()
    running.is_well("ingest bad")
    stream = running.system.stream("bad").stream
    eventually(lambda: stream_status(running.system.log, stream).messages == MAX_FILES, "all others are read")


def queue(store: Store, key: str) -> None:
    """A message in the outbox."""
    with store.write() as connection:
        if connection.execute(sa.select(t.incident.c.id)).first() is None:
            row = dict.fromkeys((c.name for c in t.incident.columns if not c.nullable), 0)
            row |= {c.name: "[]" for c in t.incident.columns if isinstance(c.type, sa.Text | sa.String)}
            connection.execute(sa.insert(t.incident).values(**row | {"id": "i"}))
        connection.execute(sa.insert(t.ticket).values(key=key, incident="i", sink="toy", state="queued", at=0))
        row = {"id": f"{key}.1", "ticket": key, "sequence": 1, "sink": "toy", "kind": "created", "body": "{}"}
        connection.execute(sa.insert(t.outbox).values(**row, at=0, state="queued", attempts=0, due=0))


@pytest.mark.parametrize("fault", ["raises", "hangs", "fills"])
def test_a_sink_ends_nothing_but_itself(running: Running, fault: Fault) -> None:
    Toy.fault = fault
    queue(running.system.store, "k")
    running.start()
    running.goes_on()
    assert Toy.sent == []
    assert running.console.get("/metrics").status_code == 200
    Toy.fault = ""
    Toy.released.set()
    if fault == "hangs":  # else it comes again after the pause of the outbox
        eventually(lambda: Toy.sent == ["k.1"], "the message was sent")


def test_the_want_of_memory_ends_the_process_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    stop, watchdog = Stop(), Watchdog()

    def make() -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        run([Part("glutton", make, watchdog, stop)], stop, watchdog=watchdog)
    assert "glutton: out of memory; the process ends" in caplog.text


def test_a_fault_that_stays_is_logged_once_with_growing_pauses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(parts_module, "LONGEST_PAUSE", 0.04)
    stop, watchdog, tries = Stop(), Watchdog(), list[float]()

    def make() -> Any:
        tries.append(time.monotonic())
        if len(tries) > 12:
            stop.set()
        raise ConnectionRefusedError("nobody there")

    run([Part("caller", make, watchdog, stop)], stop, watchdog=watchdog)
    assert [r.getMessage() for r in caplog.records].count(
        "caller: nobody there; it is tried again, the others go on"
    ) == 1
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[0] >= 0.005
    assert min(pauses[3:]) >= 0.02
