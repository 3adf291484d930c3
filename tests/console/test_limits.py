"""Who asks takes little of the console: half requests, endless bodies, unread answers, many connections."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from seed import make_app

from opintel.console import limits
from opintel.console.app import Console, serve
from opintel.store import Store


@pytest.fixture
def console(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(limits, "EXCHANGE_SECONDS", 1.0)
    served = serve(make_app(store))
    yield served
    served.stop()


def connect(console: Console) -> socket.socket:
    host, port = console.url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=20)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


def closed(connection: socket.socket) -> bool:
    """Whether the other side has given it up, waited for."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)


def test_half_requests_take_a_bounded_number_of_files_and_others_are_answered(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 600.0)
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as stack:
        halves = [stack.enter_context(connect(console)) for _ in range(3 * limits.MOST_CONNECTIONS)]
        for half in halves:
            with suppress(ConnectionError):  # it was given up for a later one
                half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        for _ in range(5):
            assert httpx.get(f"{console.url}/healthz").text == "ok\n"
        # ours and the console's ends are files of this process
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + len(halves) + limits.MOST_CONNECTIONS + 10)


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET / HT",
        b"POST /operator HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 99\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_what_does_not_come_is_given_up(console: Console, begin: bytes) -> None:
    with connect(console) as slow:
        slow.sendall(begin)
        assert closed(slow)


def test_a_second_head_that_does_not_end_is_given_up(console: Console) -> None:
    with connect(console) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not slow.recv(4096).endswith(b"ok\n"):
            pass
        slow.sendall(b"GET /hea")
        assert closed(slow)


def test_a_request_of_many_bytes_is_given_up(console: Console) -> None:
    with connect(console) as fat:
        fat.sendall(b"POST /operator HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n")
        fat.sendall(b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99999999\r\n\r\nname=")
        with pytest.raises(ConnectionError):
            fat.sendall(b"x" * 90_000_000)
