"""Messages of a live STOMP broker (ActiveMQ is what FTS speaks), acknowledged only when the log has them.

`StompSource` is for the ingester: `read`, append to the log, then `acknowledge`. A message that was not acknowledged
comes again after either side died, and its copy is dropped later by its natural key. The broker sends no more than
`PREFETCH` unacknowledged messages, which bounds memory: what is too fast for us waits at the broker.
"""

from __future__ import annotations

import logging
import queue
import random
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from opintel.detector import Message
from opintel.extras import install
from opintel.paths import FilePath
from opintel.streams.certificates import tls_context
from opintel.streams.connectors import cut
from opintel.streams.stream import Stream

PREFETCH = 4000
"""Unacknowledged messages a subscription may hold: two chunks, so that a backlog fills one while one is taken."""
HEARTBEAT = 10_000
"""ms, both ways; a broker silent for longer than this is taken for dead."""
ANSWER = 3.0
"""s that a broker may take to accept a connection, and again to answer on it; `read` waits no longer for one."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""s between attempts to connect: doubled each time, with jitter, so that clients do not return all at once."""

log = logging.getLogger(__name__)


class StompSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a broker is and what to listen to; the password itself is never part of the settings."""

    host: str
    port: int = 61613
    destinations: tuple[str, ...]
    """As the broker names them: `/queue/…`, `/topic/…`."""
    durable: str = ""
    """Name under which a topic keeps messages while we are away; unique on the broker. Queues need none."""
    user: str = ""
    password_file: FilePath = FilePath("")
    password_env: str = ""
    tls: bool = False
    ca_file: FilePath = FilePath("")
    """Certificates to trust instead of the system's."""

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port < 65536:
            raise ValueError(f"host: expected a host and a port of 1 to 65535, got {self.host!r} and {self.port}")
        if not self.destinations or not all(d.startswith(("/queue/", "/topic/")) for d in self.destinations):
            raise ValueError("destinations: expected /queue/NAME or /topic/NAME, at least one")
        if self.password_file and self.password_env:
            raise ValueError("password_env: expected one of password_file and password_env, got both")

    def open(self, secrets: Mapping[str, str], stream: Stream) -> StompSource:
        """The source; ModuleNotFoundError where the STOMP library is not installed."""
        return StompSource(self, secrets.get("password", ""))


class Token(NamedTuple):
    """What acknowledges a message: valid on the connection that delivered it only."""

    connection: int
    ack: str


