"""A server that answers as no Prometheus should: what is bounded, what is waited out, and what is reported."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.health.wire import HealthWire
from opintel.streams.connectors.prometheus import PrometheusSettings, PrometheusSource
from opintel.streams.log import LogUnavailable

T0 = 1_699_999_200
"""s: of the sample in a sound answer."""


class Odd:
    """A server whose answer the test writes, byte by byte if need be."""

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda _: None
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.ended = threading.Event()
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                odd.heard.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.rfile.read(int(self.headers["content-length"]))
                try:
                    odd.answer(self)
                except OSError:
                    odd.ended.set()  # the other side has had enough

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                """Nothing to say."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def says(self, status: int, body: bytes, **headers: str) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answer = answer

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def odd() -> Iterator[Odd]:
    made = Odd()
    yield made
    made.close()


def answer_of(series: int, **more: Any) -> bytes:
    result = [{"metric": {"__name__": "m", "n": str(n)}, "values": [[T0, "1"]]} for n in range(series)]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


def ask(url: str, secret: str = "", **keys: Any) -> list[Message]:
    """The first answer, to one query for one step."""
    asked = PrometheusSettings(url=url, queries=["m"], **keys)
    with closing(PrometheusSource(asked, secret)) as source:
        _, begin = source.read(None, 1)
        return source.read(begin, 1)[0]


@pytest.mark.parametrize(
    ("status", "body", "headers", "told"),
    [
        (500, b"oops", {}, "answers 500"),
        (503, b'{"status":"error","errorType":"timeout","error":"query timed out"}', {}, "answers 503"),
        (429, b"slow down", {}, "answers 429"),
        (401, b"who are you?", {}, "answers 401: see user, password and token"),
        (404, b"no such page", {}, "answers 404: is there a Prometheus at `url`"),
        (302, b"", {"location": "/elsewhere"}, "answers 302: redirects are not followed"),
        (400, b"<html>a proxy's own word</html>", {}, "answers 400, and not as Prometheus does"),
        (200, b"<html>please log in</html>", {}, "gives no answer of Prometheus"),
        (200, b'{"status":"success","data":{"result":[1,2]}}', {}, "gives no answer of Prometheus"),
        (200, b'{"status":"success","data":{"result":' + b"[" * 100_000, {}, "gives no answer of Prometheus"),
        (200, b"\xff\xfe\x00", {}, "gives no answer of Prometheus"),
        (200, gzip.compress(bytes(50 << 20), mtime=0), {"content_encoding": "gzip"}, "gives no answer of Prometheus"),
        (200, answer_of(1), {"content_length": "999999"}, "cannot be reached"),
    ],
    ids=lambda one: str(one)[:40] if not isinstance(one, bytes) else f"{len(one)} bytes",
)
def test_what_is_no_answer_of_prometheus_is_waited_out(
    odd: Odd, status: int, body: bytes, headers: dict[str, str], told: str
) -> None:
    odd.says(status, body, **headers)
    with pytest.raises(LogUnavailable, match=told):
        ask(odd.url)
    assert {path for path, _ in odd.heard} == {"/api/v1/query_range"}
    odd.says(200, answer_of(1, warnings=["not all was there"], later="keys may come"))
    assert len(ask(odd.url)) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=st.sampled_from([200, 400, 422]), at=st.integers(0, 300), junk=st.binary(max_size=40))
def test_no_bytes_of_an_answer_crash_it(odd: Odd, status: int, at: int, junk: bytes) -> None:
    odd.says(status, answer_of(2)[:at] + junk + answer_of(2)[at + len(junk) :])
    try:
        found = ask(odd.url)
    except LogUnavailable:
        return
    HealthWire().decode(found)
    assert len(found) == 1


def test_an_answer_without_end_is_read_to_the_limit_and_refused(odd: Odd) -> None:
    def forever(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"[" * 65536)

    odd.answer = forever
    (message,) = ask(odd.url)
    assert message.form == "refused"
    assert message.body.startswith(b"expected at most 16 MiB and 100000 samples")
    assert odd.ended.wait(30)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: ", b""], ids=str)
def test_what_drips_in_is_not_waited_for(odd: Odd, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr("opintel.streams.connectors.prometheus.ANSWER", 0.5)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not odd.ended.wait(0.05):
            handler.wfile.write(b"a" if head else b"")

    odd.answer = drip
    with pytest.raises(LogUnavailable, match=r"has not answered within 0\.5 s"):
        ask(odd.url)


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"user": "u", "password_env": "P"}, "Basic " + base64.b64encode(b"u:open sesame").decode()),
        ({"token_env": "P"}, "Bearer open sesame"),
        ({}, None),
    ],
)
def test_it_presents_itself_and_no_secret_is_told(odd: Odd, keys: dict[str, str], header: str | None) -> None:
    odd.says(401, b"")
    with pytest.raises(LogUnavailable) as caught:
        ask(f"{odd.url}/behind/", "open sesame" if keys else "", **keys)
    path, headers = odd.heard[0]
    assert (path, headers.get("authorization")) == ("/behind/api/v1/query_range", header)
    assert headers["accept-encoding"] == "identity"
    assert "sesame" not in str(caught.value)
