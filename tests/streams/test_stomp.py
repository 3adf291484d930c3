"""The STOMP connector against a real ActiveMQ: acknowledged means kept, and nothing is lost when either side dies."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from opintel.streams.connectors import MAX_BODY
from opintel.streams.connectors import stomp as connector
from opintel.streams.connectors.stomp import StompSettings, StompSource, Token

pytestmark = pytest.mark.broker

stomp = pytest.importorskip("stomp", reason="the extra `stomp` is not installed")
QUEUE = "/queue/transfer.fts_monitoring_complete"
TOPIC = "/topic/transfer.fts_monitoring_complete"
REPOSITORY = Path(__file__).resolve().parents[2]


class Broker:
    """A broker process that keeps messages in `folder`."""

    def __init__(self, jars: Path, folder: Path) -> None:
        self._command = ["java", "-Xmx128m", "-cp", f"{jars}/*", str(REPOSITORY / "deploy/activemq/Broker.java")]
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, str(self.port), str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError("the broker does not listen after 60 s")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process = None

    def send(self, bodies: Iterable[bytes], destination: str = QUEUE) -> None:
        """Sends as FTS does, and returns when the broker has them all on disk: it gives each a receipt then."""
        receipts = threading.Semaphore(0)

        class Listener(stomp.ConnectionListener):  # type: ignore[misc, name-defined]
            def on_receipt(self, frame: object) -> None:
                receipts.release()

        with stomp.Connection12([("127.0.0.1", self.port)]) as connection:
            connection.set_listener("receipts", Listener())
            connection.connect(wait=True)
            sent = [
                connection.send(destination, body, headers={"persistent": "true", "receipt": str(n)})
                for n, body in enumerate(bodies)
            ]
            assert all(receipts.acquire(timeout=60) for _ in sent)

    def source(self, destination: str = QUEUE, durable: str = "") -> StompSource:
        return StompSource(
            StompSettings(host="127.0.0.1", port=self.port, destinations=(destination,), durable=durable)
        )


@pytest.fixture
def stopped_broker(part: Callable[[str], Path], tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(part("activemq"), tmp_path / "broker")
    yield broker
    broker.kill()


@pytest.fixture
def broker(stopped_broker: Broker) -> Broker:
    stopped_broker.start()
    return stopped_broker


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "LONGEST_PAUSE", 1.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def numbered(first: int, last: int) -> list[bytes]:
    return [b'{"n": %d}\x04' % n for n in range(first, last)]


def take(source: StompSource, count: int, *, acknowledge: bool = True, patience: float = 60.0) -> list[bytes]:
    """Bodies until `count` came, in order of arrival."""
    out: list[bytes] = []
    deadline = time.monotonic() + patience
    while len(out) < count and time.monotonic() < deadline:
        batch = source.read(count - len(out), 1.0)
        out += [message.body for _, message in batch]
        if acknowledge:
            source.acknowledge(token for token, _ in batch)
    return out


def test_messages_come_as_sent_with_their_place(broker: Broker) -> None:
    source = broker.source()
    broker.send([b'{"a": "\xc3\xa9"}\x04', b"\xff\x00\xfe", b"x" * (MAX_BODY + 5)])
    messages = []
    while len(messages) < 3:
        batch = source.read(10, 10.0)
        messages += [message for _, message in batch]
        source.acknowledge(token for token, _ in batch)
    assert [m.body for m in messages[:2]] == [b'{"a": "\xc3\xa9"}\x04', b"\xff\x00\xfe"]
    assert len(messages[2].body) == MAX_BODY + 1
    assert [(m.file, m.index, m.form) for m in messages] == [(QUEUE, n, "json") for n in range(3)]
    source.close()
    again = broker.source()
    assert again.read(10, 1.0) == []
    again.close()


def test_what_was_not_acknowledged_comes_again(broker: Broker) -> None:
    broker.send(numbered(0, 10))
    source = broker.source()
    assert take(source, 4) == numbered(0, 4)
    assert take(source, 6, acknowledge=False) == numbered(4, 10)
    source.close()
    again = broker.source()
    assert sorted(take(again, 6)) == sorted(numbered(4, 10))
    assert again.read(1, 0.5) == []
    again.close()


def test_a_killed_consumer_loses_nothing(broker: Broker) -> None:
    broker.send(numbered(0, 20))
    script = (
        "import sys, time\n"
        "from opintel.streams.connectors.stomp import StompSettings, StompSource\n"
        f"s = StompSource(StompSettings(host='127.0.0.1', port={broker.port}, destinations=({QUEUE!r},)))\n"
        "batch = []\n"
        "while len(batch) < 12: batch += s.read(12 - len(batch), 5.0)\n"
        "s.acknowledge(t for t, _ in batch[:5])\n"
        "time.sleep(0.5); print('taken', flush=True); time.sleep(600)\n"
    )
    consumer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert consumer.stdout is not None
    assert consumer.stdout.readline() == b"taken\n"
    consumer.kill()
    consumer.wait()
    consumer.stdout.close()
    source = broker.source()
    assert sorted(take(source, 15)) == sorted(numbered(5, 20))
    source.close()


def test_a_killed_broker_loses_nothing(broker: Broker) -> None:
    broker.send(numbered(0, 20))
    source = broker.source()
    assert take(source, 5) == numbered(0, 5)
    open_batch = source.read(3, 10.0)
    broker.kill()
    source.acknowledge(token for token, _ in open_batch)
    broker.start()
    broker.send(numbered(20, 30))
    seen = set()
    deadline = time.monotonic() + 60
    while not set(numbered(5, 30)) <= seen and time.monotonic() < deadline:
        batch = source.read(100, 1.0)
        seen |= {message.body for _, message in batch}
        source.acknowledge(token for token, _ in batch)
    assert seen >= set(numbered(5, 30))
    source.close()


def test_a_broker_that_comes_later_is_found(stopped_broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    source = stopped_broker.source()
    assert source.read(1, 1.0) == []
    assert not source.connected
    assert "cannot connect" in caplog.text
    stopped_broker.start()
    stopped_broker.send([b"hello"])
    assert take(source, 1) == [b"hello"]
    source.close()


def test_unacknowledged_messages_are_bounded(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "PREFETCH", 5)
    broker.send(numbered(0, 12))
    source = broker.source()
    held: list[Token] = []
    while batch := source.read(100, 2.0):
        held += [token for token, _ in batch]
    assert len(held) == 5
    source.acknowledge(held)
    assert take(source, 7) == numbered(5, 12)
    source.close()


def test_a_durable_subscriber_misses_nothing_of_a_topic(broker: Broker) -> None:
    source = broker.source(TOPIC, durable="opintel")
    assert source.read(1, 1.0) == []
    source.close()
    broker.send(numbered(0, 5), TOPIC)
    again = broker.source(TOPIC, durable="opintel")
    assert take(again, 5) == numbered(0, 5)
    again.close()


def test_a_port_that_never_answers_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connector, "ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        source = StompSource(StompSettings(host="127.0.0.1", port=port, destinations=(QUEUE,)))
        assert source.read(1, 0.5) == []
    assert "did not accept" in caplog.text
    source.close()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stomp", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[stomp\]' in a checkout"):
        StompSource(StompSettings(host="h", destinations=(QUEUE,)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "", "destinations": (QUEUE,)},
        {"host": "h", "destinations": ()},
        {"host": "h", "destinations": ("transfer",)},
        {"host": "h", "destinations": (QUEUE,), "port": 0},
        {"host": "h", "destinations": (QUEUE,), "password_file": "a", "password_env": "b"},
    ],
)
def test_settings_that_cannot_be_right(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"host|destinations|password"):
        StompSettings(**wrong)  # type: ignore[arg-type]