class StompSource:
    """One connection to a broker; it is made, and made again, inside `read`. Not for several threads.

    Raises ModuleNotFoundError that names the extra where the STOMP library is not installed, OSError for a `ca_file`
    that cannot be used.
    """

    def __init__(self, settings: StompSettings, password: str = "") -> None:
        self._stomp = _library()
        if settings.ca_file:
            tls_context(settings.ca_file)
        self._settings = settings
        self._password = password
        self._frames: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection: Any = None
        self._number = 0
        self._index = 0
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    @property
    def connected(self) -> bool:
        """Whether the broker was there when last heard of."""
        return self._connection is not None and bool(self._connection.is_connected())

    def read(self, limit: int, timeout: float) -> list[tuple[Token, Message]]:
        """At most `limit` messages, waiting up to `timeout` s for the first; [] also while the broker is away.

        An attempt to connect is made at its time and may take 2 `ANSWER` s longer.
        More than `PREFETCH` messages a destination come only after earlier ones are acknowledged.
        """
        deadline = time.monotonic() + timeout
        out: list[tuple[Token, Message]] = []
        while len(out) < limit:
            left = deadline - time.monotonic()
            if not self.connected and not out:
                self._connect(max(0.0, left))
            try:
                number, frame = self._frames.get(timeout=0 if out or not self.connected else max(0.0, left))
            except queue.Empty:
                if out or deadline <= time.monotonic():
                    break
                continue
            if number == self._number and frame is not None:
                out.append((Token(number, frame.headers["ack"]), self._message(frame)))
        return out

    def acknowledge(self, tokens: Iterable[Token]) -> None:
        """Tells the broker that the log has these messages. Those of a lost connection are skipped: they come again."""
        for token in tokens:
            if token.connection != self._number or not self.connected:
                continue
            try:
                self._connection.ack(token.ack)
            except (self._stomp.exception.StompException, OSError) as error:
                log.warning("%s: acknowledging failed, the messages will come again: %s", self._name, error)
                return

    def close(self) -> None:
        """Leaves the broker; what was not acknowledged stays there."""
        if self.connected:
            try:
                self._connection.disconnect()
            except (self._stomp.exception.StompException, OSError) as error:
                log.info("%s: left without a DISCONNECT: %s", self._name, error)
        self._connection = None

    @property
    def _name(self) -> str:
        return f"stomp://{self._settings.host}:{self._settings.port}"

    def _message(self, frame: Any) -> Message:
        message = Message(cut(frame.body), frame.headers.get("destination", ""), self._index, self._index)
        self._index += 1
        return message

    def _connect(self, patience: float) -> None:
        """One attempt, not before its time; waits for that time at most `patience` s."""
        wait = self._not_before - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, patience))
        if time.monotonic() < self._not_before:
            return
        self._number += 1
        try:
            self._connection = self._open(self._number)
        except (self._stomp.exception.StompException, OSError) as error:
            self._connection = None
            pause = self._pause * random.uniform(0.5, 1.0)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._not_before = time.monotonic() + pause
            reason = str(error) or "no answer"
            log.warning("%s: cannot connect, next try in %.1f s: %s", self._name, pause, reason)
        else:
            self._pause = FIRST_PAUSE
            log.info("%s: connected", self._name)

    def _open(self, number: int) -> Any:
        settings = self._settings
        address = (settings.host, settings.port)
        connection = self._stomp.Connection12(
            [address],
            heartbeats=(HEARTBEAT, HEARTBEAT),
            reconnect_attempts_max=1,
            timeout=ANSWER,
            auto_decode=False,
        )
        if settings.tls:
            connection.set_ssl(
                [address],
                ca_certs=settings.ca_file or None,
                ssl_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        answered = threading.Event()
        connection.set_listener("opintel", _listener(self._stomp, number, self._frames, answered))
        identity = {"client-id": settings.durable} if settings.durable else {}
        connection.connect(username=settings.user or None, passcode=self._password or None, headers=identity)
        if not answered.wait(ANSWER) or not connection.is_connected():
            connection.transport.stop()
            raise self._stomp.exception.ConnectFailedException("the broker did not accept the connection")
        for place, destination in enumerate(settings.destinations):
            headers = {"activemq.prefetchSize": str(PREFETCH)}
            if settings.durable and destination.startswith("/topic/"):
                headers["activemq.subscriptionName"] = f"{settings.durable}.{destination.removeprefix('/topic/')}"
            connection.subscribe(destination, id=str(place), ack="client-individual", headers=headers)
        return connection


def _listener(stomp: ModuleType, number: int, frames: queue.SimpleQueue[Any], answered: threading.Event) -> Any:
    """Puts each message (None at the end), with its connection's number, where `read` takes it.

    Runs on the library's thread; `answered` is set when the broker has accepted or refused.
    """

    class Listener(stomp.ConnectionListener):  # type: ignore[misc, name-defined]
        def on_message(self, frame: Any) -> None:
            frames.put((number, frame))

        def on_connected(self, frame: Any) -> None:
            answered.set()

        def on_disconnected(self) -> None:
            answered.set()
            frames.put((number, None))

        def on_error(self, frame: Any) -> None:
            log.warning("the broker reports: %s", frame.headers.get("message", ""))

    return Listener()


def _library() -> ModuleType:
    try:
        import stomp
    except ModuleNotFoundError as error:
        hint = f"reading from a STOMP broker needs the extra `stomp`: {install('stomp')}"
        raise ModuleNotFoundError(hint, name="stomp") from error
    library: ModuleType = stomp
    return library
